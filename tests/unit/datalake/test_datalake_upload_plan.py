"""What is to become of files: names, datasets, physical names; and what is said of impossible ones."""

from __future__ import annotations

import pytest

from jupyterhub_dlaas.datalake.dids import DID
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.plan import Aim, plan, survey
from jupyterhub_dlaas.datalake.scan import Found
from jupyterhub_dlaas.datalake.source import Source
from jupyterhub_dlaas.datalake.upload import Wish

SOURCE = Source("LAKE-SCRATCHDISK", "/scratch", "root://host:1094//rucio/alice")
AIM = Aim("user.alice", "run")


def found(*relatives: str, size: int = 10) -> list[Found]:
    return [Found(f"/scratch/{relative}", relative, size, 1, 1, 1) for relative in relatives]


def test_a_file_gets_its_name_dataset_and_physical_name_from_its_path() -> None:
    (planned,) = plan(found("run/a/x.dat"), AIM, SOURCE.place, lambda path, why: None)

    assert planned.name == "run/a/x.dat"
    assert planned.dataset == DID("user.alice", "run")
    assert planned.pfn == "root://host:1094//rucio/alice/run/a/x.dat"


def test_with_a_container_every_folder_is_a_dataset_of_it() -> None:
    aim = Aim("user.alice", "", container="survey")
    planned = plan(found("run/x", "run/a/y", "run/a/z", "w"), aim, SOURCE.place, lambda path, why: None)

    assert [each.dataset.name for each in planned] == ["survey/run", "survey/run/a", "survey/run/a", "survey/files"]


def test_a_survey_counts() -> None:
    seen = survey(found("run/x", "run/y"), AIM, SOURCE.place)

    assert (seen.files, seen.bytes, seen.datasets, seen.bad) == (2, 20, 1, 0)


def test_impossible_files_are_listed_and_nothing_is_done() -> None:
    seen = survey(found("run/ok", "run/my file", "run/a#1"), AIM, SOURCE.place)

    with pytest.raises(Failure) as raised:
        seen.check()

    assert raised.value.code is Code.USAGE
    assert raised.value.sentence.splitlines() == [
        "2 of 3 files cannot be registered; nothing was done.",
        "  /scratch/run/my file: a name in Rucio cannot have a space",
        "  /scratch/run/a#1: a name in Rucio cannot have #",
    ]


def test_safe_names_do_not_help_where_the_path_is_the_problem() -> None:
    seen = survey(found("run/my file", "run/a#1"), Aim("user.alice", "run", safe_names=True), SOURCE.place)

    assert seen.problems == [("/scratch/run/a#1", "its path has #, which a URL cannot carry")]


def test_two_files_that_would_get_one_name_are_refused() -> None:
    seen = survey(found("run/a/x", "run/b/x"), Aim("user.alice", "run", template="{name}"), SOURCE.place)

    assert seen.problems == [("/scratch/run/b/x", "another file would have its name in Rucio, x, too")]


def test_a_template_with_a_wrong_field_is_a_wrong_use() -> None:
    with pytest.raises(Failure) as raised:
        survey(found("run/x"), Aim("user.alice", "run", template="{size}"), SOURCE.place)

    assert raised.value.code is Code.USAGE


def test_a_path_beside_the_storage_has_no_physical_name() -> None:
    with pytest.raises(Failure, match="/home/alice/x is not below /scratch"):
        SOURCE.pfn("/home/alice/x")


def test_a_name_like_the_folders_is_not_below_it() -> None:
    with pytest.raises(Failure):
        SOURCE.pfn("/scratch-of-bob/x")


def test_a_dataset_is_called_after_the_folder() -> None:
    assert Wish(rse="X").aim("alice", ("/nowhere/run",)).dataset == "run"
    assert Wish(rse="X").aim("alice", ("/nowhere/run/a", "/nowhere/run/b")).dataset == "run"


def test_files_straight_in_the_scratch_need_a_name_for_their_dataset() -> None:
    with pytest.raises(Failure, match="The dataset needs a name"):
        Wish(rse="X").aim("alice", ("/scratch/a", "/scratch/b"), ["/scratch"])


def test_a_dataset_may_be_written_with_its_scope() -> None:
    aim = Wish(rse="X", dataset="cms:run").aim("alice", ("/scratch/a",))

    assert (aim.scope, aim.dataset) == ("cms", "run")


def test_a_class_is_an_expression() -> None:
    assert Wish(qos="SAFE").destination() == "QOS=SAFE"


def test_a_storage_and_a_class_are_one_too_many() -> None:
    with pytest.raises(Failure, match="both named"):
        Wish(qos="SAFE", rse="X").destination()
