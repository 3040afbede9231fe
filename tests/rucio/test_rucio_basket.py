"""`datalake basket` with a real HTTP service that speaks ESAP's REST, and a real Rucio; no token is typed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.basket_service import BasketService, basket_service, entry
from support.lake_user import LakeUser
from support.page import by, commands, console, differences


def put(user: LakeUser, service: BasketService, **fields: object) -> None:
    """The basket into this user's server, with the token that it holds for Rucio."""
    basket = {"name": "esap", "display_name": "ESAP", "connector": "esap", "url": service.url}
    user.change_lake(baskets=[{**basket, "token": str(user.token_file), **fields}])


@pytest.fixture
def esap(alice: LakeUser) -> Iterator[BasketService]:
    with basket_service() as service:
        service.tokens = {alice.token_file.read_text()}
        put(alice, service)
        yield service


def test_basket_is_listed_and_nothing_is_dropped(esap, alice):
    esap.items = [
        entry(archive="rucio", scope="user.alice", name="run-7"),
        entry(archive="zooniverse", workflow=3),
        entry(archive="astron_vo", record={"access_url": "https://vo.example.org/a.fits"}),
    ]
    done = alice.datalake("basket")
    assert (done.code, done.err) == (0, "")
    assert [line.split(maxsplit=3) for line in done.out.splitlines()] == [
        ["BASKET", "ARCHIVE", "CONNECTOR", "WHAT"],
        ["esap", "rucio", "rucio", "user.alice:run-7"],
        ["esap", "zooniverse", "-", "not understood, its fields: archive, workflow"],
        ["esap", "astron_vo", "url", "https://vo.example.org/a.fits"],
    ]


def test_token_of_the_server_is_used(esap, alice):
    alice.datalake("basket")
    assert [token for token, _ in esap.seen] == [f"Bearer {alice.token_file.read_text()}"]


def test_dids_one_per_line(esap, alice):
    one, other = alice.make_dataset(n_files=1), alice.make_dataset(n_files=1)
    esap.items = [
        entry(archive="rucio", scope=one.scope, name=one.name),
        entry(archive="rucio", record={"did": str(other)}),
        entry(archive="rucio", did=str(one)),
    ]
    done = alice.datalake("basket", "--resolve")
    assert (done.code, done.out, done.err) == (0, f"{one}\n{other}\n", "")


def test_url_of_a_replica_is_its_did(lake, esap, alice):
    dataset = alice.make_dataset(n_files=1)
    (replica,) = lake.root.list_replicas([dataset.as_dict()])
    esap.items = [entry(archive="vo", access_url=next(iter(replica["pfns"])))]
    assert alice.datalake("basket", "--resolve").out == f"{dataset}.00000\n"


def test_what_stands_for_no_data_of_the_lake_is_said_and_is_code_1(esap, alice):
    dataset = alice.make_dataset(n_files=1)
    esap.items = [
        entry(archive="rucio", did=str(dataset)),
        entry(archive="rucio", did="user.alice:nothing"),
        entry(archive="zooniverse", workflow=3),
        entry(archive="vo", url="https://vo.example.org/a.fits"),
        entry(archive="vo", url="https://vo.example.org/b.fits"),
    ]
    done = alice.datalake("basket", "--resolve")
    assert (done.code, done.out) == (1, f"{dataset}\n")
    assert done.err.splitlines() == [
        "rucio: Rucio does not know user.alice:nothing",
        "zooniverse: not understood, its fields: archive, workflow",
        "vo: https://vo.example.org/a.fits is not in this Rucio",
        "vo: https://vo.example.org/b.fits is not in this Rucio",
        "4 of 5 items stand for no data of the lake.",
    ]


def test_item_that_no_rucio_could_have_spoils_no_other(esap, alice):
    datasets = [alice.make_dataset(n_files=1) for _ in range(2)]
    esap.items = [entry(archive="rucio", did=str(datasets[0])), entry(archive="rucio", scope="a b", name="ü\n")]
    esap.items += [entry(archive="rucio", did=str(datasets[1]))]
    done = alice.datalake("basket", "--resolve")
    assert (done.code, done.out) == (1, f"{datasets[0]}\n{datasets[1]}\n")
    assert done.err.splitlines()[0] == "rucio: Rucio does not know a b:ü\\n"


def test_all_of_it_is_made_available(lake, esap, alice):
    datasets = [alice.make_dataset(n_files=1) for _ in range(3)]
    esap.items = [entry(archive="rucio", did=str(dataset)) for dataset in datasets]
    done = alice.datalake("basket", "--make-available", "--lifetime", "14d")
    assert (done.code, [line.partition(": 1 file there, kept until ")[0] for line in done.out.splitlines()]) == (
        0,
        [str(dataset) for dataset in datasets],
    )
    assert all(
        lake.path(lake.mounted, dataset.scope, f"{dataset.name}.00000").stat().st_size == 1000 for dataset in datasets
    )


def test_the_rest_is_made_available_and_it_is_code_1(esap, alice):
    dataset = alice.make_dataset(n_files=1)
    esap.items = [entry(archive="rucio", did=str(dataset)), entry(archive="zooniverse", workflow=3)]
    done = alice.datalake("basket", "--make-available")
    assert (done.code, done.out.startswith(f"{dataset}: 1 file there")) == (1, True)


def test_nothing_of_the_lake_in_it_is_code_3(esap, alice):
    esap.items = [entry(archive="zooniverse", workflow=3)]
    assert alice.datalake("basket", "--make-available").code == 3


def test_json_has_every_item(esap, alice):
    dataset = alice.make_dataset(n_files=1)
    esap.items = [entry(archive="rucio", did=str(dataset)), entry(archive="zooniverse", workflow=3)]
    done = alice.datalake("basket", "--resolve", "--json")
    assert [(one["archive"], one["dids"], bool(one["problem"])) for one in map(json.loads, done.out.splitlines())] == [
        ("rucio", [str(dataset)], False),
        ("zooniverse", [], True),
    ]


def test_empty_basket_is_no_error(esap, alice):
    done = alice.datalake("basket")
    assert (done.code, done.out, done.err.strip()) == (0, "", "The basket is empty.")


def test_refused_sign_in_is_code_4(esap, alice):
    esap.tokens = set()
    done = alice.datalake("basket")
    assert (done.code, done.err.splitlines()[0]) == (4, "ESAP does not accept your sign-in (HTTP 401).")


def test_expired_token_is_named_as_such(esap, alice):
    esap.tokens = set()
    alice.spoil_token("expired")
    put(alice, esap)
    done = alice.datalake("basket")
    assert (done.code, done.err.startswith("Your access to ESAP expired at ")) == (4, True)


def test_outage_is_code_6(esap, alice):
    esap.behaviour = 502
    assert alice.datalake("basket").code == 6


def test_server_without_a_basket_is_code_2(alice):
    done = alice.datalake("basket")
    assert (done.code, done.err.splitlines()[0]) == (2, "This server has no shopping basket.")


def test_unknown_basket_is_code_2_with_those_there_are(esap, alice):
    done = alice.datalake("basket", "--basket", "amazon")
    assert (done.code, "It has: esap." in done.err) == (2, True)


def test_escape_sequences_of_an_item_reach_no_terminal(esap, alice):
    esap.items = [entry(archive="x", title="\x1b[31mred", url="https://a.example/\x1b]0;x")]
    done = alice.datalake("basket")
    assert (done.code, "\x1b" in done.out) == (0, False)


def named(user: LakeUser, name: str, n_files: int) -> None:
    """A dataset of the name that the page has, with real files."""
    dataset = user.make_dataset(n_files=n_files)
    files = list(user.lake.root.list_files(dataset.scope, dataset.name))
    user.lake.root.add_dataset(user.scope, name)
    user.lake.root.attach_dids(user.scope, name, [{"scope": file["scope"], "name": file["name"]} for file in files])


def test_every_command_of_the_how_to_prints_what_it_says(esap, alice):
    named(alice, "crab", 2)
    named(alice, "vela", 1)
    esap.items = [
        entry(archive="rucio", scope="user.alice", name="crab"),
        entry(archive="rucio", record={"did": "user.alice:vela"}),
        entry(archive="astron_vo", record={"access_url": "https://vo.example.org/image.fits"}),
        entry(archive="zooniverse", project="galaxies"),
    ]
    text = console("how-to/basket.md")
    assert not differences(text, by(alice), lambda command, printed: None)
    assert len(commands(text)) == 5
