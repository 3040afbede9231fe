"""Who is offered what, and the one gate for every choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jupyterhub_dlaas.catalogue.folder import Catalogues
from jupyterhub_dlaas.catalogue.grants import Grant
from jupyterhub_dlaas.catalogue.offer import Offer, choose, offered
from jupyterhub_dlaas.errors import OptionsError

EXAMPLES = Path(__file__).parents[3] / "config" / "catalogues"
AUDIENCES = ("rucio", "eos-eulake", "ska-rucio")


@pytest.fixture(scope="module")
def catalogues() -> Catalogues:
    vos = {
        "escape": Grant(groups={"escape", "escape/extra"}, trusted=True),
        "ska": Grant(groups={"/ska"}, trusted=True),
    }
    return Catalogues(str(EXAMPLES), vos, AUDIENCES)


@pytest.fixture(scope="module")
def offers(catalogues: Catalogues) -> tuple[Offer, ...]:
    return offered(catalogues, {"escape", "escape/cms", "ska"})


@pytest.mark.parametrize(
    ("groups", "ids"),
    [
        ({"escape", "/escape/cms"}, ["escape/python", "escape/root"]),
        ({"/escape"}, ["escape/python"]),
        ({"escape/extra"}, ["escape/python"]),
        ({"escape/cms"}, []),
        ({"ska", "escape"}, ["escape/python", "ska/jupyterlab"]),
        (set(), []),
        ({"other", ""}, []),
    ],
)
def test_groups_decide_what_is_offered(catalogues: Catalogues, groups: set[str], ids: list[str]) -> None:
    assert [offer.id for offer in offered(catalogues, groups)] == ids


def test_a_trusted_vo_without_groups_has_no_members() -> None:
    catalogues = Catalogues(str(EXAMPLES), {"ska": Grant(trusted=True)}, AUDIENCES)
    assert "ska" in catalogues.open
    assert offered(catalogues, {"ska", "escape", ""}) == ()


def test_an_offer_names_the_audiences_it_needs(offers: tuple[Offer, ...]) -> None:
    assert [offer.audiences for offer in offers] == [("rucio", "eos-eulake"), ("rucio", "eos-eulake"), ("ska-rucio",)]


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ({}, {"environment": "escape/python", "resources": "small", "auth_type": "oidc"}),
        ({"resources": "large"}, {"environment": "escape/python", "resources": "large", "auth_type": "oidc"}),
        ({"environment": "ska/jupyterlab"}, {"environment": "ska/jupyterlab", "auth_type": "oidc"}),
        (
            {"environment": "escape/root", "resources": "large", "auth_type": "x509_proxy"},
            {"environment": "escape/root", "resources": "large", "auth_type": "x509_proxy"},
        ),
    ],
)
def test_options_choose_and_defaults_fill_in(
    offers: tuple[Offer, ...], options: dict[str, str], chosen: dict[str, str]
) -> None:
    choice = choose(offers, options)
    assert choice.as_options() == chosen
    assert choose(offers, choice.as_options()) == choice


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"environment": "escape/other"},
            "environment cannot be 'escape/other'. It is one of: escape/python, escape/root",
        ),
        ({"environment": ""}, "environment cannot be ''"),
        ({"environment": None}, "environment cannot be None"),
        ({"environment": ["escape/root"]}, "environment cannot be"),
        ({"resources": ""}, "resources cannot be ''. It is one of: small, large"),
        ({"environment": "ska/jupyterlab", "resources": "small"}, "has no resources to choose from"),
        ({"auth_type": "x509_proxy"}, "auth_type cannot be 'x509_proxy'. It is one of: oidc"),
        ({"image": "evil.org/x"}, "no option 'image'. The options are environment, resources, auth_type"),
        ({"environment": "escape/root", "image--unlisted-choice": "evil.org/x"}, "no option"),
        ({7: 8}, "no option '7'"),
    ],
)
def test_whatever_is_not_listed_is_refused_with_what_is(
    offers: tuple[Offer, ...], options: dict[Any, Any], said: str
) -> None:
    with pytest.raises(OptionsError) as error:
        choose(offers, options, {"environment": "escape/root"})
    assert said in str(error.value)
    assert error.value.status == 400


@pytest.mark.parametrize(
    ("previous", "chosen"),
    [
        (
            {"environment": "escape/root", "resources": "large", "auth_type": "x509_proxy"},
            {"environment": "escape/root", "resources": "large", "auth_type": "x509_proxy"},
        ),
        (
            {"environment": "escape/root", "resources": "gone", "auth_type": ["oidc"], "x": 1},
            {"environment": "escape/root", "resources": "small", "auth_type": "oidc"},
        ),
        (
            {"environment": "escape/gone", "resources": "large"},
            {"environment": "escape/python", "resources": "small", "auth_type": "oidc"},
        ),
    ],
)
def test_no_options_mean_the_previous_ones_where_still_allowed(
    offers: tuple[Offer, ...], previous: dict[str, Any], chosen: dict[str, str]
) -> None:
    assert choose(offers, {}, previous).as_options() == chosen


def test_who_is_offered_nothing_gets_no_server_and_a_sentence() -> None:
    with pytest.raises(OptionsError, match="no environment is offered to your groups") as error:
        choose((), {})
    assert error.value.status == 403


def test_the_grant_is_enforced_again_at_the_start(offers: tuple[Offer, ...]) -> None:
    narrowed = Offer("escape", offers[0].environment, offers[0].catalogue, Grant(groups={"escape"}))
    with pytest.raises(OptionsError, match="is not granted to this VO") as error:
        choose((narrowed,), {})
    assert error.value.status == 403
