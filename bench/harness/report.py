# SPDX-License-Identifier: BSD-3-Clause
# From trials to tables and sentences, for the terminal, Markdown and the page alike.

from . import scenarios, stats
from .results import RATE, SEARCH

STRAIT = "strait"


def cell_of(key):
    name, size, flows = key
    return scenarios.named(name).at(size, flows)


def show(found, digits):
    """A spread, as text."""
    if found is None:
        return "-"
    text = f"{found['median']:.{digits}f}"
    if found["low"] != found["high"]:
        text += f" [{found['low']:.{digits}f}-{found['high']:.{digits}f}]"
    return text


def bars_of(scenario):
    """With those against an earlier build: not asked for anything."""
    return (*scenario.bars, *(scenarios.Bar(figure, "before") for figure in scenario.figures))


def _compared(cell, figure, peers):
    """Bars of a figure: the scenario's own, and one against each peer without."""
    own = [bar for bar in bars_of(cell.scenario) if bar.figure.key == figure.key]
    own = [bar for bar in own
           if not bar.against or bar.against.startswith("@") or bar.against in peers]
    there = {bar.against for bar in own}
    return own + [scenarios.Bar(figure, name) for name in peers
                  if name not in there and name != STRAIT]


def comparisons(results, key, peers, measure=RATE):
    """Strait beside each peer and variant: dictionaries with figure, against, ratios, their spread,
    target, verdict, and whether the spread lets one say that they differ."""
    cell = cell_of(key)
    figures = cell.scenario.figures if measure == RATE else scenarios.RFC2544
    out = []
    for figure in figures if STRAIT in peers else ():
        for bar in _compared(cell, figure, peers):
            if bar.against:
                ratios = results.ratios(key, STRAIT, bar.against, figure.key, measure)
            else:
                ratios = list(results.values(key, STRAIT, figure.key, measure=measure).values())
            if not ratios:
                continue
            found = stats.spread(ratios)
            out.append({"figure": figure, "against": bar.against.lstrip("@"),
                        "is_peer": bar.against in peers, "ratios": ratios, "spread": found,
                        "target": bar.target(), "verdict": bar.verdict(found["median"]),
                        "says_something": bool(bar.against) and stats.tells_apart(ratios)})
    return out


def is_behind(one):
    """Of a comparison: Strait is worse, and by more than the spread."""
    worse = one["spread"]["median"] > 1 if one["figure"].key in scenarios.LESS_IS_MORE else \
        one["spread"]["median"] < 1
    return one["is_peer"] and one["says_something"] and worse


def ratio_cell(found):
    """Of a comparison with a peer; "noise" where the spread lets one see no difference."""
    return show(found["spread"], 2) + ("" if found["says_something"] else " (noise)")


def rows_of(results, key, peers, measure=RATE):
    """One row a figure, one of ratios to the peers, one for each bar that is no such ratio or has a
    target: cells are text."""
    cell = cell_of(key)
    title = cell.title()
    rows = []
    found = comparisons(results, key, peers, measure)
    for figure in cell.scenario.figures if measure == RATE else scenarios.RFC2544:
        cells = [show(results.figure(key, name, figure.key, measure=measure), figure.digits)
                 for name in peers]
        if all(one == "-" for one in cells):
            continue
        rows.append((title, f"{figure.title} ({figure.unit})", *cells, "", "", ""))
        title = ""
        own = [one for one in found if one["figure"].key == figure.key]
        beside = {one["against"]: ratio_cell(one) for one in own if one["is_peer"]}
        if beside:
            rows.append(("", "  Strait / it", *(beside.get(name, "") for name in peers), "", "",
                         ""))
        for one in own:
            if one["is_peer"] and not one["target"]:
                continue
            label = f"  Strait / {peers.get(one['against'], one['against'])}" \
                if one["against"] else "  Strait"
            rows.append(("", label, *("" for _ in peers), ratio_cell(one) if one["against"] else
                         show(one["spread"], 2), one["target"], one["verdict"]))
    for name in cell.scenario.variants if STRAIT in peers and measure == RATE else ():
        first = cell.scenario.figures[0]
        rows.append(("", f"  {name}: {first.title} ({first.unit})",
                     *(show(results.figure(key, peer, first.key, variant=name), first.digits)
                       for peer in peers), "", "", ""))
    return rows


def head_of(peers):
    return ("scenario", "figure", *peers.values(), "ratio", "target", "")


def alone_rows(found):
    rows = []
    for name, one in found.items():
        if "error" in one:
            rows.append((name, "failed: " + one["error"], "", ""))
        else:
            low, high = min(one["values"]), max(one["values"])
            text = f"{one['value']:.2f} {one['unit']}"
            text += f" [{low:.2f}-{high:.2f}]" if low != high else ""
            rows.append((one["title"], text, one["target"], one["verdict"]))
    return rows


ALONE_HEAD = ("Strait alone", "value", "target", "")


def sentences(document, results, peers):
    """What the figures say, one sentence each: how Strait stands beside each peer, where it is
    behind, and what takes from the figures' worth."""
    out = []
    if STRAIT in peers:
        for name, title in peers.items():
            if name != STRAIT:
                out += _standing(results, peers, name, title)
    noisy = [cell_of(key).title() for key in results.keys()
             if results.denied(key, cell_of(key).scenario.half_cpu) > 0.03]
    if noisy:
        out.append("The machine was not quiet: a worker or the generator waited for its CPU, or "
                   f"the hypervisor took it, for more than 3 % of a turn, in {len(noisy)} of "
                   f"{_places(results.keys())}, so look at the spread: {_some(noisy)}.")
    for name, title in peers.items():
        limited = [cell_of(key).title() for key in results.keys()
                   if results.generator_limited(key, name)]
        if limited:
            out.append(f"The generator, not {title}, was the limit in {_places(limited)}, where "
                       f"the rate is a lower bound: {_some(limited)}.")
    out += _not_found(results, peers)
    if any(cell_of(key).scenario.loops for key in results.keys()) and \
            document["settings"].get("guest_cpu") == document["machine"]["generator_cpu"]:
        out.append("The guests of loopback shared the generator's CPU (--guest-cpu), so that these "
                   "rates say nothing of the switch.")
    if document.get("partial"):
        out.append(f"The run is not whole: {document.get('reason', 'it was stopped')}.")
    return out


def _not_found(results, peers):
    """Searches that came to nothing."""
    for key in results.keys(SEARCH):
        for name, title in peers.items():
            tried = [one for one in results.of(key, SEARCH)
                     if one["peer"] == name and "error" not in one]
            failed = [one for one in tried if one.get("pdr_mpps") is None]
            if failed:
                yield (f"No PDR of {title} was found in {len(failed)} of {len(tried)} rounds "
                       f"({cell_of(key).title()}): 1 % of its rate flat out was too much already, "
                       f"in {sum(one['trials'] for one in failed)} trials, "
                       f"{sum(one['repeated'] for one in failed)} made again because a CPU was "
                       f"taken away meanwhile.")


def _places(of):
    return f"{len(of)} place{'' if len(of) == 1 else 's'}"


def _some(titles, most=4):
    more = len(titles) - most
    return "; ".join(titles[:most]) + (f"; and {more} more" if more > 0 else "")


def _standing(results, peers, name, title):
    ahead, level, behind = [], [], []
    for measure in (RATE, SEARCH):
        for key in results.keys(measure):
            for one in comparisons(results, key, peers, measure):
                if one["against"] != name:
                    continue
                text = f"{cell_of(key).title()}, {one['figure'].title} x " \
                       f"{one['spread']['median']:.3g}"
                if not one["says_something"]:
                    level.append(text)
                else:
                    (behind if is_behind(one) else ahead).append(text)
    total = len(ahead) + len(level) + len(behind)
    if not total:
        return
    yield (f"Beside {title}, of {total} figures Strait's are better in {len(ahead)}, worse in "
           f"{len(behind)}, and not told apart by their spread in {len(level)}.")
    if behind:
        yield f"Strait is behind {title} in: {_some(behind, 100)}."


def print_table(head, rows, out):
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    widths = [min(width, 72) for width in widths]

    def line(row):
        return "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()

    print(line(head), file=out)
    print("  ".join("-" * width for width in widths), file=out)
    for row in rows:
        print(line(row), file=out)


def print_all(document, results, peers, out):
    """The summary at the end of a run."""
    rows = [row for measure in (RATE, SEARCH) for key in results.keys(measure)
            for row in rows_of(results, key, peers, measure)]
    if rows:
        print_table(head_of(peers), rows, out)
    if document["alone"]:
        print(file=out)
        print_table(ALONE_HEAD, alone_rows(document["alone"]), out)
    print(file=out)
    for sentence in sentences(document, results, peers):
        print(sentence, file=out)
    if results.errors():
        print("\nRuns that failed:", file=out)
        for one in results.errors():
            print(f"  {peers.get(one['peer'], one['peer'])}, "
                  f"{cell_of((one['scenario'], one['size'], one['flows'])).title()}, "
                  f"round {one['round'] + 1}: {one['error']}", file=out)


# ---- Markdown ----


def markdown(document, results, peers):
    """For a README: the machine in a line, a table of rates, what they say."""
    machine = document["machine"]
    lines = [f"{machine['cpu']}, {machine['kernel']}; {document['started'][:10]}; rounds: "
             f"{document['settings']['rounds']}; medians [quartiles].", ""]
    titles = list(peers.values())
    # Scenarios differ in what they are about.
    rate_keys = [key for key in results.keys()
                 if cell_of(key).scenario.figures[0].key == "mpps"]
    if rate_keys:
        lines += markdown_table(
            ["rate, Mpps", *titles, *(f"Strait / {title}" for name, title in peers.items()
                                      if name != STRAIT and STRAIT in peers)],
            [[cell_of(key).title(),
              *(show(results.figure(key, name, "mpps"), 2) for name in peers),
              *(_ratios(results, key, peers))] for key in rate_keys])
    for key in results.keys(SEARCH):
        lines += [f"RFC 2544, {cell_of(key).title()}:", ""]
        lines += markdown_table(
            ["", *titles],
            [[f"{figure.title}, {figure.unit}",
              *(show(results.figure(key, name, figure.key, measure=SEARCH), figure.digits)
                for name in peers)] for figure in scenarios.RFC2544])
    lines += [f"- {sentence}" for sentence in sentences(document, results, peers)]
    return "\n".join(lines).rstrip() + "\n"


def _ratios(results, key, peers):
    """Of rates, a cell for each peer but Strait."""
    found = {one["against"]: ratio_cell(one) for one in comparisons(results, key, peers)
             if one["figure"].key == "mpps"}
    return [found.get(name, "-") for name in peers if name != STRAIT and STRAIT in peers]


def markdown_table(head, rows):
    def line(cells):
        return "| " + " | ".join(one.replace("|", "\\|") for one in cells) + " |"
    return [line(head), "|" + "---|" * len(head), *map(line, rows), ""]
