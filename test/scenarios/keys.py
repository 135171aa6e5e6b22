"""Keys, URLs, and the requests that go out."""
import re

from lib import tap
from scenarios.common import (MIB, Server, daemon, got, image, need, refused, reported, scenario, serving,
                              still_serves)


@scenario
def keys():
    """keys with blanks, '%', '/', '?', '#', other bytes, 200 bytes: percent-encoded, and found"""
    names = [b"with space", b"100%", b"%41", b"dir/sub/img", b"what?x=y", b"a#b", b"x+y&z", b"n" * 200,
             "größe".encode(), b"\xff\xfe\x01", b"a:b@c", b"~user", b"quote\"<>", b"back\\slash"]
    images = {"/" + n.decode("utf-8", "surrogateescape"): image(n, 5000 + len(n)) for n in names}
    with Server(images) as s, daemon(s) as k:
        for n in names:
            path = "/" + n.decode("utf-8", "surrogateescape")
            f = k.open("erofs,dom", n)
            size = k.wait_copen(f)
            assert size == reported(images[path]), f"{n!r}: {size}, requests {s.requests[-2:]}"
            need(k, f, images[path], 4096, 904)


@scenario
def keys_that_climb():
    """a key with a segment '..' is refused"""
    with Server({"/img": image(1, 5000), "/": image(2, 5000)}) as s, daemon(s.url + "a/b/") as k:
        for name in (b"../img", b"..", b".", b"x/../../../img", b"../../img"):
            refused(k, k.open("erofs,dom", name))
        assert not any(".." in r.target for r in s.requests), s.requests
        still_serves(k, Climbed(s, "/a/b"))


class Climbed:
    """The images of a server, with paths relative to a folder of it."""

    def __init__(self, server, folder):
        self.images = self
        self.server, self.folder = server, folder

    def __setitem__(self, path, data):
        self.server.images[self.folder + path] = data


@scenario
def volume_in_the_url():
    """%v is the domain or image of the volume key, %c the cookie key"""
    data = image(1, 5000)
    with Server({"/v/dom/blob.img": data, "/v/a b/blob.img": data}) as s, daemon(s.url + "v/%v/%c.img") as k:
        assert k.wait_copen(k.open("erofs,dom", b"blob")) == reported(data)
        assert k.wait_copen(k.open("erofs,a b", b"blob")) == reported(data)


@scenario
def requests_as_they_go_out():
    """Host, Range, no coding wanted, the user agent asked for, one request a READ, userinfo sent but not logged"""
    data = image(1, 50000)
    with Server({"/img": data}) as s:
        url = s.url.replace("http://", "http://joe:s%33cret@")
        with daemon(url, "user-agent test/1", options=["-d"]) as k:
            f = k.opened("erofs,img", b"img")
            need(k, f, data, 0, 4096)
            for r in s.requests:
                h = r.headers
                assert r.method == "GET" and r.version == "HTTP/1.1", r
                assert h.get("host") == f"127.0.0.1:{s.port}", h
                assert r.range is not None, h
                assert h.get("accept-encoding") == "identity", h
                assert h.get("user-agent") == "test/1", h
                assert h.get("authorization") == "Basic am9lOnMzY3JldA==", h
        assert not re.search("s%33cret|s3cret|am9lOnMz", k.stderr), "the password is in the log"


@scenario
def one_range_asked_for_once():
    """READs of one range at the same time, and overlapping ones: no byte is asked for twice"""
    data = image(1, MIB)
    with serving(data) as (s, k, f):
        del s.requests[:]
        s.default["delay"] = 0.3
        for r in [k.read(f, *span) for span in ((65536, 65536),) * 4 + ((98304, 65536), (65536, 4096))]:
            got(k, r, data)
        ranges = sorted(r.range for r in s.requests)
        assert all(a[1] < b[0] for a, b in zip(ranges, ranges[1:])), ranges


@scenario
def ipv6():
    """an IPv6 literal"""
    data = image(1, 50000)
    try:
        s = Server({"/img": data}, host="::1")
    except OSError:
        raise tap.Skip("no IPv6 here")
    with s, daemon(s) as k:
        need(k, k.opened("erofs,img", b"img"), data, 0, 50000)
        assert s.requests[0].headers.get("host") == f"[::1]:{s.port}"
