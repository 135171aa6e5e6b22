"""The table of a server's misbehaviours. Its lines are in misbehaviours/, one file for each kind.

A line is a small function and the verdict of a careful client: RIGHT (all bytes, and right) or one or more kinds of
named error; a regular expression has to match the line of the log that names it. In the functions `r` is a
server.Request, `c` a server.Connection, `s` a server.Server. When a request function is called:

    ALWAYS      each time                   FIRST   for the first request only
    LATER       from the second on          ONCE    for the second only

By the first request a client finds the image's size and version.
"""
import functools
import inspect

from client.hostile.server import Version, make_data

RIGHT = "right"
# Exit statuses of cachefilesd-mini --get: base/outcome.c.
KINDS = {RIGHT: 0, "not found": 4, "denied": 5, "changed": 6, "refused": 7, "timed out": 8,
         "unreachable": 9, "untrusted": 10, "busy": 11, "limit": 13}
NOT_FOUND, DENIED, CHANGED, REFUSED, TIMED_OUT, UNREACHABLE, UNTRUSTED, BUSY, LIMIT = list(KINDS)[1:]

ALWAYS, LATER, FIRST, ONCE = "always", "later", "first", "once"

KIB, MIB = 1024, 1024 * 1024
SIZE = 1536 * KIB + 77          # more than one request's range, and not a whole number of pages
IMAGE = Version(make_data("one", SIZE))
OTHER = Version(make_data("two", SIZE), '"two"', "Thu, 07 Apr 2022 07:55:52 GMT")

# The client's words for them.
LOST = r"lost|before the end|clos|broke|cut|reset"
MALFORMED = r"malformed|not HTTP|longer|head"
CHANGE = r"replaced|changed|version"

CASES = []


class Case:
    """A line of the table. One that is not listed is only the peer of another."""

    def __init__(self, name, expect, reason="", when=ALWAYS, listed=True, **more):
        self.name, self.reason, self.when = name, reason, when
        self.expect = {expect} if isinstance(expect, str) else set(expect)
        self.description = ""
        self.request = self.connect = self.listen = None
        self.tls = False                # HTTPS
        self.newer = None               # False: it is not for TLS 1.3, by which HTTPS is tried too
        self.scheme = None              # of the URL, if the server speaks another one
        self.peer = None                # the case of a second server, server.peer
        self.second = None              # the case of a server at a second address of the first one's name
        self.version = IMAGE
        self.range = ()                 # OFFSET, LENGTH; (): the whole image
        self.timeout = 2                # -o 'timeout N', of the client
        self.within = 12                # seconds, after which it counts as a hang
        self.at_least = 0               # seconds that a right client waits
        self.variants = [None]          # several runs that count as one
        self.userinfo = ""
        vars(self).update(more)
        assert name not in (other.name for other in CASES), f"two cases have the name {name}"
        CASES.extend([self] * listed)

    def is_time(self, number):
        return {ALWAYS: True, LATER: number > 1, FIRST: number == 1, ONCE: number == 2}[self.when]


def case(name, expect, reason="", when=ALWAYS, at="request", about=None, **more):
    """Decorator: a line of the table. `at`: the function takes a request, a connection or a listener. `about`
    describes it, if the function's docstring does not. Keywords that the function has as further parameters are
    its arguments, the others are the case's."""
    def register(function):
        parameters = list(inspect.signature(function).parameters)[1:]
        arguments = {name: more[name] for name in parameters if name in more}
        new = Case(name, expect, reason, when, **{key: more[key] for key in more if key not in arguments})
        new.description = " ".join((about or function.__doc__).split())
        setattr(new, at, functools.partial(function, **arguments))
        return function
    return register


def both(name, reason, expect, **more):
    """Two lines of the table: the misbehaviour once, after which all bytes have to come, and for ever."""
    patience = {"timeout": 15, "within": 30} if "timeout" in more else {}      # a stall takes 10 s

    def register(function):
        case(f"{name}, once", RIGHT, when=ONCE, **{**more, **patience})(function)
        case(f"{name}, always", expect, reason, **more)(function)
        return function
    return register


def fields(name, expect, reason="", status="206 Partial Content", **changes):
    """A line of the table: only fields of the head differ from the right answer."""
    about = ", ".join(f"{k.replace('_', '-').title()}: {v if v is not None else '(none)'}" for k, v in changes.items())
    case(name, expect, reason, about=about)(lambda r: r.answer(status=status, **changes))


# Second servers.
FINE = Case("(a right server)", RIGHT, listed=False)
FINE_TLS = Case("(a right server with TLS)", RIGHT, listed=False, tls=True)
NEWER = Case("(a new image)", RIGHT, listed=False, version=OTHER)
