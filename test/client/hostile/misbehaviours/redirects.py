"""Redirects: loops, other servers, URLs that expire."""
from client.hostile.table import (CHANGE, CHANGED, DENIED, FINE, FINE_TLS, LATER, LIMIT, NEWER, ONCE, OTHER, REFUSED,
                                  RIGHT, UNREACHABLE, Case, case)

REDIRECT = r"redirect|loop"


@case("redirect to itself", REFUSED, REDIRECT)
def to_itself(r):
    """301 to the URL that was asked"""
    r.redirect("/image", "301 Moved Permanently")


@case("redirect loop", REFUSED, REDIRECT)
def loop(r):
    """301 to and fro"""
    r.redirect("/other" if r.target == "/image" else "/image", "301 Moved Permanently")


@case("redirect loop, ever other URLs", REFUSED, REDIRECT)
def loop_of_many(r):
    """each time with another query"""
    r.redirect(f"http://localhost:{r.server.port}/image?{r.number}")


@case("redirect of 11 hops", {RIGHT, REFUSED}, REDIRECT)
def eleven(r):
    """more than a client need follow"""
    hop = int(r.target.partition("?")[2] or 0)
    r.redirect(f"?{hop + 1}") if hop < 11 else r.answer()


@case("redirect of 4 hops", RIGHT)
def four(r):
    """each of another kind, with relative Locations"""
    hop = int(r.target.partition("?")[2] or 0)
    statuses = ("301 A", "302 B", "307 C", "308 D")
    r.redirect(f"./a/../image?{hop + 1}", statuses[hop]) if hop < 4 else r.answer()


@case("redirect once in the middle", RIGHT, when=ONCE, peer=FINE, about="307 to another server with the same image")
@case("redirect to another version", CHANGED, CHANGE, when=LATER, peer=NEWER,
      about="307 to another server with another image")
@case("https to http", REFUSED, r"https to http|downgrade|redirect", tls=True, peer=FINE, about="a redirect out of TLS")
@case("http to https", RIGHT, peer=FINE_TLS, about="a redirect into TLS")
def to_the_peer(r):
    r.redirect(r.server.peer.url())


def location(name, place, expect=REFUSED, reason=REDIRECT + "|head"):
    """A line of the table: a redirect with this Location."""
    shown = (place if place is not None else "(none)")[:40].encode("ascii", "replace").decode()
    case(f"redirect {name}", expect, reason, within=15, about=f"Location: {shown}")(lambda r: r.redirect(place))


location("to file:///", "file:///etc/passwd")
location("to ftp:", "ftp://127.0.0.1/image")
location("to javascript:", "javascript:alert(1)")
location("without Location", None)
location("with an empty Location", "")
location("with a blank in it", "/im age")
location("with bytes over 127", "/im\xe4ge")
location("with a bad port", "http://127.0.0.1:99999/image")
location("to //", "//")
location("of 3,000 bytes", "/" + "x" * 3000)
location("of 6,000 bytes", "/" + "x" * 6000, LIMIT, "longer than [0-9]+ bytes")
location("of 2,500 blanks", "/" + " x" * 2500, LIMIT, "longer than [0-9]+ bytes")
location("of 20,000 bytes", "/" + "x" * 20000, LIMIT, "longer than [0-9]+ bytes")
location("with a blank in the host", "http://127.0 .0.1/image")
location("to UTF-8 in the host", "http://gr\xc3\xb6\xc3\x9fe.example/image")
location("with a long query and a bad port", "http://127.0.0.1:99999/?" + "x" * 300, reason="port is not")
location("with a tunnel's user", "ftp://user:secret@127.0.0.1/?secret", reason=r"^(?!.*secret).*redirect")


def leads(name, place, target):
    """A line of the table: a redirect whose Location others percent-encode, or that is long; it leads to the image."""
    def answer(r):
        if r.target == target:
            return r.answer()
        r.redirect(place) if r.target == "/image" else r.page("404 Not Found")
    case(f"redirect {name} is followed", RIGHT, about=f"Location: {ascii(place[:40])}")(answer)


leads("with a blank", "/im age", "/im%20age")
leads("with UTF-8", "/im\xc3\xa4ge", "/im%C3%A4ge")
leads("with a bar and braces", "/{1}|2?a={b}", "/%7B1%7D%7C2?a=%7Bb%7D")
leads("with a backslash and quotes", '/a\\b"c', "/a%5Cb%22c")
leads("with an escape and a blank", "/a%20b c", "/a%20b%20c")
leads("with a bad escape", "/%zz?50%", "/%25zz?50%25")
leads("with a fragment that has blanks", "/fine# a b", "/fine")
leads("of 2,047 bytes", "/" + "x" * 2046, "/" + "x" * 2046)
leads("of 2,048 bytes", "/" + "x" * 2047, "/" + "x" * 2047)
leads("of 4,600 bytes", "/?" + "x" * 4598, "/?" + "x" * 4598)
location("to a closed port", "http://127.0.0.1:1/image", UNREACHABLE, r"refused")


@case("two Locations", REFUSED, "Location is repeated", peer=FINE)
def two_locations(r):
    """which differ"""
    r.redirect(["file:///x", r.server.peer.url()])


@case("two equal Locations", REFUSED, "Location is repeated", peer=FINE)
def equal_locations(r):
    """which do not"""
    r.redirect([r.server.peer.url()] * 2)


@case("redirect with an endless page", RIGHT, peer=FINE)
def endless_page(r):
    """nobody has to read it"""
    r.c.send(r.head("302 Found", content_length=None, location=r.server.peer.url()))
    r.c.send_for_ever(b"x" * 65536)


@case("redirect and answer glued", RIGHT, peer=FINE)
def redirect_glued(r):
    """a redirect, and behind it wrong bytes with a right label"""
    body = OTHER.data[r.first:r.last + 1]
    r.c.send(b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % r.server.peer.url().encode() +
             r.head() + body)


def demand_no_credentials(r):
    """400 for a request that carries a password"""
    r.page("400 Bad Request") if "authorization" in r.fields else r.answer()


STRANGER = Case("(a stranger)", RIGHT, listed=False, request=demand_no_credentials)


@case("redirect with a password", RIGHT, peer=STRANGER, userinfo="user:secret@")
def to_a_stranger(r):
    """the other server must not get the password"""
    r.redirect(r.server.peer.url()) if "authorization" in r.fields else r.page("401 Unauthorized")


def signed(name, refusal, uses, expect, reason=""):
    """A line of the table: each redirect has a new token, which is good for `uses` requests."""
    def answer(r):
        left = r.server.state
        token = r.target.partition("?")[2]
        if not token:
            with r.server.lock:
                fresh = str(len(left) + 1)
                left[fresh] = uses
            return r.redirect(r.server.url(f"/signed?{fresh}"))
        with r.server.lock:
            left[token] = left.get(token, 0) - 1
        r.answer() if left[token] >= 0 else r.page(f"{refusal} Expired")
    case(name, expect, reason, about=f"{refusal} after {uses} requests; the origin gives a new token each time")(answer)


for code in (401, 403, 404, 410):
    signed(f"signed URL expires, {code}", code, 2, RIGHT)
signed("signed URL expires at once", 403, 0, DENIED, "403")
signed("signed URL for one use", 403, 1, RIGHT)
