"""Names with spaces, other alphabets, `#`, `%` and line breaks, on a real Rucio whose schema allows them.

Rucio's generic schema does not; a site may have another (a policy package).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.lake_user import LakeUser
from support.rucio_lake import RucioLake, running_lake

from jupyterhub_dlaas.datalake.dids import DID

NAMES = (
    "a b.dat",
    "ü-日本.dat",
    "a#b?c;d.dat",
    "a%20b+c&d.dat",
    "a'\"$\\.dat",
    "deep/er/ a.dat",
    "//double.dat",
    "tab\there",
)
BROKEN = "line\nbreak.dat"


@pytest.fixture(scope="module")
def free_lake() -> Iterator[RucioLake]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"))
        with running_lake(policy="free_names") as lake:
            yield lake


@pytest.fixture
def carol(free_lake: RucioLake, tmp_path: Path) -> LakeUser:
    return LakeUser(free_lake, "alice", tmp_path / "alice")


def put(lake: RucioLake, user: LakeUser, names: tuple[str, ...]) -> tuple[DID, list[str]]:
    """A dataset of files with these names on the mounted storage: it, and their paths."""
    dataset = DID(user.scope, user.name_of("dataset of all"))
    files = [
        {"scope": user.scope, "name": f"{user.unique} {name}", "bytes": 5, "adler32": "00000001"} for name in names
    ]
    lake.root.add_replicas(lake.mounted, [dict(file) for file in files])
    lake.root.add_dids([{**dataset.as_dict(), "type": "DATASET"}])
    lake.root.attach_dids_to_dids([{**dataset.as_dict(), "dids": files}])
    found = lake.root.list_replicas([{"scope": file["scope"], "name": file["name"]} for file in files])
    paths = ["/" + entry["rses"][lake.mounted][0].partition("://")[2].partition("/")[2] for entry in found]
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(b"12345")
    return dataset, paths


def test_paths_are_those_of_the_names(carol: LakeUser, free_lake: RucioLake):
    dataset, paths = put(free_lake, carol, NAMES)
    done = carol.datalake("path", dataset)
    assert (done.code, sorted(map(Path, done.out.splitlines()))) == (0, sorted(map(Path, paths))), done.err


@pytest.mark.parametrize("name", NAMES)
def test_file_is_asked_for_by_its_name(carol: LakeUser, free_lake: RucioLake, name: str):
    _, (path,) = put(free_lake, carol, (name,))
    did = f"{carol.scope}:{carol.unique} {name}"
    done = carol.datalake("path", did)
    assert (done.code, [Path(line) for line in done.out.splitlines()]) == (0, [Path(path)]), done.err
    assert json.loads(carol.datalake("info", did, "--json").out)["did"] == did
    assert json.loads(carol.datalake("ls", did, "--json").out)["did"] == did
    pfn = carol.datalake("pfn", did).out.rstrip("\n")
    assert Path("/" + pfn.partition("://")[2].partition("/")[2]) == Path(path)


def test_line_break_never_makes_two_lines(carol: LakeUser, free_lake: RucioLake):
    dataset, (path,) = put(free_lake, carol, (BROKEN,))
    done = carol.datalake("path", dataset)
    assert (done.code, done.out, "Use -0 or --json" in done.err) == (2, "", True)
    assert carol.datalake("path", "-0", dataset).out == f"{path}\0"
    assert json.loads(carol.datalake("path", "--json", dataset).out)["path"] == path
    assert len(carol.datalake("ls", dataset).out.splitlines()) == 2
    assert carol.datalake("pfn", dataset).code == 2
