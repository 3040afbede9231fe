"""adler32 of many files, of large ones in pieces, and of those that change meanwhile."""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyterhub_dlaas.datalake.checksum import CHANGED, adler32, adler32_of, combined
from jupyterhub_dlaas.datalake.scan import Found, scan


def files(folder: Path) -> Iterator[Found]:
    return scan([str(folder)], lambda path, why: None)


def test_the_sum_is_as_rucio_writes_it(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "a").write_bytes(b"a")

    assert adler32(tmp_path / "empty") == "00000001"
    assert adler32(tmp_path / "a") == f"{zlib.adler32(b'a'):08x}"


@pytest.mark.parametrize("piece", [4096, 65521, 1 << 20])
def test_the_pieces_of_a_large_file_make_its_sum(tmp_path: Path, piece: int) -> None:
    content = random.Random(piece).randbytes(3_000_001)
    (tmp_path / "large").write_bytes(content)

    (result,) = adler32_of(files(tmp_path), piece=piece, workers=3)

    assert result.adler32 == f"{zlib.adler32(content):08x}"


def test_two_sums_make_that_of_the_whole() -> None:
    random_ = random.Random(7)
    for _ in range(50):
        first, second = random_.randbytes(random_.randrange(200_000)), random_.randbytes(random_.randrange(200_000))
        assert combined(zlib.adler32(first), zlib.adler32(second), len(second)) == zlib.adler32(first + second)


def test_a_thousand_files_come_in_their_order(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"f{number}").write_bytes(b"%d" % number)
    found = list(files(tmp_path))

    results = list(adler32_of(found))

    assert [result.found for result in results] == found
    assert all(result.adler32 == f"{zlib.adler32(Path(result.found.path).read_bytes()):08x}" for result in results)


def test_every_byte_read_is_told(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"f{number}").write_bytes(bytes(number))
    told: list[int] = []

    list(adler32_of(files(tmp_path), on_bytes=told.append))

    assert sum(told) == sum(range(100))


@pytest.mark.parametrize("size", [100, 2_000_000])
def test_a_file_that_was_rewritten_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(size))
    (found,) = files(tmp_path)
    path.write_bytes(b"1" * size)
    os.utime(path, ns=(found.mtime_ns + 1, found.mtime_ns + 1))

    (result,) = adler32_of([found], piece=500_000)

    assert (result.adler32, result.problem) == ("", CHANGED)


def test_a_file_that_was_replaced_with_the_same_size_and_time_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    (found,) = files(path)
    (tmp_path / "new").write_bytes(b"new")
    os.utime(tmp_path / "new", ns=(found.mtime_ns, found.mtime_ns))
    (tmp_path / "new").replace(path)

    (result,) = adler32_of([found])

    assert result.problem == CHANGED


@pytest.mark.parametrize("size", [100, 2_000_000])
def test_a_file_that_became_shorter_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(size))
    (found,) = files(path)
    os.truncate(path, 10)

    (result,) = adler32_of([found], piece=500_000)

    assert result.problem == CHANGED


@pytest.mark.parametrize("size", [100, 2_000_000])
def test_a_file_that_is_gone_is_said(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(size))
    (found,) = files(path)
    path.unlink()

    (result,) = adler32_of([found], piece=500_000)

    assert result.problem == "it was removed before it was read"


def test_who_stops_in_the_middle_leaves_no_file_open(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"f{number}").write_bytes(bytes(2_000_000))
    before = len(os.listdir("/proc/self/fd"))

    results = adler32_of(files(tmp_path), piece=500_000)
    next(results)
    results.close()  # type: ignore[attr-defined]

    assert len(os.listdir("/proc/self/fd")) == before
