"""YAML text to plain data, with the line of every value, and without YAML's traps.

Keys that appear twice, tags that make objects, aliases that explode and documents too large or too deep become problems
with a line. The scalars are those of YAML 1.2: `no` is a text, not false.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from jupyterhub_dlaas.catalogue.consistency import Path
from jupyterhub_dlaas.errors import Problem

MAX_BYTES = 256 * 1024
MAX_VALUES = 50_000
MAX_DEPTH = 20
MAX_PROBLEMS = 100
_PREFIX = "tag:yaml.org,2002:"
_PLAIN = {_PREFIX + kind for kind in ("int", "float", "bool", "null")}


@dataclass
class Document:
    """Plain `data`, and what is needed to say where in the text something is."""

    source: str
    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, path: Path, message: str, line: int | None = None) -> Problem:
        """A problem at the line of `path`, or of the nearest thing around it that is in the text."""
        at = path
        while line is None and at:
            line, at = self.lines.get(at), at[:-1]
        return Problem(message, field_name(path), line or self.lines.get(()), self.source)


def field_name(path: Path) -> str:
    """`environments[0].image` for `("environments", 0, "image")`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def read(text: str, source: str) -> Document:
    """The document in `text`; with problems, `data` is what could be understood."""
    document = Document(source)
    if len(text.encode()) > MAX_BYTES:
        document.problems.append(Problem(f"the file is larger than {MAX_BYTES // 1024} KiB", "", None, source))
        return document
    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(text)
        if node is None:
            document.problems.append(Problem("the file is empty", "", 1, source))
        else:
            document.data = _Reader(document, yaml).value(node, ())
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = ", ".join(part for part in (error.context, error.problem) if part)
        document.problems.append(Problem(f"this is not YAML: {why}", "", mark.line + 1 if mark else None, source))
    except YAMLError as error:
        document.problems.append(Problem(f"this is not YAML: {str(error).splitlines()[0]}", "", None, source))
    except RecursionError:
        document.problems.append(Problem("the file is nested too deeply", "", None, source))
    except _TooMuchError as error:
        document.problems.append(Problem(str(error), "", error.line, source))
    return document


class _TooMuchError(Exception):
    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class _Reader:
    def __init__(self, document: Document, yaml: YAML) -> None:
        self.document = document
        self.yaml = yaml
        self.count = 0

    def value(self, node: Node, path: Path) -> Any:
        line = node.start_mark.line + 1
        self.document.lines.setdefault(path, line)
        self.count += 1
        if self.count > MAX_VALUES:
            raise _TooMuchError(
                f"the file has more than {MAX_VALUES} values (aliases count as often as they are used)", line
            )
        # An alias to something around itself has no end either.
        if len(path) > MAX_DEPTH:
            raise _TooMuchError("the file is nested too deeply", line)
        if not isinstance(node, ScalarNode) and str(node.tag) not in {_PREFIX + "map", _PREFIX + "seq"}:
            self.report(path, f"the tag {node.tag} is not allowed here", line)
            return None
        if isinstance(node, MappingNode):
            return self.mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self.scalar(node, path)

    def mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        merged: list[Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == _PREFIX + "merge":
                merged += value_node.value if isinstance(value_node, SequenceNode) else [value_node]
                continue
            line = key_node.start_mark.line + 1
            key = str(key_node.value) if isinstance(key_node, ScalarNode) else ""
            if not key:
                self.report(path, "a key has to be a word", line)
            elif key in data:
                self.report(
                    (*path, key), f"{key} appears twice; the first is in line {self.document.lines[*path, key]}", line
                )
            else:
                self.document.lines[*path, key] = line
                data[key] = self.value(value_node, (*path, key))
        for other in merged:
            if isinstance(other, MappingNode):
                data = {**self.value(other, path), **data}
            else:
                self.report(path, "<< can only merge mappings", other.start_mark.line + 1)
        return data

    def scalar(self, node: Node, path: Path) -> Any:
        tag = str(node.tag)
        if tag in _PLAIN:
            try:
                return self.yaml.constructor.construct_object(node)
            except (ValueError, LookupError, OverflowError, YAMLError):  # `!!bool maybe` is a KeyError
                self.report(path, "this value cannot be read", node.start_mark.line + 1)
                return None
        if tag.startswith(_PREFIX) and tag.removeprefix(_PREFIX) in {"str", "timestamp"}:
            return str(node.value)
        self.report(path, f"the tag {tag} is not allowed here", node.start_mark.line + 1)
        return None

    def report(self, path: Path, message: str, line: int) -> None:
        if len(self.document.problems) >= MAX_PROBLEMS:
            raise _TooMuchError("the rest of the file was not read: too much is wrong with it", line)
        self.document.problems.append(self.document.problem(path, message, line))
