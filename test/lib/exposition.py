"""The text of the status socket, read as a Prometheus server would: exposition format 0.0.4.

    text = ask(path)            # the text of the socket
    m = Metrics(text)           # raises AssertionError if the format is broken
    m["uptime_seconds"]         # the value of the sample without labels
    m.get("image_size_bytes", image="a.erofs")
    m.sum("mirror_requests_total")
"""
import re
import socket

PREFIX = "cachefilesd_"
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(rf'({NAME})="((?:[^"\\\n]|\\[\\n"])*)"')
SAMPLE = re.compile(rf'({NAME})(?:\{{(.*)\}})? (\S+)')
TYPE = re.compile(rf"# TYPE ({NAME}) (counter|gauge|histogram)")


def ask(path, timeout=10):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(timeout)
        s.connect(path)
        return hear(s)


def hear(s):
    parts = []
    while part := s.recv(65536):
        parts.append(part)
    return b"".join(parts).decode("ascii")


def unescaped(text):
    return re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], text)


def name_in_labels(name):
    """The daemon's form of an image's name, which may be any bytes."""
    return "".join(chr(c) if 0x20 <= c < 0x7f and c not in b'"\\' else f"\\x{c:02x}" for c in name)


class Metrics:
    def __init__(self, text):
        self.samples = {}       # (name, ((label, value), ...)): number
        self.types = {}
        assert text.endswith("\n# EOF\n"), f"ends in {text[-40:]!r}"
        family = None
        for line in text.splitlines()[:-1]:
            if line.startswith("#"):
                found = TYPE.fullmatch(line)
                assert found, f"no comment of ours: {line}"
                family, kind = found[1], found[2]
                assert family not in self.types, f"a second TYPE of {family}"
                assert family.startswith(PREFIX) and (kind == "counter") == family.endswith("_total"), line
                self.types[family] = kind
                continue
            self.take(line, family)
        for family, kind in self.types.items():
            if kind == "histogram":
                self.check_histogram(family[len(PREFIX):])

    def take(self, line, family):
        found = SAMPLE.fullmatch(line)
        assert found, f"no sample: {line}"
        name, inner, number = found.groups()
        labels = LABEL.findall(inner or "")
        assert ",".join(f'{a}="{b}"' for a, b in labels) == (inner or ""), f"labels: {line}"
        assert len(dict(labels)) == len(labels), f"a label twice: {line}"
        base = re.sub(r"_(bucket|sum|count)$", "", name) if self.types[family] == "histogram" else name
        assert base == family, f"{name} among {family}"
        key = name[len(PREFIX):], tuple(sorted((a, unescaped(b)) for a, b in labels))
        assert key not in self.samples, f"twice: {line}"
        self.samples[key] = float(number) if "." in number else int(number)

    def check_histogram(self, name):
        classes = [(float(dict(labels)["le"]), n) for (x, labels), n in self.samples.items() if x == name + "_bucket"]
        assert classes == sorted(classes) and classes[-1][0] == float("inf"), classes
        numbers = [n for _, n in classes]
        assert numbers == sorted(numbers) and numbers[-1] == self[name + "_count"], classes
        assert self[name + "_sum"] <= sum(n for _, n in classes) * 3600

    def __getitem__(self, name):
        return self.samples[name, ()]

    def get(self, name, **labels):
        return self.samples.get((name, tuple(sorted(labels.items()))))

    def sum(self, name):
        return sum(n for (x, _), n in self.samples.items() if x == name)

    def states(self, image):
        return {dict(labels)["state"] for (name, labels), n in self.samples.items()
                if name == "image_state" and dict(labels)["image"] == image and n == 1}
