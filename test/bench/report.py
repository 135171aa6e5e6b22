"""The bench's results as Markdown: first the bars, then a table for each measurement."""
import statistics

from bench import contenders, workloads
from bench.figures import LAZY, OURS, PEERS, TITLES, Cell, best, in_order, limit, tables

MAIN = "20ms"
RSS_LIMIT = 1024        # kB

METHOD = """
`make bench` prints this and draws the pictures; `make bench BENCH=--quick` takes some minutes, and
`test/bench/run.py --help` lists the other options.

Everything but `--get` runs in user-mode Linux {kernel}, with one processor: one guest for each link and
scheme. In it nginx serves one EROFS image of {image:.1f} MB, not compressed, from memory; `tc netem` gives the
loopback interface its delay (half of the round trip each way), rate and loss, with packets of 1500 bytes at
most. Each direction has its own rate and queue. A system call costs more there than on
hardware, for all alike: compare contenders, not these figures with others.

Each run is cold: a fresh cache, new processes, the page cache dropped. The clock starts before the image is
mounted (for block devices: attached; for curl: downloaded), when servers and daemons wait already, and stops when
the workload has ended. What was read is compared with a digest. The order of the contenders
changes from round to round, figures are medians; one with `*` was measured once: a peer that took more than
twice the time of the best lazy peer in the first round was not asked again. *Too slow*: over {limits}.

The limit is what the workload needs, page by page, at the rate of the link (of which 1448 in 1514 bytes
are payload) plus one round trip. *A local file* is the same image on the guest's own disk, without the link:
what is the program's and the kernel's own time.
"""

WORKLOADS = """
- **a**: a file of 32 MiB in sequence, in blocks of 128 KiB.
- **b**: a cold program start, python3 with some twenty of its modules, then a shell with thirty tools: all that
  they look at and read, in the order of a recorded strace, without the programs' own time.
- **c**: 400 random reads of 16 KiB in a file of 10 MiB, at pages.
- **d**: four readers at once, each a file of 4 MiB.
- **e**: a walk of the whole tree with a stat of everything in it.
- **f**: 150 files of at most 64 KiB, in a random order.
- **g**: files of 1, 2, 3, 5 and 8 MiB, one after the other.
"""


def link_title(table):
    link = table["link"]
    loss = f", {link['loss']} % loss" if link["loss"] else ""
    rate = link["rate"] // 1_000_000
    return f"{link['rtt']} ms, {f'{rate} Mbit/s' if rate < 1000 else f'{rate // 1000} Gbit/s'}{loss}"


def rows(header, lines):
    yield "| " + " | ".join(header) + " |"
    yield "|---" + "|---:" * (len(header) - 1) + "|"
    for line in lines:
        yield "| " + " | ".join(line) + " |"


def number(value):
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


# ---- bars ---------------------------------------------------------------------------------------

def verdict(met, text):
    """A line for a bar. `met` None: there are no figures for it."""
    return f"{'not measured' if met is None else 'ok' if met else 'MISSED'} - {text}"


def at_most(text, value, bound, unit="s"):
    if value is None or bound is None:
        return verdict(None, text)
    return verdict(value <= bound, f"{text}: {number(value)} {unit}, bound {number(bound)} {unit}")


def rate_bar(table, workload, share, text):
    cell = Cell(table, workload, "ours")
    if not cell.good or workload not in table["workloads"]:
        return verdict(None, text)
    needed = table["workloads"][workload]["needed"]
    reached = limit(table["link"], needed) / cell.median("work")
    rate = needed * 8 / cell.median("work") / 1e6
    return verdict(reached >= share, f"{text}: {100 * reached:.1f} % while it reads, {rate:.1f} Mbit/s "
                   f"(mounting takes {cell.median('mount'):.2f} s more)")


def beside_lazy(table, workload, part, text):
    peer, name = best(table, workload, LAZY)
    ours = Cell(table, workload, "ours").median("seconds")
    if peer is None:
        return verdict(None, text)
    line = at_most(f"{text} ({TITLES[name]})", ours, peer / part)
    least = limit(table["link"], table["workloads"][workload]["needed"])
    return f"{line}; nobody can take less than {least:.2f} s" if least > peer / part else line


def traced_bar(table):
    text = "(b) with a boot trace: at most 1.3 times the limit for the bytes of the trace"
    value = Cell(table, "b", "ours trace").median("seconds")
    if value is None:
        return verdict(None, text)
    size = table["traces"]["b"]["bytes"]
    local = table["workloads"]["b"]["local"]
    return at_most(f"{text} ({size / 1e6:.1f} MB; from a local file it takes {number(local)} s)", value,
                   1.3 * limit(table["link"], size))


# What may be fetched at most without a trace, and how long it may take, on the main link.
MEGABYTES = {"a": 35.5, "b": 33, "c": 10.5, "d": 18, "e": 5}
TIMES_NEEDED = {"f": 2, "g": 1.08}
SECONDS = {"b": 3.6, "c": 1.2, "e": 1.1}
VERIFIED = {"a": {"seconds": 1.015}, "b": {"seconds": 1.05, "wire": 1.08}}      # of what the same takes unverified
WORDS = {"seconds": "time", "wire": "bytes"}
GET_LEAST = {"verified": 0.8, "ChaCha20": 0.6}      # of curl's rate, by a word of what is compared; else all of it


def wire_bars(table):
    """Bytes on the wire."""
    for workload, facts in table["workloads"].items():
        wire = Cell(table, workload, "ours").median("wire")
        if wire and workload in MEGABYTES:
            yield at_most(f"({workload}) bytes on the wire", wire / 1e6, MEGABYTES[workload], "MB")
        elif wire and workload in TIMES_NEEDED:
            yield at_most(f"({workload}) bytes on the wire: at most {TIMES_NEEDED[workload]} times those needed",
                          wire / 1e6, TIMES_NEEDED[workload] * facts["needed"] / 1e6, "MB")


def time_bars(table):
    for workload, most in SECONDS.items():
        seconds = Cell(table, workload, "ours").median("seconds")
        if seconds:
            yield at_most(f"({workload}) the time", seconds, most)


def download_bars(table, image):
    """Our times beside that of a download of the whole image."""
    download = min((Cell(table, workload, "download").median("mount") or float("inf")
                    for workload in table["workloads"]), default=float("inf"))
    for workload, facts in table["workloads"].items():
        if facts["demanded"] < image / 2 and download != float("inf"):
            yield at_most(f"({workload}) ends before the whole image would be there",
                          Cell(table, workload, "ours").median("seconds"), download)


def nbd_bars(table):
    """Both block devices on the same kernel and link."""
    for workload in table["workloads"]:
        ours = Cell(table, workload, "ours nbd").median("seconds")
        peer = Cell(table, workload, "nbdkit").median("seconds")
        if ours and peer:
            yield at_most(f"({workload}) by NBD: at most the time of {TITLES['nbdkit']}, of which it takes "
                          f"{100 * ours / peer:.0f} %", ours, peer)


def verified_bars(table):
    for workload, shares in VERIFIED.items():
        plain, verified = Cell(table, workload, "ours"), Cell(table, workload, "ours verified")
        for key, share in shares.items():
            ours, most = verified.median(key), plain.median(key)
            if ours and most:
                yield verdict(ours <= share * most, f"({workload}) verified: at most {share} times the {WORDS[key]}, "
                              f"of which it takes {ours / most:.3f}")


def cached_median(results, contender, workload, key="seconds"):
    found = [f[key] for f in results.get("cached", ())
             if f["contender"] == contender and f["workload"] == workload]
    return statistics.median(found) if found else None


def cached_bars(results):
    for workload, title in workloads.CACHED_TITLES.items():
        ours = cached_median(results, "ours nbd", workload)
        peer = cached_median(results, "nbdkit file", workload)
        if ours and peer:
            what = title.rsplit(", ", 1)[0]
            yield at_most(f"cached, {what}: by NBD at most twice the time of nbdkit's file plugin, of which it takes "
                          f"{100 * ours / peer:.0f} %", ours, 2 * peer)
    alone = [f["median"] for f in results.get("slow", ()) if f["busy"] == "nobody"]
    for busy in "data", "names":
        beside = [f["median"] for f in results.get("slow", ()) if f["busy"] == busy]
        if alone and beside:
            yield at_most(f"a page from memory, beside {busy} from a slow disk: at most half of the disk's delay "
                          f"(alone it takes {statistics.median(alone):.2f} ms)", statistics.median(beside),
                          results["slow"][0]["delay"] / 2, "ms")


def memory_bars(results):
    peaks = {}
    for table in results["tables"]:
        for run in table["runs"]:
            if run["outcome"] == "ok":
                peaks[run["contender"]] = max(run["rss"], peaks.get(run["contender"], 0))
    ours = [peaks[name] for name in OURS if name in peaks]
    peers = [(peaks[name], name) for name in PEERS if name in peaks]
    if not ours:
        return
    yield verdict(max(ours) <= RSS_LIMIT, f"peak RSS of the largest process: {max(ours)} kB, bound {RSS_LIMIT} kB")
    if peers:
        peak, name = min(peers)
        yield verdict(max(ours) <= peak, f"peak RSS: no peer is below; the next is {TITLES[name]} with "
                      f"{peak} kB")


def get_bars(results):
    for name, both in results.get("get", {}).items():
        ours, curl = both["ours"], both["curl"]
        least = next((part for word, part in GET_LEAST.items() if word in name), 1)
        yield verdict(ours["rate"] >= least * curl["rate"], f"--get, {name}: at least {least} of curl's rate: "
                      f"{ours['rate'] / 1e6:.0f} MB/s, curl {curl['rate'] / 1e6:.0f} MB/s")
        if least == 1:
            yield verdict(ours["cpu"] <= curl["cpu"], f"--get, {name}: {ours['cpu']:.2f} CPU seconds a GiB, "
                          f"curl {curl['cpu']:.2f}")


def bars(results):
    yield "## Bars\n"
    for table in tables(results, MAIN):
        yield f"On the link of {link_title(table)}, {table['scheme'].upper()}:\n"
        lines = [rate_bar(table, "a", 0.95, "(a) at least 95 % of the limit's rate"),
                 traced_bar(table),
                 beside_lazy(table, "b", 5, "(b) without: at most 1/5 of the best lazy peer's time"),
                 beside_lazy(table, "c", 3, "(c) at most 1/3 of the best lazy peer's time"),
                 *wire_bars(table), *time_bars(table),
                 rate_bar(table, "d", 0.92, "(d) together at least 92 % of the limit's rate"),
                 rate_bar(table, "g", 0.9, "(g) at least 90 % of the limit's rate"),
                 beside_lazy(table, "e", 10, "(e) at most 1/10 of the best lazy peer's time"),
                 *download_bars(table, results["image"]), *nbd_bars(table), *verified_bars(table)]
        yield from (f"    {line}" for line in lines)
        yield ""
    yield "Everywhere:\n"
    yield from (f"    {line}" for line in (*memory_bars(results), *cached_bars(results), *get_bars(results)))


# ---- tables -------------------------------------------------------------------------------------

def cell_text(cell, show):
    if not cell.good:
        return cell.why()
    return show(cell) + ("*" if cell.once() else "")


def shown_time(cell):
    return f"{number(cell.median('seconds'))} ({number(cell.median('mount'))})"


def shown_bytes(cell):
    return f"{cell.median('wire') / 1e6:.1f} / {cell.median('requests'):.0f}"


def shown_pair(get):
    return f"{number(get('seconds'))} / {get('wire') / 1e6:.1f}"


def shown_cost(cell):
    return f"{cell.median('cpu'):.2f} / {cell.median('rss') / 1000:.1f}"


def measured(table, show):
    names = [w for w in workloads.WORKLOADS if w in table["workloads"]]
    for contender in in_order(table):
        yield [TITLES[contender]] + [cell_text(Cell(table, w, contender), show) for w in names]


def references(table):
    known = table["workloads"]
    names = [w for w in workloads.WORKLOADS if w in known]
    yield ["*a local file*"] + [number(known[w]["local"]) for w in names]
    yield ["**the limit**"] + [number(limit(table["link"], known[w]["needed"])) for w in names]


def needs(table):
    known = table["workloads"]
    names = [w for w in workloads.WORKLOADS if w in known]
    yield ["**what it needs**"] + [f"{known[w]['needed'] / 1e6:.1f}" for w in names]
    yield ["*with the kernel's read-ahead*"] + [f"{known[w]['demanded'] / 1e6:.1f}" for w in names]
    if table["traces"]:
        yield ["*in the trace*"] + [f"{table['traces'][w]['bytes'] / 1e6:.1f}" if w in table["traces"]
                                    else "–" for w in names]


def remarks(table):
    """Failures in full, and the guest's notes."""
    for contender in in_order(table):
        for workload in table["workloads"]:
            for outcome in sorted(set(Cell(table, workload, contender).bad) - {"over the limit"}):
                yield f"- {TITLES[contender]}, {workload}: {' '.join(outcome.split())}"
    yield from (f"- {note}" for note in table["notes"])


def packed_part(table, results):
    """What compression saves."""
    there = [fact for fact in table["packed"] if Cell(table, fact["workload"], "ours nbd").good]
    yield (f"\nThe same files in an image of {results['packed'] / 1e6:.1f} MB, made with `mkfs.erofs -zlz4hc`; the one "
           f"that is not compressed has {results['image'] / 1e6:.1f} MB. NBD fetches parts of both; the compressed "
           "one was read in one run.\n")
    yield from rows(["by NBD: seconds / MB on the wire", *(fact["workload"] for fact in there)], [
        ["not compressed", *(shown_pair(Cell(table, fact["workload"], "ours nbd").median) for fact in there)],
        ["LZ4", *(shown_pair(fact.get) if fact["outcome"] == "ok" else "failed" for fact in there)]])


def link_section(table, results, pictures):
    yield f"\n## {link_title(table)}, {table['scheme'].upper()}\n"
    if not table["workloads"] or not table["link"]:
        yield "The guest did not get that far."
        return
    check = table["check"]
    if check:
        yield (f"Measured in the guest: {1000 * check['round_trip']:.1f} ms to connect, "
               f"{check['rate'] / 1e6:.1f} Mbit/s of payload{' (before loss)' if table['link']['loss'] else ''}.\n")
    names = [w for w in workloads.WORKLOADS if w in table["workloads"]]
    titles = [f"{w}: {workloads.TITLES[w]}" for w in names]
    yield from rows(["seconds, of which (mounting)", *titles],
                    [*measured(table, shown_time), *references(table)])
    yield ""
    yield from rows(["MB on the wire / requests", *names],
                    [*measured(table, shown_bytes), *needs(table)])
    yield ""
    yield from rows(["CPU seconds / peak RSS of the largest process in MB", *names], measured(table, shown_cost))
    if table.get("packed"):
        yield from packed_part(table, results)
    lines = list(remarks(table))
    if lines:
        yield ""
        yield from lines
    yield ""
    yield from (f"![{title}]({name}.svg)\n" for name, title, of in pictures if of is table)


def cached_figure(workload, seconds):
    """In the unit that the title names."""
    if seconds is None:
        return "–"
    return {"sequential": lambda: f"{32 * 1.048576 / seconds:.0f}",
            "pages": lambda: f"{seconds / workloads.Pages.count * 1e6:.0f}",
            "walk": lambda: f"{seconds:.2f}"}[workload]()


def cached_section(results):
    yield "\n## Reads of what is cached\n"
    yield ("In the guest; the disk has the whole image, in a cache or as a copy, the page cache has nothing of it. A "
           "READ of a block device passes through its server, one of EROFS over cachefiles does not.\n")
    names = list(workloads.CACHED_TITLES)
    yield from rows(["", *workloads.CACHED_TITLES.values(), "CPU seconds of the server, all three"],
                    [[kind.title] +
                     [cached_figure(w, cached_median(results, kind.name, w)) for w in names] +
                     [f"{sum(cached_median(results, kind.name, w, 'cpu') or 0 for w in names):.2f}"]
                     for kind in contenders.CACHED])


def slow_section(results):
    yield "\n## A slow disk below the cache\n"
    yield (f"The cache's disk takes {results['slow'][0]['delay']} ms for each request. One reader reads what only the "
           "disk has, another one pages of a second image whose cache file is in memory: what it waits for a page, in "
           "ms.\n")
    yield from rows(["the first reads", "median", "90 %", "most"],
                    [[f["busy"], *(f"{f[key]:.1f}" for key in ("median", "p90", "most"))]
                     for f in results["slow"]])


def growth_section(results):
    yield "\n## How cost grows\n"
    yield "In the guest, over HTTPS, each case with a daemon of its own; bytes at the end of the large images.\n"
    yield from rows(["cachefilesd-mini with", "RSS kB", "peak kB", "idle: ms of CPU a second", "bytes"],
                    [[g["title"], str(g["rss"]), str(g["peak"]), f"{g['idle']:.1f}",
                      "right" if g["outcome"] == "ok" else g["outcome"]] for g in results["growth"]])


def get_section(results):
    yield "\n## --get beside curl\n"
    yield ("On the host, a file of 1 GiB from nginx on the loopback interface into a pipe; the same version of "
           "TLS and cipher for both, medians of five, taking turns.\n")
    yield from rows(["", "--get MB/s", "curl MB/s", "--get CPU s/GiB", "curl CPU s/GiB"],
                    [[name] + [f"{both[p]['rate'] / 1e6:.0f}" for p in ("ours", "curl")] +
                     [f"{both[p]['cpu']:.2f}" for p in ("ours", "curl")]
                     for name, both in results["get"].items()])


def handshakes_section(results):
    yield "\n## Handshakes\n"
    yield ("On the host, `--get` of a file of 4 KiB from nginx: the whole run's CPU time, median of 100, and what is "
           "above that without TLS; and its time over a link with 20 ms of round trip, median of 20.\n")
    bare = results["handshakes"]["HTTP"]["cpu"]
    yield from rows(["", "CPU ms", "of these TLS", "ms over 20 ms"],
                    [[name, f"{1000 * figures['cpu']:.2f}", f"{1000 * (figures['cpu'] - bare):.2f}",
                      f"{1000 * figures['wall']:.0f}"] for name, figures in results["handshakes"].items()])


def head(results, pictures):
    kernel = next((t["kernel"] for t in results["tables"] if "kernel" in t), "")
    limits = ", ".join(f"{seconds} s ({name})" for name, seconds in
                       {t["name"]: t["limit"] for t in results["tables"]}.items())
    yield "# The bench\n"
    yield (f"{results['date']}, {results['minutes']} minutes; the binary has {results['daemon']} bytes. "
           f"Others ran on this machine too if its load was high: {results['load']:.1f} at the beginning, "
           f"{results['load_after']:.1f} at the end (1 is the bench's own).")
    yield METHOD.format(kernel=kernel, image=results["image"] / 1e6, limits=limits)
    yield WORKLOADS
    yield "Versions: " + ", ".join(f"{p} {v}" for p, v in sorted(results["versions"].items())) + ".\n"
    yield from (f"![{title}]({name}.svg)\n" for name, title, of in pictures if of is None)


def write(results, pictures):
    """The text. `pictures` are (name, title, table); those of no table stand at the head."""
    lines = [*head(results, pictures), *bars(results)]
    for table in results["tables"]:
        lines += link_section(table, results, pictures)
    if results.get("cached"):
        lines += cached_section(results)
    if results.get("slow"):
        lines += slow_section(results)
    if results.get("growth"):
        lines += growth_section(results)
    if results.get("get"):
        lines += get_section(results)
    # Results from before they were measured have none.
    if results.get("handshakes"):
        lines += handshakes_section(results)
    return "\n".join(lines) + "\n"
