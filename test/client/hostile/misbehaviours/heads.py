"""The head of the response, and codings of the body."""
import gzip

from client.hostile.table import (BUSY, DENIED, LATER, LOST, MALFORMED, REFUSED, RIGHT, TIMED_OUT, UNREACHABLE, both,
                                  case, fields)


def head(name, expect, change, about, reason=MALFORMED):
    """A line of the table: change() of the right head."""
    case(name, expect, reason, about=about)(lambda r: r.c.send(change(r.head()) + r.body()))


def insert(text):
    """Fields behind the status line."""
    return lambda head: head.replace(b"\r\n", b"\r\n" + text, 1)


def status_line(text):
    return lambda head: text + b"\r\n" + head.split(b"\r\n", 1)[1]


head("folded field", REFUSED, insert(b"X-Long: one\r\n two\r\n"), "obsolete since 2014")
head("folded Content-Range", REFUSED, lambda h: h.replace(b"Content-Range: ", b"Content-Range:\r\n "),
          "the field that matters most")
head("folded status line", REFUSED, insert(b" X: y\r\n"), "a blank before the first field")
head("bare CR", REFUSED, insert(b"X-A: b\rContent-Range: bytes 0-1/2\r\n"), "some would see a new line there")
head("NUL in a field", REFUSED, insert(b"X-A: b\0c\r\n"), "some would see an end there")
head("control byte in a field", REFUSED, insert(b"X-A: b\x01\x1bc\r\n"), "an escape for the terminal")
head("blank before the colon", REFUSED, insert(b"X-A : b\r\n"), "RFC 9112 section 5.1")
head("field without colon", REFUSED, insert(b"nonsense\r\n"), "a line that is no field")
head("field without name", REFUSED, insert(b": b\r\n"), "a colon and a value")
head("LF only", {RIGHT, REFUSED}, lambda h: h.replace(b"\r\n", b"\n"), "RFC 9112 section 2.2 allows to take it")
head("empty line first", RIGHT, lambda h: b"\r\n" + h, "before the status line")
head("two empty lines first", REFUSED, lambda h: b"\r\n\r\n" + h, "before the status line")
head("one LF, then CRLF", REFUSED, lambda h: h.replace(b"\r\n", b"\n", 1), "a smuggler's two ends of a line")
head("CRLF, then LF", REFUSED, lambda h: h[:-2].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n", 1) + b"\n", "the same")
head("CRLF, but LF at the end", REFUSED, lambda h: h[:-2] + b"\n", "the same")
head("garbage first", REFUSED, lambda h: b"garbage\r\n" + h, "a line before the status line")
head("binary garbage first", REFUSED, lambda h: bytes(range(256)) + h, "all bytes there are")
head("status 0", REFUSED, status_line(b"HTTP/1.1 0 No"), "one digit")
head("status 20", REFUSED, status_line(b"HTTP/1.1 20 OK"), "two digits")
head("status 2066", REFUSED, status_line(b"HTTP/1.1 2066 OK"), "four digits")
head("status -206", REFUSED, status_line(b"HTTP/1.1 -206 OK"), "negative")
head("status 000206", REFUSED, status_line(b"HTTP/1.1 000206 OK"), "leading zeros")
head("ICY", REFUSED, status_line(b"ICY 206 OK"), "as radio stations answer")
head("HTTP/2.0", REFUSED, status_line(b"HTTP/2.0 206 OK"), "a version that has no such line")
head("HTTP/1.10", REFUSED, status_line(b"HTTP/1.10 206 OK"), "a version with two digits")
head("http/1.1", REFUSED, status_line(b"http/1.1 206 OK"), "the name is case-sensitive")
head("no reason phrase", RIGHT, status_line(b"HTTP/1.1 206"), "and no blank before it, as many servers")
head("reason phrase of 4,000 bytes", RIGHT, status_line(b"HTTP/1.1 206 " + b"x" * 4000), "fits the head")
head("reason phrase of 100,000 bytes", REFUSED, status_line(b"HTTP/1.1 206 " + b"x" * 100000), "does not")
head("reason phrase in UTF-8", RIGHT, status_line("HTTP/1.1 206 Teilstück".encode()), "obs-text is allowed")
head("300 fields", {RIGHT, REFUSED}, insert(b"X-F: y\r\n" * 300), "2,400 bytes in all")
head("a field of 20,000 bytes", REFUSED, insert(b"X-F: " + b"y" * 20000 + b"\r\n"), "a cookie, say")


@case("endless field", REFUSED, MALFORMED)
def endless_field(r):
    """one field that does not end"""
    r.c.send(b"HTTP/1.1 206 OK\r\nX: ")
    r.c.send_for_ever(b"y" * 65536)


@case("endless fields", REFUSED, MALFORMED)
def endless_fields(r):
    """field upon field"""
    r.c.send(b"HTTP/1.1 206 OK\r\n")
    r.c.send_for_ever(b"X: y\r\n" * 10000)


@case("endless 100 Continue", REFUSED, r"interim|1xx|100")
def endless_interim(r):
    """one interim response after the other"""
    r.c.send_for_ever(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


@case("100 Continue every 100 ms", {REFUSED, TIMED_OUT}, r"interim|1xx|100|slow|no byte|bytes came")
def slow_interim(r):
    """interim responses for ever, none too fast"""
    while True:
        r.c.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        r.c.linger(0.1)


@case("100, 102, 103, then fine", RIGHT)
def interim(r):
    """interim responses with fields that must not count"""
    r.c.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nContent-Length: 5\r\n\r\n"
             b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Range: bytes 7-8/9\r\nConnection: close\r\n\r\n")
    r.answer()


@case("100, empty line, then fine", RIGHT)
def interim_and_line(r):
    """as aiohttp ends an interim response"""
    r.c.send(b"HTTP/1.1 100 Continue\r\n\r\n\r\n")
    r.answer()


@case("101", REFUSED, r"101|interim|malformed|lost|no byte")
def switching(r):
    """Switching Protocols, which nobody asked for"""
    r.c.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n" + bytes(100))
    r.c.linger()


@case("HTTP/0.9", REFUSED, MALFORMED)
def ancient(r):
    """the image's bytes and no head"""
    r.c.send(r.body())
    r.c.close()


@case("HTTP/2 frames", {REFUSED, UNREACHABLE}, MALFORMED + "|" + LOST)
def frames(r):
    """SETTINGS and GOAWAY"""
    r.c.send(bytes.fromhex("000000040000000000" "000008070000000000" "0000000000000001"))
    r.c.close()


@case("HTTP/2 preface", REFUSED, MALFORMED)
def preface(r):
    """what a client of HTTP/2 would say"""
    r.c.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    r.c.linger()


@case("SSH", REFUSED, MALFORMED, at="connect")
def ssh(c):
    """another service on that port, which speaks first"""
    c.raw(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
    c.linger(3)
    c.close()


@case("head only, kept open", {TIMED_OUT, UNREACHABLE}, r"no byte|slow|timed out|lost|only .* bytes came")
def head_only(r):
    """a right head and nothing else"""
    r.c.send(r.head())
    r.c.linger()


CODED = r"compress|Content-Encoding|coding"


@both("gzip, forced", CODED, REFUSED)
def gzip_forced(r):
    """though identity was asked for"""
    body = gzip.compress(r.body(), 1)
    r.answer(body, content_encoding="gzip", content_length=len(body))


@case("gzip of the right length", REFUSED, CODED)
def gzip_fits(r):
    """a body as long as the range, said to be compressed"""
    r.answer(content_encoding="gzip")


@case("gzip, if offered", RIGHT)
def gzip_offered(r):
    """a client that does not offer it gets the bytes"""
    if "gzip" in r.fields.get("accept-encoding", ""):
        return gzip_forced(r)
    r.answer()


# Fields that may stand once, twice: the last must not count, nor the first.
TWICE = r"is repeated"
fields("ETag twice, the same", REFUSED, TWICE, etag=['"one"', '"one"'])
fields("ETag twice, the right one last", REFUSED, TWICE, etag=['"two"', '"one"'])
fields("ETag, then none", REFUSED, TWICE, etag=['"one"', ""])
fields("Last-Modified twice", REFUSED, TWICE, etag=None,
       last_modified=["Thu, 07 Apr 2022 07:55:52 GMT", "Wed, 06 Apr 2022 07:55:52 GMT"])
fields("Content-Type twice", REFUSED, TWICE,
       content_type=["multipart/byteranges; boundary=b", "application/octet-stream"])
fields("Date twice", RIGHT, date=["Wed, 06 Apr 2022 07:55:52 GMT", "Thu, 07 Apr 2022 07:55:52 GMT"])
fields("Retry-After twice", BUSY, "503", status="503 Busy", retry_after=["1", "86400"])


@case("Content-Range unknown, then right", REFUSED, TWICE)
def range_behind_unknown(r):
    """of which the first says nothing"""
    r.answer(content_range=["bytes */*", r.content_range()])


@case("parts between two Content-Types", REFUSED, TWICE, when=LATER)
def parts_as_data(r):
    """the head of a part, and the image's bytes behind it, in the length of the range"""
    part = b"--b\r\nContent-Range: " + r.content_range().encode() + b"\r\n\r\n" + r.body()
    r.answer(part[:r.last - r.first + 1],
             content_type=["multipart/byteranges; boundary=b", "application/octet-stream"])


fields("Content-Encoding identity", RIGHT, content_encoding="identity")
fields("Content-Encoding unknown", REFUSED, CODED, content_encoding="br")
fields("Content-Encoding list", REFUSED, CODED, content_encoding="identity, gzip")
fields("Content-Encoding twice", REFUSED, CODED, content_encoding=["gzip", "identity"])
head("Content-Encoding of 5,000 bytes", REFUSED, insert(b"Content-Encoding: " + b"x" * 5000 + b"\r\n"), "one coding",
     CODED)
fields("Content-Encoding with a blank", REFUSED, r"Content-Encoding: identity gzip\b", content_encoding="identity gzip")
fields("Content-Encoding aws-chunked", RIGHT, content_encoding="aws-chunked")
fields("Content-Encoding aws-chunked and gzip", REFUSED, r"Encoding: gzip\b", content_encoding="aws-chunked, gzip")
fields("Content-Encoding xaws-chunked", REFUSED, CODED, content_encoding="xaws-chunked")


@case("aws-chunked, framed", REFUSED, r"contradict|Content-Length")
def aws_framed(r):
    """a body of the framing that the upload had"""
    body = b"%x;chunk-signature=%064d\r\n%s\r\n0;chunk-signature=%064d\r\n\r\n" % (len(r.body()), 0, r.body(), 0)
    r.answer(body, content_encoding="aws-chunked", content_length=len(body))


for schemes, value in (("Negotiate, NTLM", ["Negotiate", "NTLM"]), ("Bearer", 'Bearer realm="x, y", error="z"'),
                       ("Basic", 'Basic realm="' + "x" * 4000 + '"'), ("", "\xff, \\, ,,,"), ("A, B", ["A", "B"] * 50)):
    case(f"401 that wants {schemes or 'nonsense'}", DENIED, f"401.*{schemes}", about=f"{len(value)} parts or bytes")(
        lambda r, value=value: r.answer(status="401 No", www_authenticate=value))
fields("200 of no bytes", REFUSED, r"is empty", "200 OK", content_length=0, content_range=None)
