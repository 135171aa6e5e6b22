"""The bench's pictures, drawn by gnuplot: bars of all contenders for each link, memory and CPU time."""
from bench import workloads
from bench.figures import Cell, TITLES, in_order, limit
from bench.report import link_title
from lib.picture import STYLE, block, gnuplot, quoted

# Ours in one colour, peers in others; a pair of the same program in two shades.
COLOURS = {"ours": "#08519c", "ours trace": "#3182bd", "ours prefetch": "#9ecae1",
           "ours nbd": "#08786f", "ours nbd trace": "#41b6a6",
           "nbdkit": "#d94801", "nbdkit filters": "#fd8d3c", "httpdirfs": "#54278f",
           "httpdirfs cache": "#9e9ac8", "rclone": "#006d2c", "rclone full": "#74c476",
           "download": "#969696"}
GAP = 1.5               # between groups, in bars


# ---- one link -----------------------------------------------------------------------------------

def bar_text(cell, ceiling):
    """A bar's height and the text above it."""
    seconds = cell.median("seconds")
    if seconds is not None:
        return seconds, f"{seconds:.2f}" if seconds < 9.995 else f"{seconds:.1f}"
    word = cell.why()
    return (ceiling, f"> {ceiling}") if word == "too slow" else (None, word if cell.runs else "")


def link_script(table):
    names = in_order(table)
    known = [w for w in workloads.WORKLOADS if w in table["workloads"]]
    step = len(names) + GAP
    limits = [limit(table["link"], table["workloads"][w]["needed"]) for w in known]
    floor = 10 ** -1 / 2 if min(limits) > 0.06 else 10 ** -2
    bars = {name: [] for name in names}
    labels = []
    for group, workload in enumerate(known):
        for place, name in enumerate(names):
            height, text = bar_text(Cell(table, workload, name), table["limit"])
            x = group * step + place
            if height is not None:
                bars[name].append(f"{x} {height}")
            labels.append(f'{x} {(height or floor) * 1.08} "{text}"')
    middle = (len(names) - 1) / 2
    ticks = ", ".join(f"{quoted(workloads.TITLES[w])} {group * step + middle}"
                      for group, w in enumerate(known))
    marks = [f"{group * step - 0.6} {value} {len(names) + 0.2} 0" for group, value in enumerate(limits)]
    script = STYLE + block("labels", labels) + block("limits", marks)
    plots = []
    for place, name in enumerate(names):
        if bars[name]:
            script += block(f"bar{place}", bars[name])
            plots.append(f"$bar{place} using 1:2 with boxes linecolor rgb '{COLOURS[name]}' "
                         f"title {quoted(TITLES[name])}")
    plots += ["$labels using 1:2:3 with labels rotate left font ',8' textcolor rgb '#404040' notitle",
              "$limits using 1:2:3:4 with vectors nohead linewidth 2 linecolor rgb '#d0021b' "
              "title 'the limit: bytes needed / rate + one round trip'"]
    scheme = table["scheme"].upper()
    return script + f"""
set title {quoted(f"Seconds from mount to end, {link_title(table)}, {scheme} (log scale; less is better)")}
set logscale y
set yrange [{floor}:{table['limit'] * 4}]
set xrange [-1.5:{len(known) * step - GAP + 0.5}]
set boxwidth 0.9
set xtics ({ticks})
set format y '%g'
set key outside below center horizontal samplen 1.5 width 1 maxcols 4 reverse Left
plot {", ".join(plots)}
"""


# ---- memory and CPU time ------------------------------------------------------------------------

def first(results):
    """The first table with a run that succeeded, and its first such workload."""
    return next((table, workload) for table in results["tables"] for workload in table["workloads"]
                if any(r["outcome"] == "ok" and r["workload"] == workload for r in table["runs"]))


def costs(results):
    """For each contender the peak of RSS in MB, and the CPU seconds of the first table's first workload."""
    table, workload = first(results)
    for name in in_order(table):
        runs = [r for t in results["tables"] for r in t["runs"]
                if r["contender"] == name and r["outcome"] == "ok"]
        if runs:
            yield name, max(r["rss"] for r in runs) / 1000, Cell(table, workload, name).median("cpu")


def panel(title, pairs, logarithmic, number):
    """Horizontal bars, the first on top."""
    pairs = [pair for pair in pairs if pair[1] is not None]
    count = len(pairs)
    rows = [f"{value} {count - place} {value} {quoted(number.format(value))} "
            f"0x{COLOURS[name][1:]}" for place, (name, value) in enumerate(pairs)]
    ticks = ", ".join(f"{quoted(TITLES[name])} {count - place}" for place, (name, _) in enumerate(pairs))
    largest = max(value for _, value in pairs)
    least, most = (0.3, largest * 4) if logarithmic else (0, largest * 1.2)
    return block("rows", rows) + f"""
set title {quoted(title)}
{'set' if logarithmic else 'unset'} logscale x
set xrange [{least}:{most}]
set yrange [0.3:{count + 0.7}]
set ytics ({ticks})
set xtics autofreq
set format x '%g'
plot $rows using ({least}):2:({least}):1:($2-0.38):($2+0.38):5 with boxxyerror linecolor rgb variable notitle, \\
     $rows using 3:2:4 with labels left offset 0.6,0 font ',10' notitle
"""


def cost_script(results):
    found = list(costs(results))
    table, workload = first(results)
    return STYLE + """
unset grid
set grid xtics linetype 1 linecolor rgb '#e4e4e4'
set ytics scale 0
set multiplot layout 1,2
""" + panel("Peak memory of the daemon(s) in all runs, MB (log scale)", [(n, m) for n, m, _ in found],
            True, "{:.1f}") + \
        panel(f"CPU seconds: {workloads.TITLES[workload]}, {table['scheme'].upper()}",
              [(n, c) for n, _, c in found], False, "{:.2f}") + "unset multiplot\n"


def draw(results, directory):
    """Writes NAME.png and NAME.svg; returns the names and titles."""
    pictures = []
    for table in results["tables"]:
        if not table["workloads"] or not any(r["outcome"] == "ok" for r in table["runs"]):
            continue
        suffix = "" if table["scheme"] == "http" else "-https"
        name = f"bench-{table['name']}{suffix}"
        gnuplot(link_script(table), f"{directory}/{name}", (1500, 640))
        pictures.append((name, f"{link_title(table)}, {table['scheme'].upper()}"))
    if pictures:
        gnuplot(cost_script(results), f"{directory}/bench-cost", (1500, 420))
        pictures.append(("bench-cost", "memory and CPU time"))
    return pictures
