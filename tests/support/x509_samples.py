"""A small certification authority: people's certificates, and proxies derived from them as grid tools do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID, ObjectIdentifier

NOW = datetime.now(UTC).replace(microsecond=0)
ADA = "/DC=org/DC=example/CN=Ada Lovelace"
PROXY_CERT_INFO = ObjectIdentifier("1.3.6.1.5.5.7.1.14")
VOMS = ObjectIdentifier("1.3.6.1.4.1.8005.100.100.5")


@dataclass(frozen=True)
class Pair:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def key_pem(self, passphrase: bytes = b"") -> bytes:
        how = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


def name(text: str) -> x509.Name:
    kinds = {"DC": NameOID.DOMAIN_COMPONENT, "CN": NameOID.COMMON_NAME}
    parts = [part.split("=") for part in text.split("/")[1:]]
    return x509.Name([x509.NameAttribute(kinds[kind], value) for kind, value in parts])


def made(subject: str, issuer: Pair | None = None, *, hours: float = 12, starts: float = -1, **kwargs) -> Pair:
    """A certificate that ends `hours` from now; `kwargs` may have `extensions`, (oid, content) each."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(issuer.certificate.subject if issuer else name(subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(hours=min(starts, hours - 1)))
        .not_valid_after(NOW + timedelta(hours=hours))
    )
    for oid, content in kwargs.get("extensions", ()):
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, content), critical=False)
    return Pair(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def person(subject: str = ADA, **kwargs) -> Pair:
    return made(subject, made("/DC=org/CN=Example CA", hours=9000), **{"hours": 8000, **kwargs})


def proxy_pem(
    of: Pair | None = None, *, vo: str = "", legacy: bool = False, key: Pair | None = None, **kwargs
) -> bytes:
    """A proxy's file: certificate, key, and the certificate it was derived from."""
    of = of or person()
    subject = ADA + ("/CN=proxy" if legacy else "/CN=1234567")
    extensions = [] if legacy else [(PROXY_CERT_INFO, b"\x30\x0c\x30\x0a\x06\x08+\x06\x01\x05\x05\x07\x15\x01")]
    if vo:
        extensions.append((VOMS, b"0\x82" + f"!{vo}://voms.example.org:15000/{vo}/Role=NULL/Capability=NULL".encode()))
    proxy = made(subject, of, extensions=extensions, **kwargs)
    return proxy.certificate_pem() + (key or proxy).key_pem() + of.certificate_pem()


def put(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path
