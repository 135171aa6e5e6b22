"""Versions: the image is replaced while a client reads it."""
from client.hostile.table import (CHANGE, CHANGED, IMAGE, LATER, NOT_FOUND, ONCE, OTHER, REFUSED, RIGHT, case)


def other(r, **changes):
    """The other version of the image, of the same size."""
    return OTHER.but(**{"data": OTHER.data[:r.size], **changes})


@case("it is shorter now", CHANGED, CHANGE, when=LATER)
def shrinks(r):
    """a new image of 10,000 bytes; ranges behind its end are answered with 416"""
    r.version = other(r, data=OTHER.data[:10000])
    if r.first >= r.size:
        return r.page("416 Range Not Satisfiable", content_range=f"bytes */{r.size}")
    r.answer()


DATED = IMAGE.but(etag=None)
WEAK = IMAGE.but(etag='W/"one"')


@case("the size changes", CHANGED, CHANGE, when=LATER, changes={"data": OTHER.data + b"more", "etag": IMAGE.etag},
      about="a longer image under the same ETag: the first bytes may be the same or not")
@case("ETag changes, If-Range honoured", CHANGED, CHANGE, when=LATER,
      about="a new image of the same size: 200 and all of it, as the old one's ETag is asked for")
@case("no ETag, If-Range honoured", CHANGED, CHANGE, when=LATER, version=DATED, changes={"etag": None},
      about="a new image: 200 and all of it")
@case("weak ETag stays, If-Range honoured", CHANGED, CHANGE, when=LATER, version=WEAK, changes={"etag": 'W/"one"'},
      about="a new image under the same weak ETag: 206 of it, as If-Range may not name that, nor a date beside it")
def replaced(r, changes={}):
    """A new image from a server that honours If-Range."""
    r.version = other(r, **changes)
    r.answer()


@case("ETag changes, If-Range ignored", CHANGED, CHANGE, when=LATER, about="206 of the new image")
@case("ETag changes and changes back", {RIGHT, CHANGED}, CHANGE, when=ONCE,
      about="one answer is of the new image, for instance of a server of a cluster that is ahead")
@case("ETag disappears, new image", {CHANGED, REFUSED}, CHANGE + "|validator", when=LATER, changes={"etag": None},
      about="206 of a new image without an ETag, from a server that ignores If-Range")
@case("no ETag, Last-Modified changes", CHANGED, CHANGE, when=LATER, version=DATED, changes={"etag": None},
      about="a new image; the server ignores If-Range")
@case("weak ETag changes", CHANGED, CHANGE, when=LATER, version=WEAK,
      changes={"etag": 'W/"two"', "modified": IMAGE.modified},
      about="a new image of the same second: only the weak ETag tells")
@case("weak ETag stays, image changes", CHANGED, CHANGE, when=LATER, version=WEAK, changes={"etag": 'W/"one"'},
      about="a new image under the same weak ETag: only Last-Modified tells; the server ignores If-Range")
@case("weak ETag only, changes", CHANGED, CHANGE, when=LATER, version=WEAK.but(modified=None),
      changes={"etag": 'W/"two"', "modified": None},
      about="a new image; there is nothing that If-Range could name")
@case("long ETag changes", CHANGED, CHANGE, when=LATER, version=IMAGE.but(etag=f'"{"e" * 3000}1"', modified=None),
      changes={"etag": f'"{"e" * 3000}2"', "modified": None},
      about="a new image with another ETag of 3,000 bytes; the beginning is the same")
def replaced_ignoring(r, changes={}):
    """206 of a new image from a server that ignores If-Range."""
    r.fields.pop("if-range", None)
    replaced(r, changes)


@case("ETag changes, not the image", CHANGED, CHANGE, when=LATER, etag='"other"',
      about="no promise is left that it is the same")
@case("ETag becomes weak, once", RIGHT, when=ONCE, etag='W/"one"', about="W/ before the same tag")
@case("ETag becomes weak", {RIGHT, REFUSED}, "validator", when=LATER, etag='W/"one"',
      about="W/ before the same tag, as a proxy does that changes the coding")
def renamed(r, etag):
    """206 of the same image with another ETag."""
    r.fields.pop("if-range", None)
    r.answer(etag=etag)


@case("ETag missing, once", RIGHT, when=ONCE, etag=None, about="206 of the same image without its ETag")
def nameless(r, etag):
    """It proves nothing."""
    r.answer(etag=etag)


@case("Last-Modified only changes", RIGHT, when=LATER)
def touched(r):
    """a strong ETag stays the same: it decides"""
    r.answer(last_modified=OTHER.modified)


@case("weak ETag", RIGHT, version=WEAK)
@case("no validator", RIGHT, version=IMAGE.but(etag=None, modified=None))
@case("an ETag of 3,000 bytes", RIGHT, version=IMAGE.but(etag=f'"{"e" * 3000}"'))
@case("an ETag that is none", RIGHT, version=IMAGE.but(etag="one"))
@case("an ETag with bytes over 127", RIGHT, version=IMAGE.but(etag='"\xe9\xff"'))
def right(r):
    """all else is right"""
    r.answer()


@case("304", REFUSED, r"304", when=LATER)
def not_modified(r):
    """304 Not Modified, which nobody asked for"""
    r.page("304 Not Modified", b"", content_length=None, etag=r.version.etag)


@case("412", REFUSED, r"412", when=LATER, status="412 Precondition Failed", about="If-Range cannot fail")
@case("412, once", RIGHT, when=ONCE, status="412 Precondition Failed", about="If-Range cannot fail")
@case("416, once", RIGHT, when=ONCE, status="416 Range Not Satisfiable", about="of a cache, for bytes that are there")
@case("416 with the same size, once", RIGHT, when=ONCE, status="416 Range Not Satisfiable",
      content_range=f"bytes */{len(IMAGE.data)}", about="it contradicts itself")
@case("416 with the same size", REFUSED, "416", when=LATER, status="416 Range Not Satisfiable",
      content_range=f"bytes */{len(IMAGE.data)}", about="it contradicts itself")
@case("416 with another size", CHANGED, r"416|replaced", when=LATER, status="416 Range Not Satisfiable",
      content_range="bytes */1000", about="416: the image is shorter now")
@case("416 at first", {REFUSED, NOT_FOUND, CHANGED}, r"416|empty|replaced", status="416 Range Not Satisfiable",
      content_range="bytes */0", about="416 to the first request: the file has no bytes")
def conditional(r, status, content_range=None):
    r.page(status, content_range=content_range)
