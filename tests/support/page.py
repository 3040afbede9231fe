"""The examples of a documentation page: each command, run as written there, beside what the page says it prints."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from support.lake_user import LakeUser
from support.leaks import JWT

Run = Callable[[str], tuple[int, str]]
PAGES = Path(__file__).parents[2] / "docs" / "pages"
_BLOCK = re.compile(r"^```(?P<kind>console|python)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$", re.M | re.S)
# `datalake` says so, too, where Rucio had made a new rule's copies before the command looked for the first time.
_AT_FIRST_LOOK = re.compile(r"^(?:It|\d+ of \d+) can be read here already\.\n", re.M)


@dataclass(frozen=True)
class Block:
    """An example: a `console` with commands and what they print, or `python`, which may have a file's name."""

    kind: str
    title: str | None
    text: str


def blocks(page: str) -> Iterator[Block]:
    """The examples of a page, named as below `docs/pages`, in their order."""
    for found in _BLOCK.finditer((PAGES / page).read_text()):
        yield Block(found["kind"], found["title"], found["text"])


def console(page: str) -> str:
    """All commands of a page with what they print, in their order."""
    return "".join(block.text for block in blocks(page) if block.kind == "console")


def commands(text: str) -> list[tuple[str, str]]:
    """Each command with the output that follows it."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            found[-1] = (found[-1][0], found[-1][1] + line)
    return found


def typed(command: str, environ: Mapping[str, str], folder: Path) -> tuple[int, str]:
    """Exit code, and all that a terminal in this folder shows: a wide one, as the paths of a test are long."""
    done = subprocess.run(
        ["bash", "-c", command],
        env={**environ, "COLUMNS": "120"},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert not JWT.search(done.stdout), f"{command} printed a token"
    return done.returncode, done.stdout


def by(user: LakeUser, folder: Path | None = None) -> Run:
    """Types commands as this user, in a new empty folder each or in `folder`; paths are printed as a pod has them."""

    def run(command: str) -> tuple[int, str]:
        code, printed = typed(command, user.environ, folder or user.workplace())
        return code, _short(user, printed)

    return run


def differences(
    text: str,
    run: Run,
    code_of: Callable[[str, str], int | None] = lambda command, printed: 0,
) -> list[str]:
    """What the commands of a console print, or end with, that is not as written there.

    `code_of` a command and what it printed is the exit code that is right; None: any.
    """
    wrong = []
    for command, expected in commands(text):
        code, printed = run(command)
        right = code_of(command, printed)
        if (right is not None and code != right) or not matches(expected, printed):
            wrong.append(f"$ {command}{printed}--- exit {code}; the page has\n{expected}")
    return wrong


def matches(expected: str, printed: str) -> bool:
    """Whether it is what the page says, see `pattern`; with or without a line that Rucio's haste decides about."""
    return any(pattern(expected).fullmatch(text) for text in (printed, _AT_FIRST_LOOK.sub("", printed)))


def pattern(expected: str) -> re.Pattern[str]:
    """`...` stands for anything: alone on a line for any lines, else within the line.

    Trailing blanks do not count, nor how many there are between the columns of a table: these are as wide as what
    stands for `...` today, such as a time that has a date with it before midnight.
    """
    text = ""
    for line in expected.splitlines():
        columns = (re.escape(column).replace(r"\.\.\.", ".*") for column in re.split(r" {2,}", line.rstrip()))
        text += r"(?:.*\n)*?" if line == "..." else " {2,}".join(columns) + " *\n"
    return re.compile(text)


def _short(user: LakeUser, printed: str) -> str:
    for path, name in ((user.scratch, "/scratch"), (user.mount, "/eos/eulake_1"), (user.folder / "home", "~")):
        printed = printed.replace(str(path), name)
    assert tempfile.gettempdir() not in re.sub(r"file://\S+", "", printed) or "Details" in printed, printed
    return "\n".join(line.rstrip() for line in printed.splitlines()) + "\n" if printed else ""
