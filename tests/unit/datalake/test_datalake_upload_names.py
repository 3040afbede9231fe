"""Which names and paths Rucio takes, and what is said of the others."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from jupyterhub_dlaas.datalake.names import (
    ANY_NAME,
    NAME_LENGTH,
    NAME_PATTERN,
    did_name,
    problem_of_name,
    problem_of_path,
)


def test_the_rules_for_names_are_those_of_rucios_generic_schema() -> None:
    # Importing it needs a rucio.cfg.
    package = find_spec("rucio")
    assert package and package.origin
    text = (Path(package.origin).parent / "common/schema/generic.py").read_text()
    assert f'"pattern": r"{NAME_PATTERN}"' in text
    assert f"NAME_LENGTH = {NAME_LENGTH}" in text


@pytest.mark.parametrize("name", ["a", "run/a.root", "A-1_2.x", "a" * 250])
def test_a_possible_name(name: str) -> None:
    assert problem_of_name(name) == ""


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("my file", "a name in Rucio cannot have a space"),
        ("größe", r"a name in Rucio cannot have \xdf, \xf6"),
        ("a#b%c", "a name in Rucio cannot have #, %"),
        ("a\nb", "a name in Rucio cannot have a line end"),
        ("ends\n", "a name in Rucio cannot have a line end"),
        (".hidden", "a name in Rucio cannot begin with '.'"),
        ("a" * 251, "its name in Rucio would have 251 characters, and 250 is the most"),
        ("", "its name in Rucio would be empty"),
    ],
)
def test_an_impossible_name_is_explained(name: str, why: str) -> None:
    assert problem_of_name(name) == why


@pytest.mark.parametrize("path", ["/scratch/my file", "/scratch/größe", "/scratch/a+b=c"])
def test_a_path_may_have_what_a_name_may_not(path: str) -> None:
    assert problem_of_path(path) == ""


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/s/a#1", "its path has #, which a URL cannot carry"),
        ("/s/100%", "its path has %, which a URL cannot carry"),
        ("/s/a?b;c", "its path has ;, ?, which a URL cannot carry"),
        ("/s/a\nb", "its path has a line end, which a URL cannot carry"),
        ("/s/\udcff", "its path is not UTF-8, and cannot be written in a URL"),
    ],
)
def test_a_path_that_rucio_would_cut_off_is_refused(path: str, why: str) -> None:
    assert problem_of_path(path) == why


def test_a_template_takes_a_path_apart() -> None:
    assert did_name("run/a/x.tar.gz", "v2/{folder}/{stem}_b{suffix}", "d") == "v2/run/a/x.tar_b.gz"
    assert did_name("x", "{dataset}/{name}{suffix}", "d") == "d/x"


def test_a_template_with_an_unknown_field_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"\{size\}; it may have \{path\}, \{folder\}"):
        did_name("x", "{size}", "d")


def test_a_rucio_with_another_schema_may_take_any_name() -> None:
    assert problem_of_name("größe, 50 % +", ANY_NAME) == ""


def test_safe_names_are_possible() -> None:
    for path in ("my file#1.dat", "größe", ".hidden", "_x", "a\nb"):
        assert problem_of_name(did_name(path, "{path}", "d", safe=True)) == ""
