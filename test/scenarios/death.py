"""The end: of the cache, by signals."""
import re
import signal
import time

from lib.seccomp import DEVICE_FD
from scenarios.common import (PAGE, Program, Server, StandIn, after_the_probe, constant, daemon, each, image, need,
                              scenario, still_serves, takes_long)


@each("an OPEN in flight", "a READ in flight", "idle")
@takes_long
def cache_dies(when):
    """the cache dies: the daemon notices, says so, exits with 1"""
    data = image(1, 300000)
    with Server({"/img": data, "/two": data}) as s, daemon(s, "timeout 5", expect_exit=1) as k:
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 0, 4096)
        s.default["delay"] = 0.5
        if when == "an OPEN in flight":
            g = k.open("erofs,two", b"two")
            k.wait_taken(g.open_request)
        elif when == "a READ in flight":
            r = k.read(f, 65536, 4096)
            k.wait_taken(r)
        k.die()
        # copen fails with EIO; without one the daemon notices at its next periodic check.
        k.wait_exit(5 if when == "an OPEN in flight" else constant("ALIVE_EVERY") / 1000 + 3)
        k.wait_log_end()
        assert re.search(r"(?i)dead|died|EIO|I/O error|cache", k.stderr), "nothing about it in the log"


@each("mainline", "v8")
def terminated(layout):
    """SIGTERM: pending READs are answered, cache files closed before the device, status 0"""
    data = image(1, 300000)
    with Server({"/img": data, "/two": data, "/three": data}) as s, daemon(s, layout=layout, old=layout == "v8") as k:
        s.rule = after_the_probe(delay=1000)
        files = [k.opened("erofs," + n, n.encode()) for n in ("img", "two", "three")]
        reads = [k.read(f, 65536 + n * PAGE * 9, 4096) for f in files for n in range(3)]
        k.wait_taken(*reads)
        s.default["delay"] = 1000
        k.open("erofs,four", b"four")
        k.wait_taken()
        start = time.monotonic()
        assert k.stop() == 0, k.status
        assert time.monotonic() - start < 10, "slow to end"      # the server would answer in 1,000 s
        missing = [r for r in reads if r.answers != 1]
        assert not missing, f"{len(missing)} READs unanswered: {missing[0]}"
        assert k.closings[-1] == DEVICE_FD and len(k.closings) >= 4, f"closed in the order {k.closings}"


@scenario
def terminated_twice_at_once():
    """a mounted image, without --force: the second SIGTERM counts only after the warning, which tells what it breaks"""
    with Server({"/img": image(1, 5000)}) as s:
        argv = [Program.path, "-n", "-s", "-o", "trace none", "-o", "status none", "-o", "dir {cache}", s.url]
        with StandIn(argv) as k:
            k.opened("erofs,img", b"img")
            k.signal(signal.SIGTERM)
            time.sleep(0.2)
            k.signal(signal.SIGTERM)
            k.wait_log("not stopping: it would break 1 mounted image;", 5)
            still_serves(k, s)
            k.signal(signal.SIGTERM)
            assert k.wait_exit() == 0
            k.wait_log_end()
            assert "stopping; images that are still mounted cannot be read any more" in k.stderr, k.stderr


@each("SIGINT", "SIGHUP", "SIGPIPE")
def other_signals(name):
    """SIGINT ends it as SIGTERM does; SIGHUP and SIGPIPE do not kill it by surprise"""
    with Server({"/img": image(1, 5000)}) as s, daemon(s) as k:
        k.opened("erofs,img", b"img")
        k.signal(getattr(signal, name))
        if name == "SIGINT":
            assert k.wait_exit() == 0
        else:
            time.sleep(0.2)
            assert k.status in (None, 0), k.status
            if name == "SIGHUP":
                k.wait_log("reloaded: ")
            if k.status is None:
                still_serves(k, s)
