"""What an XCache breaks is said before users meet it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jupyterhub_dlaas.admin.cache_check import RSE, Protocol, broken_by_cache
from jupyterhub_dlaas.admin.cli import main

CATALOGUE = """
vo: escape
rucio_instances:
  escape: {{rucio_host: "http://127.0.0.1:9", audience: rucio, mode: download, {rses}}}
environments:
  - {{name: root, image: "registry.example.org/root:1", rucio: [escape], {cache}}}
"""


def rse(name: str, *, scheme: str = "root", prefix: str = "//rucio/", algorithm: str = "hash", site: str = "") -> RSE:
    return RSE(name, site or name, algorithm, (Protocol(scheme, prefix, 1),))


def broken(*rses: RSE) -> list[str]:
    return list(broken_by_cache("CERN", rses))


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_downloads_by_https_fail(scheme: str) -> None:
    (sentence,) = broken(rse("A", scheme=scheme))
    assert sentence.startswith(f"A is read by {scheme}: downloads through the cache of CERN fail")


@pytest.mark.parametrize("scheme", ["root", "davs", "file"])
def test_other_schemes_work(scheme: str) -> None:
    assert broken(rse("A", scheme=scheme)) == []


def test_https_after_root_is_not_used() -> None:
    both = RSE("A", "A", "hash", (Protocol("https", "/rucio/", 2), Protocol("root", "//rucio/", 1)))
    assert broken(both) == []


def test_an_rse_at_the_caches_own_site_is_read_directly() -> None:
    assert broken(rse("A", scheme="https", site="CERN")) == []


def test_one_prefix_and_one_rule_for_paths_is_sound() -> None:
    assert broken(rse("A"), rse("B", prefix="/rucio")) == []


def test_one_prefix_with_other_rules_mixes_files() -> None:
    (sentence,) = broken(rse("A"), rse("B", algorithm="identity"))
    assert sentence.startswith("A and B both have files at /rucio, and not by one rule")


def test_paths_of_their_own_below_anothers_prefix_mix_files() -> None:
    (sentence,) = broken(rse("A"), rse("SCRATCH", prefix="/rucio/scratch", algorithm=""))
    assert "at /rucio/scratch" in sentence


def test_prefixes_of_their_own_are_sound() -> None:
    assert broken(rse("A"), rse("SCRATCH", prefix="/scratch", algorithm="")) == []


# ---- the command


def check(folder: Path, capsys: pytest.CaptureFixture[str], *options: str, cache: str = "", rses: str = "") -> str:
    file = folder / "escape.yaml"
    file.write_text(CATALOGUE.format(cache=cache, rses=rses))
    main(["catalogue", "check", str(file), *options])
    return capsys.readouterr().out


def test_a_cache_is_hinted_at_and_that_is_no_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = check(tmp_path, capsys, "--strict", cache="xcache_site: CERN")
    assert "escape.yaml:6: environments[0].xcache_site: downloads go through the cache of CERN" in out
    assert "no errors, no warnings" in out


def test_without_a_cache_there_is_no_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "hint" not in check(tmp_path, capsys)


def test_an_open_cache_in_front_of_protected_storage_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protected = 'rses: {"CNAF-*": {audience: cnaf}}'
    out = check(tmp_path, capsys, cache="xcache_site: CERN", rses=protected)
    assert "(CNAF-*): unless it asks for tokens itself it serves protected files to anybody" in out
    assert "1 warning" in out
    out = check(tmp_path, capsys, cache="xcache_site: CERN, xcache_tokens: true", rses=protected)
    assert "no warnings" in out


def test_a_rucio_that_does_not_answer_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/rucio.cfg").write_text(
        "[client]\nrucio_host = http://127.0.0.1:9\nauth_host = http://127.0.0.1:9\naccount = root\n"
        "auth_type = userpass\nusername = x\npassword = y\nrequest_retries = 0\n"
    )
    monkeypatch.setenv("RUCIO_HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("RUCIO_CONFIG", raising=False)
    out = check(tmp_path, capsys, "--ask-rucio", "--json", cache="xcache_site: CERN")
    [warning] = [found for found in json.loads(out)["findings"] if found["level"] == "warning"]
    assert "http://127.0.0.1:9 could not be asked" in warning["message"]
