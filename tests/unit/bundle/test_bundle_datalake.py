"""`datalake.json`: what the command `datalake` knows about a server."""

from __future__ import annotations

import json
from typing import Any

from bundle_samples import PLACES, choice, files, tokens

from jupyterhub_dlaas.bundle.render import render
from jupyterhub_dlaas.catalogue.grants import Grant
from jupyterhub_dlaas.catalogue.load import parse
from jupyterhub_dlaas.catalogue.offer import Choice, Offer
from jupyterhub_dlaas.datalake import lake

CATALOGUE = """
vo: escape
rucio_instances:
  escape:
    rucio_host: https://rucio.example.org
    audience: rucio
    mode: download
    rses: {CNAF-TAPE: {audience: tape}, CNAF-*: {audience: cnaf}}
storages:
  scratch: {type: scratch, host_path: /var/s, mount_path: /scratch, %s}
baskets:
  esap: {display_name: ESAP, connector: esap, url: 'https://esap.example.org/', audience: rucio}
  open: {connector: url, url: 'https://open.example.org/'}
environments:
- {name: e, image: 'x.org/e:1', rucio: [escape], storages: [scratch], baskets: [esap, open]}
"""


def chosen(scratch: str = "rse: R, rse_path: hub") -> Choice:
    catalogue = parse(CATALOGUE % scratch, "f")
    return Choice(Offer("escape", catalogue.environments[0], catalogue, Grant(trusted=True)), None, None, "oidc")


def document(made: Choice | None = None, **kwargs: Any) -> dict[str, Any]:
    return json.loads(files(made or chosen(), tokens("rucio", "cnaf"), **kwargs)["datalake.json"].content)


def scratch(text: str, folder: str = "") -> list[dict[str, Any]]:
    return document(chosen(text), folder=folder)["scratch"]


def test_the_whole_document() -> None:
    assert document(folder="alice", account="alice2") == {
        "version": 1,
        "user": "alice",
        "account": "alice2",
        "auth_type": "oidc",
        "xcache_site": None,
        "instances": [
            {
                "name": "escape",
                "display_name": "escape",
                "rucio_host": "https://rucio.example.org",
                "auth_host": "https://rucio.example.org",
                "ca_cert": None,
                "vo": None,
                "app_id": None,
                "token": "/run/dlaas/3f9c/tokens/rucio",
                "mode": "download",
                "destination_rse": None,
                "mount": None,
                "path_begins_at": 0,
                "lifetime_days": None,
                "storage_tokens": [
                    {"rse": "CNAF-TAPE", "token": "/run/dlaas/3f9c/tokens/tape"},
                    {"rse": "CNAF-*", "token": "/run/dlaas/3f9c/tokens/cnaf"},
                ],
            }
        ],
        "scratch": [{"name": "scratch", "path": "/scratch", "rse": "R", "rse_path": "hub/alice"}],
        "baskets": [
            {
                "name": "esap",
                "display_name": "ESAP",
                "connector": "esap",
                "url": "https://esap.example.org/",
                "token": "/run/dlaas/3f9c/tokens/rucio",
            },
            {
                "name": "open",
                "display_name": "open",
                "connector": "url",
                "url": "https://open.example.org/",
                "token": None,
            },
        ],
    }


def test_a_mounted_instance_has_its_place() -> None:
    first, second = document(choice())["instances"]
    assert (first["mount"], first["path_begins_at"], first["destination_rse"]) == ("/eos/eulake_1", 1, "EULAKE-1")
    assert (first["lifetime_days"], second["mount"], second["vo"]) == (7, None, "ska")
    assert document(choice())["xcache_site"] == "CERN-XCACHE"


def test_a_scratch_space_of_all_is_where_the_catalogue_says() -> None:
    assert scratch("rse: R, rse_path: hub, per_user: false", "alice")[0]["rse_path"] == "hub"


def test_where_the_spawner_makes_no_folder_there_is_none_in_the_path() -> None:
    assert scratch("rse: R, rse_path: hub")[0]["rse_path"] == "hub"


def test_what_users_look_at_deeper_in_the_mount_is_deeper_at_the_rse() -> None:
    (entry,) = scratch("rse: R, path: /scratch/data/x", "alice")
    assert (entry["path"], entry["rse_path"]) == ("/scratch/data/x", "alice/data/x")


def test_a_scratch_space_that_rucio_does_not_know_has_no_path_there() -> None:
    (entry,) = scratch("per_user: true", "alice")
    assert (entry["rse"], entry["rse_path"]) == (None, "")


def test_a_shared_server_is_told_no_path_of_a_token() -> None:
    made = document(withheld="This server is shared.")
    assert "tokens/" not in json.dumps(made)
    assert (made["instances"][0]["token"], made["instances"][0]["storage_tokens"]) == (None, [])


def test_the_token_files_that_it_names_are_those_that_are_written() -> None:
    written = files(chosen(), tokens("rucio", "tape", "cnaf", "eos-eulake"))
    named = {entry["token"] for entry in document()["instances"][0]["storage_tokens"]}
    assert {path for path in written if path.startswith("tokens/")} == {"tokens/rucio", "tokens/tape", "tokens/cnaf"}
    assert named == {PLACES.token("tape"), PLACES.token("cnaf")}


def test_an_environment_without_rucio_has_none() -> None:
    rendered = render(
        choice(environment="plain"), {}, PLACES, user="a", account="a", auth_type="oidc", server="", folder="a"
    )
    assert "datalake.json" not in {file.path for file in rendered}


def test_the_command_reads_what_the_hub_writes(tmp_path) -> None:
    (tmp_path / lake.FILE).write_bytes(files(chosen(), folder="alice")["datalake.json"].content)
    read = lake.load({"DLAAS_DIR": str(tmp_path)})
    instance = read.instance()
    assert str(instance.storage_token("CNAF-TAPE")).endswith("tokens/tape")
    assert str(instance.storage_token("CNAF-DISK")).endswith("tokens/cnaf")
    assert instance.storage_token("DESY-DISK") is None
    assert (read.scratch[0].rse_path, read.baskets[0].connector) == ("hub/alice", "esap")


def test_status_says_what_each_audience_is_for() -> None:
    status = json.loads(files(chosen(), tokens("rucio"))["status.json"].content)
    assert {key: entry["used_by"] for key, entry in status["audiences"].items()} == {
        "rucio": ["escape", "ESAP"],
        "tape": ["escape: CNAF-TAPE"],
        "cnaf": ["escape: CNAF-*"],
    }
