"""Pipelined requests."""
import re

from scenarios.common import KIB, MIB, all_once, constant, each, got, image, quiet, scenario, serving, takes_long

ONE_AT_A_TIME = "does not bear pipelined requests"


def read_on(k, f, data, length=64 * KIB):
    """Reads the whole image in sequence, four READs at a time, as the kernel's readahead does."""
    for n in range(0, len(data), 4 * length):
        reads = [k.read(f, m, length) for m in range(n, min(n + 4 * length, len(data)), length)]
        for r in reads:
            got(k, r, data, 40)


@scenario
def pipelined():
    """requests are sent before the answer before them is complete, once the connection has shown that it lasts"""
    data = image("pipe", 4 * MIB)
    with serving(data, "connections 1") as (s, k, f):
        s.pace = 4 * MIB
        read_on(k, f, data)
        all_once(s)
        assert not s.requests[0].pipelined
        early = sum(r.pipelined for r in s.requests)
        assert early >= len(s.requests) // 3, f"{early} of {len(s.requests)} requests were early"
        most = max(r.behind for r in s.requests)
        assert most <= constant("PIPELINE_MAX"), most
        assert s.connections <= 2, s.connections
        assert ONE_AT_A_TIME not in k.stderr


CLOSING = {
    "each, saying so": lambda r: {"close": True},
    "each, silently": lambda r: {"idle_close": 0},
    "each, HTTP/1.0": lambda r: {"http10": True},
    "every 2nd, silently": lambda r: {"idle_close": 0} if r.number % 2 == 0 else {},
    "every 3rd, saying so": lambda r: {"close": True} if r.number % 3 == 0 else {},
    "every 3rd, silently": lambda r: {"idle_close": 0} if r.number % 3 == 0 else {},
    "every 7th, silently": lambda r: {"idle_close": 0} if r.number % 7 == 0 else {},
    "when pipelined": lambda r: {"drop": True} if r.pipelined else {},
    "with RST when pipelined": lambda r: {"reset": True} if r.pipelined else {},
    "in the middle of a pipelined answer": lambda r: {"cut": 10000} if r.pipelined else {},
}


@each(*CLOSING)
def pipelining_and_closing(when):
    """servers that close the connection after an answer, with requests waiting behind it: right bytes"""
    data = image("closing", 2 * MIB)
    with serving(data, "connections 2", "timeout 20") as (s, k, f):
        s.pace = 8 * MIB
        s.rule = CLOSING[when]
        read_on(k, f, data)
        quiet(s)
        assert s.bytes_sent("/img") <= 3 * len(data), s.bytes_sent("/img")


BREAKING = {
    "garbage": {"raw": b"\x15\x03\x01\x00\x02\x02\x28 what is this?\r\n\r\n"},
    "wrong range": {"content_range": "bytes 4096-8191/2097152"},
    "never": {"delay": 1000},
    "400": {"status": 400},
    "200": {"ignore_range": True},
    "part of a head": {"raw": b"HTTP/1.1 206 Partial Content\r\nContent-Ra"},
}


@each(*BREAKING)
@takes_long
def pipelining_is_not_borne(how):
    """a server that stumbles over early requests: right bytes, one request at a time from then on, which is logged"""
    data = image("stumbling", 2 * MIB)
    with serving(data, "connections 1", "timeout 12") as (s, k, f):
        s.pace = 4 * MIB
        s.rule = lambda r: BREAKING[how] if r.pipelined else {}
        read_on(k, f, data)
        if how != "part of a head":     # which may also be a broken connection
            k.wait_log(ONE_AT_A_TIME, 5)
            s.rule = None
            before = len(s.requests)
            g = k.opened("erofs,two", b"img")
            read_on(k, g, data)
            early = [r for r in s.requests[before:] if r.pipelined]
            assert not early, f"{len(early)} requests are early still"
        assert len(re.findall(ONE_AT_A_TIME, k.stderr)) <= 1, "logged more than once"


@scenario
def pipelined_short_parts():
    """a server that gives less than was asked for, and answers what is behind it: right bytes"""
    data = image("short", 2 * MIB)
    with serving(data, "connections 1", "timeout 20", knobs=dict(short=10000)) as (s, k, f):
        s.pace = 8 * MIB
        read_on(k, f, data)
