"""The root file system of the agent's image, made here and used as the only one that the agent sees."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import jupyterhub_dlaas
from jupyterhub_dlaas.agent.command import AGENT_PROGRAM, ready_command

REPO = Path(__file__).resolve().parents[3]
SYSTEM_PYTHON = "/usr/bin/python3"

pytestmark = pytest.mark.skipif(
    not (Path("/etc/ssl/certs/ca-certificates.crt").exists() and Path(SYSTEM_PYTHON).exists()),
    reason="made from Debian's interpreter and certificates",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images") / "root"
    package = Path(jupyterhub_dlaas.__file__).parent
    script = REPO / "images" / "agent" / "make_root.py"
    subprocess.run([SYSTEM_PYTHON, script, package, root], check=True, capture_output=True)
    return root


def test_it_holds_no_shell_no_pip_and_no_source(root):
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert {path for path in files if "bin/" in path} == {AGENT_PROGRAM.lstrip("/"), SYSTEM_PYTHON.lstrip("/")}
    assert not {path for path in files if path.endswith(".py") or "pip" in path.split("/")}


def test_it_is_small(root):
    assert sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) < 40e6


def test_nothing_in_it_can_be_written_by_others(root):
    assert not [path for path in root.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o022]


def test_its_modules_belong_to_the_agent_alone(root):
    package = next(root.glob("usr/lib/python3*/jupyterhub_dlaas"))
    assert {path.name for path in package.iterdir()} == {"__init__.pyc", "agent"}


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_the_agent_runs_in_it_as_any_user(root):
    def enter() -> None:
        os.chroot(root)
        os.chdir("/")
        os.setgroups([])
        os.setgid(4321)
        os.setuid(4321)

    for part in root.parents[:2]:
        part.chmod(0o755)
    imports = (
        "import http.client, ssl, encodings.idna, ctypes; ssl.create_default_context(); print(ssl.OPENSSL_VERSION)"
    )
    certificates = {"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"}
    done = subprocess.run(
        [SYSTEM_PYTHON, "-I", "-S", "-c", imports], preexec_fn=enter, env=certificates, capture_output=True, text=True
    )
    assert done.stdout.startswith("OpenSSL 3"), done.stderr
    ready = subprocess.run(ready_command(files="/none", program=AGENT_PROGRAM), preexec_fn=enter, env={}, stderr=-1)
    # The sentence, because Python itself ends with 1, too, where the program cannot be imported.
    assert (ready.returncode, ready.stderr) == (1, b"dlaas-agent: The files in /none are not complete yet.\n")
