"""One file from storage that breaks off, lies, hangs or refuses: whole in its place, or not there at all."""

from __future__ import annotations

import hashlib
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from bundle_samples import jwt

from jupyterhub_dlaas.datalake.dids import DID, File
from jupyterhub_dlaas.datalake.failure import Code, Failure
from jupyterhub_dlaas.datalake.fetch import Fetcher, Health, is_whole, part_of, sweep
from jupyterhub_dlaas.datalake.sources import Source
from jupyterhub_dlaas.datalake.streams import Reader, Stopped, proxy_certificate

CONTENT = bytes(range(256)) * 10_000
FILE = File(DID("user.alice", "run 7"), len(CONTENT), f"{zlib.adler32(CONTENT):08x}", None)


class Storage(ThreadingHTTPServer):
    """`answers`: what it does with one request after another; the last for all that follow."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[str] = ["whole"]
        self.seen: list[str | None] = []
        self.accepts = ""
        self.released = threading.Event()

    def source(self, rse: str = "CNAF") -> Source:
        return Source(rse, f"http://127.0.0.1:{self.server_port}/run%207")


class _Handler(BaseHTTPRequestHandler):
    server: Storage

    def do_GET(self) -> None:
        storage = self.server
        token = (self.headers["Authorization"] or "").removeprefix("Bearer ") or None
        storage.seen.append(token)
        answer = storage.answers.pop(0) if len(storage.answers) > 1 else storage.answers[0]
        if storage.accepts and token != storage.accepts:
            answer = "401"
        if answer.isdigit():
            self.send_error(int(answer))
            return
        body = {"other": b"x" * len(CONTENT), "longer": CONTENT + b"more"}.get(answer, CONTENT)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if answer == "hangs":
            self.wfile.write(body[:100_000])
            storage.released.wait(20)
        elif answer == "breaks off":
            self.wfile.write(body[:100_000])
        else:
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def storage() -> Iterator[Storage]:
    with Storage() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.released.set()
        server.shutdown()


Make = Callable[..., Fetcher]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A fetcher; storage gets the token in the file `token`, where `token=True`."""

    def made(*, token: bool = False, **changed: object) -> Fetcher:
        path = tmp_path / "token" if token else None
        fetcher = Fetcher(
            Reader(lambda rse: path, None, None),
            Health(),
            threading.Event(),
            heard.append,
            lambda source, to: to.write_bytes(CONTENT),
            0.2,
        )
        return replace(fetcher, **changed)  # type: ignore[arg-type]

    heard: list[int] = []
    made.heard = heard  # type: ignore[attr-defined]
    return made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    place = tmp_path / "here"
    place.mkdir()
    return place / "run 7"


def failure_of(fetcher: Fetcher, file: File, sources: list[Source], target: Path) -> Failure:
    with pytest.raises(Failure) as caught:
        fetcher.fetch(file, sources, target)
    assert list(target.parent.iterdir()) == []
    return caught.value


def test_a_file_comes_whole_with_progress_in_bytes(storage: Storage, make: Make, target: Path) -> None:
    make().fetch(FILE, [storage.source()], target)
    assert target.read_bytes() == CONTENT
    assert sum(make.heard) == len(CONTENT)  # type: ignore[attr-defined]
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("first", ["breaks off", "503", "other"])
def test_a_transfer_that_fails_once_is_repeated(storage: Storage, make: Make, target: Path, first: str) -> None:
    storage.answers = [first, "whole"]
    make().fetch(FILE, [storage.source()], target)
    assert target.read_bytes() == CONTENT
    assert sum(make.heard) == len(CONTENT)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ("breaks off", Code.UNREACHABLE, "CNAF broke off in the middle"),
        ("503", Code.UNREACHABLE, "CNAF is out of order (HTTP 503)."),
        ("404", Code.NOT_FOUND, "CNAF does not have the file that Rucio expects there."),
        ("418", Code.FAILED, "CNAF does not give the file (HTTP 418)."),
        ("other", Code.BAD_DATA, "CNAF gives other bytes than were registered."),
        ("longer", Code.BAD_DATA, "of 2,560,000 bytes"),
        ("403", Code.REFUSED, "CNAF does not let you in (HTTP 403)."),
    ],
)
def test_what_a_storage_does_wrong_is_one_sentence(
    storage: Storage, make: Make, target: Path, answer: str, code: Code, said: str
) -> None:
    storage.answers = [answer]
    failure = failure_of(make(), FILE, [storage.source()], target)
    assert (failure.code, said in failure.sentence) == (code, True), failure.sentence


def test_another_storage_takes_over(storage: Storage, make: Make, target: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(CONTENT)
    storage.answers = ["503"]
    there = Source("DESY", "", tmp_path / "copy")
    assert make().fetch(FILE, [storage.source(), there], target) is there


def test_of_two_failures_the_one_is_told_that_can_be_mended(storage: Storage, make: Make, target: Path) -> None:
    storage.answers = ["403", "404"]
    assert failure_of(make(), FILE, [storage.source("A"), storage.source("B")], target).code == Code.REFUSED


def test_a_storage_that_is_down_is_not_asked_for_every_file(make: Make, storage: Storage, target: Path) -> None:
    fetcher = make()
    storage.answers = ["503"]
    for _ in range(10):
        assert failure_of(fetcher, FILE, [storage.source()], target).code == Code.UNREACHABLE
    assert len(storage.seen) == 6


def test_a_storage_that_recovers_is_trusted_again(make: Make, storage: Storage, target: Path) -> None:
    fetcher = make()
    storage.answers = ["503", "503", "503", "503", "whole", "503"]
    for code in (Code.UNREACHABLE, Code.UNREACHABLE, None, Code.UNREACHABLE):
        if code is None:
            fetcher.fetch(FILE, [storage.source()], target)
            target.unlink()
        else:
            assert failure_of(fetcher, FILE, [storage.source()], target).code == code
    assert not fetcher.health.given_up(storage.source().way)


def test_without_a_checksum_the_size_counts(storage: Storage, make: Make, target: Path) -> None:
    make().fetch(replace(FILE, adler32=None), [storage.source()], target)
    assert target.read_bytes() == CONTENT


def test_md5_counts_where_there_is_no_adler32(storage: Storage, make: Make, target: Path) -> None:
    file = replace(FILE, adler32=None, md5=hashlib.md5(CONTENT, usedforsecurity=False).hexdigest())
    make().fetch(file, [storage.source()], target)
    storage.answers = ["other"]
    target.unlink()
    assert failure_of(make(), file, [storage.source()], target).code == Code.BAD_DATA


def test_an_empty_file_is_a_file(make: Make, target: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    make().fetch(File(DID("a", "b"), 0, "00000001", None), [Source("A", "", tmp_path / "empty")], target)
    assert target.read_bytes() == b""


def test_what_is_read_by_rucios_own_protocols_is_checked_too(make: Make, target: Path) -> None:
    source = Source("TAPE", "srm://example.org/run7")
    make().fetch(FILE, [source], target)
    assert target.read_bytes() == CONTENT
    target.unlink()
    lying = make(other=lambda source, to: to.write_bytes(b"x" * len(CONTENT)))
    assert failure_of(lying, FILE, [source], target).code == Code.BAD_DATA


def test_the_token_goes_along_and_is_read_anew_for_each_file(
    storage: Storage, make: Make, target: Path, tmp_path: Path
) -> None:
    fetcher = make(token=True)
    for token in ("one", "two"):
        (tmp_path / "token").write_text(token)
        fetcher.fetch(FILE, [storage.source()], target)
    assert storage.seen == ["one", "two"]


def test_a_token_goes_over_no_open_line(make: Make, tmp_path: Path, target: Path) -> None:
    """Loopback is none; another host by http is."""
    (tmp_path / "token").write_text("secret")
    reader = make(token=True).reader
    assert reader.headers(Source("A", "http://storage.example.org/x")) == {"Accept-Encoding": "identity"}
    assert "Authorization" in reader.headers(Source("A", "https://storage.example.org/x"))
    assert "Authorization" not in reader.headers(Source("A", "https://storage.example.org/x?X-Amz-Signature=1"))


def test_a_token_that_is_being_renewed_is_waited_for(
    storage: Storage, make: Make, target: Path, tmp_path: Path
) -> None:
    spent, fresh = jwt("cnaf", 1000), jwt("cnaf", 2e9)
    (tmp_path / "token").write_text(spent)
    storage.accepts = fresh
    threading.Timer(0.1, lambda: (tmp_path / "token").write_text(fresh)).start()
    make(token=True, renewal_seconds=20.0).fetch(FILE, [storage.source()], target)
    assert storage.seen == [spent, fresh]


def test_a_token_that_is_not_renewed_is_waited_for_once(
    storage: Storage, make: Make, target: Path, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(jwt("cnaf", 1000))
    storage.accepts = "another"
    fetcher = make(token=True, renewal_seconds=0.5)
    began = time.monotonic()
    for _ in range(20):
        failure = failure_of(fetcher, FILE, [storage.source()], target)
    assert "expired at" in failure.sentence
    assert time.monotonic() - began < 5


def test_a_token_that_is_good_and_refused_is_not_waited_for(
    storage: Storage, make: Make, target: Path, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(jwt("somebody-else", 2e9))
    storage.accepts = "another"
    fetcher = make(token=True, renewal_seconds=1000.0)
    failure = failure_of(fetcher, FILE, [storage.source()], target)
    assert "is for somebody-else" in failure.sentence


def test_a_stop_ends_a_transfer_that_hangs_and_leaves_nothing(storage: Storage, make: Make, target: Path) -> None:
    storage.answers = ["hangs"]
    fetcher = make()
    ended: list[BaseException] = []

    def work() -> None:
        try:
            fetcher.fetch(FILE, [storage.source()], target)
        except (Stopped, Failure) as error:
            ended.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    while not part_of(target).exists():
        time.sleep(0.01)
    fetcher.stop.set()
    fetcher.reader.stop()
    storage.released.set()
    worker.join(10)
    assert isinstance(ended[0], Stopped)
    assert list(target.parent.iterdir()) == []


def test_sweeping_leaves_what_a_living_process_writes(target: Path) -> None:
    part = part_of(target)
    part.touch()
    dead = part.with_name(part.name.replace(part.name.split(".")[-2], "999999999"))
    dead.touch()
    sweep(target.parent)
    assert (part.exists(), dead.exists()) == (True, False)


def test_a_file_is_whole_by_size_and_checksum(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(CONTENT)
    assert is_whole(path, FILE)
    path.write_bytes(b"x" * len(CONTENT))
    assert not is_whole(path, FILE)
    path.write_bytes(CONTENT[:-1])
    assert not is_whole(path, FILE)


def test_a_certificate_stands_in_where_there_is_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = tmp_path / "proxy"
    monkeypatch.setenv("X509_USER_PROXY", str(proxy))
    reader = Reader(lambda rse: None, None, None)
    davs = Source("A", "davs://storage.example.org/x")
    assert (proxy_certificate(), reader.can(davs)) == (None, False)
    proxy.touch()
    assert (proxy_certificate(), reader.can(davs)) == (str(proxy), True)
