"""The figures of the runs: medians, limits, and a word where there is none."""
import statistics

from bench import contenders

TITLES = {kind.name: kind.title for kind in contenders.ALL}
PEERS = [kind.name for kind in contenders.ALL if kind.peer]
LAZY = [kind.name for kind in contenders.ALL if kind.peer and kind.lazy]
OURS = [kind.name for kind in contenders.ALL if not kind.peer]

# A packet on the wire for its payload: Ethernet, IPv4 and TCP with time stamps, at an MTU of 1500.
PACKET = 1514 / 1448


def limit(link, size):
    """The least seconds for `size` bytes on the link."""
    return size * PACKET * 8 / link["rate"] + link["rtt"] / 1000


class Cell:
    """All runs of one contender in one workload of a table."""

    def __init__(self, table, workload, contender):
        self.runs = [r for r in table["runs"]
                     if r["workload"] == workload and r["contender"] == contender]
        self.good = [r for r in self.runs if r["outcome"] == "ok"]
        self.bad = [r["outcome"] for r in self.runs if r["outcome"] != "ok"]
        self.rounds = 1 + max((r["round"] for r in table["runs"]), default=0)

    def median(self, key):
        return statistics.median(r[key] for r in self.good) if self.good else None

    def why(self):
        """One word for a cell without a figure."""
        if not self.runs:
            return "–"
        return {"over the limit": "too slow", "wrong bytes": "wrong bytes"}.get(self.bad[0], "failed")

    def once(self):
        return len(self.good) == 1 and self.rounds > 1


def in_order(table):
    """The contenders that a table has runs of."""
    there = {run["contender"] for run in table["runs"]}
    return [name for name in TITLES if name in there]


def best(table, workload, names, key="seconds"):
    """(The smallest median among the contenders, its contender's name); (None, None) if there is none."""
    found = [(Cell(table, workload, name).median(key), name) for name in names]
    return min((pair for pair in found if pair[0] is not None), default=(None, None))


def tables(results, name=None, scheme=None):
    return [t for t in results["tables"]
            if name in (None, t["name"]) and scheme in (None, t["scheme"])]
