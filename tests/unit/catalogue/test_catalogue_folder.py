"""A folder of catalogues that changes: which VO is open, which closed, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyterhub_dlaas.catalogue.folder import Catalogues
from jupyterhub_dlaas.catalogue.grants import Grant
from jupyterhub_dlaas.errors import ConfigError

GRANT = Grant(groups={"x"}, audiences=["rucio"], hosts=["r.org"], images=["x.org/*"])
VOS = {"escape": GRANT, "ska": GRANT}


def text(vo: str, image: str = "x.org/a:1", audience: str = "rucio") -> str:
    return (
        f"vo: {vo}\nrucio_instances:\n  r: {{rucio_host: 'https://r.org', audience: {audience}, mode: download}}\n"
        f"environments:\n- {{name: a, image: '{image}', rucio: [r]}}\n"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "escape.yaml").write_text(text("escape"))
    (tmp_path / "ska.yml").write_text(text("ska"))
    return tmp_path


def load(folder: Path, audiences: tuple[str, ...] = ("rucio",), *, strict: bool = False) -> Catalogues:
    return Catalogues(str(folder), VOS, audiences, strict=strict)


def why(catalogues: Catalogues, vo: str) -> str:
    return "; ".join(map(str, catalogues.closed[vo].problems))


def test_sound_files_open_their_vos(folder: Path) -> None:
    catalogues = load(folder)
    assert set(catalogues.open) == {"escape", "ska"}
    assert not catalogues.problems


def test_a_single_file_will_do(folder: Path) -> None:
    assert set(load(folder / "ska.yml").open) == {"ska"}


def test_a_setting_that_names_nothing_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="names nothing"):
        load(folder / "missing")


def test_nothing_changed_is_nothing_to_do(folder: Path) -> None:
    catalogues = load(folder)
    assert (catalogues.reload(), catalogues.revision) == (False, 1)


def test_a_touched_file_is_no_change(folder: Path) -> None:
    catalogues = load(folder)
    (folder / "ska.yml").write_text(text("ska"))
    assert not catalogues.reload()


def test_a_change_is_taken_up(folder: Path) -> None:
    catalogues = load(folder)
    (folder / "ska.yml").write_text(text("ska", image="x.org/b:2"))
    assert (catalogues.reload(), catalogues.revision) == (True, 2)
    assert catalogues.open["ska"].environments[0].image == "x.org/b:2"


def test_new_and_removed_files_open_and_close_their_vos(folder: Path) -> None:
    catalogues = load(folder)
    (folder / "ska.yml").rename(folder / "other.yaml")
    catalogues.reload()
    assert set(catalogues.open) == {"escape", "ska"}
    (folder / "other.yaml").unlink()
    catalogues.reload()
    assert "no file has the catalogue of this VO" in why(catalogues, "ska")


def test_a_broken_file_closes_its_vo_alone(folder: Path) -> None:
    (folder / "ska.yml").write_text("vo: [")
    catalogues = load(folder)
    assert set(catalogues.open) == {"escape"}
    assert "this is not YAML" in why(catalogues, "ska")


def test_a_file_broken_while_running_keeps_the_last_good_one(folder: Path) -> None:
    catalogues = load(folder)
    (folder / "ska.yml").write_text("vo: ska\nenvironments: []\n")
    assert catalogues.reload()
    assert "ska" in catalogues.open
    assert not catalogues.closed
    assert catalogues.problems["ska"][0].line == 2


def test_a_file_that_is_mended_has_no_problems_left(folder: Path) -> None:
    (folder / "ska.yml").write_text("vo: [")
    catalogues = load(folder)
    (folder / "ska.yml").write_text(text("ska"))
    catalogues.reload()
    assert (set(catalogues.open), catalogues.problems) == ({"escape", "ska"}, {})


@pytest.mark.parametrize("changed", [{"image": "evil.org/a:1"}, {"audience": "other"}])
def test_a_file_that_goes_beyond_its_grants_closes_its_vo(folder: Path, changed: dict[str, str]) -> None:
    catalogues = load(folder)
    (folder / "ska.yml").write_text(text("ska", **changed))
    catalogues.reload()
    assert set(catalogues.open) == {"escape"}
    assert "not granted" in why(catalogues, "ska")
    assert catalogues.closed["ska"].problems[0].line is not None


def test_an_audience_that_the_hub_does_not_know_closes_the_vo(folder: Path) -> None:
    assert "the hub knows no audience rucio; it knows eos" in why(load(folder, ("eos",)), "ska")


def test_two_files_that_claim_one_vo_close_it(folder: Path) -> None:
    (folder / "more.yaml").write_text(text("ska"))
    catalogues = load(folder)
    assert set(catalogues.open) == {"escape"}
    assert "more.yaml and ska.yml both claim this VO" in why(catalogues, "ska")


def test_who_claims_anothers_vo_closes_only_their_own(folder: Path) -> None:
    (folder / "ska.yml").write_text(text("escape"))
    catalogues = load(folder)
    assert set(catalogues.open) == {"escape"}
    assert "cannot be the catalogue of escape" in why(catalogues, "ska")


def test_a_vo_without_a_grant_is_closed(folder: Path) -> None:
    (folder / "cta.yaml").write_text(text("cta"))
    assert "c.DLaaSConfig.vos has no entry 'cta'" in why(load(folder), "cta")


def test_a_warning_closes_a_vo_where_the_hub_is_strict(folder: Path) -> None:
    (folder / "ska.yml").write_text(text("ska", image="x.org/a"))
    assert [problem.field for problem in load(folder).warnings["ska"]] == ["environments[0].image"]
    assert set(load(folder, strict=True).open) == {"escape"}


def test_a_file_that_is_no_text_or_no_file_harms_nobody(folder: Path) -> None:
    (folder / "ska.yml").write_bytes(b"\xff\xfe\x00")
    (folder / "gone.yaml").symlink_to(folder / "nowhere")
    (folder / "folder.yaml").mkdir()
    (folder / ".hidden.yaml").write_text("vo: [")
    (folder / "README.md").write_text("vo: [")
    catalogues = load(folder)
    assert set(catalogues.open) == {"escape"}
    assert set(catalogues.closed) == {"ska", "gone"}


def test_a_configmaps_links_are_followed_and_its_folders_left_out(tmp_path: Path) -> None:
    """As kubelet lays it out: `escape.yaml -> ..data/escape.yaml`, `..data -> ..2026_1`, swapped by a rename."""
    for number, image in (("1", "x.org/a:1"), ("2", "x.org/a:2")):
        (tmp_path / f"..2026_{number}").mkdir()
        (tmp_path / f"..2026_{number}" / "escape.yaml").write_text(text("escape", image=image))
    (tmp_path / "..data").symlink_to("..2026_1")
    (tmp_path / "escape.yaml").symlink_to("..data/escape.yaml")
    catalogues = load(tmp_path)
    assert catalogues.open["escape"].environments[0].image == "x.org/a:1"
    (tmp_path / "..new").symlink_to("..2026_2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    catalogues.reload()
    assert catalogues.open["escape"].environments[0].image == "x.org/a:2"
