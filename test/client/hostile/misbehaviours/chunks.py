"""Chunked bodies (RFC 9112, section 7.1)."""
from client.hostile.table import LOST, REFUSED, RIGHT, TIMED_OUT, UNREACHABLE, both, case

CHUNK = r"chunk"


def head(r):
    return r.head(content_length=None, transfer_encoding="chunked")


@case("chunked 206", RIGHT)
def chunked(r):
    """chunks of 10,000 bytes"""
    r.chunked()


@case("chunks of 7 bytes", RIGHT, range=(3, 30000))
def small_chunks(r):
    """with an extension on each, and trailers"""
    r.chunked(7, extension=b';name="value; x"', trailers=b"X-Sum: 1\r\nX-More: 2\r\n")


@case("chunk extensions of all forms", RIGHT, range=(3, 30000))
def extensions(r):
    """blanks, no value, a value, a quoted one"""
    r.chunked(9000, extension=b' ; a;b = c\t;d= "; \\"\xc3\xa4"')


@case("chunk sizes with leading zeros", RIGHT)
def zeros(r):
    """000002710 is a size as well"""
    body = r.body()
    r.c.send(head(r) + b"000000%X\r\n%b\r\n000\r\n\r\n" % (len(body), body))


@both("chunked body cut", LOST, {RIGHT, UNREACHABLE}, range=(0, 20000), within=20)
def chunked_cut(r):
    """the connection ends within a chunk"""
    r.c.send(head(r) + b"ffff\r\n" + r.body()[:2000])
    r.c.close()


def first_size(name, text, about):
    """A line of the table: these bytes in the place of the first chunk's size, then right ones."""
    def answer(r):
        r.c.send(head(r) + text + r.body() + b"\r\n0\r\n\r\n")
        r.c.give_up()
    case(name, REFUSED, CHUNK, about=about)(answer)


first_size("chunk size overflows", b"10000000000000001000\r\n", "2^64 and more")
first_size("chunk size without digits", b"\r\n", "an empty line")
first_size("chunk size negative", b"-1000\r\n", "-1000")
first_size("chunk size with 0x", b"0x1000\r\n", "0x1000")
first_size("chunk size ends in LF", b"1000\n", "RFC 9112 wants CRLF, and smugglers LF")
first_size("chunk extension with LF", b"1000;a\nb\r\n", "a line feed within an extension")
for text in (b"1000 ", b"1000 1000", b"1000,1000", b"1000;", b"1000;;a", b"1000;a=", b"1000;a==b", b'1000;a="b',
             b'1000;a="b"c', b"1000;a b", b"1000; a=b ", b"1000;a=\xff"):
    first_size(f"chunk size line {text.decode('latin-1')!a}", text + b"\r\n", "no well-formed extension")


@case("endless chunk extension", REFUSED, CHUNK)
def endless_extension(r):
    """a chunk's size line that does not end"""
    r.c.send(head(r) + b"1000;")
    r.c.send_for_ever(b"x" * 65536)


@case("endless trailers", {RIGHT, REFUSED}, CHUNK + "|trailer")
def endless_trailers(r):
    """all of the body, and then fields without end"""
    r.c.send(head(r) + b"%x\r\n%b\r\n0\r\n" % (len(r.body()), r.body()))
    r.c.send_for_ever(b"X-Trailer: more\r\n" * 1000)


@case("endless chunks of one byte", {REFUSED, RIGHT}, CHUNK, range=(0, 8000))
def endless_chunks(r):
    """a body that goes on behind the promised range"""
    r.chunked(1, end=False)
    r.c.send_for_ever(b"1\r\nx\r\n" * 10000)


@case("last chunk missing, closed", {RIGHT, UNREACHABLE}, LOST)
def last_chunk_missing(r):
    """all bytes of the range, but not the end of the body"""
    r.chunked(end=False)
    r.c.close()


@case("last chunk missing, open", {RIGHT, TIMED_OUT}, r"no byte|slow|timed out")
def last_chunk_awaited(r):
    """all bytes of the range, but not the end of the body, and the connection stays open"""
    r.chunked(end=False)
    r.c.linger()


@both("chunk too long for its size", CHUNK, {REFUSED, RIGHT})
def garbage_after_chunk(r):
    """garbage where the CRLF behind a chunk has to be"""
    body = r.body()
    r.c.send(head(r) + b"%x\r\n%bgarbage\r\n0\r\n\r\n" % (len(body), body))


@both("chunks longer than the range", r"chunk|Content-Range", {REFUSED, RIGHT})
def chunks_too_long(r):
    """1,000 bytes more than Content-Range says"""
    r.chunked(body=r.body() + b"x" * 1000)


@both("chunks shorter than the range", r"chunk|Content-Range", {REFUSED, RIGHT}, range=(0, 9000))
def chunks_too_short(r):
    """a proper end, but half of what Content-Range says"""
    r.chunked(body=r.body()[:len(r.body()) // 2])


def stumble(name, text, about, **more):
    """Two lines of the table: a body in chunks with one mistake, after which a client that goes on behind it has wrong
    bytes. text(body) is the body as it is sent."""
    @both(f"chunks: {name}", CHUNK + "|Content-Range|" + LOST, {REFUSED, UNREACHABLE}, about=about, **more)
    def answer(r):
        r.c.send(head(r) + text(r.body()))
        r.c.give_up()


def chunk(data, size=None):
    return b"%x\r\n%b\r\n" % (len(data) if size is None else size, data)


LAST = b"0\r\n\r\n"
MARK = b"\xef\xbb\xbf"
stumble("a size larger than what comes", lambda b: chunk(b[:100], 2000) + chunk(b[100:]) + LAST, "2,000, and 100 bytes")
stumble("a size of all, and half comes", lambda b: chunk(b[:len(b) // 2], len(b)) + chunk(b[len(b) // 2:]) + LAST,
        "the size line of the second half lies within the first")
stumble("a size smaller than what comes", lambda b: chunk(b, len(b) - 1) + LAST, "smaller by one")
stumble("a size line twice", lambda b: b"%x\r\n" % len(b) + chunk(b) + LAST, "the second is data, as it seems")
stumble("a notice before the size", lambda b: b"Notice: x\r\n" + chunk(b) + LAST, "text where a size has to be")
stumble("a notice in a chunk", lambda b: chunk(b"Notice: x\r\n" + b) + LAST, "text before the bytes of the range")
stumble("a notice in a chunk of its own", lambda b: chunk(b"Notice: x\r\n") + chunk(b) + LAST, "and more than the range")
stumble("a byte-order mark before the size", lambda b: MARK + chunk(b) + LAST, "three bytes")
stumble("a byte-order mark in the chunk", lambda b: chunk(MARK + b) + LAST, "three bytes more than the range")
stumble("a byte-order mark, and the end missing", lambda b: chunk((MARK + b)[:-4]) + LAST, "one byte less than the range")
stumble("a chunk twice", lambda b: chunk(b[:1000]) * 2 + chunk(b[1000:]) + LAST, "the first 1,000 bytes")
stumble("a chunk left out", lambda b: chunk(b[:1000]) + chunk(b[2000:]) + LAST, "1,000 bytes are missing in the middle")
stumble("the last chunk in the middle", lambda b: chunk(b[:1000]) + LAST + chunk(b[1000:]) + LAST, "after 1,000 bytes")
stumble("bytes behind the range, no end", lambda b: chunk(b) + b"1\r\nx", "a chunk that does not belong to it")
