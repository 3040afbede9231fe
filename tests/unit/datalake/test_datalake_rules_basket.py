"""The basket is read whole, its token goes nowhere else, and no item is dropped."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support.basket_service import BasketService, basket_service, entry

from jupyterhub_dlaas.datalake.basket import connectors, references
from jupyterhub_dlaas.datalake.basket.connectors import GROUP, SERVICES
from jupyterhub_dlaas.datalake.basket.items import item_of
from jupyterhub_dlaas.datalake.basket.plain_url import candidates, url_of
from jupyterhub_dlaas.datalake.basket.rucio import did_of
from jupyterhub_dlaas.datalake.basket.service import items, next_url
from jupyterhub_dlaas.datalake.dids import DID
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.lake import Basket

SOME = [
    entry(archive="rucio", scope="cta", name="dl1"),
    entry(archive="rucio", record={"did": "ska:obs-7"}),
    entry(archive="astron_vo", record={"access_url": "https://vo.example.org/a.fits"}),
    entry(archive="zooniverse", workflow_id=3, project="galaxies"),
    entry(archive="rucio", data={"scope": "cta", "name": "dl2"}),
]


@pytest.fixture
def service():
    with basket_service(SOME) as running:
        yield running


@pytest.fixture
def basket(service, tmp_path):
    return at(service, tmp_path)


def at(service: BasketService, folder: Path, token: str | None = "letmein") -> Basket:
    path = folder / "token"
    if token is not None:
        path.write_text(token)
    return Basket("esap", "ESAP", "esap", service.url, path)


def read(basket: Basket) -> list[str]:
    return [reference.title for reference in references(basket, user="alice")]


def failure(basket: Basket, **settings) -> Failure:
    with pytest.raises(Failure) as raised:
        list(items(basket, user="alice", **settings))
    return raised.value


def test_all_pages_are_read_in_order(basket):
    assert read(basket) == [
        "cta:dl1",
        "ska:obs-7",
        "https://vo.example.org/a.fits",
        "not understood, its fields: archive, project, workflow_id",
        "cta:dl2",
    ]


def test_token_is_read_at_each_request(service, basket):
    service.tokens = {"letmein", "renewed"}
    service.before_answer = lambda: basket.token.write_text("renewed")
    read(basket)
    assert [token for token, _ in service.seen] == ["Bearer letmein", "Bearer renewed", "Bearer renewed"]


def test_token_renewed_while_it_was_refused_is_tried(service, basket):
    service.tokens = {"renewed"}
    service.before_answer = lambda: basket.token.write_text("renewed")
    assert len(read(basket)) == 5


def test_refused_token_is_a_sentence_without_the_token(service, basket):
    service.tokens = set()
    refused = failure(basket)
    assert (refused.code, "does not accept your sign-in" in str(refused), "letmein" in str(refused)) == (
        Code.REFUSED,
        True,
        False,
    )


def test_missing_token_file_is_a_sentence(service, tmp_path):
    refused = failure(at(service, tmp_path, token=None))
    assert (refused.code, "This server has no access to ESAP." in refused.sentence) == (Code.REFUSED, True)


def test_basket_without_token_is_told_who_asks(service):
    service.tokens = set()
    assert len(list(items(Basket("b", "B", "esap", service.url, None), user="alice"))) == 5
    assert service.seen[0] == (None, {"user_name": ["alice"]})


def test_next_page_elsewhere_gets_no_token(service, basket):
    with basket_service(SOME) as other:
        service.elsewhere = f"{other.url}esap-api/accounts/user-profiles/?page=2"
        assert "does not get your token" in failure(basket).sentence
        assert other.seen == []


@pytest.mark.parametrize("where", ["http://[", "http://127.0.0.1:99999/"])
def test_next_page_nowhere_is_a_sentence(service, basket, where):
    service.elsewhere = where
    assert "something that is no address" in failure(basket).sentence


def test_redirect_elsewhere_gets_no_token(service, basket):
    with basket_service(SOME) as other:
        service.redirect = other.url
        assert "does not get your token" in failure(basket).sentence
        assert other.seen == []


def test_redirect_within_the_basket_is_followed(service, basket):
    service.redirect = "/esap-api/accounts/user-profiles/?redirected=1"
    assert next(iter(items(basket, user="alice"))).archive == "rucio"


def test_redirects_in_a_circle_end(service, basket):
    service.redirect = "/esap-api/accounts/user-profiles/"
    assert failure(basket).sentence == "ESAP redirects in a circle."


def test_pages_without_end_end(service, basket):
    service.behaviour = "endless"
    assert failure(basket).sentence == "ESAP has pages without end."


def test_password_of_netrc_does_not_replace_the_token(service, basket, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login mallory password secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    read(basket)
    assert {token for token, _ in service.seen} == {"Bearer letmein"}


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [(403, Code.REFUSED), (404, Code.NOT_FOUND), (429, Code.UNREACHABLE), (502, Code.UNREACHABLE), (418, Code.FAILED)],
)
def test_other_answers_are_sentences(service, basket, behaviour, code):
    service.behaviour = behaviour
    assert failure(basket).code == code


@pytest.mark.parametrize(
    "body",
    [
        "<html>Welcome to ESAP</html>",
        "[]",
        '{"results": {}}',
        '{"results": ["alice"]}',
        '{"results": [{"shopping_cart": 7}]}',
        '{"results": [], "next": 7}',
        "[" * 100_000,
    ],
)
def test_what_is_no_basket_is_a_sentence(service, basket, body):
    service.body = body
    assert failure(basket).sentence == "ESAP answers with something that is not a basket."


def test_silence_ends(service, basket):
    service.behaviour = "hang"
    assert failure(basket, seconds=(1, 0.1)).code == Code.UNREACHABLE


def test_nobody_there_is_a_sentence(service, basket):
    service.server_close()
    assert failure(basket).code == Code.UNREACHABLE


def test_empty_basket_is_no_error(service, basket):
    service.items = []
    assert read(basket) == []


def test_basket_of_another_kind_is_a_sentence(service):
    with pytest.raises(Failure, match="'amazon'"):
        references(Basket("b", "B", "amazon", service.url, None), user="alice")


@pytest.mark.parametrize(
    ("url", "following"),
    [
        ("https://esap.example.org/?page=2", "https://esap.example.org/?page=2"),
        ("https://esap.example.org:443/?page=2", "https://esap.example.org:443/?page=2"),
        ("http://esap.example.org/?page=2", "https://esap.example.org/?page=2"),
    ],
)
def test_next_page_of_the_same_origin(url, following):
    assert next_url("https://esap.example.org/", url) == following


@pytest.mark.parametrize(
    "url",
    [
        "https://esap.example.org.evil.org/",
        "https://evil.org/esap.example.org",
        "https://esap.example.org@evil.org/",
        "https://esap.example.org:8443/",
        "http://esap.example.org:8080/",
        "ftp://esap.example.org/",
        "file:///etc/passwd",
        "https://esap.example.org:99999/",
        "https://[esap/",
    ],
)
def test_next_page_of_another_origin(url):
    with pytest.raises(Failure):
        next_url("https://esap.example.org/", url)


@pytest.mark.parametrize(
    "data",
    [
        {"scope": "cta", "name": "dl1"},
        {"did": "cta:dl1"},
        {"record": {"scope": "cta", "name": "dl1"}},
        {"data": {"did": "cta:dl1"}},
    ],
)
def test_did_wherever_portals_put_it(data):
    assert did_of(item_of(entry(archive="rucio", **data))) == DID("cta", "dl1")


@pytest.mark.parametrize(
    "data", [{}, {"scope": "cta"}, {"did": "dl1"}, {"did": ":dl1"}, {"did": 7}, {"did": "https://a.example/b"}]
)
def test_what_is_no_did(data):
    assert did_of(item_of(entry(archive="rucio", **data))) is None


@pytest.mark.parametrize("url", ["https://a.example/b", "root://a.example:1094//b", "davs://a.example/b"])
def test_url_wherever_portals_put_it(url):
    assert url_of(item_of(entry(archive="x", record={"access_url": url}))) == url


@pytest.mark.parametrize("url", ["javascript:alert(1)", "a.example/b", "", None, ["https://a.example"]])
def test_what_is_no_url(url):
    assert url_of(item_of(entry(archive="x", url=url))) is None


@pytest.mark.parametrize(
    ("url", "did"),
    [
        ("root://a.example:1094//eos/rucio/user/alice/f9/9f/run-7", DID("user.alice", "run-7")),
        ("https://a.example/rucio/cta/a4/3a/dl1%2Db", DID("cta", "dl1-b")),
        ("davs://a.example/rucio/cta/dl1", DID("cta", "dl1")),
    ],
)
def test_file_that_may_be_at_a_url(url, did):
    assert did in list(candidates(url))


@pytest.mark.parametrize("url", ["https://a.example", "https://a.example/", "https://a.example/b"])
def test_url_at_which_no_file_of_rucio_can_be(url):
    assert list(candidates(url)) == []


@pytest.mark.parametrize("data", ["{", "[]", "7", "null", "[" * 100_000])
def test_damaged_item_is_shown_with_its_problem(data):
    item = item_of({"archive": "rucio", "item_data": data})
    assert (item.archive, item.problem != "") == ("rucio", True)


def test_item_that_is_no_object_is_shown():
    assert item_of("cta:dl1").problem == "not an object but str"


def test_item_data_that_is_no_string_is_taken_as_it_is():
    assert did_of(item_of({"item_data": {"did": "cta:dl1"}})) == DID("cta", "dl1")


def package(folder: Path, code: str, group: str, entry_point: str) -> None:
    """Another package, installed in a folder of Python's path."""
    (folder / "galaxies.py").write_text(code)
    metadata = folder / "galaxies-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: galaxies\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{entry_point}\n")


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A folder of Python's path."""
    (tmp_path / "path").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    yield tmp_path / "path"
    sys.modules.pop("galaxies", None)


def test_connectors_of_other_packages_come_first(basket, path):
    how_to = (Path(__file__).parents[3] / "docs" / "pages" / "how-to" / "basket.md").read_text()
    code = how_to.partition("```python\n")[2].partition("```")[0]
    package(path, code, GROUP, "zooniverse = galaxies:Zooniverse")
    assert [connector.name for connector in connectors()] == ["zooniverse", "rucio", "url"]
    assert read(basket)[3] == "galaxies"


def test_connector_that_cannot_be_imported_is_named(path):
    package(path, "", GROUP, "broken = galaxies:Connector")
    with pytest.raises(Failure, match="The basket connector broken"):
        connectors()


def test_baskets_of_other_services_are_read_by_other_packages(path):
    code = (
        "from jupyterhub_dlaas.datalake.basket import Item\n"
        "def items(basket, *, user):\n"
        "    yield Item('rucio', {'did': f'user.{user}:run-7'})\n"
    )
    package(path, code, SERVICES, "shop = galaxies:items")
    assert read(Basket("b", "B", "shop", "https://shop.example.org", None)) == ["user.alice:run-7"]


def test_services_json_is_a_string_within_json(service):
    assert isinstance(json.loads(json.dumps(service.items[0]))["item_data"], str)
