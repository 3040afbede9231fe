"""The documentation as texts: its files, code blocks and commands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

REPO = Path(__file__).resolve().parents[3]
FILES = [REPO / "README.md", REPO / "CHANGELOG.md", *sorted((REPO / "docs" / "pages").rglob("*.md"))]

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_INCLUDE = re.compile(r'^--8<-- "(.+)"$', re.MULTILINE)
_INLINE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """One fenced block; `str()` is where it is, for the names of tests."""

    file: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(REPO)}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """All code blocks in these languages, includes filled in."""
    found = []
    for file in FILES:
        source = file.read_text()
        for match in _FENCE.finditer(source):
            if match["language"] in languages:
                text = _INCLUDE.sub(lambda include: (REPO / include[1]).read_text(), dedent(match["text"]))
                found.append(Block(file, source.count("\n", 0, match.start()) + 1, match["language"], text))
    return found


def commands(program: str) -> list[tuple[str, str]]:
    """(where, command line) for every `program ...` in a console block or between backticks, without comments."""
    lines = [(str(block), line.removeprefix("$ ")) for block in blocks("console") for line in block.text.splitlines()]
    for file in FILES:
        where = str(file.relative_to(REPO))
        lines += [(where, text) for text in _INLINE.findall(_FENCE.sub("", file.read_text()))]
    return [(where, line.partition(" #")[0].strip()) for where, line in lines if line.split()[:1] == [program]]
