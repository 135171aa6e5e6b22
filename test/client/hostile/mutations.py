#!/usr/bin/python3
"""Mutations of an answer's head and chunk framing, and cachefilesd-mini --get:
test/client/hostile/mutations.py [OPTION...] [BINARY]

    -n COUNT     so many (default 4000)              -j N         N at a time (default 24)
    --only N     one of them, with all that was sent and said

The second answer of a right server has up to three random mistakes in its framing, never in the image's bytes; then the
connection ends, and all later answers are right. All bytes have to come, and right, within bounded time. An answer that
is well-formed all the same is told apart by the strict parser here, which has nothing of the client's: only its bytes
may be taken. Of one that names another version the client may say that the image was replaced.
"""
import argparse
import concurrent.futures
import os
import random
import re
import subprocess
import sys
import threading
import time

sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))     # test/
from client.hostile.server import Server, Version, make_data
from client.hostile.table import Case, ONCE
from lib import find, tap

IMAGE = Version(make_data("mutations", 40000))
CHANGED = 6         # the exit status of an image that was replaced
WITHIN = 30         # seconds
TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[ \t]*" + TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + TOKEN +
                        rb'|"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t\x20-\x7e\x80-\xff])*"))?)*\r\n')
FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*\r\n")
JUNK = [b"\r", b"\n", b"\r\n", b" ", b"\t", b"\0", b":", b";", b",", b"0", b"1", b"f", b"-", b"\xef\xbb\xbf", b"\xff",
        b"chunked", b"Notice: x\r\n", b"0\r\n\r\n", b"HTTP/1.1 206 OK\r\n"]


# ---- the answer, and its mistakes -----------------------------------------------------------------

def pieces(request, rng):
    """The right answer, as (bytes, whether they are framing) in order."""
    body, way = request.body(), rng.choice(("length", "chunked", "end"))
    if way == "length":
        return [(request.head(), True), (body, False)]
    if way == "end":
        return [(request.head(content_length=None, connection="close"), True), (body, False)]
    out, at = [(request.head(content_length=None, transfer_encoding="chunked"), True)], 0
    while at < len(body):
        part = body[at:at + rng.choice((1, 100, 4096, 20000))]
        at += len(part)
        out += [(rng.choice((b"%x\r\n", b"%X;a=b\r\n", b'%x; name="va;lue"\r\n')) % len(part), True), (part, False),
                (b"\r\n", True)]
    return out + [(b"0\r\n" + rng.choice((b"", b"X-Trailer: 1\r\n")) + b"\r\n", True)]


def mutate(text, rng):
    """One mistake in the text."""
    at = rng.randrange(len(text))
    lines = text.split(b"\r\n")
    line = rng.randrange(len(lines))
    end = min(len(text), at + rng.randrange(1, 12))
    digits = [m.start() for m in re.finditer(rb"[0-9]", text)] or [at]
    digit = rng.choice(digits)
    return rng.choice((
        lambda: text[:at] + bytes([text[at] ^ 1 << rng.randrange(8)]) + text[at + 1:],
        lambda: text[:at] + text[at + 1:],
        lambda: text[:at] + rng.choice(JUNK) + text[at:],
        lambda: text[:at] + rng.choice(JUNK) + text[at + 1:],
        lambda: text[:digit] + b"%d" % rng.randrange(10) + text[digit + 1:],
        lambda: text[:at] + text[at:end] + text[at:],
        lambda: text[:at] + text[end:],
        lambda: b"\r\n".join(lines[:line] + [lines[line]] + lines[line:]),
        lambda: b"\r\n".join(lines[:line] + lines[line + 1:]),
        lambda: b"\r\n".join(rng.sample(lines, len(lines))),
        lambda: text.replace(b"\r\n", b"\n", rng.randrange(1, 3)),
        lambda: text[:at],
    ))()


def mutation(request, number):
    """The bytes of the answer with the mistakes of this number."""
    rng = random.Random(f"mutation {number}")
    parts = pieces(request, rng)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        # The head as often as all chunks.
        framing = [n for n, (text, is_framing) in enumerate(parts) if is_framing and text]
        if framing:
            n = 0 if framing[0] == 0 and rng.random() < 0.5 else rng.choice(framing)
            parts[n] = (mutate(parts[n][0], rng), True)
    return b"".join(text for text, _ in parts)


# ---- the strict parser ------------------------------------------------------------------------------

def parse_chunks(text):
    """The data of a chunked body that is all of the text, or None."""
    data = b""
    while line := CHUNK_LINE.match(text):
        size, text = int(line[1], 16), text[line.end():]
        if size == 0:
            while field := FIELD.match(text):
                text = text[field.end():]
            return data if text.startswith(b"\r\n") else None
        if text[size:size + 2] != b"\r\n":
            return None
        data, text = data + text[:size], text[size + 2:]
    return None


def parse(text):
    """(first, the bytes of the body, fields) of a well-formed 206 in one part, or None (RFC 9112, RFC 9110)."""
    start = re.match(rb"HTTP/1\.([01]) 206 [\t\x20-\x7e\x80-\xff]*\r\n", text)
    if not start:
        return None
    text, fields = text[start.end():], {}
    while field := FIELD.match(text):
        fields.setdefault(field[1].lower(), []).append(field[2])
        text = text[field.end():]
    if not text.startswith(b"\r\n"):
        return None
    body = text[2:]
    span = re.fullmatch(rb"bytes ([0-9]+)-([0-9]+)/([0-9]+)", b",".join(fields.get(b"content-range", [])))
    if not span or int(span[3]) != len(IMAGE.data):
        return None
    size = int(span[2]) + 1 - int(span[1])
    if b"transfer-encoding" in fields:
        if fields[b"transfer-encoding"] != [b"chunked"] or b"content-length" in fields:
            return None
        body = parse_chunks(body)
    elif b"content-length" in fields:
        if fields[b"content-length"] != [b"%d" % size]:
            return None
        body = body[:size]
    return (int(span[1]), body, fields) if body is not None and len(body) == size else None


# ---- one of them ------------------------------------------------------------------------------------

def answer(request):
    text = mutation(request, request.server.variant)
    request.server.state["sent"] = text
    request.c.send(text)
    request.c.close()


CASE = Case("(a mutated answer)", "right", when=ONCE, listed=False, request=answer, version=IMAGE)


def may_be(sent):
    """What the client may write: the image, and what a well-formed answer makes of it."""
    found = sent and parse(sent)
    image = IMAGE.data
    return [image] + ([image[:found[0]] + found[1] + image[found[0] + len(found[1]):]] if found else [])


def names_another(sent):
    """Whether the answer seems to be of another version: a careful client compares validators and size."""
    lines = re.split(rb"\r?\n", re.split(rb"\n\r?\n", sent, maxsplit=1)[0])
    return not all(any(re.fullmatch(pattern, line) for line in lines) for pattern in (
        rb"(?i:etag):[ \t]*" + IMAGE.etag.encode() + rb"[ \t]*",
        rb"(?i:last-modified):[ \t]*" + IMAGE.modified.encode() + rb"[ \t]*",
        rb"(?i:content-range):[ \t]*bytes .*/%d[ \t]*" % len(IMAGE.data)))


def run(binary, number):
    """Returns (what is wrong or None, whether the answer was well-formed, what the client said, the answer)."""
    with Server(CASE, IMAGE, variant=number) as server:
        process = subprocess.Popen([binary, "-o", "timeout 10", "--get", server.url()], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            output, said = process.communicate(timeout=WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            output, said = process.communicate()
        sent, status = server.state.get("sent"), process.returncode
    wrong = None
    if sent is None:
        wrong = "it was never asked for the second answer"
    elif not any(output == data[:len(output)] for data in may_be(sent)):
        wrong = "WRONG bytes"
    elif status != 0 and not (status == CHANGED and names_another(sent)):
        wrong = f"exit status {status}"
    elif status == 0 and len(output) < len(IMAGE.data):
        wrong = f"exit status 0, {len(output)} bytes"
    return wrong and f"number {number}: {wrong}: {said.decode().strip()[-200:]}", bool(sent and parse(sent)), said, sent


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("-n", type=int, default=4000)
    parser.add_argument("-j", type=int, default=24)
    parser.add_argument("--only", type=int)
    parser.add_argument("binary", nargs="?", default=f"{find.TOP}/../cachefilesd-mini")
    a = parser.parse_args()
    binary = os.path.realpath(a.binary)
    threading.excepthook = lambda args: None if issubclass(args.exc_type, OSError) else sys.__excepthook__(*args[:3])
    if a.only is not None:
        wrong, valid, said, sent = run(binary, a.only)
        print(f"{sent}\n{wrong or 'right'}, {'well-formed' if valid else 'malformed'}\n{said.decode()}")
        return 0
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(a.j) as pool:
        results = list(pool.map(lambda number: run(binary, number), range(a.n)))
    bad = [wrong for wrong, _, _, _ in results if wrong]
    valid = sum(valid for _, valid, _, _ in results)
    print(f"# {a.n} mutations in {time.monotonic() - start:.0f} s, {valid} of them well-formed")
    tap.result(f"hostile: {a.n} mutations of an answer's framing: right bytes, or none",
               "\n".join([f"{len(bad)} of them"] + bad[:20]) if bad else None)
    tap.result("hostile: mutations: some are well-formed, most are not",
               None if 0 < valid < a.n // 2 else f"{valid} of {a.n}")
    return tap.status()


if __name__ == "__main__":
    sys.exit(main())
