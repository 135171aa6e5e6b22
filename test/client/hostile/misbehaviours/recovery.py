"""What passes if it is asked again: a redirect's target that dies, one bad answer of a cache, busy servers."""
from client.hostile.table import (ALWAYS, BUSY, CHANGE, CHANGED, FINE, FINE_TLS, FIRST, LATER, OTHER, REFUSED, RIGHT,
                                  Case, case)


def page(status, **fields):
    return lambda r: r.page(status, **fields)


def other(r):
    r.version = OTHER
    r.fields.pop("if-range", None)
    r.answer()


def garbage(r):
    r.c.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    r.c.close()


# What a dead redirect target does.
DEATHS = {f"status {code}": page(f"{code} Dead") for code in (400, 401, 403, 404, 409, 410, 416, 451, 500, 520, 600)}
DEATHS |= {
    "503 with Retry-After": page("503 Busy", retry_after="1"),
    "a web page": page("200 OK"),
    "200 and all of it": lambda r: r.whole(),
    "a redirect to itself": lambda r: r.redirect(r.target),
    "a redirect to a closed port": lambda r: r.redirect("http://127.0.0.1:1/image"),
    "garbage": garbage,
    "closed": lambda r: r.c.close(),
    "reset": lambda r: r.c.reset(),
    "half a body": lambda r: r.cut((r.last - r.first) // 2),
    "no byte of a body": lambda r: r.cut(0),
    "another range": lambda r: r.answer(content_range=r.content_range(0, 7), content_length=8, body=r.body()[:8]),
    "silence": lambda r: r.c.linger(),
}


def fleet(name, dies, good, then=1000, expect=RIGHT, reason="", **more):
    """A line of the table: each redirect leads to the next of a fleet. The first dies after `good` answers, each
    further one after `then`."""
    def answer(r):
        state = r.server.state
        with r.server.lock:
            if r.target == "/image":
                state["last"] = state.get("last", 0) + 1
                return r.redirect(f"/fleet{state['last']}")
            state[r.target] = state.get(r.target, 0) + 1
            dead = state[r.target] > (good if r.target == "/fleet1" else then)
        dies(r) if dead else r.answer()
    case(f"redirect target dies, {name}", expect, reason, **{"timeout": 12, "within": 30, **more},
         about=f"after {good} answers; the origin gives another target each time")(answer)


for death, function in DEATHS.items():
    fleet(death, function, 1)
    fleet(f"{death}, at once", function, 0)
fleet("another version", other, 1)
fleet("always another version", other, 1, 0, {CHANGED, RIGHT}, CHANGE)
fleet("each, 503", page("503 Busy"), 1, 1)
fleet("each, closed", lambda r: r.c.close(), 1, 1)


def status(number):
    """Two lines of the table: a status that RFC 9110 has not, once and for ever."""
    answer = page(f"{number} What")
    case(f"status {number}, at first", RIGHT, when=FIRST, about=f"{number} and a web page, once")(answer)
    case(f"status {number}", BUSY, str(number), about=f"{number} and a web page")(answer)


for code in (506, 507, 508, 509, 510, 511, 520, 521, 522, 523, 524, 525, 526, 527, 530, 561, 598, 599, 600, 999):
    status(code)


@case("200 at first", RIGHT, when=FIRST, about="a cache's miss: all of it in answer to a range, once")
def miss(r):
    r.whole()


@case("a web page at first", RIGHT, when=FIRST, about="200 and a web page, once")
def first_page(r):
    r.page("200 OK")


@case("another coding at first", RIGHT, when=FIRST, wrong={"content_encoding": "gzip"}, about="gzip, once")
@case("no Content-Range at first", RIGHT, when=FIRST, wrong={"content_range": None}, about="a 206 without it, once")
def wrong_once(r, wrong):
    r.answer(**wrong)


@case("each second answer is 200", RIGHT, timeout=20, within=40, about="two caches, one of which knows no ranges")
def each_second(r):
    r.whole() if r.number % 2 else r.answer()


@case("200 twice", REFUSED, "200", about="a server that knows no ranges")
def no_ranges(r):
    r.whole()


# The name has two addresses, of which the second is right. The first does one of these for ever.
TWO = {"timeout": 12, "within": 30, "second": FINE}
del DEATHS["a redirect to a closed port"]      # there it is the target that fails
for death, function in DEATHS.items():
    final = death.endswith(("401", "403", "404", "410"))        # for the first request
    case(f"first address, {death}", RIGHT, when=LATER if final else ALWAYS, about="the second is right",
         **TWO)(function)


@case("first address, closed at once", RIGHT, at="connect", about="the second is right", **TWO)
@case("first address, closed, TLS", RIGHT, at="connect", about="before the handshake", tls=True,
      **{**TWO, "second": FINE_TLS})
def closes(c):
    c.close()


@case("first address, silent, TLS", RIGHT, at="connect", about="a black hole behind TCP's handshake", tls=True,
      **{**TWO, "second": FINE_TLS})
def says_nothing(c):
    c.linger()


@case("first address, no TLS", RIGHT, at="connect", about="it speaks something else", tls=True,
      **{**TWO, "second": FINE_TLS})
def no_tls(c):
    c.raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    c.give_up()


@case("first address, not accepted", RIGHT, at="listen", about="the kernel connects, the program does not", **TWO)
def not_accepted(s):
    s.mark()
    s.listener.listen(128)
    s.stopped.wait(60)


BUSY_TOO = Case("(a busy server)", BUSY, listed=False, request=page("503 Busy"))
case("both addresses, 503", BUSY, r"503.*\(localhost:\d+ at 127\.0\.0\.[12]\)", second=BUSY_TOO,
     about="the line names the address")(page("503 Busy"))
