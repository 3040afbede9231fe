"""One cleaning of a scratch area: look, ask Rucio, compare, and only then remove what nobody needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from jupyterhub_dlaas.admin.scratch_area import Area, Entry, join
from jupyterhub_dlaas.admin.scratch_notes import Notes
from jupyterhub_dlaas.admin.scratch_rucio import NotAsked
from jupyterhub_dlaas.admin.scratch_uploads import Uploads
from jupyterhub_dlaas.datalake.journal import SUFFIX as JOURNAL

_BATCH = 500
# While files are removed, Rucio is asked again for what came new, at least this often.
_ASK_AGAIN_SECONDS = 30.0


class Known(Protocol):
    """What `scratch_rucio.Replicas` answers; see there."""

    elsewhere: list[bytes]

    def paths(self) -> Iterator[tuple[bytes, ...]]: ...
    def newer_paths(self) -> Iterator[tuple[bytes, ...]]: ...
    def seconds_since_asked(self) -> float: ...


@dataclass
class Counts:
    """Files, folders and bytes by what became of them. In a dry run `removed` is what would be.

    `young`: used since; `known`: Rucio has a replica there; `spared`: being uploaded, a journal of uploads, or neither
    file nor link nor folder; `changed`: not what it was any more when it was to be removed, or registered meanwhile;
    `failed`: the system did not let it be read or removed; `missing`: replicas that Rucio knows here and that are not
    there.
    """

    files: int = 0
    folders: int = 0
    young: int = 0
    young_bytes: int = 0
    known: int = 0
    known_bytes: int = 0
    spared: int = 0
    changed: int = 0
    failed: int = 0
    missing: int = 0
    removed: int = 0
    removed_bytes: int = 0
    removed_folders: int = 0


@dataclass(frozen=True)
class Rules:
    """What may go: files not used since `before` (epoch seconds), and folders more than `keep_levels` deep.

    What `uploads` has is spared.
    """

    before: float
    keep_levels: int = 1
    uploads: Uploads = field(default_factory=Uploads)


@dataclass(frozen=True)
class Tell:
    """What is said on the way: a path that goes and its bytes (None: a folder), and a path with what went wrong."""

    gone: Callable[[bytes, int | None], None] = lambda path, size: None
    failed: Callable[[bytes, str], None] = lambda path, why: None


def clean(area: Area, rucio: Known, rules: Rules, *, remove: bool, tell: Tell | None = None) -> Counts:
    """Looks at the whole area and removes, or in a dry run names, what may go.

    Raises NotAsked, with nothing removed since, when Rucio's answer is not there, not whole, or not about this area.
    """
    tell = tell or Tell()
    counts, notes = Counts(), Notes()
    try:
        _look(area, notes, rules, counts, tell)
        if notes.totals()[0]:
            _compare(area, notes, rucio, counts)
            counts.removed, counts.removed_bytes, counts.known, counts.known_bytes = notes.totals()
            if remove:
                counts.removed = counts.removed_bytes = 0
                _remove(area, notes, rucio, counts, tell)
            else:
                for old in notes.removable():
                    tell.gone(old.path, old.entry.size)
        _folders(area, notes, rules, counts, tell, remove=remove)
    finally:
        notes.close()
    return counts


def _look(area: Area, notes: Notes, rules: Rules, counts: Counts, tell: Tell) -> None:
    notes.add_folder(None, Entry(b"", "folder", 0, 0, 0, 0, 0.0))
    for folder in notes.folders():
        counts.folders += 1
        old: list[Entry] = []
        stays = False
        try:
            for entry in area.entries(folder.path):
                if entry.kind == "folder":
                    notes.add_folder(folder, entry)
                elif _stays(folder.path, entry, rules, counts):
                    stays = True
                else:
                    old.append(entry)
                    if len(old) == _BATCH:
                        notes.add_old(folder, old)
                        old.clear()
        except OSError as error:
            stays = True
            counts.failed += 1
            tell.failed(folder.path, _words(error))
        notes.add_old(folder, old)
        if stays:
            notes.stays(folder.id)


def _stays(folder: bytes, entry: Entry, rules: Rules, counts: Counts) -> bool:
    counts.files += 1
    if entry.kind == "other" or entry.name.endswith(JOURNAL.encode()):
        counts.spared += 1
    elif entry.used_at >= rules.before:
        counts.young, counts.young_bytes = counts.young + 1, counts.young_bytes + entry.size
    elif rules.uploads.has(join(folder, entry.name)):
        counts.spared += 1
    else:
        return False
    return True


def _compare(area: Area, notes: Notes, rucio: Known, counts: Counts) -> None:
    """Marks what Rucio knows, after a look whether it speaks of this area at all."""
    found = 0
    for names in rucio.paths():
        if _note(area, notes, names):
            found += 1
        else:
            counts.missing += 1
    if counts.missing and not found:
        raise NotAsked(
            f"Rucio knows {counts.missing:,} files in {area.path}, and none of them is there.",
            hint="Is --path what the RSE has at --rse-path? Nothing was removed.",
        )
    if not found and (known := next((path for path in rucio.elsewhere if _is_here(area, path)), None)):
        raise NotAsked(
            f"A file like {os.fsdecode(known)}, which Rucio knows outside of --rse-path, is in {area.path}.",
            hint="Name with --rse-path the folder, below the RSE's prefix, that --path is. Nothing was removed.",
        )
    notes.mark_known()


def _note(area: Area, notes: Notes, names: tuple[bytes, ...]) -> bool:
    """Notes the names of one replica; whether it is there by one of them."""
    notes.add_known(names)
    there = [found for name in names if (found := area.inode(name)) is not None]
    for number, by_link in there:
        if by_link:
            notes.keep_inode(number)
    return bool(there)


def _is_here(area: Area, path: bytes) -> bool:
    """Whether the end of a path that Rucio has outside of this area is in it: one is then taken for the other."""
    parts = path.split(b"/")
    return any(area.inode(b"/".join(parts[start:])) is not None for start in range(len(parts)))


def _remove(area: Area, notes: Notes, rucio: Known, counts: Counts, tell: Tell) -> None:
    asked = False
    for old in notes.removable():
        if not asked or rucio.seconds_since_asked() > _ASK_AGAIN_SECONDS:
            asked = True
            for names in rucio.newer_paths():
                _note(area, notes, names)
        if notes.is_known(old):
            counts.changed += 1
            notes.stays(old.folder)
            continue
        try:
            gone = area.remove(old.path, old.entry)
        except OSError as error:
            counts.failed += 1
            notes.stays(old.folder)
            tell.failed(old.path, _words(error))
            continue
        if gone:
            counts.removed, counts.removed_bytes = counts.removed + 1, counts.removed_bytes + old.entry.size
            tell.gone(old.path, old.entry.size)
        else:
            counts.changed += 1
            notes.stays(old.folder)


def _folders(area: Area, notes: Notes, rules: Rules, counts: Counts, tell: Tell, *, remove: bool) -> None:
    for folder, entry in notes.empty_folders(before=rules.before, below=rules.keep_levels):
        try:
            gone = not remove or area.remove(folder.path, entry)
        except OSError as error:
            counts.failed += 1
            tell.failed(folder.path, _words(error))
            gone = False
        if gone:
            counts.removed_folders += 1
            tell.gone(folder.path, None)


def _words(error: OSError) -> str:
    return error.strerror or os.strerror(error.errno or 0)
