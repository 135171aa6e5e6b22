"""OPENs that fail."""
import errno
import time

from scenarios.common import (Server, daemon, each, got, image, kill_worker, limit, need, refused, reported, scenario,
                              still_serves)


@each(404, 410, 401, 403)
def open_refused_by_the_server(status):
    """404 and 410 are ENOENT, 401 and 403 EACCES, at once"""
    with Server({"/img": image(1, 5000)}, status=status) as s, daemon(s, "timeout 30") as k:
        refused(k, k.open("erofs,img", b"img"), errno.ENOENT if status in (404, 410) else errno.EACCES, timeout=5)
        s.default.clear()
        still_serves(k, s)


REACHED_LATE = {-errno.ETIMEDOUT, -errno.ECONNREFUSED, -errno.EHOSTUNREACH, -errno.ENETUNREACH,
                -errno.EIO, -errno.EAGAIN}
UNTRUSTED = {
    "200": {"ignore_range": True},
    "no Content-Range": {"content_range": ""},
    "another range": {"content_range": "bytes 4096-8191/100000"},
    "no size": {"content_range": "bytes 0-4095/*"},
    "nonsense": {"content_range": "bytes banana"},
    "a size that overflows": {"content_range": "bytes 0-4095/99999999999999999999999"},
    "end before start": {"content_range": "bytes 4095-0/100000"},
    "end past the size": {"content_range": "bytes 0-4095/100"},
    "gzip": {"encoding": "gzip"},
    "two lengths": {"headers": ["Content-Length: 17"]},
    "not HTTP": {"raw": b"SSH-2.0-OpenSSH_9.2\r\n\r\n"},
    "HTTP/2.0": {"raw": b"HTTP/2.0 206 OK\r\n\r\n"},
    "no end of the head": {"raw": b"HTTP/1.1 206 Partial\r\nX: " + b"x" * 20000},
}


@each(*UNTRUSTED)
def open_reply_untrusted(name):
    """a reply to OPEN that proves nothing is refused"""
    with Server({"/img": image(1, 100000)}, **UNTRUSTED[name]) as s, daemon(s, "timeout 2") as k:
        refused(k, k.open("erofs,img", b"img"))
        s.default.clear()
        still_serves(k, s)


@each("refused", "hangs", "drops", "resets", "500", "503")
def open_server_down(how):
    """a server that is down for longer than the time-out: OPEN fails, in time, and later works"""
    with Server({"/img": image(1, 5000)}) as s, daemon(s, "timeout 2") as k:
        k.wait_bound()
        s.default = {"hangs": {"delay": 1000}, "drops": {"drop": True}, "resets": {"reset": True},
                     "500": {"status": 500}, "503": {"status": 503}}.get(how, {})
        if how == "refused":
            s.stop()
        start = time.monotonic()
        f = k.open("erofs,img", b"img")
        size = k.wait_copen(f, 10)
        assert size in REACHED_LATE | {-errno.EBUSY}, errno.errorcode.get(-size, size)
        if how == "hangs":
            assert size == -errno.ETIMEDOUT, errno.errorcode.get(-size)
        assert time.monotonic() - start > 1, "gave up at once"
        k.wait_closed(f)
        s.default = {}
        if how == "refused":
            s.start()
        still_serves(k, s)


@scenario
def open_server_comes_back():
    """a server that is back within the time-out: OPEN succeeds"""
    data = image(1, 5000)
    with Server({"/img": data}) as s, daemon(s, "timeout 8") as k:
        k.wait_bound()
        s.stop()
        f = k.open("erofs,img", b"img")
        time.sleep(1)
        s.start()
        assert k.wait_copen(f) == reported(data)
        need(k, f, data, 0, 4096)


@scenario
def empty_image():
    """an image of no bytes gets an answer"""
    with Server({"/img": b""}) as s, daemon(s, "timeout 2") as k:
        f = k.open("erofs,img", b"img")
        size = k.wait_copen(f)
        assert size <= 0, size
        still_serves(k, s)


@scenario
def reopened_while_all_slots_wait():
    """a file that is reopened while READs wait in all slots is refused, and comes again at once: it is looked at now and
    then, they go on, and then it has its turn"""
    count, data = limit("open images"), image(1, 300000)
    with Server({f"/{n}": data for n in range(count + 1)}) as s, daemon(s, "read-ahead none") as k:
        files = [k.opened(f"erofs,{n}", str(n).encode()) for n in range(count)]
        kill_worker(k)
        files.append(k.opened("erofs,new", str(count).encode()))
        s.default["delay"] = 3
        reads = [k.read(f, 131072, 4096) for f in files]
        time.sleep(1)
        refused = sum(f",-{errno.ENFILE}'" in text for _, text in k.events)
        s.default["delay"] = 0.1
        for r in reads:
            got(k, r, data, 60)
        assert 0 < refused < 500, f"{refused} OPENs were refused in a second"
