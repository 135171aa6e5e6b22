"""The blocks of code in Markdown documents, and the marks that say which test runs them:

    <!-- run by test/boot/followed.py: dracut -->      before a block of commands; the word is the test's own
    <!-- not run: it needs a machine of yours -->      the same, with the reason

A block of commands is an indented one. A block in a fence is no command: its language says what it is.
"""
import collections
import re

# mark: the text of the comment before it, or None. text: its lines without their indentation.
Block = collections.namedtuple("Block", "line mark text")


def blocks(path):
    """The blocks of commands of a document, in order."""
    with open(path) as file:
        lines = file.read().splitlines()
    found, mark, fence, before = [], None, None, ""
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if match := re.match(r" *(```|~~~)", line):
            fence = None if fence else match[1]
            mark = None
        elif fence:
            pass
        elif match := re.fullmatch(r" *<!-- (.*) -->", line):
            mark = match[1]
        elif not line.strip():
            pass
        elif (indent := len(line) - len(line.lstrip())) >= 4 and not before.strip():
            first, text = number, [line]
            while number < len(lines) and (lines[number].startswith(" " * indent) or not lines[number].strip()):
                text.append(lines[number])
                number += 1
            found.append(Block(first, mark, "\n".join(one[indent:] for one in text).rstrip() + "\n"))
            mark, line = None, ""
        else:
            mark = None
        before = line
    return found


def run_by(path, test, *words):
    """The texts of the blocks of a document that this test runs, with one of these words; "": without a word."""
    marks = [f"run by {test}: {word}" if word else f"run by {test}" for word in words]
    return [block.text for block in blocks(path) if block.mark in marks]
