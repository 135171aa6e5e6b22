"""The bench's pictures, drawn by gnuplot: bars of the contenders for each link, bytes over time, memory and CPU time.

They are as wide as a page, so that their type is not made smaller there.
"""
from bench import workloads
from bench.figures import Cell, TITLES, in_order, limit
from bench.report import link_title
from lib.picture import STYLE, block, gnuplot, quoted

# Ours in one colour, peers in others; a pair of the same program in two shades.
COLOURS = {"ours": "#08519c", "ours trace": "#3182bd", "ours prefetch": "#9ecae1",
           "ours verified": "#6baed6",
           "ours nbd": "#08786f", "ours nbd trace": "#41b6a6",
           "nbdkit": "#d94801", "nbdkit filters": "#fd8d3c", "httpdirfs": "#54278f",
           "httpdirfs cache": "#9e9ac8", "rclone": "#ae017e", "rclone full": "#f768a1",
           "download": "#737373"}
WIDTH, ROW = 860, 24    # px
NAMES = 300             # px for the contenders' names
LENGTH = 0.66           # of what is right of them, for the longest bar; then comes its number
CUT = 2                 # times what three quarters of the bars do not exceed: a longer one is cut

# The picture for a quick look.
SHORT = ("ours", "ours trace", "ours nbd", "nbdkit", "httpdirfs cache", "rclone full", "download")
SHORT_WORKLOADS = ("a", "b", "e", "f")


# ---- bars ---------------------------------------------------------------------------------------

def bars(title, groups, output):
    """Groups below one another, each with a scale of its own: (heading, mark, bars). The mark is a value for a
    black line, or None. A bar is (contender, value, text); one without a value has only its text, an infinite one is
    cut."""
    lines = len(title) + sum(len(group[2]) + 1.5 for group in groups) + 0.5
    script = STYLE + f"""
unset border
unset grid
unset xtics
set lmargin at screen {NAMES / WIDTH}
set rmargin at screen 1
set tmargin at screen 1
set bmargin at screen 0
set xrange [0:1]
set yrange [0:{lines}]
set ytics scale 0
"""
    y = lines - 0.8
    for text in title:
        script += f"set label {quoted(text)} at screen 0.01, first {y} left\n"
        y -= 1
    boxes, cuts, labels, marks, ticks = [], [], [], [], []
    for heading, mark, shown in groups:
        y -= 0.5
        script += f"set label {quoted('{/:Bold ' + heading + '}')} at screen 0.01, first {y} left\n"
        values = sorted(value for _, value, _ in shown if value not in (None, float("inf")))
        scale = max((v for v in values if v <= CUT * values[3 * len(values) // 4]), default=1) / LENGTH
        if mark is not None:
            marks.append(f"{mark / scale} {y - 0.5} 0 {-len(shown)}")
        for name, value, text in shown:
            y -= 1
            end = min((value or 0) / scale, LENGTH * 1.04)
            if value is not None:
                boxes.append(f"0 {y} 0 {end} {y - 0.4} {y + 0.4} 0x{COLOURS[name][1:]}")
                if value / scale > end:
                    cuts.append(f"{LENGTH * 0.95} {y - 0.5} 0.015 1")
            labels.append(f"{end} {y} {quoted(text)}")
            ticks.append(f"{quoted(TITLES[name])} {y}")
        y -= 1
    plots = ["$boxes using 1:2:3:4:5:6:7 with boxxyerror linecolor rgb variable notitle",
             "$labels using 1:2:3 with labels left offset 0.5,0 notitle"]
    script += block("boxes", boxes) + block("labels", labels)
    for name, vectors, style in (("cuts", cuts, "linewidth 5 linecolor rgb '#ffffff'"),
                                 ("marks", marks, "linewidth 2 linecolor rgb '#000000'")):
        if vectors:
            script += block(name, vectors)
            plots.append(f"${name} using 1:2:3:4 with vectors nohead {style} notitle")
    gnuplot(script + f"set ytics ({', '.join(ticks)})\nplot {', '.join(plots)}\n", output,
            (WIDTH, round(ROW * lines)))


def run_bar(table, workload, name):
    cell = Cell(table, workload, name)
    if cell.good:
        seconds = cell.median("seconds")
        return name, seconds, f"{seconds:.{1 if seconds >= 9.95 else 2}f} s / {cell.median('wire') / 1e6:.1f} MB"
    late = cell.why() == "too slow"
    return name, float("inf") if late else None, f"over {table['limit']} s" if late else cell.why()


def link_bars(table, names, letters, output):
    groups = []
    for workload in letters:
        least = limit(table["link"], table["workloads"][workload]["needed"])
        groups.append((f"{workload}: {workloads.TITLES[workload]}", least,
                       [run_bar(table, workload, name) for name in names if Cell(table, workload, name).runs]))
    bars([f"Seconds from mount to end / MB on the wire: {link_title(table)}, {table['scheme'].upper()}",
          "Less is better. The black line: bytes needed / rate + one round trip."], groups, output)


# ---- bytes over time ----------------------------------------------------------------------------

def arrivals(table):
    """The runs whose bytes were counted over time, the one with most first."""
    return sorted((run for run in table["runs"] if run.get("arrived")), key=lambda run: -run["wire"])


def growth(table, runs, output):
    """A line for each run, until its end."""
    height = 440
    width, top = 1.03 * max(run["seconds"] for run in runs), 1.1 * runs[0]["wire"] / 1e6
    line = ROW / (height - 120) * top
    script, plots, below = STYLE, [], top
    for place, run in enumerate(runs):
        name, end, size = run["contender"], run["seconds"], run["wire"] / 1e6
        points = [f"{ms / 1000} {count / 1e6}" for ms, count in run["arrived"] if ms < 1000 * end]
        script += block(f"line{place}", [*points, f"{end} {size}"]) + block(f"end{place}", [f"{end} {size}"])
        colour = f"linecolor rgb '{COLOURS[name]}'"
        plots += [f"$line{place} using 1:2 with lines linewidth 3 {colour} notitle",
                  f"$end{place} using 1:2 with points pointtype 7 pointsize 1.5 {colour} notitle"]
        # Left of its end, above the line, if there is more room; else right of it, below the last such text.
        late = end > width / 2
        if not late:
            below = min(size, below) - line
        script += (f"set label {quoted(f'{TITLES[name]}: {end:.1f} s, {size:.1f} MB')} at {end}, "
                   f"{size if late else below} {'right offset -1,0.9' if late else 'left offset 1.5,0'} "
                   f"textcolor rgb '{COLOURS[name]}'\n")
    gnuplot(script + f"""
set title {quoted(f"MB on the wire over seconds: {workloads.TITLES['b']}, {link_title(table)}; the dot is its end")}
set xrange [0:{width}]
set yrange [0:{top}]
plot {", ".join(plots)}
""", output, (WIDTH, height))


# ---- memory and CPU time ------------------------------------------------------------------------

def first(results):
    """The first table with a run that succeeded, and its first such workload."""
    return next(((table, workload) for table in results["tables"] for workload in table["workloads"]
                 if any(r["outcome"] == "ok" and r["workload"] == workload for r in table["runs"])), None)


def cost_bars(results, output):
    """For each contender the peak of RSS, and the CPU seconds of the first table's first workload."""
    table, workload = first(results)
    memory, times = [], []
    for name in in_order(table):
        runs = [r for t in results["tables"] for r in t["runs"]
                if r["contender"] == name and r["outcome"] == "ok"]
        if runs:
            peak, cpu = max(r["rss"] for r in runs) / 1000, Cell(table, workload, name).median("cpu")
            memory.append((name, peak, f"{peak:.1f} MB"))
            times.append((name, cpu, "–" if cpu is None else f"{cpu:.2f} s"))
    bars(["Memory and CPU time of the contenders' own processes. Less is better."],
         [("peak memory of the largest process in all runs", None, memory),
          (f"CPU seconds: {workloads.TITLES[workload]}, {table['scheme'].upper()}", None, times)], output)


def draw(results, directory):
    """Writes NAME.svg; returns (name, title, table) of each, without a table for the report's head."""
    head, pictures = [], []
    for table in results["tables"]:
        if not table["workloads"] or not any(r["outcome"] == "ok" for r in table["runs"]):
            continue
        name = f"bench-{table['name']}{'' if table['scheme'] == 'http' else '-https'}"
        title = f"{link_title(table)}, {table['scheme'].upper()}"
        names, known = in_order(table), list(table["workloads"])
        link_bars(table, names, known, f"{directory}/{name}-all")
        pictures.append((f"{name}-all", title, table))
        short = [w for w in SHORT_WORKLOADS if w in known]
        if not head and short:
            link_bars(table, [n for n in names if n in SHORT], short, f"{directory}/{name}")
            head.append((name, f"{title}, some of the contenders", None))
        if arrivals(table):
            growth(table, arrivals(table), f"{directory}/bench-bytes")
            head.append(("bench-bytes", "bytes over time", None))
    if pictures:
        cost_bars(results, f"{directory}/bench-cost")
        head.append(("bench-cost", "memory and CPU time", None))
    return head + pictures
