"""`dlaas scratch clean` on a real Rucio: what it knows is safe, also when it answers badly, late or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

import pytest
import requests
from rucio.common.config import clean_cached_config
from support.lake_user import Done, LakeUser
from support.rucio_lake import RucioLake

from jupyterhub_dlaas.admin.scratch_area import Area
from jupyterhub_dlaas.admin.scratch_clean import Counts, Rules, clean
from jupyterhub_dlaas.admin.scratch_rucio import NotAsked, Replicas
from jupyterhub_dlaas.demo.lake import config


class Between(ThreadingHTTPServer):
    """Hands everything on to Rucio, unless `fault(path)` says otherwise.

    `away`: no answer; `half`: the first half, and the connection ends; `no end`: the first lines in an answer that does
    not tell its end, as an old proxy may do it; `page`: somebody else's page, with status 200; `broken`: status 500.
    """

    daemon_threads = True

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.rucio = url
        self.fault: Callable[[str], str] = lambda path: ""
        self.seen: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Between
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        fault = self.server.fault(path)
        self.server.seen.append(path)
        if fault == "away":
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name not in {"Host", "Connection"}}
        answer = requests.request(self.command, self.server.rucio + self.path, data=body, headers=headers, timeout=60)
        content, kind = answer.content, answer.headers["Content-Type"]
        if fault == "page":
            content, kind = b"<html>Please log in</html>", "text/html"
        self.send_response(500 if fault == "broken" else answer.status_code)
        for name, value in answer.headers.items():
            if name.lower().startswith("x-rucio") or name in {"ExceptionClass", "ExceptionMessage"}:
                self.send_header(name, value)
        self.send_header("Content-Type", kind)
        if fault == "no end":
            self.send_header("Connection", "close")
            content = b"".join(content.splitlines(keepends=True)[:-1])
        else:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if fault == "half":
            content = content[: len(content) // 2]
        self.wfile.write(content)
        self.close_connection = self.close_connection or fault in {"half", "no end"}

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *args: object) -> None:
        pass


class Operator:
    """Who cleans the space in which `user` has a folder; below the RSE's prefix it has the name of that folder."""

    def __init__(self, lake: RucioLake, user: LakeUser, between: Between, folder: Path) -> None:
        self.lake, self.user, self.between = lake, user, between
        self.area = user.scratch.parent
        self.metrics = folder / "scratch.prom"
        (folder / "rucio/etc").mkdir(parents=True)
        (folder / "rucio/etc/rucio.cfg").write_text(
            f"[client]\nrucio_host = {between.url}\nauth_host = {between.url}\nauth_type = userpass\naccount = root\n"
            f"username = {config.ROOT_USER}\npassword = {lake.settings.root_password}\nrequest_retries = 1\n"
        )
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RUCIO")}
        self.environ = {**kept, "RUCIO_HOME": str(folder / "rucio"), "TMPDIR": str(folder)}

    def dlaas(self, *arguments: str, rse_path: str | None = None) -> Done:
        """`dlaas scratch clean` of files that are older than a second."""
        youngest = max((path.lstat().st_ctime for path in self.area.rglob("*")), default=0.0)
        self.lake.until(lambda: time.time() > youngest + 1.1)
        below = self.area.name if rse_path is None else rse_path
        command = [sys.executable, "-m", "jupyterhub_dlaas.admin.cli", "scratch", "clean", "--path", str(self.area)]
        command += ["--rse", self.lake.scratch, "--rse-path", below, "--older-than", "1s", *arguments]
        done = subprocess.run(
            command, env=self.environ, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def clean(self, monkeypatch: pytest.MonkeyPatch, before_removal: Callable[[], object]) -> Counts:
        """The same in this process, with something that happens after Rucio was asked and before anything goes."""
        for key in ("RUCIO_HOME", "TMPDIR"):
            monkeypatch.setenv(key, self.environ[key])
        monkeypatch.delenv("RUCIO_CONFIG", raising=False)
        clean_cached_config()

        class Meanwhile(Replicas):
            def newer_paths(self) -> Iterator[tuple[bytes, ...]]:
                before_removal()
                return super().newer_paths()

        with closing(Area(str(self.area))) as area:
            known = Meanwhile(self.lake.scratch, self.area.name)
            return clean(area, known, Rules(time.time() + 60), remove=True)

    def left(self) -> set[str]:
        found = (path for path in self.area.rglob("*") if path.is_symlink() or not path.is_dir())
        return {str(path.relative_to(self.area)) for path in found}


@pytest.fixture
def operator(lake: RucioLake, alice: LakeUser, tmp_path: Path) -> Iterator[Operator]:
    with Between(lake.url) as between:
        threading.Thread(target=between.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield Operator(lake, alice, between, tmp_path / "operator")
        between.shutdown()
    clean_cached_config()


def register(user: LakeUser, *names: str, escape: Mapping[str, str] = MappingProxyType({})) -> None:
    """Files of the user's scratch become known to Rucio, where they lie; `escape`: as other names in the PFN."""
    lake = user.lake
    replicas = [
        {
            "scope": user.scope,
            "name": user.name_of("file"),
            "bytes": (user.scratch / name).stat().st_size,
            "adler32": f"{zlib.adler32((user.scratch / name).read_bytes()):08x}",
            "pfn": f"file://localhost{user.scratch / escape.get(name, name)}",
        }
        for name in names
    ]
    lake.root.add_replicas("LAKE-SCRATCHDISK", replicas)


def test_what_rucio_knows_stays_and_the_rest_goes(operator: Operator, alice: LakeUser) -> None:
    alice.write_scratch({"run/known.dat": b"k" * 100, "run/b c.dat": b"b", "old/deep/forgotten.dat": b"f" * 2000})
    register(alice, "run/known.dat", "run/b c.dat")
    done = operator.dlaas("--yes")
    assert done.code == 0, done.err
    assert operator.left() == {"alice/run/known.dat", "alice/run/b c.dat"}
    assert not (alice.scratch / "old").exists()
    assert "2.0 kB  alice/old/deep/forgotten.dat\n" in done.out
    assert "removed            1     2.0 kB" in done.out


def test_without_yes_nothing_goes(operator: Operator, alice: LakeUser) -> None:
    alice.write_scratch({"a.dat": b"a", "known.dat": b"k"})
    register(alice, "known.dat")
    done = operator.dlaas()
    assert (done.code, "would remove            1" in done.out) == (0, True), done
    assert "add --yes" in done.out
    assert operator.left() == {"alice/a.dat", "alice/known.dat"}


def test_a_file_registered_after_the_question_stays(
    operator: Operator, alice: LakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice.write_scratch({"a.dat": b"a", "late.dat": b"l", "known.dat": b"k"})
    register(alice, "known.dat")
    counts = operator.clean(monkeypatch, lambda: register(alice, "late.dat"))
    assert operator.left() == {"alice/late.dat", "alice/known.dat"}
    assert (counts.removed, counts.changed) == (1, 1)


def test_a_file_that_rucio_knows_by_a_link_stays(operator: Operator, alice: LakeUser) -> None:
    alice.write_scratch({"run/a.dat": b"a", "run/b.dat": b"b"})
    (alice.scratch / "latest").symlink_to("run")
    register(alice, "latest/a.dat")
    assert operator.dlaas("--yes").code == 0
    assert operator.left() == {"alice/run/a.dat", "alice/latest"}


def test_paths_with_escapes_are_known_in_both_forms(operator: Operator, alice: LakeUser) -> None:
    alice.write_scratch({"b c.dat": b"b", "d%20e.dat": b"d", "f.dat": b"f"})
    register(alice, "b c.dat", "d%20e.dat", escape={"b c.dat": "b%20c.dat"})
    assert operator.dlaas("--yes").code == 0
    assert operator.left() == {"alice/b c.dat", "alice/d%20e.dat"}


def test_an_old_did_that_comes_to_lie_here_stays(
    operator: Operator, alice: LakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = alice.make_dataset(1)
    (file,) = alice.lake.root.list_files(dataset.scope, dataset.name)
    alice.write_scratch({"a.dat": b"a", "again.dat": b"l" * file["bytes"], "known.dat": b"k"})
    register(alice, "known.dat")
    replica = {key: file[key] for key in ("scope", "name", "bytes", "adler32")}
    replica["pfn"] = f"file://localhost{alice.scratch}/again.dat"
    operator.clean(monkeypatch, lambda: alice.lake.root.add_replicas("LAKE-SCRATCHDISK", [replica]))
    assert operator.left() == {"alice/again.dat", "alice/known.dat"}


FAULTS = {
    "that is away from the beginning": ("away", "/"),
    "that is away when scopes are listed": ("away", "/scopes/"),
    "that is away when files are listed": ("away", "/dids/"),
    "that is away when replicas are listed": ("away", "/replicas/"),
    "that breaks off a list of files": ("half", "/dids/"),
    "that breaks off a list of replicas": ("half", "/replicas/"),
    "that leaves out files without a sign": ("no end", "/dids/"),
    "that leaves out replicas without a sign": ("no end", "/replicas/"),
    "with a login page in front": ("page", "/replicas/"),
    "that fails by itself": ("broken", "/dids/"),
}


@pytest.mark.parametrize("which", FAULTS)
def test_nothing_goes_with_a_rucio(operator: Operator, alice: LakeUser, which: str) -> None:
    fault, where = FAULTS[which]
    alice.write_scratch({"a.dat": b"a", "known.dat": b"k"})
    register(alice, "known.dat")
    operator.between.fault = lambda path: fault if path.startswith(where) else ""
    done = operator.dlaas("--yes", "--metrics", str(operator.metrics))
    assert done.code == 3, done
    assert done.err.startswith("dlaas: ")
    assert operator.left() == {"alice/a.dat", "alice/known.dat"}
    assert "dlaas_scratch_success{" in operator.metrics.read_text()
    assert "} 0.0" in operator.metrics.read_text()


def test_a_rucio_that_goes_away_in_the_middle_ends_the_removal(
    operator: Operator, alice: LakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice.write_scratch({"a.dat": b"a", "known.dat": b"k"})
    register(alice, "known.dat")

    def go_away() -> None:
        operator.between.fault = lambda path: "away"

    with pytest.raises(NotAsked):
        operator.clean(monkeypatch, go_away)
    assert operator.between.fault("/dids/") == "away"
    assert operator.left() == {"alice/a.dat", "alice/known.dat"}


def test_nothing_goes_where_the_rse_path_is_wrong(operator: Operator, alice: LakeUser) -> None:
    alice.write_scratch({"a.dat": b"a", "known.dat": b"k"})
    register(alice, "known.dat")
    for wrong in ("", "elsewhere"):
        done = operator.dlaas("--yes", rse_path=wrong)
        assert (done.code, "--rse-path" in done.err) == (3, True), done
    assert operator.left() == {"alice/a.dat", "alice/known.dat"}


def test_an_rse_that_does_not_exist_is_said(operator: Operator, alice: LakeUser) -> None:
    alice.write_scratch({"a.dat": b"a"})
    done = operator.dlaas("--yes", "--rse", "NOBODY-SCRATCHDISK")
    assert (done.code, "NOBODY-SCRATCHDISK" in done.err) == (3, True), done
    assert operator.left() == {"alice/a.dat"}


def test_metrics_tell_what_was_done(operator: Operator, alice: LakeUser) -> None:
    alice.write_scratch({"a.dat": b"a" * 7, "known.dat": b"k"})
    register(alice, "known.dat")
    done = operator.dlaas("--yes", "--summary", "--metrics", str(operator.metrics))
    assert (done.code, "a.dat" in done.out) == (0, False), done
    text = operator.metrics.read_text()
    where = f'path="{operator.area}",rse="LAKE-SCRATCHDISK"'
    for line in (
        f"dlaas_scratch_success{{{where}}} 1.0",
        f'dlaas_scratch_files{{{where},state="removed"}} 1.0',
        f'dlaas_scratch_bytes{{{where},state="removed"}} 7.0',
        f'dlaas_scratch_files{{{where},state="known"}} 1.0',
    ):
        assert line in text.splitlines()
    assert list(operator.metrics.parent.glob("scratch.prom*")) == [operator.metrics]


def test_json_is_for_scripts(operator: Operator, alice: LakeUser) -> None:
    alice.write_scratch({"counted.dat": b"a" * 7})
    done = operator.dlaas("--yes", "--json")
    counts = json.loads(done.out)
    assert done.code == 0, done
    assert (counts["ok"], counts["dry_run"], counts["removed"], counts["removed_bytes"]) == (True, False, 1, 7)


def test_nothing_old_means_no_long_question(operator: Operator, alice: LakeUser) -> None:
    alice.write_scratch({"a.dat": b"a"})
    done = operator.dlaas("--yes", "--older-than", "1d")
    assert done.code == 0, done.err
    assert not [path for path in operator.between.seen if path.startswith("/dids/")]
