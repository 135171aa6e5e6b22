#!/usr/bin/python3
"""The bench's half in the guest, as root: inside.py JOB, where JOB is a JSON file from run.py.

Starts nginx, finds the right result of each workload on a local copy of the image, puts the link's delay and rate on
the loopback interface, then runs contender after contender, each with a cold cache. Its results are lines `bench {...}`
on standard output.
"""
import contextlib
import faulthandler
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from bench import contenders, workloads
from bench.contenders import BENEATH, IMAGE, PACKED, POINT, PORTS, RUN, WWW, Overrun
from lib.inside import Failed, contents
from lib.nginx import Nginx, tls

TRACE = f"{WWW}/{IMAGE}.trace"
SLOWER = 2                      # times the best lazy peer: not repeated
SAMPLE = 0.05                   # seconds
SAMPLED = (contenders.Ours, contenders.OursNbd, contenders.Download)
SLACK = 60                      # seconds beyond a run's limit for its beginning and its end
TRACED = (contenders.OursTraced, contenders.OursNbdTraced)
PACKED_WORKLOADS = ("b", "e", "f", "g")

SERVERS = """
    server {{ listen 127.0.0.1:{http}; }}
    server {{
        listen 127.0.0.1:{https} ssl; {tls}
        ssl_protocols TLSv1.2 TLSv1.3; ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256;
        ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    }}
"""
nginx = Nginx(RUN, "$bytes_sent")


def tell(kind, **facts):
    print("bench", json.dumps({"kind": kind, **facts}), flush=True)


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


# ---- server and link ----------------------------------------------------------------------------

def start_nginx(work):
    nginx.start(SERVERS.format(tls=tls(f"{work}/ec"), **PORTS), PORTS.values(),
                f"sendfile on; autoindex on; root {WWW};")
    measure_link(1)                 # an answer: the worker is there


def tc(*words):
    subprocess.run(["tc", *words], check=True)


def shape(link):
    """Half of the round trip each way. Each direction has its own rate and queue: loopback has one, but packets from a
    port of the server go to another band. Packets are no larger than Ethernet's, so that loss hits as many bytes as it
    does there. The kernel keeps no metrics of a connection for the next one."""
    subprocess.run(["ip", "link", "set", "lo", "mtu", "1500"], check=True)
    write("/proc/sys/net/ipv4/tcp_no_metrics_save", "1")
    options = ["delay", f"{link['rtt'] / 2}ms", "rate", f"{link['rate']}bit"]
    tc("qdisc", "add", "dev", "lo", "root", "handle", "1:", "prio", "bands", "2", "priomap", *["1"] * 16)
    for port in PORTS.values():
        tc("filter", "add", "dev", "lo", "parent", "1:", "protocol", "ip", "u32",
           "match", "ip", "sport", str(port), "0xffff", "flowid", "1:1")
    netem(*options)
    # Long enough: TCP finds the rate before the second half.
    size = int(link["rate"] / 8 * (1 + link["rtt"] / 30))
    round_trip, rate = measure_link(min(size, os.path.getsize(f"{WWW}/{IMAGE}")))
    if link["loss"]:
        netem(*options, "loss", f"{link['loss']}%")
    tell("link", round_trip=round_trip, rate=rate)


def netem(*options):
    for band in "1:1", "1:2":
        tc("qdisc", "replace", "dev", "lo", "parent", band, "netem", "limit", "100000", *options)


def measure_link(size):
    """The time to connect, and the bits a second of a file of size bytes after its first half."""
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", PORTS["http"])) as connection:
        round_trip = time.monotonic() - start
        connection.sendall(f"GET /{IMAGE} HTTP/1.0\r\nRange: bytes=0-{size - 1}\r\n\r\n".encode())
        done, half = 0, None
        while block := connection.recv(1 << 20):
            done += len(block)
            if not half and done > size // 2:
                half = done, time.monotonic()
        return round_trip, 8 * (done - half[0]) / (time.monotonic() - half[1])


def wire():
    """Bytes that have gone over the link; the interface has no other traffic."""
    return int(contents("/sys/class/net/lo/statistics/tx_bytes"))


def served():
    """The number of requests that nginx has answered, and their bytes."""
    sizes = [int(words[0]) for words in nginx.lines()]
    return len(sizes), sum(sizes)


# ---- one run ------------------------------------------------------------------------------------

class Worker:
    """A workload's process, ready before the clock runs."""

    def __init__(self, workload):
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=workloads.serve, args=(workload, POINT, theirs))
        self.process.start()
        theirs.close()
        self.pipe.recv()

    def work(self, deadline):
        """The worker's answer."""
        self.pipe.send("go")
        if not self.pipe.poll(max(deadline - time.monotonic(), 0.1)):
            raise Overrun("the workload takes too long")
        try:
            answer = self.pipe.recv()
        except EOFError:
            raise Failed("the workload's process died") from None
        if "problem" in answer:
            raise Failed(f"the workload fails: {answer['problem']}")
        return answer

    def end(self):
        self.process.join(1)
        if self.process.is_alive():
            contenders.end_group(self.process.pid, self.process.join)
        self.pipe.close()


class Sampler(threading.Thread):
    """Notes the bytes on the wire every SAMPLE seconds, until end()."""

    def __init__(self, start, sent):
        super().__init__(daemon=True)
        self.since, self.sent = start, sent
        self.points, self.over = [[0, 0]], threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(SAMPLE):
            self.points.append([round(1000 * (time.monotonic() - self.since)), wire() - self.sent])

    def end(self):
        self.over.set()
        self.join()


def cold():
    os.sync()
    write("/proc/sys/vm/drop_caches", "3")


def measured(contender, workload, limit, sampled):
    """The figures of one run. The clock runs from before the mount to the workload's end. A run that is sampled has
    `arrived` too: pairs of a time in ms and the bytes on the wire until then."""
    worker, sampler = Worker(workload), None
    try:
        cold()
        sent, used, asked = wire(), contender.cost()[0], served()
        start = time.monotonic()
        if sampled:
            sampler = Sampler(start, sent)
        contender.attach(start + limit)
        attached = time.monotonic()
        answer = worker.work(start + limit)
        cpu, peak = contender.cost()
        facts = {"seconds": answer["ended"] - start, "mount": attached - start,
                 "work": answer["ended"] - answer["begun"], "wire": wire() - sent,
                 "cpu": cpu - used, "rss": peak}
    finally:
        if sampler:
            sampler.end()
        worker.end()
        contender.detach()
    contender.stop()
    if sampler:
        facts["arrived"] = sampler.points
    requests, size = served()
    return {**facts, "requests": requests - asked[0], "body": size - asked[1],
            **{key: answer[key] for key in ("asked", "detail", "digest")}}


def attempt(contender, workload, limit, digest=None, sampled=False):
    """One run with its outcome: `ok`, or the failure. Where a run hangs that is far over its limit is printed."""
    faulthandler.dump_traceback_later(limit + SLACK)
    try:
        contender.start()
        facts = measured(contender, workload, limit, sampled)
        outcome = "ok"
        if digest and facts["digest"] != digest:
            outcome = "wrong bytes"
    except Overrun:
        facts, outcome = {}, "over the limit"
    except Failed as problem:
        facts, outcome = {}, f"{problem} {contender.said()}".strip()
    finally:
        contender.stop()
        contenders.unmount(POINT, BENEATH)
        faulthandler.cancel_dump_traceback_later()
    return {**facts, "outcome": outcome}


# ---- the right result, and the bytes that it needs ----------------------------------------------

class Counting(contenders.Local):
    """The local image on a device whose reads are counted, with a read-ahead of `readahead` kB."""

    name, title = "counting", "(counting)"
    readahead = 128

    def sectors(self):
        return int(contents(f"/sys/block/{os.path.basename(self.device)}/stat").split()[2])

    def attach(self, deadline):
        self.device = subprocess.run(["losetup", "-r", "-f", "--show", f"{WWW}/{IMAGE}"], check=True,
                                     stdout=subprocess.PIPE, text=True).stdout.strip()
        write(f"/sys/block/{os.path.basename(self.device)}/queue/read_ahead_kb", str(self.readahead))
        self.before = self.sectors()
        contenders.mount("-o", "ro", self.device, deadline=deadline)

    def detach(self):
        self.read = (self.sectors() - self.before) * 512
        super().detach()
        subprocess.run(["losetup", "-d", self.device], check=True)


class CountingPages(Counting):
    readahead = 0


def learn(workload, job):
    """The digest that each contender has to give, and the bytes that the workload reads: `needed`, page by page, and
    `demanded`, with the kernel's read-ahead."""
    found = {}
    for key, kind in ("needed", CountingPages), ("demanded", Counting):
        contender = kind("http", job["work"], None)
        facts = attempt(contender, workload, job["limit"])
        if facts["outcome"] != "ok" or found.setdefault("digest", facts["digest"]) != facts["digest"]:
            raise Failed(f"workload {workload} on a local file: {facts}")
        found[key] = contender.read
    local = [attempt(contenders.Local("http", job["work"], None), workload, job["limit"])["seconds"]
             for _ in range(3)]
    found.update(asked=facts["asked"], detail=facts["detail"], local=min(local))
    tell("workload", workload=workload, **found)
    return found


def record_programs(job):
    """Records the steps of workload b and chooses the files of f, on a local file."""
    contender = contenders.Local("http", job["work"], None)
    cold()
    try:
        contender.attach(time.monotonic() + job["limit"])
        workloads.Program.record(POINT)
        workloads.Small.choose(POINT)
    finally:
        contender.detach()


def trace_bytes(path):
    """The bytes of the pages that a trace covers, whose lines are OFFSET and LENGTH."""
    pages = set()
    with open(path) as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                offset, length = map(int, line.split())
                pages.update(range(offset >> 12, offset + length + 4095 >> 12))
    return len(pages) << 12


def record_trace(workload, job, digest):
    """The path of the trace of a first run, before the link is slow; None if the daemon writes none."""
    contender = contenders.OursRecording(job["scheme"], job["work"], job["daemon"])
    with contextlib.suppress(FileNotFoundError):
        os.unlink(contender.trace)
    facts = attempt(contender, workload, job["limit"], digest)
    if facts["outcome"] != "ok":
        tell("note", text=f"no trace of workload {workload}: {facts['outcome']}")
        return None
    if not os.path.exists(contender.trace) or not os.path.getsize(contender.trace):
        tell("note", text=f"no trace of workload {workload}: the daemon wrote none")
        return None
    os.rename(contender.trace, f"{RUN}/trace.{workload}")
    tell("trace", workload=workload, bytes=trace_bytes(f"{RUN}/trace.{workload}"), fetched=facts["body"])
    return f"{RUN}/trace.{workload}"


# ---- all runs -----------------------------------------------------------------------------------

class Session:
    def __init__(self, job):
        self.job = job
        self.kinds = [kind for kind in contenders.ALL if kind.name in job["contenders"]]
        self.first = {}                 # (workload, contender): seconds in the first round, or None
        self.hopeless = set()           # contenders that cannot even attach within the limit
        self.end = time.monotonic() + job["seconds"]
        for done in job["done"]:
            self.remember(done)

    def prepare(self):
        self.learnt, self.traces = {}, {}
        if {"b", "f"} & set(self.job["workloads"]):
            record_programs(self.job)
        for workload in self.job["workloads"]:
            self.learnt[workload] = learn(workload, self.job)
            if set(TRACED) & set(self.kinds):
                self.traces[workload] = record_trace(workload, self.job,
                                                     self.learnt[workload]["digest"])

    def remember(self, facts):
        if facts["round"] == 0:
            ok = facts["outcome"] == "ok"
            self.first[facts["workload"], facts["contender"]] = facts["seconds"] if ok else None
            if facts["outcome"] == "over the limit" and facts["contender"] == contenders.Download.name:
                self.hopeless.add(facts["contender"])

    def wanted(self, number, kind, workload):
        """Whether the contender runs in the round. A peer that failed in the first round, or was SLOWER times as slow
        as the best lazy one, does not run again."""
        if any(d["round"] == number and d["workload"] == workload and d["contender"] == kind.name
               for d in self.job["done"]):
            return False
        if kind in TRACED and not self.traces[workload]:
            return False
        if number == 0:
            return True
        if number >= self.job["rounds"]["peers" if kind.peer else "ours"]:
            return False
        seconds = self.first.get((workload, kind.name))
        best = min((self.first[workload, k.name] for k in self.kinds if k.peer and k.lazy and
                    self.first.get((workload, k.name))), default=None)
        if not kind.peer:
            return seconds is not None
        return seconds is not None and (best is None or seconds <= SLOWER * best)

    def run(self, number, kind, workload):
        place = {"round": number, "workload": workload, "contender": kind.name}
        if kind.name in self.hopeless:
            facts = {"outcome": "over the limit"}
        else:
            tell("begin", **place)
            trace = self.traces.get(workload)
            if kind in TRACED:
                shutil.copy(trace, TRACE)
            contender = kind(self.job["scheme"], self.job["work"], self.job["daemon"])
            sampled = self.job["main"] and number == 0 and workload == "b" and kind in SAMPLED
            facts = attempt(contender, workload, self.job["limit"], self.learnt[workload]["digest"], sampled)
            if kind in TRACED:
                os.unlink(TRACE)
        tell("run", **place, **facts)
        self.remember({**place, **facts})

    def over(self, number, kind):
        """Whether the time is over for the contender; ours always have their first round."""
        return time.monotonic() > self.end and (kind.peer or number > 0)

    def rounds(self):
        late = set()
        for number in range(max(self.job["rounds"].values())):
            for place, workload in enumerate(self.job["workloads"]):
                turn = (number + place) % len(self.kinds)
                for kind in self.kinds[turn:] + self.kinds[:turn]:
                    if self.wanted(number, kind, workload):
                        if self.over(number, kind):
                            late.add(number + 1)
                        else:
                            self.run(number, kind, workload)
        if late:
            tell("note", text=f"the time was over in round {min(late)}")

    def packed(self):
        """One run of each workload with the same files in the compressed image."""
        shutil.copy(f"{self.job['work']}/{PACKED}", WWW)
        for workload in PACKED_WORKLOADS:
            if workload in self.learnt:
                contender = contenders.OursNbdPacked(self.job["scheme"], self.job["work"], self.job["daemon"])
                tell("packed", workload=workload, **attempt(contender, workload, self.job["limit"],
                                                            self.learnt[workload]["digest"]))


def main():
    with open(sys.argv[1]) as file:
        job = json.load(file)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for directory in (RUN, POINT, WWW):
        os.makedirs(directory)
    # On tmpfs: the server's own cache is never cold.
    for part in "", ".verity", ".roothash":
        shutil.copy(f"{job['work']}/{IMAGE}{part}", WWW)
    start_nginx(job["work"])
    tell("guest", kernel=os.uname().release)
    session = Session(job)
    session.prepare()
    shape(job["link"])
    session.rounds()
    tell("done")
    # A guest that dies below is not tried again.
    if job["main"] and contenders.OursNbd in session.kinds:
        session.packed()


if __name__ == "__main__":
    main()
