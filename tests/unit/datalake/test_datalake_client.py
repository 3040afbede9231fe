"""`client()` gives a Rucio client that stays signed in, never asks anybody, and gets over short outages."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from bundle_samples import in_an_hour, jwt
from rucio.common.exception import AccessDenied, RucioException
from support.scripted_rucio import Says, ScriptedRucio, error, scripted_rucio

from jupyterhub_dlaas.datalake.client import client
from jupyterhub_dlaas.datalake.failure import Code, Failure, failure_of

REFUSED = error(401, "CannotAuthenticate", "Cannot authenticate with given credentials")


@pytest.fixture
def server() -> Iterator[ScriptedRucio]:
    with scripted_rucio() as running:
        yield running


@pytest.fixture
def environ(tmp_path: Path, server: ScriptedRucio, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A server's folder with one instance, and nothing else that the clients look for."""
    for name in ("RUCIO_CONFIG", "RUCIO_HOME", "RUCIO_ACCOUNT", "RUCIO_AUTH_TYPE", "RUCIO_VO", "VIRTUAL_ENV"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "dlaas"
    (folder / "tokens").mkdir(parents=True)
    write_lake(folder, server.url)
    renew(folder, "first")
    return {"DLAAS_DIR": str(folder)}


def write_lake(folder: Path, url: str, **changes: Any) -> None:
    instance = {
        "name": "escape",
        "display_name": "ESCAPE Data Lake",
        "rucio_host": url,
        "auth_host": url,
        "ca_cert": None,
        "vo": None,
        "app_id": None,
        "token": str(folder / "tokens" / "rucio"),
        "mode": "download",
        "destination_rse": None,
        "mount": None,
        "path_begins_at": 0,
        "lifetime_days": None,
        "storage_tokens": [],
    }
    lake = {"version": 1, "user": "alice", "account": "alice", "auth_type": "oidc", "xcache_site": None}
    lake |= {"instances": [{**instance, **changes.pop("instance", {})}], "scratch": [], "baskets": [], **changes}
    (folder / "datalake.json").write_text(json.dumps(lake))


def renew(folder: Path, token: str) -> None:
    """As the agent does: a whole new file in the place of the old one."""
    partial = folder / "tokens" / ".part"
    partial.write_text(token)
    partial.replace(folder / "tokens" / "rucio")


def fast(made: Any) -> Any:
    made.pauses = (0.0, 0.0, 0.0)
    return made


def test_renewed_token_is_used_by_the_same_client(environ, server):
    rucio = client(environ=environ)
    rucio.whoami()
    renew(Path(environ["DLAAS_DIR"]), "second")
    rucio.whoami()
    assert server.tokens == ["first", "second"]


def test_token_of_the_client_is_always_the_files_own(environ):
    """The upload and download clients take it from there for storages."""
    rucio = client(environ=environ)
    renew(Path(environ["DLAAS_DIR"]), "second")
    assert rucio.auth_token == "second"


def test_token_refused_while_it_was_renewed_is_no_failure(environ, server):
    rucio = client(environ=environ)

    class Renewing(list[Says]):
        def pop(self, index: Any = 0) -> Says:
            renew(Path(environ["DLAAS_DIR"]), "second")
            return super().pop(index)

    server.script = Renewing([REFUSED])
    assert rucio.whoami()["account"] == "alice"
    assert server.tokens == ["first", "second"]


def test_refused_token_is_a_failure_and_nobody_is_asked(environ, server, capfd):
    server.otherwise = REFUSED
    with pytest.raises(Failure) as caught:
        client(environ=environ).whoami()
    assert (caught.value.code, caught.value.sentence) == (
        Code.REFUSED,
        "ESCAPE Data Lake does not accept your sign-in.",
    )
    assert (len(server.asked), capfd.readouterr()) == (1, ("", ""))


def test_expired_token_says_when(environ, server):
    renew(Path(environ["DLAAS_DIR"]), jwt("rucio", 1_000_000_000))
    server.otherwise = REFUSED
    with pytest.raises(Failure, match=r"expired at .* on 9 Sep. Log in to the hub again"):
        client(environ=environ).whoami()


def test_hubs_own_problem_gives_the_advice(environ, server):
    folder = Path(environ["DLAAS_DIR"])
    problem = {"class": "outage", "sentence": "IAM does not answer.", "since": None}
    (folder / "status.json").write_text(json.dumps({"audiences": {"rucio": {"problem": problem}}}))
    (folder / "tokens" / "rucio").unlink()
    with pytest.raises(Failure, match=r"no access to ESCAPE Data Lake. IAM does not answer. Nothing to do"):
        client(environ=environ)


def test_missing_permission_is_rucios_answer_and_no_sign_in(environ, server):
    server.otherwise = error(401, "AccessDenied", "Account alice can not add RSE")
    with pytest.raises(AccessDenied) as caught:
        client(environ=environ).add_rse("MINE")
    failure = failure_of(caught.value)
    assert failure is not None
    assert (failure.code, failure.sentence) == (Code.REFUSED, "Rucio says: Account alice can not add RSE")


@pytest.mark.parametrize("status", [502, 503, 504])
def test_short_outage_is_waited_for(environ, server, status):
    server.script = [Says(status, b"<html>"), Says(status, b"<html>")]
    assert fast(client(environ=environ)).whoami()["account"] == "alice"
    assert len(server.asked) == 3


def test_dropped_connection_is_tried_again(environ, server):
    server.script = [Says(drop=True)]
    assert fast(client(environ=environ)).whoami()["account"] == "alice"


def test_long_outage_is_unreachable(environ, server):
    server.otherwise = Says(502, b"<html>")
    with pytest.raises(RucioException) as caught:
        fast(client(environ=environ)).whoami()
    failure = failure_of(caught.value)
    assert failure is not None
    assert failure.code is Code.UNREACHABLE


def test_server_that_is_gone_is_unreachable(environ, server):
    rucio = fast(client(environ=environ))
    server.shutdown()
    server.server_close()
    with pytest.raises(requests.ConnectionError) as caught:
        rucio.whoami()
    failure = failure_of(caught.value)
    assert failure is not None
    assert failure.code is Code.UNREACHABLE


def test_change_is_not_repeated_when_rucio_may_have_made_it(environ, server):
    server.otherwise = Says(502, b"<html>")
    with pytest.raises(RucioException):
        fast(client(environ=environ)).add_dataset("user.alice", "run-7")
    assert len(server.asked) == 1


def test_hang_ends_after_the_timeout_and_is_not_repeated(environ, server):
    server.otherwise = Says(hang=True)
    with pytest.raises(requests.Timeout):
        fast(client(environ=environ, timeout=0.1)).whoami()
    assert len(server.asked) == 1


def test_redirect_to_another_host_does_not_get_the_token(environ, server):
    with scripted_rucio() as other:
        server.script = [Says(303, b"", headers={"Location": f"{other.url}/accounts/alice"})]
        client(environ=environ).whoami()
        assert (server.tokens, other.tokens) == (["first"], [""])


def test_space_in_a_name_is_no_plus(environ, server):
    client(environ=environ).get_did("user.alice", "run 7+8")
    assert server.asked[0].path == "/dids/user.alice/run%207%2B8"


def test_long_list_is_taken_from_the_server_before_it_is_read(environ, server):
    lines = b"".join(json.dumps({"scope": "s", "name": f"n{number}"}).encode() + b"\n" for number in range(3))
    server.script = [Says(body=lines, headers={"Content-Type": "application/x-json-stream"})]
    rucio = client(environ=environ)
    listed = rucio.list_dids("s", [{"name": "*"}])
    rucio.whoami()
    assert [entry["name"] for entry in listed] == ["n0", "n1", "n2"]


def test_list_that_breaks_off_is_unreachable(environ, server):
    lines = b'{"scope": "s", "name": "a"}\n{"scope": "s", "na'
    server.script = [Says(body=lines, headers={"Content-Type": "application/x-json-stream"})]
    with pytest.raises(Failure, match="broke off") as caught:
        list(client(environ=environ).list_dids("s", [{"name": "*"}]))
    assert caught.value.code is Code.UNREACHABLE


def test_nothing_of_another_instance_in_rucio_cfg_is_taken(environ, server, tmp_path, monkeypatch):
    (tmp_path / "home" / "etc").mkdir(parents=True)
    cfg = (
        "[client]\nrucio_host = http://other\nauth_host = http://other\nvo = ska\nca_cert = /no\nauth_type = userpass\n"
    )
    cfg += "account = bob\nauth_token_file_path = /no\n"
    (tmp_path / "home" / "etc" / "rucio.cfg").write_text(cfg)
    # rucio-clients keep what they have read for as long as the process lives.
    code = "import sys, json; from jupyterhub_dlaas.datalake.client import client\n"
    code += "made = client(); made.whoami(); print(json.dumps([made.host, made.vo, made.ca_cert, made.account]))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environ, "RUCIO_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout) == [server.url, "def", True, "alice"], done.stderr
    assert server.tokens == ["first"]
    assert [path.name for path in tmp_path.rglob("*token*")] == ["tokens"]


def test_vo_and_app_id_of_the_instance_are_sent(environ, server):
    write_lake(Path(environ["DLAAS_DIR"]), server.url, instance={"vo": "ska"})
    client(environ=environ).whoami()
    assert server.asked[0].headers["X-Rucio-VO"] == "ska"


def test_missing_proxy_is_a_failure_with_its_remedy(environ, server):
    write_lake(Path(environ["DLAAS_DIR"]), server.url, auth_type="x509_proxy", instance={"token": None})
    with pytest.raises(Failure, match="voms-proxy-init") as caught:
        client(environ={**environ, "X509_USER_PROXY": "/nonexistent"})
    assert caught.value.code is Code.REFUSED


def test_password_is_not_asked_for(environ, server):
    write_lake(Path(environ["DLAAS_DIR"]), server.url, auth_type="userpass", instance={"token": None})
    with pytest.raises(Failure, match="datalake auth") as caught:
        client(environ=environ)
    assert caught.value.code is Code.REFUSED


def test_proxy_signs_in_and_signs_in_again_and_keeps_no_token_file(environ, server, tmp_path, monkeypatch):
    (tmp_path / "proxy").write_text("not looked into over plain HTTP")
    write_lake(Path(environ["DLAAS_DIR"]), server.url, auth_type="x509_proxy", instance={"token": None})
    server.script = [
        Says(body=b"", headers={"X-Rucio-Auth-Token": "one"}),
        REFUSED,
        Says(body=b"", headers={"X-Rucio-Auth-Token": "two"}),
    ]
    rucio = client(environ={**environ, "X509_USER_PROXY": str(tmp_path / "proxy")})
    assert rucio.whoami()["account"] == "alice"
    assert server.tokens == ["", "one", "one", "two"]
    assert list(tmp_path.rglob("auth_token*")) == []


def test_package_offers_it_as_a_function(environ, server):
    from jupyterhub_dlaas import datalake

    assert datalake.client(environ=environ).whoami()["account"] == "alice"


def test_reading_the_token_costs_a_microsecond_class_call(environ):
    """Per request, so it has to be cheap: no file is opened while it is the same."""
    rucio = client(environ=environ)
    opened: list[object] = []
    sys.addaudithook(lambda event, args: opened.append(args) if event == "open" and counting else None)
    counting = True
    for _ in range(100):
        _ = rucio.auth_token
    counting = False
    assert opened == []


def test_living_token_of_a_real_shape_is_sent_as_it_is(environ, server):
    token = jwt("rucio", in_an_hour() + time.time() % 1)
    renew(Path(environ["DLAAS_DIR"]), token)
    client(environ=environ).whoami()
    assert server.tokens == [token]
