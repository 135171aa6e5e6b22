"""Other statuses than 206: web pages, errors, servers that are busy."""
import email.utils
import time

from client.hostile.table import (ALWAYS, BUSY, CHANGED, DENIED, LATER, NOT_FOUND, ONCE, REFUSED, RIGHT, TIMED_OUT,
                                  case)

PORTAL = r"portal|web page|html"


@case("captive portal", REFUSED, PORTAL)
@case("captive portal later", {REFUSED, CHANGED}, PORTAL, when=LATER)
@case("captive portal, then log-in", RIGHT, when=ONCE, about="one page, then the image")
def portal(r):
    """200 and a web page whatever is asked"""
    r.page("200 OK", b"<html>Welcome to the hotel</html>" * 100)


@case("captive portal by redirect", REFUSED, PORTAL)
def portal_redirect(r):
    """302 to a page of the portal, which is there"""
    r.redirect("/login?to=x") if r.target == "/image" else portal(r)


@case("206 as text/html", {RIGHT, REFUSED}, PORTAL)
def html_type(r):
    """a right answer of the wrong type"""
    r.answer(content_type="text/html")


def status(number, expect, when=ALWAYS):
    """A line of the table: that status with a web page."""
    name = {ALWAYS: "", ONCE: ", once", LATER: " later"}[when]
    case(f"status {number}{name}", expect, str(number), when, about=f"{number} and a web page")(
        lambda r: r.page(f"{number} Some Reason"))


for code in (401, 403, 407):
    status(code, DENIED)
for code in (404, 410):
    status(code, NOT_FOUND)
status(404, NOT_FOUND, LATER)
status(403, DENIED, LATER)
for code in (201, 203, 207, 226, 299, 300, 305, 306, 400, 405, 414, 418, 426, 431, 451, 501, 505):
    status(code, REFUSED)
for code in (408, 425, 429, 500, 502, 503, 504):
    status(code, RIGHT, ONCE)
    status(code, BUSY)


@case("204", REFUSED, r"204")
def no_content(r):
    """204 No Content"""
    r.page("204 No Content", b"", content_length=None)


@case("206 to nothing", REFUSED, r"Content-Range")
def nothing(r):
    """206 with an empty body and no range"""
    r.answer(b"", content_range=None, content_length=0)


def busy(name, retry_after, about, expect=RIGHT, when=ONCE, number=503, **more):
    """A line of the table: 503 with this Retry-After; `retry_after` may be a function."""
    def answer(r):
        r.page(f"{number} Busy", retry_after=retry_after() if callable(retry_after) else retry_after)
    case(name, expect, str(number), when, about=about, **more)(answer)


def date_in(seconds):
    return lambda: email.utils.formatdate(time.time() + seconds, usegmt=True)


PATIENT = {"timeout": 10, "within": 20}
busy("Retry-After: 1", "1", "the client waits at least so long", at_least=0.9, **PATIENT)
busy("Retry-After: 2, 429", "2", "the same with 429", at_least=1.9, number=429, **PATIENT)
busy("Retry-After a date", date_in(3), "3 s ahead", at_least=1.9, **PATIENT)
busy("Retry-After a past date", date_in(-3600), "an hour ago", **PATIENT)
busy("Retry-After garbage", "soon, I hope", "no number, no date", **PATIENT)
busy("Retry-After negative", "-5", "no number either", **PATIENT)
busy("Retry-After of years", "99999999", "must not be waited for for years", {RIGHT, BUSY, TIMED_OUT}, within=15)
busy("Retry-After overflows", "9" * 40, "must not be waited for for ever", {RIGHT, BUSY, TIMED_OUT}, within=15)
busy("Retry-After a far date", date_in(9e8), "in thirty years", {RIGHT, BUSY, TIMED_OUT}, within=15)
busy("Retry-After: 0, always", "0", "no licence to ask without pause", BUSY, ALWAYS)
