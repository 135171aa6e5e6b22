"""CLOSE, descriptors, ids of requests."""
import time

from lib.cachefiles import GONE
from lib.seccomp import DEVICE_FD
from scenarios.common import (KIB, MIB, PAGE, Server, check, close_message, daemon, each, got, image, need,
                              read_message, reported, scenario, serving, still_serves)


@each("mainline", "v8")
def close_closes(layout):
    """CLOSE closes the descriptor; one for an unknown object or for -1 does nothing"""
    data = image(1, 50000)
    with Server({"/img": data, "/two": data}) as s, daemon(s, layout=layout) as k:
        f, g = k.opened("erofs,img", b"img"), k.opened("erofs,two", b"two")
        for handle in (GONE, 0, 4711, DEVICE_FD if layout == "v8" else 99, 1, 2):
            k.raw(close_message(k, 900, handle))
        k.wait_taken()
        k.closed(f)
        need(k, g, data, 0, 50000)
        assert g.fd is not None and k.device_open


@each("mainline", "v8")
def close_while_open_is_unanswered(layout):
    """CLOSE before copen: the descriptor is closed, nothing is left behind"""
    with Server({"/img": image(1, 5000)}) as s, daemon(s, layout=layout) as k:
        k.wait_bound()
        # By the first OPEN the daemon finds the layout.
        k.opened("erofs,x", b"img")
        s.default["delay"] = 1.5
        f = k.open("erofs,img", b"img")
        k.wait_taken(f.open_request)
        k.close(f)
        k.wait_closed(f, 5)
        s.default["delay"] = 0
        still_serves(k, s)
        time.sleep(1.6)
        still_serves(k, s, "later")


@each("mainline", "v8")
def fd_number_used_again(layout):
    """CLOSE with fetches in flight, then OPEN with the same number: no byte of the old image in the new file"""
    old, new = image("old", 2 * MIB), image("new", 2 * MIB)
    with Server({"/old": old, "/new": new}) as s, daemon(s, layout=layout) as k:
        for turn in range(4):
            s.paths["/old"] = {}
            f = k.opened("erofs,old", b"old")
            number = f.fd
            s.paths["/old"] = ({"rate": 2 * MIB}, {"delay": 0.5}, {"stall": 100000}, {"rate": MIB})[turn]
            reads = [k.read(f, n * 256 * KIB, 131072) for n in range(8)]
            time.sleep(0.15)
            k.close(f)
            g = k.open("erofs,new", b"new")
            assert k.wait_copen(g) == reported(new)
            k.wait_closed(f)
            assert g.fd == number or turn < 0, f"{g.fd}, not {number}"
            more = [k.read(g, n * 256 * KIB, 65536) for n in range(8)]
            for r in more:
                got(k, r, new, 10)
            if turn == 1:
                time.sleep(0.5)
            check(g, new)
            assert all(r.state == "done" for r in reads)
            k.closed(g)


@scenario
def open_of_a_live_key():
    """a second OPEN of a key is answered with the same size, even while the server is away or changed"""
    data = image(1, 300000)
    with serving(data, "timeout 5") as (s, k, f):
        need(k, f, data, 0, 4096)
        s.paths["/img"] = {"image": image(2, 400000)}
        g = k.open("erofs,img", b"img", same=f)
        assert k.wait_copen(g) == reported(data), g.size
        s.paths["/img"] = {}
        s.stop()
        h = k.open("erofs,img", b"img")
        assert k.wait_copen(h, 3) == reported(data)
        s.start()
        for x in (h, g, f):
            need(k, x, data, 131072, 8192)
        k.closed(f)
        need(k, g, data, 200704, 8192)
        k.closed(g)
        need(k, h, data, 200704 - PAGE, 8192)


@each("READs", "prefetch all")
def one_of_two_files_closed(how):
    """CLOSE of one of two files of an image, with fetches in flight: none of it gets into the file that has its number next"""
    data, new = image("twice", 4 * MIB), image("next", 2 * MIB)
    words = ["prefetch all"] if how == "prefetch all" else []
    with Server({"/img": data, "/new": new}) as s, daemon(s, *words) as k:
        f, g = k.opened("erofs,img", b"img"), k.opened("erofs,img", b"img")
        s.paths["/img"] = {"rate": 256 * KIB}
        number, reads = f.fd, [k.read(f, n * 512 * KIB, 128 * KIB) for n in range(4)]
        k.wait(lambda: f.present() > 0, 10, "data")
        k.closed(f)
        h = k.opened("erofs,new", b"new")
        assert h.fd == number, f"{h.fd}, not {number}"
        for n in range(8):
            need(k, h, new, n * 256 * KIB, 64 * KIB)
        s.paths["/img"] = {}
        need(k, g, data, MIB, 64 * KIB, timeout=20)
        time.sleep(0.5)
        check(h, new)
        check(g, data)
        assert all(r.state == "done" for r in reads)


@scenario
def same_blob_in_two_volumes():
    """one cookie key in two volumes: two files, both right"""
    data = image(1, 100000)
    with Server({"/blob": data}) as s, daemon(s) as k:
        f, g = k.opened("erofs,one", b"blob"), k.opened("erofs,two", b"blob")
        a, b = k.read(f, 0, 65536), k.read(g, 0, 65536)
        got(k, a, data)
        got(k, b, data)
        k.closed(f)
        need(k, g, data, 65536, 20000)


@scenario
def read_again():
    """a READ delivered twice, before and after its answer; a reader that was killed"""
    data = image(1, 300000)
    with serving(data) as (s, k, f):
        s.default["delay"] = 0.4
        r = k.read(f, 0, 8192)
        k.wait_taken(r)
        k.deliver_again(r)
        got(k, r, data)
        k.deliver_again(r)
        k.wait_taken()
        r = k.read(f, 65536, 8192)
        k.wait_taken(r)
        k.kill_reader(r)
        time.sleep(0.6)
        s.default["delay"] = 0
        need(k, f, data, 131072, 8192)


@each("mainline", "v8")
def read_of_an_unknown_object(layout):
    """a READ for an object that was never opened, and for -1"""
    data = image(1, 50000)
    with serving(data, layout=layout) as (s, k, f):
        for handle in (GONE, 0, 4711, 1 << 31, 2):
            k.raw(read_message(k, 700, handle, 0, 4096))
        k.wait_taken()
        need(k, f, data, 0, 50000)


@scenario
def nothing_to_read():
    """POLLIN, and read() gives 0"""
    data = image(1, 50000)
    with serving(data) as (s, k, f):
        reads = k.device_reads
        for _ in range(20):
            k.wake()
            time.sleep(0.01)
        need(k, f, data, 0, 50000)
        assert k.device_reads - reads < 100, f"{k.device_reads - reads} read()s"
