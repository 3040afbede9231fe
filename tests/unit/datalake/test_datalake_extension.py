"""Every Rucio instance's downloads use that instance's token, in the real extension."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

from bundle_samples import clean_environ

from jupyterhub_dlaas.datalake import rucio_tokens
from jupyterhub_dlaas.oidc.claims import unverified_claims
from jupyterhub_dlaas.oidc.secret import Secret

CHILD = """
import json, os, sys
from types import SimpleNamespace
from jupyterhub_dlaas.datalake import rucio_tokens
print(repr(rucio_tokens.install()))
from rucio_jupyterlab.rucio.client_environment import RucioClientEnvironment
config = json.load(open(os.environ["JUPYTER_CONFIG_PATH"] + "/jupyter_server_config.json"))
for instance in config["RucioConfig"]["instances"]:
    rucio = SimpleNamespace(instance_config=instance, base_url=instance["rucio_base_url"], auth_type="oidc",
                            auth_url=instance["rucio_auth_url"], auth_config={"account": "alice"})
    with RucioClientEnvironment(rucio):
        import rucio.common.config as config
        config.get_config.cache_clear()
        from rucio.client.accountclient import AccountClient
        print(AccountClient().whoami()["account"])
"""


def test_download_clients_of_each_instance_send_its_own_token(lake, rucio, ska):
    lake()
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.stdout.split() == ["''", "alice", "alice"], done.stderr
    assert [unverified_claims(Secret(token))["aud"] for token in rucio.tokens + ska.tokens] == ["rucio", "ska-rucio"]


def test_instance_that_signs_in_otherwise_is_left_alone():
    config = {"auth_type": "x509", "rucio_host": "https://rucio.example.org"}
    assert rucio_tokens.with_token_file(config, {"oidc_auth": "file", "oidc_file_name": "/t"}) is config


def test_a_release_that_names_the_file_itself_is_believed():
    config = {"auth_type": "oidc", "auth_token_file_path": "/theirs"}
    instance = {"oidc_auth": "file", "oidc_file_name": "/ours"}
    assert rucio_tokens.with_token_file(config, instance)["auth_token_file_path"] == "/theirs"


OTHERS = {
    "absent": "import sys; sys.modules['rucio_jupyterlab'] = None",
    "changed": (
        "from rucio_jupyterlab.rucio.client_environment import RucioClientEnvironment as E\n"
        "E._get_config = lambda self, section: {}"
    ),
    "gone": ("from rucio_jupyterlab.rucio.client_environment import RucioClientEnvironment as E\ndel E._get_config"),
}
LOAD = """
import logging
from types import SimpleNamespace
from jupyterhub_dlaas.datalake.extension import _load_jupyter_server_extension as load
logging.basicConfig(format="LOG %(levelname)s %(message)s", level="INFO")
load(SimpleNamespace(log=logging.getLogger("x")))
"""


def logged_with(prelude: str, folder: Path) -> list[str]:
    command = [sys.executable, "-c", prelude + LOAD]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environ(folder))
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("LOG")]


def test_without_the_extension_one_line_is_logged(tmp_path: Path):
    lines = logged_with(OTHERS["absent"], tmp_path)
    assert len(lines) == 1
    assert "cannot be imported" in lines[0]


def test_changed_internals_are_left_alone_and_logged(tmp_path: Path):
    for name in ("changed", "gone"):
        lines = logged_with(OTHERS[name], tmp_path)
        assert len(lines) == 1
        assert "in another way" in lines[0]


TELL = """
import threading
[thread.join(20) for thread in threading.enumerate() if thread is not threading.current_thread()]
"""


class Hub(BaseHTTPRequestHandler):
    heard: ClassVar[list[tuple[str, str, dict[str, str]]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.heard.append((self.path, self.headers["Authorization"], body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


def told(prelude: str, folder: Path, **variables: str) -> tuple[str, str, dict[str, str]]:
    """What the hub hears of a server whose extension is loaded: path, header Authorization, document."""
    Hub.heard.clear()
    with HTTPServer(("127.0.0.1", 0), Hub) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        api = {"JUPYTERHUB_API_URL": f"http://127.0.0.1:{hub.server_port}/hub/api", "JUPYTERHUB_API_TOKEN": "t"}
        environ = {**clean_environ(folder), **api, "http_proxy": "http://127.0.0.1:9", **variables}
        subprocess.run([sys.executable, "-c", prelude + LOAD + TELL], check=True, capture_output=True, env=environ)
        hub.shutdown()
    (heard,) = Hub.heard
    return heard


def test_the_hub_is_told_that_downloads_have_their_own_tokens(tmp_path: Path):
    assert told("", tmp_path) == ("/hub/dlaas/servers/own-tokens", "token t", {"problem": ""})
    path, _, _ = told("", tmp_path, JUPYTERHUB_SERVER_NAME="second")
    assert path == "/hub/dlaas/servers/second/own-tokens"


def test_the_hub_is_told_why_they_have_not(tmp_path: Path):
    _, _, document = told(OTHERS["changed"], tmp_path)
    assert "in another way" in document["problem"]


def is_wrapped() -> bool:
    from rucio_jupyterlab.rucio.client_environment import RucioClientEnvironment

    return hasattr(RucioClientEnvironment._get_config, "_dlaas_wrapped")


def test_children_of_a_fork_server_have_it_too(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["jupyterhub_dlaas.datalake.preload"])
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    with context.Pool(1) as pool:
        assert pool.apply(is_wrapped) is True


def test_jupyter_server_lists_our_instances_and_loads_our_extension(lake, tmp_path: Path, monkeypatch):
    lake()
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/")
    with (tmp_path / "log").open("w+") as log:
        command = [sys.executable, "-m", "jupyter_server", "--ServerApp.port=0", "--no-browser", "--allow-root"]
        command += ["--IdentityProvider.token=t", "--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0"]
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
        try:
            answer = instances_of(tmp_path, server)
        finally:
            server.terminate()
            server.wait(20)
        log.seek(0)
        text = log.read()
    assert [(entry["name"], entry["oidc_enabled"]) for entry in answer["instances"]] == [
        ("escape", True),
        ("ska", True),
    ]
    assert (answer["active_instance"], answer["auth_type"]) == ("escape", "oidc")
    assert "downloads and uploads use the token of their Rucio instance" in text


def instances_of(folder: Path, server: subprocess.Popen[bytes]) -> dict[str, object]:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline and server.poll() is None:
        for path in folder.rglob("jpserver-*.json"):
            try:
                url = json.loads(path.read_text())["url"] + "rucio-jupyterlab/instances?token=t"
                with urllib.request.urlopen(url, timeout=10) as response:
                    return json.load(response)
            except (OSError, ValueError):
                pass
        time.sleep(0.1)
    raise AssertionError((folder / "log").read_text())
