# SPDX-License-Identifier: BSD-3-Clause
# The report: one HTML file that needs nothing else, no script and no network, and reads well on
# paper.

import html

from . import facts, hypervisors, report, scenarios
from .charts import Charts
from .results import RATE, SEARCH, Results, peers_of

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #111; background: #fff; max-width: 60rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { margin-top: 2.2rem; }
figure { margin: 1rem 0; } figcaption { color: #444; }
figure svg { width: 100%; height: auto; max-width: 46rem; }
table { border-collapse: collapse; font-size: .85rem; margin: 1rem 0; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ccc; text-align: left;
         vertical-align: top; font-variant-numeric: tabular-nums; }
th { border-bottom: 2px solid #444; }
.wide { overflow-x: auto; }
.note { border-left: 4px solid #d55e00; padding: .4rem .8rem; background: #fdf3ec; }
@media print { body { font-size: 10pt; margin: 0; max-width: none; }
  figure, tr { break-inside: avoid; } h2, h3 { break-after: avoid; } .wide { overflow: visible; }
  table { font-size: 7.5pt; } @page { size: A4; margin: 15mm; } }
"""


def _text(value):
    return html.escape(str(value))


def _table(head, rows):
    """Cells are text; columns of nothing are left out."""
    kept = [column for column in range(len(head)) if any(row[column] for row in rows)]
    head = [head[column] for column in kept]
    rows = [[row[column] for column in kept] for row in rows]
    lines = ["<div class=\"wide\"><table><thead><tr>",
             *(f"<th>{_text(cell)}</th>" for cell in head), "</tr></thead><tbody>"]
    for row in rows:
        lines.append("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>")
    return "\n".join([*lines, "</tbody></table></div>"])


def _figure(svg, caption):
    return f"<figure>{svg}<figcaption>{_text(caption)}</figcaption></figure>" if svg else ""


def _machine(document):
    machine, settings = document["machine"], document["settings"]
    huge = ", ".join(f"{one['total']} of {one['kib'] // 1024} MiB" for one in machine["huge_pages"]
                     if one["total"]) or "none"
    mhz = [round(one) for one in machine["mhz"].values()]
    meanwhile = machine.get("meanwhile", {})
    steal = "; ".join(f"CPU {cpu}: {100 * one['steal']:.2f} %" for cpu, one in meanwhile.items())
    weak = sorted(name for name, state in machine["vulnerabilities"].items()
                  if "Mitigation" in state)
    rows = [("CPU", f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['numa_nodes']} NUMA "
                    f"nodes{', virtual' if machine['virtual'] else ''}"),
            ("clock", f"{min(mhz, default=0)} to {max(mhz, default=0)} MHz before the run; "
                      f"governor: {machine['governor']}"),
            ("memory", f"{machine['memory_mib']} MiB; huge pages: {huge}, "
                       f"{'used' if settings['huge_pages'] else 'not used'}"),
            ("kernel", machine["kernel"]),
            ("mitigations", ", ".join(weak) or "none"),
            ("pinning", f"worker on CPU {machine['worker_cpu']} (its core's threads: "
                        f"{machine['threads_of_the_workers_core']}), generator and all else on CPU "
                        f"{machine['generator_cpu']}; isolated: {machine['isolated']}"),
            ("stolen by the hypervisor", steal or "unknown"),
            ("load before the run", f"{machine['load_before']:.2f}"),
            ("rounds", f"{settings['rounds']}, interleaved, {settings['seconds']:g} s each after "
                       f"{settings['warm_up']:g} s"),
            ("started, ended", f"{document['started']}, {document.get('ended', '-')}")]
    rows += [(peer["title"], peer.get("version") or "version unknown")
             for peer in document["peers"].values() if "skipped" not in peer]
    rows += [(peer["title"], "left out: " + peer["skipped"])
             for peer in document["peers"].values() if "skipped" in peer]
    return _table(("", ""), rows)


def _grid(charts, results, name):
    keys = [key for key in results.keys() if key[0] == name]
    out = [f"<h2>{_text(scenarios.named(name).title)}</h2>"]
    for size in dict.fromkeys(key[1] for key in keys):
        out.append(_figure(charts.by_flows(name, size),
                           f"{name}, frames of {size if size == 'imix' else f'{size} bytes'}: rate "
                           "by number of flows; medians, bars are quartiles."))
    for flows in list(dict.fromkeys(key[2] for key in keys))[:1]:
        out.append(_figure(charts.by_size(name, flows),
                           f"{name}, {scenarios.flows_in_words(flows)}: bits a second by size."))
    out.append(_figure(charts.ratios(name), f"{name}: rounds' ratios, paired; bars are bounds of "
                                            "the median (95 % by bootstrap; below six rounds, all "
                                            "of them)."))
    for key in results.keys(SEARCH):
        if key[0] == name:
            title = report.cell_of(key).title()
            out.append(f"<h3>RFC 2544: {_text(title)}</h3>")
            out.append(_figure(charts.throughput(key), f"{title}: throughput without loss and with "
                                                       "0.5 %; medians and quartiles."))
            out.append(_figure(charts.latencies(key), f"{title}: latency one way, all rounds."))
    return "\n".join(out)


def _hypervisors(document, results, charts):
    names = {"": "v2v", **{name: name for name in scenarios.named(hypervisors.NAME).variants}}
    for number, (heading, text, head, rows) in enumerate(hypervisors.parts(document, results)):
        yield f"<h2>{_text(heading)}</h2><p>{_text(text)}</p>"
        if rows:
            yield _table(head, rows)
        if number == 0 and rows:
            yield _figure(charts.variants(hypervisors.NAME, names),
                          "The worker's cycles for a packet, all that the simulated hypervisor "
                          "does for Xen's included; medians and quartiles.")
    heading, text, items = hypervisors.closing(document)
    yield f"<h2>{_text(heading)}</h2><p>{_text(text)}</p><ul>"
    yield "".join(f"<li>{_text(item)}</li>" for item in items) + "</ul>"


def render(document):
    results = Results(document["trials"])
    peers = peers_of(document)
    charts = Charts(results, peers)
    grids = [name for name in dict.fromkeys(key[0] for key in results.keys())
             if scenarios.named(name).grid and name != hypervisors.NAME]
    parts = ["<!DOCTYPE html>", "<html lang=\"en\"><head><meta charset=\"utf-8\">",
             "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
             "<link rel=\"icon\" href=\"data:,\">",
             "<title>strait-bench</title>", f"<style>{STYLE}</style></head><body>",
             "<h1>strait-bench</h1>",
             f"<p>{_text(document['machine']['cpu'])}, {_text(document['started'][:10])}</p>"]
    for sentence in facts.warnings_of(document["machine"], document["settings"]["huge_pages"]):
        parts.append(f"<p class=\"note\">{_text(sentence)}</p>")
    parts.append("<h2>What the figures say</h2><ul>")
    parts += [f"<li>{_text(one)}</li>" for one in report.sentences(document, results, peers)]
    parts.append("</ul>")
    if hypervisors.concerns(document):
        parts += _hypervisors(document, results, charts)
    parts += [_grid(charts, results, name) for name in grids]
    other = _figure(charts.singles(), "Other scenarios; medians and quartiles.")
    if other:
        parts += ["<h2>Other scenarios</h2>", other]
    parts.append("<h2>All figures</h2><p>Medians [quartiles] of rounds. Rates are of frames that "
                 "arrived, both directions together; ratios are paired by round, and called noise "
                 "where their spread lets one see no difference.</p>")
    rows = [row for measure in (RATE, SEARCH) for key in results.keys(measure)
            for row in report.rows_of(results, key, peers, measure)]
    parts.append(_table(report.head_of(peers), rows))
    if document["alone"]:
        parts.append(_table(report.ALONE_HEAD, report.alone_rows(document["alone"])))
    if results.errors():
        parts += ["<h2>What failed</h2>",
                  _table(("peer", "scenario", "round", ""),
                         [(peers.get(one["peer"], one["peer"]),
                           report.cell_of((one["scenario"], one["size"], one["flows"])).title(),
                           one["round"] + 1, one["error"]) for one in results.errors()])]
    parts += ["<h2>The machine</h2>", _machine(document), "</body></html>"]
    return "\n".join(parts) + "\n"
