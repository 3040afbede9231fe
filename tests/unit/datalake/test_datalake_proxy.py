"""What is said of a certificate or proxy is what is in its file."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.x509_samples import ADA, NOW, made, person, proxy_pem, put

from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.proxy import Credential, look_at_certificate, look_at_proxy, make_proxy, proxy_path

UID = os.geteuid()


def look(path: Path) -> Credential:
    return look_at_proxy(path, uid=UID, now=datetime.now(UTC))


def sentence(path: Path) -> str:
    failure = look(path).failure
    return failure.sentence if failure else ""


def test_a_proxy_is_its_owners_until_the_first_end_in_its_chain(tmp_path: Path):
    found = look(put(tmp_path / "proxy", proxy_pem(hours=12, vo="escape")))
    assert (found.subject, found.vos, found.failure) == (ADA, ("escape",), None)
    assert found.valid_until == NOW + timedelta(hours=12)


def test_a_proxy_ends_with_the_certificate_it_was_derived_from(tmp_path: Path):
    found = look(put(tmp_path / "proxy", proxy_pem(person(hours=1), hours=12)))
    assert found.valid_until == NOW + timedelta(hours=1)


def test_a_proxy_of_the_older_kind_has_its_owners_subject_too(tmp_path: Path):
    assert look(put(tmp_path / "proxy", proxy_pem(legacy=True))).subject == ADA


def test_an_expired_proxy_is_said_to_be(tmp_path: Path):
    assert "expired at" in sentence(put(tmp_path / "proxy", proxy_pem(hours=-1)))


def test_a_proxy_that_is_not_valid_yet_is_said_to_be(tmp_path: Path):
    path = put(tmp_path / "proxy", proxy_pem())
    failure = look_at_proxy(path, uid=UID, now=NOW - timedelta(days=500)).failure
    assert failure and "is not valid before" in failure.sentence


def test_another_key_than_the_proxys_is_found(tmp_path: Path):
    path = put(tmp_path / "proxy", proxy_pem(key=made(ADA)))
    assert sentence(path) == f"The private key in {path} is not that of the proxy."


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused_with_the_command_to_type(tmp_path: Path, mode: int):
    path = put(tmp_path / "my proxy", proxy_pem(), mode)
    failure = look(path).failure
    assert failure and (failure.code, failure.advice) == (Code.REFUSED, f"Type: chmod 600 '{path}'")


def test_somebody_elses_file_is_refused(tmp_path: Path):
    path = put(tmp_path / "proxy", proxy_pem())
    failure = look_at_proxy(path, uid=UID + 1, now=NOW).failure
    assert failure and "belongs to user" in failure.sentence


@pytest.mark.parametrize("content", [b"", b"hello", person().key_pem(), b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_what_is_no_proxy_is_said_to_be_none(tmp_path: Path, content: bytes):
    assert "There is no certificate in" in sentence(put(tmp_path / "proxy", content))


def test_a_folder_in_the_proxys_place_is_refused(tmp_path: Path):
    (tmp_path / "proxy").mkdir()
    assert "is not a file" in sentence(tmp_path / "proxy")


def test_no_proxy_is_not_found(tmp_path: Path):
    with pytest.raises(Failure) as raised:
        look(tmp_path / "proxy")
    assert raised.value.code is Code.NOT_FOUND


def test_a_certificate_may_be_public_and_its_key_not(tmp_path: Path):
    ada = person()
    certificate = put(tmp_path / "usercert.pem", ada.certificate_pem(), 0o644)
    key = put(tmp_path / "userkey.pem", ada.key_pem(), 0o400)
    assert look_at_certificate(certificate, key, uid=UID, now=NOW).failure is None
    key.chmod(0o444)
    failure = look_at_certificate(certificate, key, uid=UID, now=NOW).failure
    assert failure and failure.advice == f"Type: chmod 600 {key}"


def test_a_key_with_a_passphrase_is_refused_because_notebooks_cannot_ask(tmp_path: Path):
    ada = person()
    certificate = put(tmp_path / "usercert.pem", ada.certificate_pem())
    key = put(tmp_path / "userkey.pem", ada.key_pem(b"secret"))
    failure = look_at_certificate(certificate, key, uid=UID, now=NOW).failure
    assert failure and "has a passphrase" in failure.sentence


def test_the_proxy_is_looked_for_where_rucios_clients_do():
    assert proxy_path({"X509_USER_PROXY": "/x/p"}, 7) == Path("/x/p")
    assert proxy_path({"RUCIO_CLIENT_PROXY": "/y", "X509_USER_PROXY": "/x"}, 7) == Path("/y")
    assert proxy_path({}, 7) == Path("/tmp/x509up_u7")


def make(folder: Path, script: str = "", **kwargs) -> None:
    if script:
        put(folder / "bin/voms-proxy-init", f"#!/bin/sh\n{script}\n".encode(), 0o700)
    environ = {"PATH": f"{folder}/bin:/usr/bin:/bin"}
    make_proxy(folder / "proxy", **{"vo": "escape", "environ": environ, "home": folder, "uid": UID, **kwargs})


def test_without_voms_proxy_init_it_is_said_where_and_how_to_make_one(tmp_path: Path):
    with pytest.raises(Failure) as raised:
        make(tmp_path)
    assert "voms-proxy-init --voms escape --out x509up" in raised.value.advice
    assert f"chmod 600 {tmp_path}/proxy" in raised.value.advice


def test_voms_proxy_init_is_told_vo_and_place(tmp_path: Path):
    make(tmp_path, f'echo "$@" > {tmp_path}/told')
    assert (tmp_path / "told").read_text().split() == ["--voms", "escape", "--out", f"{tmp_path}/proxy"]


def test_no_proxy_is_made_with_a_key_that_others_can_read(tmp_path: Path):
    key = put(tmp_path / ".globus/userkey.pem", person().key_pem(b"x"), 0o644)
    with pytest.raises(Failure) as raised:
        make(tmp_path, f"touch {tmp_path}/called")
    assert raised.value.advice == f"Type: chmod 600 {key}"
    assert not (tmp_path / "called").exists()


def test_a_failing_voms_proxy_init_is_a_failure(tmp_path: Path):
    with pytest.raises(Failure) as raised:
        make(tmp_path, "exit 3")
    assert raised.value.code is Code.REFUSED
