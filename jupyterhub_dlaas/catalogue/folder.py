"""The catalogues of a hub: a file, or a folder with one per VO, followed while they change.

A VO is open when exactly one file claims it, that file is sound, and it stays within what the VO was granted. A file
that breaks while the hub runs keeps its last good content in use, and the problem is remembered; one that goes beyond
its grants closes its VO. Whatever is wrong with one file closes one VO.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jupyterhub_dlaas.catalogue.document import MAX_BYTES
from jupyterhub_dlaas.catalogue.grants import Grant, beyond
from jupyterhub_dlaas.catalogue.load import Loaded, advice, load
from jupyterhub_dlaas.catalogue.models import Catalogue
from jupyterhub_dlaas.errors import ConfigError, Problem

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClosedVO:
    """A VO that offers nothing, and why."""

    name: str
    problems: tuple[Problem, ...]


@dataclass
class _File:
    stamp: tuple[int, ...] = ()
    content: bytes | None = None
    now: Loaded | None = None
    good: Loaded | None = None


def files(path: Path) -> list[Path]:
    """The catalogue files that `path` names, itself or in it. A ConfigMap's `..data` and its like are left out."""
    if not path.is_dir():
        return [path]
    return [
        path / name
        for name in sorted(os.listdir(path))
        if not name.startswith(".") and name.endswith((".yaml", ".yml")) and not (path / name).is_dir()
    ]


class Catalogues:
    """All catalogues below `path`, checked against the grants `vos` and the hub's `audiences`.

    ConfigError if `path` names nothing. `strict`: what is merely inadvisable closes a VO, too. `revision` increases
    with each change.
    """

    def __init__(
        self, path: str, vos: Mapping[str, Grant], audiences: Collection[str], *, strict: bool = False
    ) -> None:
        self.path = Path(path)
        self.vos = dict(vos)
        self.audiences = frozenset(audiences)
        self.strict = strict
        self.revision = 0
        self.open: Mapping[str, Catalogue] = {}
        self.closed: Mapping[str, ClosedVO] = {}
        self.problems: Mapping[str, tuple[Problem, ...]] = {}
        self.warnings: Mapping[str, tuple[Problem, ...]] = {}
        self._files: dict[Path, _File] = {}
        self._lock = threading.Lock()
        if not path or not self.path.exists():
            raise ConfigError(
                f"c.DLaaSConfig.catalogue = {path!r} names nothing.",
                hint="Give a catalogue file, or a folder with one file (*.yaml) per VO.",
            )
        self.reload()

    def reload(self) -> bool:
        """Takes up changed, new and removed files; True if anything changed. A few system calls if not."""
        with self._lock:
            changed = self._read()
            if changed or not self.revision:
                self._sort_out()
                self.revision += 1
            return changed

    def _read(self) -> bool:
        paths = self._paths()
        if paths is None:
            return False
        changed = False
        for gone in self._files.keys() - set(paths):
            del self._files[gone]
            changed = True
        for path in paths:
            file = self._files.setdefault(path, _File())
            stamp, content = _content(path, file)
            if stamp == file.stamp:
                continue
            file.stamp = stamp
            if file.now is None or content != file.content:
                file.content = content
                file.now = _load(path, content)
                if file.now.catalogue is not None:
                    file.good = file.now
                changed = True
        return changed

    def _paths(self) -> list[Path] | None:
        """The files, None when the folder cannot be read now."""
        try:
            return files(self.path)
        except OSError as error:
            log.error("The catalogue folder %s cannot be read: %s", self.path, error)
            return None

    def _sort_out(self) -> None:
        claims: dict[str, list[Path]] = {}
        shut: dict[str, list[Problem]] = {}
        for path, file in self._files.items():
            vo = _claimed(path, file)
            # Who maintains ska.yaml must not be able to close escape by claiming it.
            if path.stem != vo and path.stem in self.vos:
                message = f"a file named {path.name} cannot be the catalogue of {vo}: {path.stem} is another VO"
                shut.setdefault(path.stem, []).append(Problem(message, "vo", _line(file, "vo"), str(path)))
            else:
                claims.setdefault(vo, []).append(path)
        offered: dict[str, Catalogue] = {}
        problems: dict[str, tuple[Problem, ...]] = {}
        warnings: dict[str, tuple[Problem, ...]] = {}
        for vo in sorted({*claims, *shut, *self.vos}):
            catalogue, found, warned = self._decide(vo, claims.get(vo, []))
            found = [*shut.get(vo, []), *found]
            if catalogue is not None:
                offered[vo] = catalogue
            if found:
                problems[vo] = tuple(found)
            if warned:
                warnings[vo] = tuple(warned)
        closed = {vo: ClosedVO(vo, found) for vo, found in problems.items() if vo not in offered}
        for vo in closed.keys() - self.closed.keys():
            log.error("VO %s is closed: %s", vo, "; ".join(map(str, closed[vo].problems)))
        for vo in offered.keys() & self.closed.keys():
            log.info("VO %s is open again", vo)
        self.open, self.closed, self.problems, self.warnings = offered, closed, problems, warnings

    def _decide(self, vo: str, paths: list[Path]) -> tuple[Catalogue | None, list[Problem], list[Problem]]:
        """The catalogue to use for the VO, if any; the problems; the warnings."""
        if not paths:
            return None, [Problem("no file has the catalogue of this VO", "", None, str(self.path))], []
        if len(paths) > 1:
            others = " and ".join(path.name for path in paths)
            return None, [Problem(f"{others} both claim this VO: remove one", "vo", None, str(self.path))], []
        file = self._files[paths[0]]
        broken = list(file.now.problems) if file.now else []
        if file.good is None or file.good.catalogue is None:
            return None, broken, []
        if vo not in self.vos:
            message = f"c.DLaaSConfig.vos has no entry {vo!r}: the hub's administrator has to grant the VO what it uses"
            return None, [Problem(message, "vo", _line(file, "vo"), str(paths[0]))], []
        catalogue, document = file.good.catalogue, file.good.document
        refused = [document.problem(path, message) for path, message in beyond(catalogue, self.vos[vo])]
        for path, audience in _audiences(catalogue):
            if audience not in self.audiences:
                known = ", ".join(sorted(self.audiences)) or "none"
                refused.append(document.problem(path, f"the hub knows no audience {audience}; it knows {known}"))
        warned = advice(catalogue, document)
        if self.strict:
            refused, warned = [*refused, *warned], []
        return (None if refused else catalogue), [*broken, *refused], warned


def _audiences(catalogue: Catalogue) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, instance in catalogue.rucio_instances.items():
        yield ("rucio_instances", name, "audience"), instance.audience
        for pattern, access in instance.rses.items():
            yield ("rucio_instances", name, "rses", pattern, "audience"), access.audience
    for name, storage in catalogue.storages.items():
        if audience := getattr(storage, "audience", None):
            yield ("storages", name, "audience"), audience
    for name, basket in catalogue.baskets.items():
        if basket.audience:
            yield ("baskets", name, "audience"), basket.audience


def _content(path: Path, file: _File) -> tuple[tuple[int, ...], bytes | None]:
    """The file's stamp and, where that changed, its content (None: unreadable)."""
    try:
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        if stamp == file.stamp:
            return stamp, file.content
        with path.open("rb") as stream:
            return stamp, stream.read(MAX_BYTES + 1)
    except OSError as error:
        return (-1, error.errno or 0), None


def _load(path: Path, content: bytes | None) -> Loaded:
    try:
        text = content.decode() if content is not None else None
    except UnicodeDecodeError:
        text = None
    if text is not None:
        return load(text, str(path))
    why = "the file cannot be read" if content is None else "the file is not UTF-8 text"
    unread = load("", str(path))
    return Loaded(None, unread.document, (Problem(why, "", None, str(path)),))


def _claimed(path: Path, file: _File) -> str:
    """The VO that a file is about: what it says, or said when it was last sound, or its name."""
    for loaded in (file.now, file.good):
        if loaded and loaded.catalogue:
            return loaded.catalogue.vo
    data = file.now.document.data if file.now else None
    said = data.get("vo") if isinstance(data, dict) else None
    return said if isinstance(said, str) and said else path.stem


def _line(file: _File, field: str) -> int | None:
    return file.now.document.lines.get((field,)) if file.now else None
