#!/usr/bin/python3
"""The documents: spelling, links, sizes; what they quote of the program, of its tests and of the kernel's words.

    test/package/test_documents.py      TAP on standard output; exit status 1 if a test failed

Nothing is fetched from a network. Words that aspell does not know are in words.txt beside this file.
"""
import glob
import os
import re
import subprocess
import sys
import tempfile

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from guest import chaos
from lib import tap
from lib.commands import run
from lib.documents import blocks, run_by

TOP = os.path.dirname(sys.path[0])
WORDS, THIS = "test/package/words.txt", "test/package/test_documents.py"
README_LIMIT, LINE_LIMIT = 12 << 10, 100
GENERATED = ("docs/bench.md", "docs/chaos.md")     # their programs print no commands
# A word in capitals that a message in a document has in place of a value.
PLACEHOLDER = r"\b(?:N|NAME|DIR|URL|PATH|FILE|HOST|IMAGE|HEX)\b"


def text_of(path):
    with open(path) as file:
        return file.read()


def documents():
    return sorted([*glob.glob("*.md"), *glob.glob("docs/*.md"), *glob.glob("contrib/*/*.md")])


def pages():
    return sorted(glob.glob("man/*"))


def prose(path):
    """A document without code, comments and the targets of its links."""
    text = re.sub(r"(?ms)^ *```.*?^ *```$|<!--.*?-->", "", text_of(path))
    for block in blocks(path):
        text = text.replace("\n" + "\n".join(f"    {line}" if line else "" for line in block.text.splitlines()), "\n")
    return re.sub(r"`[^`]*`", " ", re.sub(r"\]\([^)]*\)", "]", text))


def is_spelled():
    known = set(text_of(WORDS).split())
    assert list(text_of(WORDS).split()) == sorted(known), f"{WORDS} is not sorted, or has a word twice"
    unknown = []
    for path in documents() + pages():
        text, mode = (prose(path), "none") if path.endswith(".md") else (text_of(path), "nroff")
        found = set(run("aspell", "list", "--lang=en_GB", f"--mode={mode}", "--encoding=utf-8", data=text.encode())
                    .decode().split())
        unknown += [f"{path}: {' '.join(sorted(found - known))}"] if found - known else []
    assert not unknown, f"neither aspell nor {WORDS} has these words\n" + "\n".join(unknown)


def slug(title):
    """The anchor of a title, as web sites of repositories make it."""
    title = re.sub(r"[^\w\- ]", "", re.sub(r"[`*]|\]\([^)]*\)", "", title).lower())
    return title.strip().replace(" ", "-")


def links():
    """(document, target) of each link."""
    for path in documents():
        without = re.sub(r"(?ms)^ *```.*?^ *```$|`[^`\n]*`", "", text_of(path))
        yield from ((path, target) for target in re.findall(r"\]\(([^)\s]+)\)", without))


def has_its_links():
    count = 0
    for path, target in links():
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
        assert os.path.exists(there), f"{path}: there is no {target}"
        if anchor:
            titles = [slug(title) for title in re.findall(r"(?m)^#+ (.*)$", text_of(there))]
            assert anchor in titles, f"{path}: {there} has no #{anchor}"
        count += 1
    assert count > 20, f"{count} links"


def is_linked():
    """Each document from README.md or CONTRIBUTING.md."""
    targets = {os.path.normpath(target.partition("#")[0]) for path, target in links()
               if path in ("README.md", "CONTRIBUTING.md")}
    missing = set(glob.glob("*.md") + glob.glob("docs/*.md")) - targets - {"README.md"}
    assert not missing, f"not linked: {missing}"


def is_short():
    size = os.path.getsize("README.md")
    assert size <= README_LIMIT, f"{size} bytes, more than {README_LIMIT}"
    long = [number for number, line in enumerate(text_of("README.md").splitlines(), 1)
            if len(line) > LINE_LIMIT and line[0] not in "|<" and not line.startswith("    ")]
    assert not long, f"lines of more than {LINE_LIMIT} characters: {long}"


def is_marked():
    """Each block of commands has a mark, and the test in the mark reads this document."""
    count = 0
    for path in set(documents()) - set(GENERATED):
        for block in blocks(path):
            where = f"{path}:{block.line}"
            assert block.mark, f"{where}: neither run by a test nor marked as not run"
            if match := re.fullmatch(r"run by ([\w./]+)(: [\w-]+)?", block.mark):
                assert os.path.basename(path) in text_of(match[1]), f"{where}: {match[1]} does not read it"
                count += 1
            else:
                assert re.fullmatch(r"not run: .{10,}", block.mark), f"{where}: {block.mark}"
    assert count > 10, f"{count} blocks are run"


def names_files_that_exist():
    """Paths of this tree, in documents and manual pages; of contrib/, docs/, man/, test/ and the rooms."""
    for path in [*documents(), *pages()]:
        found = re.findall(r"(?<![\w/.-])((?:contrib|docs|man|test|kernel|fetch|image|daemon|net|trust|tools|base)/"
                           r"[\w./*-]*\w[*/]?)", text_of(path))
        for name in found:
            there = [name, f"{name}.c", f"test/unit/{name}", f"test/fuzz/{name}", f"{os.path.dirname(path)}/{name}"]
            assert any(map(glob.glob, there)) or is_made(name), f"{path}: there is no {name}"


def is_made(name):
    """Names that are no files: the patterns of CONTRIBUTING.md."""
    return re.search(r"ROOM|FILE|NAME", name)


def names_tests_that_exist():
    """docs/device.md: `file`: *a test's name there*, and SECURITY.md's the same way where a file stands before it."""
    count = 0
    for path in ("docs/device.md", "SECURITY.md"):
        for file, names in re.findall(r"`(test/[\w/.]+)`:\s((?:\*[^*]+\*(?:,\s)?)+)", text_of(path)):
            source = re.sub(r"\s+", " ", re.sub(r'"\s*\n\s*"', "", text_of(file)))
            for name in re.findall(r"\*([^*]+)\*", names):
                name = re.sub(r"\s+", " ", name)
                assert re.search(rf"(?<!\w){re.escape(name)}(?!\w)", source), f"{path}: {file} has no *{name}*"
                count += 1
    assert count > 20, f"{count} names"


def sources():
    """What the programs can print, as one text: C's string literals side by side are one, with their macros; a value
    that is printed is a dot."""
    text = "\n".join(text_of(path) for pattern in ("*.[ch]", "[a-z]*/*.[ch]", "contrib/*/*", "contrib/*/*/*")
                     for path in sorted(glob.glob(pattern)) if os.path.isfile(path) and not path.endswith(".md"))
    for name, value in re.findall(r'(?m)^#define (\w+)\s+("[^"\n]*")', text):
        text = re.sub(rf"\b{name}\b", lambda _, value=value: value, text)
    text = re.sub(r'"\s*(?:PRI\w+\s*)?"', "", text)
    return re.sub(r"%[-0-9.*]*[lz]*[duxcsm]", "·", text).replace('\\"', '"')


def quotes_as_it_is_said():
    """Messages: in straight double quotes in documents, and the manual's list of diagnostics."""
    said, count = sources(), 0
    quoted = [(path, text) for path in documents() for text in re.findall(r'"([^"\n]+)"', prose(path))]
    for path in pages():
        section = text_of(path).partition(".Sh DIAGNOSTICS\n")[2].partition("\n.Sh ")[0]
        quoted += [(path, text.replace("\\-", "-")) for text in re.findall(r"(?m)^\.It (.*)$", section)]
    for path, text in quoted:
        # The name of what failed and the reason come from two places.
        for part in re.split("·: ", re.sub(PLACEHOLDER, "·", text)):
            assert part.strip() in said, f"{path}: no source says '{part}'"
            count += 1
    assert count > 8, f"{count} messages"


def shows_what_is_printed():
    """The labels in samples of --check and in the picture of --status are those of the sources."""
    said, labels = sources(), set()
    for path in documents():
        for sample in re.findall(r"(?ms)^```text\n(url: .*?)^```", text_of(path)):
            labels.update(re.findall(r"(?m)^([a-z][a-z ]*):", sample))
    for line in re.findall(r'preserve">( [a-z/].*?)</text>', text_of("docs/status.svg")):
        # Without the bounds of read_seconds' classes, sums and counts.
        labels.update(re.findall(r"(?:^ |  )([a-z]+(?: [a-z]+)*?)(?: sum| count)?(?=  )", line))
    assert len(labels) > 30, labels
    wrong = [label for label in labels if label not in said and label.replace(" ", "_") not in said]
    assert not wrong, f"nothing prints these: {wrong}"


def lists_the_metrics():
    """The manual has each family of the table in tools/status.c, and no other."""
    table = set(re.findall(r'(?m)^\tFAMILY\("([a-z_]+)", ', text_of("tools/status.c")))
    manual = text_of("man/cachefilesd-mini.8").partition(".Ss Metrics\n")[2].partition("\n.Ss ")[0]
    items = re.sub(r"\{.*?\}", "", " ".join(re.findall(r"(?m)^\.It Li (.*)$", manual)))
    listed = set(re.findall(r"\b([a-z_]+)", items))
    assert len(table) > 30 and table == listed, table ^ listed


def boots_by_these_words():
    """Command lines of the kernel, in documents and in the manual's examples, are those of the initramfs parts."""
    found = [line for path in documents() for line in re.findall(r"(?ms)^```text\n(root=[^`]*?)\n```", text_of(path))]
    manual = text_of("man/cachefilesd-mini.cmdline.7")
    found += re.findall(r"(?m)^\.Dl (root=.*)$", manual)
    found += re.findall(r"(?ms)^\.Bd -literal -offset indent\n(root=.*?)\n\.Ed$", manual)
    assert len(found) >= 6, found
    for line in found:
        words = re.sub(r"HASH|[0-9a-f]{4}\.\.\.", "0" * 64, line.replace("\n", " "))
        done = subprocess.run(["sh", "-c", '. contrib/initramfs/cachefilesd-boot.sh; cfd_say() { echo "$*"; }; '
                               'cfd_parse "$1"', "sh", words], capture_output=True, text=True)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"


def makes_an_initramfs():
    """README.md's command, but into a folder that is not there yet."""
    commands, = run_by("README.md", THIS, "")
    run("make", "-s", "cachefilesd-mini")
    with tempfile.TemporaryDirectory() as work:
        assert "build/initrd" in commands, commands
        run("sh", "-ec", commands.replace("build/initrd", f"{work}/build/initrd"))
        names = run("sh", "-c", f"gzip -dc {work}/build/initrd | cpio -t --quiet").decode().split()
    assert {"init", "bin/busybox", "usr/sbin/cachefilesd-mini", "cachefilesd-boot.sh"} <= set(names), names


def keeps_the_text_around_tables():
    """`make chaos` replaces nothing but the tables of docs/chaos.md."""
    page = text_of("docs/chaos.md")
    rows = re.findall(r"(?m)^\| [0-9].*\|$", page)
    without = chaos.with_tables(page, [])
    assert len(rows) > 30 and not any(row in without for row in rows), "rows of the run before are left"
    assert all(line in without for line in page.splitlines() if not line.startswith("| ")), "text is gone"
    assert chaos.with_tables(without, []) == without, "it is not the same the second time"


def main():
    os.chdir(TOP)
    for name, function in (
            ("spelling", is_spelled),
            ("each relative link and its anchor exist", has_its_links),
            ("each document is linked", is_linked),
            ("README.md has at most 12 KB, and lines of at most 100 characters", is_short),
            ("each block of commands is run by a test, or marked as not run", is_marked),
            ("files that are named exist", names_files_that_exist),
            ("tests that are named exist", names_tests_that_exist),
            ("messages are quoted as the program says them", quotes_as_it_is_said),
            ("samples have the labels that are printed", shows_what_is_printed),
            ("the manual has each metric", lists_the_metrics),
            ("the kernel's command lines are understood", boots_by_these_words),
            ("docs/chaos.md: the text around its tables stays", keeps_the_text_around_tables),
            ("README.md: an embedded initramfs", makes_an_initramfs)):
        tap.result(f"documents: {name}", *tap.attempt(function, below=TOP))
    return tap.status()


sys.exit(main())
