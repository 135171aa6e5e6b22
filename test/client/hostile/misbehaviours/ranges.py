"""Ranges: other bytes than those of the request."""
from client.hostile.table import (ALWAYS, CHANGE, CHANGED, FINE, LATER, NEWER, ONCE, REFUSED, RIGHT, SIZE, TIMED_OUT,
                                  both, case, fields)

NO_RANGES = r"range"


@case("200 to a range at 0", {RIGHT, REFUSED}, NO_RANGES)
@case("200 to a range behind 0", {RIGHT, REFUSED}, NO_RANGES, range=(100000, 50000))
@case("200 to later ranges", {RIGHT, REFUSED}, NO_RANGES, when=LATER)
@case("200 to a range, once", RIGHT, when=ONCE)
def whole(r):
    """the server ignores Range and sends all of the image"""
    r.whole()


def part(r, first, last):
    """Another range than that of the request, honestly labelled."""
    r.c.send(r.head(content_range=r.content_range(first, last), content_length=last - first + 1) +
             r.version.data[first:last + 1])


@both("206 of a later range", r"Content-Range", REFUSED, by=4096,
      about="honestly labelled: it begins a page behind what was asked for")
@case("206 of an earlier range", REFUSED, r"Content-Range", when=LATER, range=(100000, 50000), by=-4096,
      about="honestly labelled: it begins a page before what was asked for")
@case("206 from 0 whatever is asked", REFUSED, r"Content-Range", range=(200000, 50000), by=-SIZE,
      about="honestly labelled")
def shifted(r, by):
    first = max(0, r.first + by)
    part(r, first, min(r.size - 1, first + r.last - r.first))


@both("206 of more than asked", r"Content-Range", REFUSED, range=(0, 100000))
def wider(r):
    """the range asked for and 1,000 bytes behind it, honestly labelled"""
    part(r, r.first, min(r.size - 1, r.last + 1000))


@case("206 of less than asked", RIGHT)
def half(r):
    """half of what is left, each time"""
    part(r, r.first, r.first + (r.last - r.first) // 2)


@case("short first answer", RIGHT, when="first", variants=(1, 63, 64, 100, 1023, 1024, 1151, 1152),
      about="206 of so many bytes: too few to know the image by")
@case("short answers at first", RIGHT, variants=(200, 1100), range=(0, 9000), about="206 of so many bytes each time")
def short_first(r):
    part(r, r.first, min(r.last, r.first + r.server.variant - 1))


@case("short first answer in chunks", RIGHT, when="first")
def short_chunked(r):
    """206 of 100 bytes, without Content-Length"""
    r.chunked(body=r.body()[:100], content_range=r.content_range(r.first, min(r.last, r.first + 99)))


@case("short first answer, then another image", {RIGHT, CHANGED, REFUSED}, CHANGE, peer=NEWER)
def short_other(r):
    """206 of 100 bytes of one version, the rest of another"""
    if r.number == 1:
        part(r, 0, 99)
    elif r.number == 2:
        r.give_to(r.server.peer)
        r.answer()
    else:
        r.answer()


@case("short answer, then a redirect", RIGHT, when=ALWAYS, size=200, at_number=1, peer=FINE)
@case("short later answer, then a redirect", RIGHT, when=ALWAYS, size=50000, at_number=2, peer=FINE)
@case("short answer, then chunks", RIGHT, when=ALWAYS, size=50000, at_number=2, chunked=True)
def short_then(r, size, at_number, chunked=False):
    """206 of the first bytes only, and another way for the rest"""
    if r.number == at_number:
        part(r, r.first, min(r.last, r.first + size - 1))
    elif r.number < at_number:
        r.answer()
    elif chunked:
        r.chunked()
    else:
        r.redirect(r.server.peer.url())


@case("drip of short answers", TIMED_OUT, r"only \d+ bytes", step=64, pause=0.8, timeout=3, within=20,
      about="206 of 64 bytes each, after 0.8 s: no byte is missing for long, and the range never ends")
@case("drip of short answers, faster", TIMED_OUT, r"only \d+ bytes", step=80, pause=0.3, timeout=3, within=20,
      about="206 of 80 bytes each, after 0.3 s")
@case("drip of short answers, each on its connection", TIMED_OUT, r"only \d+ bytes", step=64, pause=0.4, timeout=3,
      within=20, ends=True, about="206 of 64 bytes each, after 0.4 s, then the connection ends")
def drip(r, step, pause, ends=False):
    r.c.linger(pause)
    part(r, r.first, min(r.last, r.first + step - 1))
    if ends:
        r.c.close()


@case("206 of 500 bytes each", RIGHT, range=(5000, 20000))
def morsels(r):
    """never more than 500 bytes at a time"""
    part(r, r.first, min(r.last, r.first + 499))


def multipart(r):
    part_of_one = b"--b\r\nContent-Type: application/octet-stream\r\nContent-Range: %b\r\n\r\n%b\r\n--b--\r\n"
    return part_of_one % (r.content_range().encode(), r.body())


@both("multipart/byteranges", r"Content-Range|multipart", REFUSED)
def multipart_plain(r):
    """one range, but wrapped as if several had been asked for"""
    body = multipart(r)
    r.answer(body, content_type="multipart/byteranges; boundary=b", content_range=None,
             content_length=len(body))


@case("multipart with Content-Range", REFUSED, r"multipart|Content-Type", when=LATER)
def multipart_labelled(r):
    """a multipart body in chunks, with a Content-Range in the head, which must not be there"""
    r.chunked(body=multipart(r), content_type="multipart/byteranges; boundary=b")


@case("multipart of the right length", REFUSED, r"multipart|Content-Type", when=LATER)
def multipart_cut(r):
    """as before, with a Content-Length that fits the Content-Range but not the parts"""
    r.answer(multipart(r)[:r.last - r.first + 1], content_type="multipart/byteranges; boundary=b")


for name, value in (("is missing", None), ("*/N", f"bytes */{SIZE}"), ("is nonsense", "bytes banana"),
                    ("in other units", f"lines 0-4095/{SIZE}"), ("is negative", f"bytes -4096-0/{SIZE}"),
                    ("end before start", f"bytes 4095-0/{SIZE}"), ("end behind the size", "bytes 0-4095/100"),
                    ("overflows", f"bytes 0-4095/{2 ** 64 + SIZE}"), ("is empty", ""),
                    ("start overflows", f"bytes {2 ** 64}-{2 ** 64 + 4095}/{SIZE}"),
                    ("twice", [f"bytes 0-4095/{SIZE}", f"bytes 0-4095/{SIZE + 1}"])):
    fields(f"Content-Range {name}", REFUSED, r"Content-Range", content_range=value)


@case("Content-Range total *", {RIGHT, REFUSED}, r"Content-Range",
      about="the right range, of an image whose size is not told")
@case("Content-Range total * later", {RIGHT, REFUSED}, r"Content-Range", when=LATER,
      about="the size is told first, and then no more")
def total_unknown(r):
    r.answer(content_range=r.content_range(total="*"))
