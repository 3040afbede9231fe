"""What one cleaning of a scratch area has found, in a temporary database: a million files take no memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jupyterhub_dlaas.admin.scratch_area import Entry, Kind, join

_TABLES = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -8000;
CREATE TABLE folder (id INTEGER PRIMARY KEY, above INTEGER, path BLOB, depth INTEGER, inode INTEGER, used_at REAL,
    stays INTEGER DEFAULT 0);
CREATE TABLE old (id INTEGER PRIMARY KEY, folder INTEGER, name BLOB, kind TEXT, inode INTEGER, size INTEGER,
    mtime_ns INTEGER, ctime_ns INTEGER, used_at REAL, known INTEGER DEFAULT 0);
CREATE TABLE known (path BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE kept_inode (inode INTEGER PRIMARY KEY);
"""
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of the area. `depth`: 0 for the area itself, 1 for what lies in it."""

    id: int
    path: bytes
    depth: int
    inode: int
    used_at: float


@dataclass(frozen=True, slots=True)
class Old:
    """A file or link that is old enough to go, unless Rucio knows it."""

    id: int
    folder: int
    path: bytes
    entry: Entry


class Notes:
    """Folders, old files, and what Rucio knows below the area. Gone when it is closed, or its process ends."""

    def __init__(self) -> None:
        # An empty name is a temporary database on disk, deleted by the system (sqlite.org/inmemorydb.html).
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(_TABLES)
        self._db.execute("BEGIN")

    def close(self) -> None:
        """Forgets everything."""
        self._db.close()

    # ------------------------------------------------------------------ what is there

    def add_folder(self, above: Folder | None, entry: Entry) -> Folder:
        """Notes a folder; those above it come first."""
        path = b"" if above is None else join(above.path, entry.name)
        depth = 0 if above is None else above.depth + 1
        row = (None if above is None else above.id, path, depth, entry.inode, entry.used_at)
        at = self._db.execute("INSERT INTO folder (above, path, depth, inode, used_at) VALUES (?, ?, ?, ?, ?)", row)
        return Folder(at.lastrowid or 0, path, depth, entry.inode, entry.used_at)

    def folders(self) -> Iterator[Folder]:
        """All folders from the area itself on, also those that are added meanwhile."""
        last = 0
        while True:
            row = self._db.execute(
                "SELECT id, path, depth, inode, used_at FROM folder WHERE id > ? ORDER BY id LIMIT 1", (last,)
            ).fetchone()
            if row is None:
                return
            last = row[0]
            yield Folder(*row)

    def add_old(self, folder: Folder, entries: Iterable[Entry]) -> None:
        """Notes files and links that are old enough to go."""
        self._db.executemany(
            "INSERT INTO old (folder, name, kind, inode, size, mtime_ns, ctime_ns, used_at) VALUES (?,?,?,?,?,?,?,?)",
            (
                (folder.id, each.name, each.kind, each.inode, each.size, each.mtime_ns, each.ctime_ns, each.used_at)
                for each in entries
            ),
        )

    def stays(self, folder: int) -> None:
        """Something in this folder stays, so the folder does."""
        self._db.execute("UPDATE folder SET stays = 1 WHERE id = ?", (folder,))

    # ------------------------------------------------------------------ what Rucio knows

    def add_known(self, paths: Iterable[bytes]) -> None:
        """Notes paths in the area that Rucio has replicas at."""
        self._db.executemany("INSERT OR IGNORE INTO known VALUES (?)", ((path,) for path in paths))

    def keep_inode(self, inode: int) -> None:
        """A path that Rucio knows leads here by a link."""
        self._db.execute("INSERT OR IGNORE INTO kept_inode VALUES (?)", (inode,))

    def is_known(self, old: Old) -> bool:
        """Whether Rucio knows it: by its path, by a link to it, or, of a link, what lies behind it."""
        path = old.path
        if self._one("SELECT 1 FROM known WHERE path = ?", path):
            return True
        # `/` and `0` are neighbours: everything below the path lies between them.
        below = "SELECT 1 FROM known WHERE path > ? AND path < ? LIMIT 1"
        if old.entry.kind == "link" and self._one(below, path + b"/", path + b"0"):
            return True
        return self._one("SELECT 1 FROM kept_inode WHERE inode = ?", old.entry.inode)

    def _one(self, query: str, *values: bytes | int) -> bool:
        return self._db.execute(query, values).fetchone() is not None

    def mark_known(self) -> None:
        """Compares: old files that Rucio knows stay, and so do their folders."""
        for old in self.removable():
            if self.is_known(old):
                self._db.execute("UPDATE old SET known = 1 WHERE id = ?", (old.id,))
                self.stays(old.folder)

    # ------------------------------------------------------------------ what goes

    def removable(self) -> Iterator[Old]:
        """Old files that are not marked as known, folder by folder."""
        last = 0
        while rows := self._db.execute(
            "SELECT old.id, folder.id, folder.path, name, kind, old.inode, size, mtime_ns, ctime_ns, old.used_at "
            "FROM old JOIN folder ON folder.id = old.folder WHERE old.id > ? AND known = 0 ORDER BY old.id LIMIT ?",
            (last, _BATCH),
        ).fetchall():
            for number, folder, above, name, *rest in rows:
                yield Old(number, folder, join(above, name), Entry(name, *rest))
            last = rows[-1][0]

    def empty_folders(self, *, before: float, below: int) -> Iterator[tuple[Folder, Entry]]:
        """Folders deeper than `below` that nothing stays in and nothing came to since `before`, the deepest first."""
        last = 1 << 62
        # Whatever is in a folder was found after it, so it has a higher number.
        while rows := self._db.execute(
            "SELECT id, path, depth, inode, used_at, above, stays FROM folder WHERE id < ? ORDER BY id DESC LIMIT 1",
            (last,),
        ).fetchall():
            ((number, path, depth, inode, used_at, above, stays),) = rows
            last = number
            if stays or used_at >= before or depth <= below:
                if above is not None:
                    self.stays(above)
                continue
            kind: Kind = "folder"
            entry = Entry(path.rpartition(b"/")[2], kind, inode, 0, 0, 0, used_at)
            yield Folder(number, path, depth, inode, used_at), entry

    def totals(self) -> tuple[int, int, int, int]:
        """Files and bytes that can go, files and bytes that Rucio knows."""
        row = self._db.execute(
            "SELECT coalesce(sum(known = 0), 0), coalesce(sum(size * (known = 0)), 0), "
            "coalesce(sum(known), 0), coalesce(sum(size * known), 0) FROM old"
        ).fetchone()
        return row[0], row[1], row[2], row[3]
