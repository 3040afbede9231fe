"""XCache: what is read twice, for whom, and what it lets through."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.commands import NO_LOGIN, NOT_ALLOWED, rucio, run, xrootd_environment
from storage.lake import StorageLake, StorageUser, put
from storage.layout import CACHE, SITE_A, SITE_B, SITE_T, TOKEN_CACHE, TOKEN_ORIGIN, rse
from storage.plane import Lab


@contextmanager
def gone(path: Path) -> Iterator[None]:
    """Without this file."""
    hidden = path.with_name(f".{path.name}.hidden")
    path.rename(hidden)
    try:
        yield
    finally:
        hidden.rename(path)


def _file(person: StorageUser, size: int = 700_000) -> tuple[str, Path]:
    """A file at SITE-B: its DID and where the server keeps it."""
    dataset = person.make_dataset(1, size, SITE_B)
    (file,) = person.lake.root.list_files(dataset.scope, dataset.name)
    return f"{file['scope']}:{file['name']}", person.lake.path(SITE_B, file["scope"], file["name"])


def _download(person: StorageUser, did: str) -> bytes | None:
    """By Rucio's own client."""
    place = person.workplace()
    rucio(person.environ, "download", "--dir", place, did, cwd=place)
    found = place / Path(*did.split(":"))
    return found.read_bytes() if found.exists() else None


def test_the_second_read_is_served_with_the_file_gone_at_the_origin(cached_alice: StorageUser) -> None:
    did, path = _file(cached_alice)
    content = path.read_bytes()
    assert _download(cached_alice, did) == content
    with gone(path):
        assert _download(cached_alice, did) == content


def test_the_cache_says_that_the_second_read_missed_nothing(cached_alice: StorageUser) -> None:
    did, path = _file(cached_alice)
    for _ in range(2):
        _download(cached_alice, did)
    layout = cached_alice.lake.layout
    info = layout.data(CACHE) / path.relative_to(layout.data("site-b"))
    said = run("xrdpfc_print", "-v", f"{info}.cinfo").out
    assert re.search(r"N_acc_total=[2-9]", said), said


def test_an_environment_without_a_cache_reads_from_the_origin(alice: StorageUser, cached_alice: StorageUser) -> None:
    did, path = _file(cached_alice)
    assert _download(cached_alice, did) is not None
    with gone(path):
        assert _download(alice, did) is None


def test_readers_at_the_storages_own_site_go_past_the_cache(lake: StorageLake, alice: StorageUser) -> None:
    dataset = alice.make_dataset(1, 1000, SITE_A)
    (replica,) = lake.root.list_replicas(
        [dataset.as_dict()], schemes=["root"], client_location={"site": rse(SITE_A).site}
    )
    assert all(not pfn.startswith(f"root://{lake.layout.address(CACHE)}") for pfn in replica["pfns"])


def test_the_cache_with_tokens_in_front_refuses_readers_without_one(lab: Lab, tmp_path: Path) -> None:
    url = _protected(lab, TOKEN_CACHE)
    for token, code in (
        (None, NO_LOGIN),
        (lab.mint.storage("alice", seconds=-60), NO_LOGIN),
        (lab.mint.rucio("alice"), NOT_ALLOWED),
        (lab.mint.storage("alice"), 0),
    ):
        assert (
            run("xrdcp", "-f", "-N", url, tmp_path / "x", env=xrootd_environment(lab.layout, tmp_path, token)).code
            == code
        )


def test_an_open_cache_hands_protected_files_to_anybody(lab: Lab, tmp_path: Path) -> None:
    """It reads with a token of its own and asks nobody for theirs: a cache before such storage has to ask, too."""
    url = _protected(lab, CACHE)
    assert run("xrdcp", "-f", "-N", url, tmp_path / "x", env=xrootd_environment(lab.layout, tmp_path, None)).code == 0
    assert (tmp_path / "x").read_bytes() == b"embargoed"


def test_a_cache_knows_files_by_their_path_alone(lake: StorageLake, lab: Lab, tmp_path: Path) -> None:
    """The same path at another origin gets the first one's bytes: each RSE has a prefix of its own."""
    for server in ("site-a", "site-b"):
        put(lake, lab.layout.data(server) / "same" / "path", server.encode())
    environment = xrootd_environment(lab.layout, tmp_path, None)
    for server in ("site-a", "site-b"):
        url = f"root://{lab.layout.address(CACHE)}//root://{lab.layout.address(server)}//same/path"
        assert run("xrdcp", "-f", "-N", url, tmp_path / server, env=environment).code == 0
    assert (tmp_path / "site-b").read_bytes() == b"site-a"


def test_a_dead_origin_is_noticed_at_once_and_forgotten_when_it_is_back(
    lake: StorageLake, lab: Lab, tmp_path: Path
) -> None:
    name = os.urandom(6).hex()
    put(lake, lab.layout.data("site-b") / name, b"bytes")
    url = f"root://{lab.layout.address(CACHE)}//root://{lab.layout.address('site-b')}//{name}"
    environment = xrootd_environment(lab.layout, tmp_path, None)
    lab.daemons["site-b"].stop()
    try:
        assert run("timeout", "10", "xrdcp", "-f", "-N", url, tmp_path / "x", env=environment).code not in (0, 124)
    finally:
        lab.daemons["site-b"].start()
    assert run("xrdcp", "-f", "-N", url, tmp_path / "x", env=environment).code == 0


def _protected(lab: Lab, cache: str) -> str:
    """The address, by way of a cache, of a file at the storage that wants tokens."""
    path = lab.layout.data(TOKEN_ORIGIN) / "site-t" / "embargoed"
    path.write_bytes(b"embargoed")
    return f"root://{lab.layout.address(cache)}//{lab.layout.pfn(SITE_T, 'embargoed')}"
