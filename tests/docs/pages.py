"""The documentation as data: pages, their fenced blocks, links, headings and commands.

Pure text in, values out: the tests feed these functions the real pages and planted bad ones alike.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

_FENCE = re.compile(r"^```(\w*)\s*$")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")  # images, too
_SPAN = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its language, its text, and the page's line on which the text starts (from 1)."""

    language: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page's text, in order."""
    found: list[Block] = []
    held: list[str] = []
    language, start = None, 0
    for number, line in enumerate(page.splitlines(), start=1):
        fence = _FENCE.match(line)
        if language is None and fence:
            language, start, held = fence[1], number + 1, []
        elif language is not None and line.rstrip() == "```":
            found.append(Block(language, "\n".join(held) + "\n", start))
            language = None
        elif language is not None:
            held.append(line)
    if language is not None:
        raise ValueError(f"line {start - 1}: this fence is never closed")
    return found


def prose(page: str) -> str:
    """Return the page's text without its fenced blocks, line numbers kept."""
    lines = page.splitlines()
    for block in blocks(page):
        for number in range(block.line - 2, block.line + block.text.count("\n")):
            lines[number] = ""
    return "\n".join(lines) + "\n"


def examples(page: str) -> list[tuple[Block, str | None]]:
    """Return every python block with the output the page shows for it: a `text` block that follows directly."""
    lines, listed = page.splitlines(), blocks(page)
    found: list[tuple[Block, str | None]] = []
    for index, block in enumerate(listed):
        if block.language != "python":
            continue
        after = listed[index + 1] if index + 1 < len(listed) else None
        end = block.line - 1 + block.text.count("\n") + 1  # index of the line behind the closing fence
        between = lines[end : after.line - 2] if after is not None else ["nothing follows"]
        shown = after.text if after is not None and after.language == "text" and not "".join(between).strip() else None
        found.append((block, shown))
    return found


def links(page: str) -> list[str]:
    """Return the targets of all links and images outside fenced blocks."""
    return _LINK.findall(_SPAN.sub("", prose(page)))


def headings(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for line in prose(page).splitlines():
        if line.startswith("#"):
            text = line.lstrip("#").strip().lower()
            found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


def commands(page: str, program: str) -> list[list[str]]:
    """Return the words of every call of `program` in bash blocks and in inline code, the program's name left out."""
    calls = []
    for line in _shell_lines(page):
        words = _words(line)
        for position, word in enumerate(words):
            if word == program and (position == 0 or words[position - 1] in ("&&", "|", ";") or "=" in words[0]):
                calls.append(_until_operator(words[position + 1 :]))
                break
    return calls


def _shell_lines(page: str) -> list[str]:
    lines = [line for block in blocks(page) if block.language == "bash" for line in _joined(block.text)]
    return [*lines, *_SPAN.findall(prose(page))]


def _joined(text: str) -> list[str]:
    """Return logical lines: a backslash or an open quote continues a line."""
    lines, held = [], ""
    for line in text.splitlines():
        held += line
        if held.endswith("\\"):
            held = held[:-1] + " "
        elif held.count("'") % 2:
            held += "\n"
        else:
            lines.append(held)
            held = ""
    return [*lines, held] if held else lines


def _words(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;<>&")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    try:
        return list(lexer)
    except ValueError:  # inline code that is no shell
        return []


def _until_operator(words: list[str]) -> list[str]:
    end = next((index for index, word in enumerate(words) if word and word[0] in "|;<>&"), len(words))
    return words[:end]
