"""Audiences of storage, with scopes: exchanged by the hub, delivered to the servers whose storage wants them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.scene import Scene, until
from traitlets.config import Config

from jupyterhub_dlaas.oidc.claims import unverified_claims
from jupyterhub_dlaas.oidc.secret import Secret

pytestmark = pytest.mark.asyncio(loop_scope="module")

CNAF = "https://storage.example.org"
SCOPES = ["openid", "storage.read:/", "storage.modify:/escape"]


def configure(c: Config) -> None:
    """CNAF's storage wants tokens of its own; IAM does not let the hub have the scopes of BNL's."""
    catalogue = Path(c.DLaaSConfig.catalogue) / "escape.yaml"
    rses = "    storage: eulake\n    rses: {CNAF-*: {audience: cnaf}, BNL: {audience: bnl}}\n"
    catalogue.write_text(catalogue.read_text().replace("    storage: eulake\n", rses))
    c.IAMAuthenticator.audiences |= {
        "cnaf": {"audience": CNAF, "scopes": SCOPES},
        "bnl": {"audience": "https://bnl.example.org", "scopes": ["storage.stage:/"]},
    }
    escape = dict(c.DLaaSConfig.vos)["escape"]
    escape["audiences"] = [*escape["audiences"], "cnaf", "bnl"]


@pytest.fixture
def cnaf(lake: Scene) -> Scene:
    """The hub's client at IAM may have CNAF's scopes."""
    lake.iam.clients["dlaas"].scopes |= set(SCOPES)
    return lake


async def test_the_token_of_a_storage_has_its_audience_and_scopes(cnaf: Scene) -> None:
    person, server = await cnaf.working()
    claims = unverified_claims(Secret(await server.text("tokens/cnaf") or ""))
    assert (claims["aud"], claims["sub"]) == (CNAF, person.account.sub)
    assert set(str(claims["scope"]).split()) == set(SCOPES)


async def test_the_server_is_told_which_storage_gets_it(cnaf: Scene) -> None:
    _, server = await cnaf.working()
    folder = (await server.environ())["DLAAS_DIR"]
    (instance,) = json.loads(await server.text("datalake.json") or "")["instances"]
    assert instance["storage_tokens"] == [
        {"rse": "CNAF-*", "token": f"{folder}/tokens/cnaf"},
        {"rse": "BNL", "token": f"{folder}/tokens/bnl"},
    ]


async def test_it_is_renewed_as_every_other(cnaf: Scene) -> None:
    _, server = await cnaf.working()
    before = await server.text("tokens/cnaf")
    await cnaf.pass_time(3600, step=600)
    await until(lambda: server.has_token("cnaf", other_than=before), what="a new token for cnaf")


async def test_a_storage_whose_scopes_iam_refuses_keeps_no_server_from_starting(cnaf: Scene) -> None:
    _, server = await cnaf.working()
    assert await server.text("tokens/bnl") is None
    status = await server.status()
    assert status["audiences"]["bnl"]["problem"]["sentence"]
    assert status["audiences"]["bnl"]["used_by"] == ["ESCAPE Data Lake: BNL"]
    assert await server.has_token("cnaf")


async def test_an_environment_that_does_not_use_the_storage_does_not_get_its_token(cnaf: Scene) -> None:
    person = await cnaf.person()
    plain = await person.start("plain", environment="escape/plain")
    assert await plain.file("tokens/cnaf") is None
    assert await plain.file("datalake.json") is None
