"""What a file is called in Rucio, and which names and paths cannot be registered."""

from __future__ import annotations

import re
import string

# Rucio's generic schema (`rucio.common.schema.generic.NAME`); a site's own schema may allow other names.
NAME_PATTERN = r"^[/A-Za-z0-9][/A-Za-z0-9\.\-_]*$"
ANY_NAME = r"(?s).+"
NAME_LENGTH = 250
FIELDS = ("path", "folder", "name", "stem", "suffix", "dataset")

# Rucio takes a physical file name apart as a URL: what follows # ? or ; is lost without a word, Python's urllib drops
# tabs and line ends, and a % is decoded by some storages and not by others.
_NOT_IN_A_URL = re.compile(r"[#?;%\\\x00-\x1f\x7f]|//")


def did_name(relative: str, template: str, dataset: str, *, safe: bool = False) -> str:
    """The name by the template, for instance `{folder}/{stem}_v2{suffix}`; raises ValueError for an unknown field.

    `safe` writes `_` for every character that Rucio does not allow in a name.
    """
    folder, _, name = relative.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        stem, dot, suffix = name, "", ""
    values = {"path": relative, "folder": folder, "name": name, "stem": stem, "suffix": dot + suffix}
    result = _fill(template, values | {"dataset": dataset}).lstrip("/")
    if not safe:
        return result
    result = re.sub(r"[^/A-Za-z0-9.\-_]", "_", result)
    return result if re.match(r"[A-Za-z0-9]", result) else "x" + result


def _fill(template: str, values: dict[str, str]) -> str:
    parts = []
    for literal, field, format_spec, conversion in string.Formatter().parse(template):
        parts.append(literal)
        if field is None:
            continue
        if field not in values or format_spec or conversion:
            fields = ", ".join(f"{{{known}}}" for known in FIELDS)
            raise ValueError(f"the template {template!r} has {{{field}}}; it may have {fields}")
        parts.append(values[field])
    return "".join(parts)


def problem_of_name(name: str, pattern: str = NAME_PATTERN, length: int = NAME_LENGTH) -> str:
    """Why Rucio would not take the name, in words; "" when it would."""
    if not name:
        return "its name in Rucio would be empty"
    if len(name) > length:
        return f"its name in Rucio would have {len(name)} characters, and {length} is the most"
    # `$` matches before a line end at the end, too, in Rucio's own check as here.
    if re.match(pattern, name) and (pattern == ANY_NAME or not name.endswith("\n")):
        return ""
    bad = sorted({c for c in name if not re.match(r"[/A-Za-z0-9.\-_]", c)})
    if not bad:
        return f"a name in Rucio cannot begin with {name[0]!r}"
    return f"a name in Rucio cannot have {', '.join(map(_shown, bad))}"


def problem_of_path(path: str) -> str:
    """Why the path cannot be registered where it lies, in words; "" when it can."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return "its path is not UTF-8, and cannot be written in a URL"
    found = sorted(set(_NOT_IN_A_URL.findall(path)))
    return f"its path has {', '.join(map(_shown, found))}, which a URL cannot carry" if found else ""


def _shown(character: str) -> str:
    return {" ": "a space", "\n": "a line end", "\t": "a tab"}.get(character, ascii(character).strip("'\""))
