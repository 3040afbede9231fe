"""What is where in the lab: servers and their ports, folders, and the RSEs that Rucio knows. Nothing here acts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

SITE_A = "SITE-A"
SITE_B = "SITE-B"
SITE_T = "SITE-T"
SITE_T_HTTPS = "SITE-T-HTTPS"
SCRATCH = "SCRATCH-SCRATCHDISK"
TOKEN_USERDISK = "SITE-T-USERDISK"
TOKEN_HTTPS_USERDISK = "SITE-T-HTTPS-USERDISK"
ROOT_IMPLEMENTATION = "rucio.rse.protocols.xrootd.Default"
HTTPS_IMPLEMENTATION = "rucio.rse.protocols.webdav.Default"

STORAGE_AUDIENCE = "site-t"
"""The `aud` that the token-protected server and cache ask for."""
STORAGE_SCOPES = "storage.read:/ storage.modify:/"

CACHE_SITE = "CACHED-SITE"
"""As SITE_NAME: Rucio sends its readers to the open cache."""
TOKEN_CACHE_SITE = "CACHED-SITE-T"
"""As SITE_NAME: Rucio sends its readers to the cache that asks for a token."""

ORIGINS = ("site-a", "site-b", "scratch")
"""Servers that let everybody in; each is a storage of its own."""
TOKEN_ORIGIN = "site-t"
CACHE, TOKEN_CACHE = "cache", "cache-t"
SERVERS = (*ORIGINS, TOKEN_ORIGIN, CACHE, TOKEN_CACHE)
PORTS = (*SERVERS, "iam", "rucio")
PEOPLE = ("alice", "bob")


@dataclass(frozen=True)
class RSE:
    """An RSE on one of the servers. `prefix` is unlike any other's: a cache keeps files by their path alone.

    `host` is a name where TLS checks it. `copies`: Rucio may read from and write to it by third-party copy.
    """

    name: str
    server: str
    prefix: str
    qos: str
    host: str = "127.0.0.1"
    scheme: str = "root"
    deterministic: bool = True
    copies: bool = True

    @property
    def implementation(self) -> str:
        return ROOT_IMPLEMENTATION if self.scheme == "root" else HTTPS_IMPLEMENTATION

    @property
    def site(self) -> str:
        """The RSE's attribute `site`: Rucio puts a cache before readers of other sites only."""
        return self.server.upper()

    @property
    def folder(self) -> str:
        """The prefix as a folder below the server's root."""
        return self.prefix.strip("/")


def _token_rse(name: str, scheme: str = "root") -> RSE:
    slashes = "//" if scheme == "root" else "/"
    return RSE(
        *(name, TOKEN_ORIGIN, f"{slashes}{name.lower()}/", "PROTECTED"), host="localhost", scheme=scheme, copies=False
    )


RSES = (
    RSE(SITE_A, "site-a", "//site-a/", "FAST"),
    RSE(SITE_B, "site-b", "//site-b/", "SAFE"),
    RSE(SCRATCH, "scratch", "//scratch/", "SCRATCH", deterministic=False),
    _token_rse(SITE_T),
    _token_rse(SITE_T_HTTPS, "https"),
    # Rucio's generic policy lets a user add replicas to RSEs with such names only.
    _token_rse(TOKEN_USERDISK),
    _token_rse(TOKEN_HTTPS_USERDISK, "https"),
)


def rse(name: str) -> RSE:
    """The RSE of this name."""
    return next(one for one in RSES if one.name == name)


@dataclass(frozen=True)
class Layout:
    """A lab's folder and the ports of `PORTS`. `user` runs the XRootD servers: None where we are not root anyway."""

    folder: Path
    ports: Mapping[str, int] = field(default_factory=dict)
    user: str | None = None

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def pki(self) -> Path:
        return self.folder / "pki"

    @property
    def certificates(self) -> Path:
        """The folder of authorities that X509_CERT_DIR means."""
        return self.pki / "certificates"

    @property
    def mount(self) -> Path:
        """SITE-A below its prefix, as FUSE shows it."""
        return self.folder / "eos" / "site-a"

    @property
    def scratch(self) -> Path:
        """The scratch area: what scientists write to and the storage behind SCRATCH-SCRATCHDISK exports."""
        return self.data("scratch") / rse(SCRATCH).folder

    @property
    def description(self) -> Path:
        """Written when everything is up."""
        return self.folder / "lab.json"

    @property
    def rucio_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['rucio']}"

    @property
    def issuer(self) -> str:
        """The stand-in IAM, with the slash that its tokens carry."""
        return f"http://127.0.0.1:{self.ports['iam']}/"

    def data(self, server: str) -> Path:
        """What a server keeps: an origin's files, or those that a cache has."""
        return self.folder / "data" / server

    def run(self, server: str) -> Path:
        return self.folder / "run" / server

    def config(self, server: str) -> Path:
        return self.folder / "etc" / f"{server}.cfg"

    def address(self, server: str) -> str:
        """`host:port`; a name where TLS compares it with the certificate."""
        host = "localhost" if server in (TOKEN_ORIGIN, TOKEN_CACHE) else "127.0.0.1"
        return f"{host}:{self.ports[server]}"

    def pfn(self, rse_name: str, path: str) -> str:
        """The address of a file at a path below an RSE's prefix."""
        one = rse(rse_name)
        return f"{one.scheme}://{one.host}:{self.ports[one.server]}{one.prefix}{path}"

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Layout:
        fields = json.loads(text)
        return cls(Path(fields["folder"]), fields["ports"], fields["user"])
