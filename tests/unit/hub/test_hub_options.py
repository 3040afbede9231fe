"""The Server Options page: what it shows, what it never shows as HTML, and what comes back."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from jupyterhub_dlaas.catalogue.grants import Grant
from jupyterhub_dlaas.catalogue.load import parse
from jupyterhub_dlaas.catalogue.offer import Offer, choose
from jupyterhub_dlaas.errors import OptionsError
from jupyterhub_dlaas.hub.options import from_form, needs_page, render_form

EXAMPLES = Path(__file__).parents[3] / "config" / "catalogues"


def offers_of(*texts: str) -> list[Offer]:
    catalogues = [parse(text, "f") for text in texts]
    grant = Grant(groups={"x"}, trusted=True)
    return [Offer(c.vo, environment, c, grant) for c in catalogues for environment in c.environments]


OFFERS = offers_of(*((EXAMPLES / f"{name}.yaml").read_text() for name in ("escape", "ska")))


def page(offers: list[Offer] = OFFERS, previous: dict[str, str] | None = None) -> BeautifulSoup:
    return BeautifulSoup(render_form(offers, previous), "html.parser")


def posted(form: BeautifulSoup, **clicked: str) -> dict[str, list[str]]:
    """What a browser sends: every checked radio button, hidden ones too."""
    data = {field["name"]: [field["value"]] for field in form.select("input[checked]")}
    return data | {name: [value] for name, value in clicked.items()}


def test_environments_are_grouped_by_vo() -> None:
    vos = page().select("fieldset.dlaas-vo")
    assert [vo.legend.get_text() for vo in vos] == ["ESCAPE", "SKA"]
    assert [[pick["value"] for pick in vo.select("input[name=environment]")] for vo in vos] == [
        ["escape/python", "escape/root"],
        ["ska/jupyterlab"],
    ]


def test_a_card_tells_what_it_is_and_what_data_it_brings() -> None:
    words = " ".join(page().select(".dlaas-card")[1].get_text(" ").split())
    for expected in (
        "ROOT",
        "root:6.32",
        "ROOT 6 with C++ and Python kernels",
        "ESCAPE Data Lake files appear in /eos/eulake_1",
        "/scratch scratch, your own",
        "/cvmfs cvmfs, read-only",
        "small 1 core, 2 GB memory",
        "X.509 proxy",
    ):
        assert expected in words


def test_every_field_has_its_label_and_every_id_is_used_once() -> None:
    form = page()
    ids = [element["id"] for element in form.select("[id]")]
    assert len(ids) == len(set(ids))
    assert {field["id"] for field in form.select("input")} == {label["for"] for label in form.select("label")}
    assert all(field["aria-describedby"] in ids for field in form.select("[aria-describedby]"))


def test_there_are_fields_only_where_there_is_a_choice() -> None:
    assert {field["name"] for field in page().select("input")} == {
        "environment",
        "resources:escape/python",
        "resources:escape/root",
        "auth_type:escape/root",
    }


def test_nothing_is_fetched_and_no_script_is_needed() -> None:
    html = render_form(OFFERS)
    assert not re.search(r"<(script|link|img|iframe)|\bsrc=|url\(|@import|\bon\w+=", html)


def test_the_first_environment_is_chosen_at_first() -> None:
    assert from_form(posted(page())) == {"environment": "escape/python", "resources": "small"}


def test_the_last_choice_is_remembered() -> None:
    previous = {"environment": "escape/root", "resources": "large", "auth_type": "x509_proxy"}
    assert from_form(posted(page(previous=previous))) == previous


def test_a_last_choice_that_is_gone_is_forgotten() -> None:
    previous = {"environment": "escape/gone", "resources": "large"}
    assert from_form(posted(page(previous=previous)))["environment"] == "escape/python"


@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: offer.id)
def test_whatever_the_form_sends_passes_the_gate(offer: Offer) -> None:
    options = from_form(posted(page(), environment=offer.id, _xsrf="2|abc"))
    assert choose(OFFERS, options).offer is offer


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"image": ["evil.org/x"]}, "no field 'image'"),
        ({"environment": ["a", "b"]}, "once, not 2 times"),
        ({"environment": []}, "once, not 0 times"),
        ({"environment_file": ["x"]}, "no field 'environment_file'"),
        ({"environment:escape/root": ["x"]}, "no field"),
    ],
)
def test_fields_that_the_form_does_not_have_are_refused(form: dict[str, list[str]], said: str) -> None:
    with pytest.raises(OptionsError, match=said):
        from_form(form)


def test_text_of_a_catalogue_is_never_html() -> None:
    evil = "'\"><script>alert(1)</script><b onclick=x>"
    quoted = evil.replace("'", "''")
    text = f"""\
vo: x
display_name: '{quoted}'
rucio_instances:
  r: {{rucio_host: 'https://x.org', audience: r, mode: download, display_name: '{quoted}'}}
storages:
  s: {{type: fuse, host_path: /s, mount_path: '/s"><script>', display_name: '{quoted}'}}
environments:
- name: e
  display_name: '{quoted}'
  description: '{quoted}'
  image: x.org/e:1
  rucio: [r]
  storages: [s]
  resources: {{a: {{cpu: 1, display_name: '{quoted}'}}, b: {{cpu: 2}}}}
"""
    form = page(offers_of(text))
    assert not form.select("script, b, [onclick]")
    assert form.select_one("legend").get_text() == evil


def test_one_environment_with_nothing_to_choose_needs_no_page() -> None:
    assert [needs_page([offer]) for offer in OFFERS] == [True, True, False]
    assert needs_page(OFFERS)


def test_who_is_offered_nothing_is_told_why() -> None:
    assert needs_page([])
    form = page([])
    assert "No environment is offered to you" in form.select_one("[role=alert]").get_text()
    assert not form.select("input")


def test_the_work_grows_with_the_offers_not_with_their_square() -> None:
    """500 environments of 50 VOs: well below what 2 cores need for it."""
    entries = "".join(
        f"- {{name: e{i}, image: 'x.org/e:1', resources: {{a: {{cpu: 1}}, b: {{cpu: 2}}}}}}\n" for i in range(10)
    )
    offers = offers_of(*(f"vo: vo{i}\nenvironments:\n{entries}" for i in range(50)))
    render_form(offers)
    started = time.process_time()
    html = render_form(offers)
    choose(offers, {"environment": "vo49/e9"})
    assert html.count('name="environment"') == 500
    assert time.process_time() - started < 1
