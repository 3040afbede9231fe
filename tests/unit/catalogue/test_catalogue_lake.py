"""Storage with tokens of its own, places of scratch spaces in Rucio, and baskets."""

from __future__ import annotations

from typing import Any

import pytest

from jupyterhub_dlaas.catalogue.folder import Catalogues
from jupyterhub_dlaas.catalogue.grants import Grant, exceeds
from jupyterhub_dlaas.catalogue.load import advice, load, parse, schema
from jupyterhub_dlaas.catalogue.models import Catalogue
from jupyterhub_dlaas.catalogue.offer import Offer

TEXT = """\
vo: escape
rucio_instances:
  r:
    rucio_host: https://rucio.example.org
    audience: rucio
    mode: download
    rses:
      CNAF-TAPE: {audience: cnaf-tape}
      CNAF-*: {audience: cnaf}
  other: {rucio_host: 'https://rucio.example.org', audience: rucio, mode: download, rses: {X: {audience: x}}}
storages:
  s: {type: scratch, host_path: /var/s, mount_path: /s, rse: R-SCRATCHDISK, rse_path: /users//hub/}
baskets:
  esap: {display_name: ESAP, connector: esap, url: 'https://esap.example.org:8443/esap/', audience: esap}
  open: {connector: url, url: 'https://open.example.org/'}
environments:
- {name: e, image: 'x.org/e:1', rucio: [r], storages: [s], baskets: [esap]}
- {name: f, image: 'x.org/e:1'}
"""
GRANT: dict[str, Any] = {
    "audiences": ["rucio", "cnaf", "cnaf-tape", "x", "esap"],
    "hosts": ["rucio.example.org", "esap.example.org", "open.example.org"],
    "images": ["x.org/*"],
    "host_paths": ["/var/s"],
}


def catalogue(text: str = TEXT) -> Catalogue:
    return parse(text, "f.yaml")


def beyond(**changed: Any) -> list[str]:
    return [problem.field for problem in exceeds(catalogue(), Grant(**{**GRANT, **changed}))]


def test_a_place_below_an_rse_has_no_slashes_to_spare() -> None:
    assert getattr(catalogue().storages["s"], "rse_path", None) == "users/hub"


def test_patterns_keep_their_order() -> None:
    assert list(catalogue().rucio_instances["r"].rses) == ["CNAF-TAPE", "CNAF-*"]


def test_a_pattern_behind_a_wider_one_is_said_to_be_useless_with_its_line() -> None:
    swapped = TEXT.replace("CNAF-TAPE: {audience: cnaf-tape}", "'*': {audience: cnaf-tape}")
    assert [str(problem) for problem in load(swapped, "f.yaml").problems] == [
        "f.yaml:9: rucio_instances.r.rses.CNAF-*: is never used: * stands before it"
    ]


def test_a_question_mark_does_not_cover_a_star() -> None:
    catalogue(TEXT.replace("CNAF-TAPE:", "'?NAF-*':").replace("CNAF-*:", "'*NAF-X':"))


def test_an_offer_needs_the_audiences_of_its_storage_and_baskets() -> None:
    made = catalogue()
    first, second = (Offer("escape", environment, made, Grant()) for environment in made.environments)
    assert first.audiences == ("rucio", "cnaf-tape", "cnaf", "esap")
    assert second.audiences == ()


def test_an_offer_alone_keeps_its_baskets_and_no_others() -> None:
    made = catalogue()
    alone = Offer("escape", made.environments[0], made, Grant()).alone()
    assert (list(alone.baskets), list(alone.rucio_instances["r"].rses)) == (["esap"], ["CNAF-TAPE", "CNAF-*"])


def test_what_is_saved_of_a_running_server_can_be_read_again() -> None:
    made = catalogue()
    alone = Offer("escape", made.environments[0], made, Grant()).alone()
    assert Catalogue.model_validate(alone.model_dump(mode="json", exclude_defaults=True)) == alone


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        ({}, []),
        ({"audiences": ["rucio", "cnaf", "x", "esap"]}, ["rucio_instances.r.rses.CNAF-TAPE.audience"]),
        ({"audiences": ["rucio", "cnaf", "cnaf-tape", "x"]}, ["baskets.esap.audience"]),
        ({"hosts": ["rucio.example.org", "open.example.org"]}, ["baskets.esap.url"]),
        ({"hosts": ["rucio.example.org", "esap.example.org:443", "open.example.org"]}, ["baskets.esap.url"]),
        ({"hosts": ["rucio.example.org", "esap.example.org:8443"]}, ["baskets.open.url"]),
    ],
)
def test_a_token_goes_nowhere_that_was_not_granted(changed: dict[str, Any], fields: list[str]) -> None:
    assert beyond(**changed) == fields


def test_an_audience_that_the_hub_does_not_know_closes_the_vo(tmp_path) -> None:
    (tmp_path / "escape.yaml").write_text(TEXT)
    known = {"rucio", "cnaf", "x"}
    closed = Catalogues(str(tmp_path), {"escape": Grant(trusted=True)}, known).closed["escape"]
    assert [(problem.line, problem.field) for problem in closed.problems] == [
        (8, "rucio_instances.r.rses.CNAF-TAPE.audience"),
        (14, "baskets.esap.audience"),
    ]


def test_a_token_over_plain_http_is_warned_of() -> None:
    text = TEXT.replace("https://esap", "http://esap").replace("https://open", "http://open")
    assert [problem.field for problem in advice(catalogue(text))] == ["baskets.esap.url"]


def test_a_broken_basket_hides_no_other_problem() -> None:
    text = TEXT.replace("connector: esap", "connektor: esap").replace("baskets: [esap]", "baskets: [esap, zoo]")
    assert [problem.field for problem in load(text, "f").problems] == [
        "baskets.esap.connector",
        "baskets.esap.connektor",
        "environments[0].baskets[1]",
    ]


def test_the_schema_has_the_new_fields() -> None:
    definitions = schema()["$defs"]
    assert {"rses"} <= definitions["RucioInstance"]["properties"].keys()
    assert {"connector", "url", "audience"} <= definitions["Basket"]["properties"].keys()
