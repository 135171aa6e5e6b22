"""Devices of a fleet: our daemon with a stand-in for its kernel, that replays a boot's READs, each in a process."""
import contextlib
import multiprocessing
import time
import traceback

from lib import exposition
from scenarios.common import daemon, touch

FOREVER = 900       # seconds


class Job:
    """What all devices do. READs are [(offset, length)] of an image of which `data` are the bytes; the i-th device is
    switched on i * `apart` seconds after the first; its daemon has these directives. The first one calls halfway()
    after half of its READs."""

    def __init__(self, url, data, reads, apart=0, directives=(), halfway=lambda: None):
        self.url, self.data, self.reads, self.apart, self.directives = url, data, reads, apart, directives
        self.halfway = halfway


def boot(k, job, number):
    """Replays the boot. Returns what became of it."""
    begun = time.monotonic()
    f = k.opened("erofs,image", b"image", timeout=FOREVER)
    opened = time.monotonic()
    for place, (offset, length) in enumerate(job.reads):
        if number == 0 and place == len(job.reads) // 2:
            job.halfway()
        touch(k, f, job.data, offset, length, FOREVER)
    seconds = time.monotonic() - begun
    wrong = sum(f.bytes(at, size) != job.data[at:at + size].ljust(size, b"\0") for at, size in job.reads)
    seen = exposition.Metrics(exposition.ask(f"{k.cache}/status"))
    return {"seconds": seconds, "opened": opened - begun, "wrong": wrong,
            "requests": seen.get("image_requests_total", image="image"),
            "received": seen.get("image_received_bytes_total", image="image"),
            "failures": seen.get("image_failures_total", image="image")}


def device(job, number, ready, results):
    try:
        with daemon(job.url, "status {cache}/status", "timeout 120", *job.directives, traced=True) as k:
            k.wait_bound(120)
            ready.wait(120)
            time.sleep(number * job.apart)
            results.put(boot(k, job, number))
    except BaseException:
        results.put(traceback.format_exc())
        with contextlib.suppress(Exception):
            ready.abort()


def run(job, count):
    """Boots so many devices. Returns what became of each, as boot() has it; raises if one did not boot."""
    ready, results = multiprocessing.Barrier(count), multiprocessing.Queue()
    processes = [multiprocessing.Process(target=device, args=(job, number, ready, results)) for number in range(count)]
    for process in processes:
        process.start()
    found = [results.get(timeout=FOREVER) for _ in processes]
    for process in processes:
        process.join()
    failed = [text for text in found if isinstance(text, str)]
    assert not failed, f"{len(failed)} of {count} devices did not boot: {failed[0]}"
    return found
