# SPDX-License-Identifier: BSD-3-Clause
# From trials to figures: medians, ratios paired by round, their spread, and the table for people.

import statistics

from .scenarios import Bar


def spread(values):
    """Median and quartiles: a neighbour's burst in one turn is no property of a switch."""
    values = list(values)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") \
        if len(values) > 1 else values * 3
    return {"median": median, "low": low, "high": high}


class Results:
    """Trials of traffic scenarios, by scenario, variant and switch, in order of rounds."""

    def __init__(self):
        self.trials = []

    def add(self, scenario, variant, switch, round_number, result):
        self.trials.append({"scenario": scenario.name, "variant": variant, "switch": switch,
                            "round": round_number, **result})

    def values(self, scenario, variant, switch, key):
        """Of each round that came out well."""
        return {one["round"]: one[key] for one in self.trials
                if (one["scenario"], one["variant"], one["switch"]) ==
                (scenario.name, variant, switch) and one.get(key) is not None}

    def figure(self, scenario, variant, switch, key):
        values = list(self.values(scenario, variant, switch, key).values())
        return spread(values) if values else None

    def ratio(self, scenario, bar):
        """Strait's figure by the other's, round by round: what the machine does to both in a
        round falls out."""
        if bar.against.startswith("@"):
            other = self.values(scenario, bar.against[1:], "strait", bar.figure.key)
        else:
            other = self.values(scenario, "", bar.against, bar.figure.key)
        own = self.values(scenario, "", "strait", bar.figure.key)
        if not bar.against:
            return spread(own.values()) if own else None
        ratios = [own[one] / other[one] for one in sorted(own) if other.get(one)]
        return spread(ratios) if ratios else None

    def denied(self, scenario):
        """The largest share of time that a worker or the generator waited for its CPU."""
        shares = [max(0 if scenario.half_cpu else one.get("worker_denied", 0),
                      one.get("generator_denied", 0), one.get("stolen", 0))
                  for one in self.trials if one["scenario"] == scenario.name]
        return max(shares, default=0)

    def errors(self, scenario):
        return [f"{one['switch']}, round {one['round'] + 1}: {one['error']}"
                for one in self.trials if one["scenario"] == scenario.name and "error" in one]


def bars_of(scenario):
    """With those against an earlier build: not asked for anything."""
    return (*scenario.bars, *(Bar(figure, "before") for figure in scenario.figures))


def _cell(found, digits):
    if found is None:
        return "-"
    text = f"{found['median']:.{digits}f}"
    if found["low"] != found["high"]:
        text += f" [{found['low']:.{digits}f}-{found['high']:.{digits}f}]"
    return text


def rows_of(results, scenarios, switches):
    """One row a figure and one a bar: cells are text."""
    rows = []
    for scenario in scenarios:
        title = scenario.title
        for figure in scenario.figures:
            cells = [_cell(results.figure(scenario, "", name, figure.key), figure.digits)
                     for name in switches]
            if all(cell == "-" for cell in cells):
                continue
            rows.append((title, f"{figure.title} ({figure.unit})", *cells, "", "", ""))
            title = ""
            for bar in bars_of(scenario):
                if bar.figure.key != figure.key or "strait" not in switches:
                    continue
                if bar.against and not bar.against.startswith("@") and \
                        bar.against not in switches:
                    continue
                found = results.ratio(scenario, bar)
                against = bar.against.lstrip("@")
                title_of_bar = f"  Strait / {against}" if against else "  Strait"
                rows.append(("", title_of_bar, *("" for _ in switches),
                             _cell(found, 2), bar.target(),
                             bar.verdict(found["median"] if found else None)))
        for name in scenario.variants if "strait" in switches else ():
            rows.append(("", f"  {name}: rate (Mpps)",
                         *(_cell(results.figure(scenario, name, switch, "mpps"), 2)
                           for switch in switches), "", "", ""))
    return rows


def print_table(head, rows, out):
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    widths = [min(width, 72) for width in widths]

    def line(row):
        return "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()

    print(line(head), file=out)
    print("  ".join("-" * width for width in widths), file=out)
    for row in rows:
        print(line(row), file=out)


def print_traffic(results, scenarios, switches, titles, out):
    head = ("scenario", "figure", *(titles[name] for name in switches), "ratio", "target", "")
    print_table(head, rows_of(results, scenarios, switches), out)
    noisy = [(scenario, results.denied(scenario)) for scenario in scenarios
             if results.denied(scenario) > 0.03]
    if noisy:
        print("\nThe machine was not quiet: a worker or the generator waited for its CPU, or the "
              "hypervisor\ntook it, for up to this share of a run; look at the spread.",
              file=out)
        for scenario, share in noisy:
            print(f"  {scenario.name}: {share * 100:.0f} %", file=out)
    failed = [(scenario.name, error)
              for scenario in scenarios for error in results.errors(scenario)]
    if failed:
        print("\nRuns that failed:", file=out)
        for name, error in failed:
            print(f"  {name}, {error}", file=out)


def print_alone(found, out):
    if not found:
        return
    rows = []
    for name, one in found.items():
        if "error" in one:
            rows.append((name, "failed, see below", "", ""))
        else:
            low, high = min(one["values"]), max(one["values"])
            text = f"{one['value']:.2f} {one['unit']}"
            text += f" [{low:.2f}-{high:.2f}]" if low != high else ""
            rows.append((one["title"], text, one["target"], one["verdict"]))
    print(file=out)
    print_table(("Strait alone", "value", "target", ""), rows, out)
    for name, one in found.items():
        if "error" in one:
            print(f"  {name}: {one['error']}", file=out)


def as_json(results, scenarios, switches, alone):
    out = []
    for scenario in scenarios:
        figures = {}
        for figure in scenario.figures:
            for variant in ("", *scenario.variants):
                for switch in switches:
                    found = results.figure(scenario, variant, switch, figure.key)
                    if found:
                        name = f"{switch} ({variant})" if variant else switch
                        figures.setdefault(figure.key, {})[name] = found
        bars = []
        for bar in bars_of(scenario):
            found = results.ratio(scenario, bar)
            if found:
                bars.append({"figure": bar.figure.key, "against": bar.against.lstrip("@"),
                             "ratio": found, "target": bar.target(),
                             "verdict": bar.verdict(found["median"])})
        out.append({"name": scenario.name, "title": scenario.title,
                    "generator": scenario.generator, "traffic": scenario.traffic,
                    "figures": figures, "bars": bars,
                    "largest_share_denied": results.denied(scenario)})
    return {"scenarios": out, "alone": alone, "trials": results.trials}
