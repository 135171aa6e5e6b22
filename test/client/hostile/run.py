#!/usr/bin/python3
"""A server that misbehaves, and cachefilesd-mini --get: test/client/hostile/run.py [OPTION...] [BINARY]

    -k PATTERN   only the misbehaviours whose name matches      -j N     N at a time (default 16)
    --full       connections cut after each of 2,000 bytes, not after every tenth
    --list       prints the misbehaviours, and ends             -v       prints all that each command said

Each misbehaviour of misbehaviours/ has to end in RIGHT (all bytes, and right) or in a NAMED error: its exit status,
a line that says why, and only right bytes written; in bounded time. WRONG, HANG, CRASH and OTHER (a verdict that
the table does not have) are failures. Prints a table of all, and TAP.
"""
import argparse
import concurrent.futures
import contextlib
import copy
import os
import re
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))     # test/
from client.hostile.server import Server, Version
from client.hostile.table import ALWAYS, CASES, IMAGE, KINDS, LATER, ONCE, RIGHT, Case
from lib import certs, find, tap

find.load("client/hostile/misbehaviours")

GOOD = ("RIGHT", "NAMED")
NAMES = {status: kind for kind, status in KINDS.items()}
SWEEP = 2000
NEWER = "1.3"       # of Case.tls, in True's place


class Result:
    def __init__(self, verdict, detail, seconds, said=""):
        self.verdict, self.detail, self.seconds, self.said = verdict, detail, seconds, said


class Client:
    """The program under test."""

    def __init__(self, binary, ca):
        self.binary, self.ca = binary, ca

    def get(self, url, span, timeout, within, lines=()):
        """Runs --get. Returns the exit status (None: killed as a hang), the output, the log, seconds."""
        options = [word for line in (f"timeout {timeout}", f"ca {self.ca}", *lines) for word in ("-o", line)]
        command = [self.binary, *options, "--get", url, *map(str, span)]
        start = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        try:
            output, said = process.communicate(timeout=within)
        except subprocess.TimeoutExpired:
            process.kill()
            output, said = process.communicate()
            return None, output, said.decode(errors="replace"), time.monotonic() - start
        return process.returncode, output, said.decode(errors="replace"), time.monotonic() - start


# ---- one misbehaviour -----------------------------------------------------------------------------

def judge(case, status, output, said):
    """The verdict, and its details."""
    offset, length = (*case.range, None, None)[:2] if case.range else (0, None)
    want = case.version.data[offset:][:length]
    if output != want[:len(output)] or (status == 0 and len(output) < len(want)):
        return "WRONG", f"exit status {status}, {len(output)} bytes of {len(want)}"
    if status is None:
        return "HANG", f"{len(output)} bytes of {len(want)}"
    if status == 0:
        return ("RIGHT", "") if RIGHT in case.expect else ("OTHER", f"right, but demanded: {demand(case)}")
    last = last_line(said)
    if status < 0 or status not in NAMES:
        return "CRASH", f"exit status {status}: {last}"
    if NAMES[status] not in case.expect:
        return "OTHER", f"{NAMES[status]}, but demanded: {demand(case)}: {last}"
    if not re.search(case.reason or r"\w", said, re.I):
        return "OTHER", f"nothing like /{case.reason}/ in: {last}"
    return "NAMED", f"{NAMES[status]}: {last}"


def demand(case):
    return " or ".join(kind for kind in KINDS if kind in case.expect)


def last_line(said):
    line = (said.strip().splitlines() or ["(it said nothing)"])[-1]
    return re.sub(r"^(cachefilesd-mini: )?(<\d>)?", "", line)


def run_once(client, case, context, variant=None):
    first, port, lines, host = "127.0.0.1", 0, (), None
    with contextlib.ExitStack() as servers:
        def start(*arguments, **more):
            return servers.enter_context(Server(*arguments, **more))

        peer = start(case.peer, case.peer.version, context) if case.peer else None
        if case.second:
            first, host = "127.0.0.2", "localhost"
            port = start(case.second, case.version, context).port
            lines = [f"resolve {host}:{port}:{address}" for address in (first, "127.0.0.1")]
        server = start(case, case.version, context, variant, port=port, host=first)
        server.peer = peer
        url = server.url(userinfo=case.userinfo, scheme=case.scheme, host=host)
        lines = [*lines, *["tls 1.3"] * (context.minimum_version == ssl.TLSVersion.TLSv1_3)]
        status, output, said, seconds = client.get(url, case.range, case.timeout, case.within, lines)
    verdict, detail = judge(case, status, output, said)
    if verdict in GOOD and not server.misbehaved:
        verdict, detail = "OTHER", "it was never asked what it does wrong"
    if verdict == "RIGHT" and seconds < case.at_least:
        verdict, detail = "OTHER", f"only {seconds:.2f} s, not {case.at_least} s"
    if variant is not None:
        detail = f"variant {variant}: {detail}"
    requests = f"{server.requests} requests" if server.requests else f"{server.connections} connections"
    return Result(verdict, detail or requests, seconds, said)


def run_case(client, case, contexts):
    """All variants; the worst of them counts."""
    context = contexts[case.tls == NEWER]
    results = []
    for variant in case.variants:
        try:
            results.append(run_once(client, case, context, variant))
        except Exception as problem:        # a mistake of the test, not of the client
            results.append(Result("OTHER", f"{type(problem).__name__}: {problem}", 0))
    worst = min(results, key=lambda r: (r.verdict in GOOD, r.verdict == "RIGHT"))
    if len(results) > 1 and worst.verdict == "RIGHT":
        worst = Result("RIGHT", f"{len(results)} runs", max(r.seconds for r in results))
    return worst


def begun_well(case):
    """The same misbehaviour behind a right first answer, after which a client may be less careful."""
    if case.when != ALWAYS or not case.request or len(case.variants) > 1:
        return None
    later = copy.copy(case)
    later.name, later.when = f"{case.name} (later)", LATER
    return later


def by_newer(case):
    """The same misbehaviour by TLS 1.3."""
    if not case.tls or case.newer is False:
        return None
    newer = copy.copy(case)
    newer.name, newer.tls = f"{case.name} (1.3)", NEWER
    return newer


# ---- cut after every byte -------------------------------------------------------------------------

def sweep_case(name, tls, second, how="close"):
    """The first connection ends after `variant` bytes of its beginning, or of its second answer."""
    case = Case(name, RIGHT, listed=False, tls=tls, timeout=20, within=30, range=(0, 9000),
                version=Version(IMAGE.data[:9000]))

    def cut(c):
        if c.number == 1:
            c.cut_by = how
            c.budget = c.server.variant

    def cut_answer(r):
        cut(r.c)
        r.answer()

    if second:
        case.request, case.when = cut_answer, ONCE
    else:
        case.connect = cut
    return case


def sweeps():
    return [sweep_case("plain, first answer", False, False), sweep_case("plain, second answer", False, True),
            sweep_case("plain, first answer, by RST", False, False, "reset"),
            sweep_case("TLS, from the handshake on", True, False), sweep_case("TLS, second answer", True, True),
            sweep_case("TLS 1.3, from the handshake on", NEWER, False),
            sweep_case("TLS 1.3, from the handshake on, by RST", NEWER, False, "reset"),
            sweep_case("TLS 1.3, second answer", NEWER, True)]


def run_sweep(client, case, contexts, step, pool):
    """Returns the failed runs, and a text with the number of runs."""
    context = contexts[case.tls == NEWER]
    start = time.monotonic()
    cuts = range(0, SWEEP, step)
    results = list(pool.map(lambda k: run_once(client, case, context, k), cuts))
    bad = [r for r in results if r.verdict != "RIGHT"]
    longest = max(r.seconds for r in results)
    return bad, f"{len(cuts)} runs in {time.monotonic() - start:.1f} s, the longest {longest:.1f} s"


# ---- all ------------------------------------------------------------------------------------------

def make_contexts(work):
    """A TLS server's contexts, of 1.2 and of 1.3; its certificate is of the authority work/ca.pem."""
    certs.make_ca(work)
    certs.make_server(work, "ec")
    contexts = certs.server_context(work, "ec"), certs.server_context(work, "ec")
    contexts[0].maximum_version = ssl.TLSVersion.TLSv1_2
    contexts[1].minimum_version = ssl.TLSVersion.TLSv1_3
    for context in contexts:
        context.certificate, context.key = f"{work}/ec.pem", f"{work}/ec.key"
    return contexts


def show(case, result, width):
    print(f"# {case.name:{width}} | {result.verdict:5} | {result.seconds:5.1f} s | {result.detail[:200]}",
          flush=True)


def run_table(client, contexts, cases, jobs, verbose):
    """Runs and prints the table. Returns the results in its order."""
    width = max(len(c.name) for c in cases)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        waiting = [(c, pool.submit(run_case, client, c, contexts)) for c in cases]
        results = []
        for case, future in waiting:
            results.append((case, future.result()))
            show(*results[-1], width)
            if verbose or results[-1][1].verdict not in GOOD:
                for line in results[-1][1].said.splitlines()[-12:]:
                    print(f"#     {line}")
    return results


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("-k", default="")
    parser.add_argument("-j", type=int, default=16)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("-v", action="store_true")
    parser.add_argument("binary", nargs="?", default=f"{find.TOP}/../cachefilesd-mini")
    a = parser.parse_args()
    cases = [c for one in CASES for c in (one, begun_well(one), by_newer(one)) if c and re.search(a.k, c.name)]
    if a.list:
        for c in cases:
            print(f"{c.name} | {c.description} | {demand(c)}")
        return 0
    threading.excepthook = lambda args: None if issubclass(args.exc_type, OSError) else sys.__excepthook__(*args[:3])
    with tempfile.TemporaryDirectory(prefix="hostile.") as work:
        contexts = make_contexts(work)
        client = Client(os.path.realpath(a.binary), f"{work}/ca.pem")
        results = run_table(client, contexts, cases, a.j, a.v) if cases else []
        for case, result in results:
            tap.result(f"hostile: {case.name} ({case.description}): {result.verdict}",
                       None if result.verdict in GOOD else result.detail)
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            for case in [c for c in sweeps() if re.search(a.k, f"cut: {c.name}")]:
                bad, count = run_sweep(client, case, contexts, 1 if a.full else 10, pool)
                tap.result(f"hostile: cut: {case.name}: right bytes after a retry: {count}",
                           "\n".join(f"{r.verdict}: {r.detail}: {last_line(r.said)}" for r in bad[:5]))
        # WRONG and HANG must never be.
        counts = {v: sum(r.verdict == v for _, r in results) for v in (*GOOD, "WRONG", "HANG", "CRASH", "OTHER")}
        print("# " + ", ".join(f"{n} {v}" for v, n in counts.items()))
    return tap.status()


if __name__ == "__main__":
    sys.exit(main())
