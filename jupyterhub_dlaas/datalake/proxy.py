"""X.509 certificates and proxies of a user: where they are, whose, how long good, and who else can read them."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from jupyterhub_dlaas.datalake.failure import Code, Failure

if TYPE_CHECKING:
    from cryptography import x509

PROXY_INIT = "voms-proxy-init"
_KEY = re.compile(rb"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?-----END \1PRIVATE KEY-----", re.DOTALL)
_PROXY_CERT_INFO = "1.3.6.1.5.5.7.1.14"  # RFC 3820 section 3.8
_VOMS = "1.3.6.1.4.1.8005.100.100.5"  # the attribute certificates of VOMS; names of groups lie in them as plain text
_GROUP = re.compile(rb"/([A-Za-z0-9._-]+)(?:/[A-Za-z0-9._-]+)*/Role=")
_MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class Credential:
    """A certificate with its key, or a proxy, which has both in one file.

    `subject` is the person's, in the slashed form in which Rucio knows identities; `valid_until` the first end in the
    whole chain. `vos` are those whose membership a proxy carries. `failure` says why it cannot be used; None: it can.
    """

    certificate: Path
    key: Path
    subject: str = ""
    valid_until: datetime | None = None
    vos: tuple[str, ...] = ()
    failure: Failure | None = None


def proxy_path(environ: Mapping[str, str], uid: int) -> Path:
    """Where Rucio's clients look for a proxy, whether there is one or not."""
    named = environ.get("RUCIO_CLIENT_PROXY") or environ.get("X509_USER_PROXY")
    return Path(named).expanduser() if named else usual_proxy_path(uid)


def usual_proxy_path(uid: int) -> Path:
    """Where grid tools put a proxy, and where notebooks and every terminal find it."""
    return Path(f"/tmp/x509up_u{uid}")  # noqa: S108  the grid's convention; owner and mode are checked


def certificate_paths(environ: Mapping[str, str], home: Path) -> tuple[Path, Path]:
    """Where Rucio's clients look for certificate and key in a server."""
    globus = home / ".globus"
    certificate = environ.get("RUCIO_CLIENT_CERT") or str(globus / "usercert.pem")
    key = environ.get("RUCIO_CLIENT_KEY") or str(globus / "userkey.pem")
    return Path(certificate).expanduser(), Path(key).expanduser()


def look_at_proxy(path: Path, *, uid: int, now: datetime) -> Credential:
    """The proxy at `path` with what is wrong with it. Raises Failure (NOT_FOUND) when there is none."""
    return _look_at(path, path, "proxy", uid=uid, now=now)


def look_at_certificate(certificate: Path, key: Path, *, uid: int, now: datetime) -> Credential:
    """The same for a certificate and its key. Raises Failure (NOT_FOUND) when one of them is not there."""
    return _look_at(certificate, key, "certificate", uid=uid, now=now)


def private(path: Path, *, uid: int) -> Failure | None:
    """Why the file with a key must not be used: others can read it, or it is somebody else's; None: it is private.

    Raises Failure (NOT_FOUND) when there is none.
    """
    try:
        about = path.stat()
    except FileNotFoundError:
        raise Failure(f"There is no file {path}.", "", Code.NOT_FOUND) from None
    if not stat.S_ISREG(about.st_mode):
        return Failure(f"{path} is not a file.", f"Remove it: rm -r {quote(str(path))}", Code.REFUSED)
    if about.st_uid != uid:
        return Failure(
            f"{path} belongs to user {about.st_uid}, not to you ({uid}).",
            "Keep yours in another place, and name that: export X509_USER_PROXY=PATH",
            Code.REFUSED,
        )
    if about.st_mode & 0o077:
        mode = f"{stat.S_IMODE(about.st_mode):04o}"
        return Failure(
            f"Others can read the key in {path} (mode {mode}).", f"Type: chmod 600 {quote(str(path))}", Code.REFUSED
        )
    return None


def make_proxy(path: Path, *, vo: str | None, environ: Mapping[str, str], home: Path, uid: int) -> None:
    """Has `voms-proxy-init` make a proxy at `path`: it asks for the passphrase on the terminal.

    Raises Failure where it is not installed, the key is not private, or it fails; its own words are on the terminal.
    """
    membership = ["--voms", vo] if vo else []
    program = shutil.which(PROXY_INIT, path=environ.get("PATH"))
    if program is None:
        there = " ".join([PROXY_INIT, *membership, "--out", "x509up"])
        raise Failure(
            f"There is no usable proxy at {path}, and {PROXY_INIT} is not installed here.",
            f"Where you have your certificate, type: {there}\n"
            f"     Bring the file x509up here as {path}, and type: chmod 600 {quote(str(path))}",
            Code.NOT_FOUND,
        )
    for key in (certificate_paths(environ, home)[1], home / ".globus" / "usercred.p12"):
        if key.exists() and (failure := private(key, uid=uid)):
            raise failure
    # What it says goes to the person, not among the data of this command.
    done = subprocess.run([program, *membership, "--out", str(path)], stdout=2, check=False)
    if done.returncode:
        raise Failure(f"{PROXY_INIT} failed (code {done.returncode}).", "Its own words are above.", Code.REFUSED)


def _look_at(certificate: Path, key: Path, what: str, *, uid: int, now: datetime) -> Credential:
    from cryptography import x509

    if failure := private(key, uid=uid):
        return Credential(certificate, key, failure=failure)
    try:
        chain = x509.load_pem_x509_certificates(_content(certificate))
    except FileNotFoundError:
        raise Failure(f"There is no file {certificate}.", "", Code.NOT_FOUND) from None
    except ValueError:
        sentence = f"There is no certificate in {certificate}."
        return Credential(certificate, key, failure=Failure(sentence, "Make it anew.", Code.BAD_DATA))
    return Credential(
        certificate,
        key,
        subject=_slashed(_person(chain).subject),
        valid_until=min(each.not_valid_after_utc for each in chain),
        vos=_vos(chain),
        failure=_out_of_time(chain, certificate, what, now) or _key_failure(chain[0], key, what),
    )


def _out_of_time(chain: Sequence[x509.Certificate], path: Path, what: str, now: datetime) -> Failure | None:
    anew = f"Make it anew: {PROXY_INIT}" if what == "proxy" else "Ask your certification authority for a new one."
    for each in chain:
        if each.not_valid_after_utc <= now:
            when = f"{each.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
            return Failure(f"The {what} in {path} expired at {when}.", anew, Code.REFUSED)
        if each.not_valid_before_utc > now:
            when = f"{each.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
            return Failure(f"The {what} in {path} is not valid before {when}.", anew, Code.REFUSED)
    return None


def _key_failure(certificate: x509.Certificate, path: Path, what: str) -> Failure | None:
    """What is wrong with the key: there has to be one, without a passphrase, and the certificate's."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    found = _KEY.search(_content(path))
    if found is None:
        return Failure(f"There is no private key in {path}.", "Make it anew.", Code.BAD_DATA)
    try:
        key: Any = load_pem_private_key(found[0], None)
    except TypeError:
        return Failure(
            f"The key in {path} has a passphrase, for which notebooks and downloads cannot ask.",
            "Use a proxy instead: datalake auth x509_proxy",
            Code.REFUSED,
        )
    except ValueError:
        return Failure(f"The private key in {path} cannot be read.", "Make it anew.", Code.BAD_DATA)

    def public(side: Any) -> bytes:
        return bytes(side.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    if public(key) != public(certificate):
        return Failure(f"The private key in {path} is not that of the {what}.", "Make both anew.", Code.BAD_DATA)
    return None


def _person(chain: Sequence[x509.Certificate]) -> x509.Certificate:
    """The certificate from which proxies in front of it were derived."""
    return next((each for each in chain if not _is_proxy(each)), chain[-1])


def _is_proxy(certificate: x509.Certificate) -> bool:
    if any(each.oid.dotted_string == _PROXY_CERT_INFO for each in certificate.extensions):
        return True
    # Before RFC 3820: the issuer's name and one more component, CN=proxy.
    name, issuer = list(certificate.subject), list(certificate.issuer)
    return name[:-1] == issuer and name[-1].value in {"proxy", "limited proxy"}


def _vos(chain: Sequence[x509.Certificate]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for certificate in chain:
        for extension in certificate.extensions:
            if extension.oid.dotted_string == _VOMS:
                content = getattr(extension.value, "value", b"")
                found.update(dict.fromkeys(name.decode() for name in _GROUP.findall(content)))
    return tuple(found)


def _slashed(name: x509.Name) -> str:
    names = {"1.2.840.113549.1.9.1": "emailAddress"}
    return "".join(f"/{names.get(each.oid.dotted_string, each.rfc4514_attribute_name)}={each.value!s}" for each in name)


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MOST_BYTES)


def now() -> datetime:
    """The clock that certificates are held against."""
    return datetime.now(UTC)
