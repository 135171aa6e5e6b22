#!/usr/bin/python3
"""Reads that need no server, in the guest, as root: cached.py JOB.

Each contender has the whole image on the guest's disk: in its cache, or as a copy. All of it has been read once; before
each measurement the page cache is dropped.
"""
import json
import os
import shutil
import subprocess
import sys
import time

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from bench import contenders, inside, workloads
from bench.contenders import IMAGE, POINT, RUN, WWW
from lib.inside import Failed

LIMIT = 60                      # seconds for one reading


def read_all(point):
    """Every byte of every file, so that the cache has it."""
    subprocess.run(["find", point, "-xdev", "-type", "f", "-exec", "cat", "{}", "+"], check=True,
                   stdout=subprocess.DEVNULL)


def reading(workload, contender):
    """The figures of one workload on a mount that is there: seconds, CPU seconds of the processes, and the digest."""
    worker = inside.Worker(workload)
    try:
        inside.cold()
        used, asked = contender.cost()[0], inside.served()[0]
        answer = worker.work(time.monotonic() + LIMIT)
    finally:
        worker.end()
    cpu, peak = contender.cost()
    if inside.served()[0] > asked:
        raise Failed(f"{contender.title} asks its server for what it has")
    return {"seconds": answer["ended"] - answer["begun"], "cpu": cpu - used, "rss": peak, "digest": answer["digest"]}


def readings(kind, job, digests):
    """One contender's readings of all workloads."""
    contender = kind("http", job["work"], job["daemon"])
    contender.start()
    try:
        contender.attach(time.monotonic() + LIMIT)
        read_all(POINT)
        for workload in workloads.CACHED:
            for _ in range(job["rounds"]):
                facts = reading(workload, contender)
                if digests.setdefault(workload, facts["digest"]) != facts["digest"]:
                    raise Failed(f"{contender.title}: wrong bytes")
                inside.tell("cached", contender=kind.name, workload=workload, **facts)
    finally:
        contender.detach()
        contender.stop()


def main():
    with open(sys.argv[1]) as file:
        job = json.load(file)
    for directory in (RUN, POINT, WWW):
        os.makedirs(directory)
    shutil.copy(f"{job['work']}/{IMAGE}", WWW)
    inside.start_nginx(job["work"])
    digests = {}
    for kind in contenders.CACHED:
        readings(kind, job, digests)
    inside.tell("done")


if __name__ == "__main__":
    main()
