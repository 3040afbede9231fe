"""What a Rucio server reads, as text: decided here, written by `write`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from configparser import ConfigParser
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

ROOT_USER = "ddmlab"
MOUNTED_RSE = "EULAKE-1"
REMOTE_RSE = "DESY-DCACHE"
SCRATCH_RSE = "LAKE-SCRATCHDISK"  # Rucio's generic policy lets users register files on RSEs with this ending
TRANSFER_TOOL = "verified-copy"
POLICY_PACKAGE = "jupyterhub_dlaas.demo.lake.dlaas_policy"
_LAYOUT = 2  # of the database as `bootstrap` fills it; an older one is brought up to date


@dataclass(frozen=True)
class Account:
    """A Rucio account of a person and who they are at IAM: `subject` as in the access token's `sub`.

    `quotas`: RSE -> bytes, where it is not what everybody has.
    """

    name: str
    subject: str
    email: str
    quotas: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """One RSE: the folder its files are in, its class of storage, whether Rucio chooses the paths in it."""

    rse: str
    folder: Path
    qos: str
    deterministic: bool = True


@dataclass(frozen=True)
class Lake:
    """Where the lake's parts are: users see one RSE at `mount` and their own files on another at `scratch`; the third,
    at `remote`, stands for a far-away site.

    `policy` is Rucio's policy package, "" for its generic policy alone; without `samples` there are no data yet.
    """

    folder: Path
    mount: Path
    remote: Path
    scratch: Path
    port: int
    issuer: str
    client_id: str
    client_secret: str
    root_password: str
    accounts: tuple[Account, ...] = ()
    policy: str = POLICY_PACKAGE
    samples: bool = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def cfg(self) -> Path:
        return self.folder / "etc" / "rucio.cfg"

    @property
    def database(self) -> Path:
        return self.folder / "rucio.db"

    @property
    def filled(self) -> Path:
        """Exists once the database and the sample data are complete; says for whom."""
        return self.folder / "filled"

    @property
    def people(self) -> str:
        """Who has an account, as `filled` has it when all of them do."""
        return json.dumps([_LAYOUT, self.issuer, *map(asdict, self.accounts)])

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to fill in."""
        return self.filled.exists() and self.filled.read_text() == self.people

    @property
    def lock(self) -> Path:
        """Server and transfers take turns on the SQLite file by this lock."""
        return self.folder / "turn.lock"

    @property
    def sites(self) -> tuple[Site, ...]:
        """Its RSEs; a mount shows more than Rucio's own part of a storage."""
        return (
            Site(MOUNTED_RSE, self.mount / "rucio", "FAST"),
            Site(REMOTE_RSE, self.remote / "rucio", "SAFE"),
            Site(SCRATCH_RSE, self.scratch, "SCRATCH", deterministic=False),
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Lake:
        fields = json.loads(text)
        fields |= {name: Path(fields[name]) for name in ("folder", "mount", "remote", "scratch")}
        fields["accounts"] = tuple(Account(**account) for account in fields["accounts"])
        return cls(**fields)


def environment(lake: Lake, base: Mapping[str, str]) -> dict[str, str]:
    """The environment of Rucio's own processes: theirs is the only place where RUCIO_CONFIG is set."""
    kept = {name: value for name, value in base.items() if not name.startswith(("RUCIO_", "X509_", "BEARER_TOKEN"))}
    kept |= {"RUCIO_POLICY_PACKAGE": lake.policy} if lake.policy else {}
    # Rucio reads IAM's http address with `requests`, which would ask a proxy for it.
    return kept | {"RUCIO_CONFIG": str(lake.cfg), "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}


def render(lake: Lake) -> dict[str, str]:
    """File name below `etc/` -> text."""
    return {
        "rucio.cfg": _rucio_cfg(lake),
        "alembic.ini": _alembic_ini(lake),
        "idpsecrets.json": _idpsecrets(lake),
        "gunicorn.conf.py": _gunicorn_conf(lake),
        "lake.json": lake.to_json(),
    }


def write(lake: Lake) -> None:
    """Writes the files of `render`, closed to others: two of them hold secrets."""
    etc = lake.cfg.parent
    etc.mkdir(parents=True, exist_ok=True, mode=0o700)
    for folder in (lake.mount, lake.remote, *(site.folder for site in lake.sites)):
        folder.mkdir(parents=True, exist_ok=True)
    if not lake.filled.exists():
        lake.database.unlink(missing_ok=True)  # a first start that was interrupted begins anew
    for name, text in render(lake).items():
        descriptor = os.open(etc / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)


def server_command(lake: Lake, python: str) -> list[str]:
    """The Rucio server. SQLite stands one writer only: one worker and one thread."""
    return [
        *(python, "-m", "gunicorn", "--no-control-socket", "--config", str(lake.cfg.parent / "gunicorn.conf.py")),
        *("--workers", "1", "--threads", "1", "--timeout", "120", "--bind", f"127.0.0.1:{lake.port}"),
        "rucio.web.rest.flaskapi.v1.main:application",
    ]


def _rucio_cfg(lake: Lake) -> str:
    sections: dict[str, dict[str, str]] = {
        "common": {"loglevel": "INFO", "logdir": str(lake.folder)},
        "database": {"default": f"sqlite:///{lake.database}"},
        "alembic": {"cfg": str(lake.cfg.parent / "alembic.ini")},
        "bootstrap": {
            "userpass_identity": ROOT_USER,
            "userpass_pwd": lake.root_password,
            "userpass_email": "root@example.org",
        },
        "policy": {"permission": "generic", "schema": "generic", "lfn2pfn_algorithm_default": "hash"},
        "oidc": {
            "idpsecrets": str(lake.cfg.parent / "idpsecrets.json"),
            "admin_issuer": "demo",
            "expected_audience": "rucio",
            "expected_scope": "openid profile",
        },
        "transfers": {"multihop_rse_expression": ""},
        "conveyor": {"scheme": "file", "transfertool": TRANSFER_TOOL},
        # So that `RUCIO_CONFIG=.../rucio.cfg rucio whoami` makes a curious person Rucio's administrator.
        "client": {
            "rucio_host": lake.url,
            "auth_host": lake.url,
            "auth_type": "userpass",
            "username": ROOT_USER,
            "password": lake.root_password,
            "account": "root",
        },
    }
    parser = ConfigParser(interpolation=None)
    parser.read_dict(sections)
    text = StringIO()
    parser.write(text)
    return text.getvalue()


def _alembic_ini(lake: Lake) -> str:
    package = find_spec("rucio")
    if package is None or package.origin is None:
        raise FileNotFoundError("Rucio is not installed: pip install 'jupyterhub-dlaas[demo]'")
    migrations = Path(package.origin).parent / "db" / "sqla" / "migrate_repo"
    return f"""[alembic]
script_location = {migrations}
sqlalchemy.url = sqlite:///{lake.database}

# The migration environment insists on a logging part.
[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = plain
[logger_root]
level = WARNING
handlers = console
[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = plain
[formatter_plain]
format = %(levelname)s %(name)s %(message)s
"""


def _idpsecrets(lake: Lake) -> str:
    client = {"client_id": lake.client_id, "client_secret": lake.client_secret, "redirect_uris": [lake.url]}
    # Without an SCIM part Rucio answers 401 to every token.
    return json.dumps({"demo": {"issuer": lake.issuer, **client, "SCIM": client}}, indent=1)


def _gunicorn_conf(lake: Lake) -> str:
    # The lock is held from a request's first to its last byte, so a transfer never meets a half-done transaction
    # (SQLite would answer "database is locked" to one of them).
    return f"""import fcntl

from jupyterhub_dlaas.demo.lake.sqlite import leave_writing_to_the_system

leave_writing_to_the_system()
_turn = open({str(lake.lock)!r}, "w")


def pre_request(worker, request):
    fcntl.flock(_turn, fcntl.LOCK_EX)


def post_request(worker, request, environ, response):
    fcntl.flock(_turn, fcntl.LOCK_UN)


def post_worker_init(worker):
    from jupyterhub_dlaas.demo.lake.sqlite import look_up_less_at_once

    look_up_less_at_once()
"""
