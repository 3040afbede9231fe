"""Requests to the hub: what its answers mean, and that TLS is checked."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from pathlib import Path

import pytest
from agent_fakes import TOKEN, FakeHub
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from jupyterhub_dlaas.agent.child import Children
from jupyterhub_dlaas.agent.hub import Answer, Hub, refusal, split_url
from jupyterhub_dlaas.agent.trouble import AgentError


def ask(hub: FakeHub, ca_file: str | None = None, seconds: float = 10, etag: str | None = None) -> Answer:
    return Hub(hub.url, TOKEN, Children(), ca_file=ca_file).bundle(etag, seconds)


def truncated(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"version": 1')
    handler.close_connection = True


def chunked(handler, body=b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"):
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(body)
    handler.close_connection = True


FAULTS = {
    "truncated": (truncated, "The hub's answer was cut off."),
    "chunked and truncated": (lambda handler: chunked(handler, b"ff\r\n{"), "The hub's answer was cut off."),
    "oversized": (lambda handler: handler.answer(200, b" " * (2**22 + 1), {}), "larger than 4194304 bytes"),
    "not HTTP": (lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH\r\n"), "The hub's answer is not HTTP"),
    "304 to no etag": (lambda handler: handler.answer(304, b"", {}), "The hub answered with status 304."),
    "500": (lambda handler: handler.answer(500, b"", {}), "The hub answered with status 500."),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_answer_is_an_error_with_a_sentence(hub, fault):
    hub.fault, sentence = FAULTS[fault]
    with pytest.raises(AgentError, match=sentence):
        ask(hub)


def test_a_chunked_answer_is_read_whole(hub):
    hub.fault = chunked
    assert ask(hub).body == b"abcde"


def test_an_answer_larger_than_a_pipe_arrives_whole(hub):
    hub.fault = lambda handler: handler.answer(200, b"x" * 1_000_000, {})
    assert len(ask(hub).body) == 1_000_000


def test_a_hub_that_answers_byte_by_byte_for_ever_is_given_up(hub):
    release = threading.Event()

    def drip(handler):
        handler.send_response(200)
        handler.end_headers()
        while not release.wait(0.02):
            handler.wfile.write(b" ")

    hub.fault = drip
    with pytest.raises(AgentError, match=r"no answer within 0.5 seconds"):
        ask(hub, seconds=0.5)
    release.set()


def test_a_name_that_does_not_resolve_is_an_error_with_a_sentence():
    with pytest.raises(AgentError, match=r"The hub cannot be reached at hub.invalid:80: "):
        Hub("http://hub.invalid/hub/", TOKEN, Children(), ca_file=None).bundle(None)


def test_seconds_that_the_hub_asks_to_wait_are_kept_but_not_for_ever():
    waits = [refusal(Answer(503, {"retry-after": text}, b"")).retry_after for text in ("7", "99999", "Fri, 1 Jan", "")]
    assert waits == [7.0, 600.0, None, None]


@pytest.mark.parametrize(
    ("url", "parts"),
    {
        "http://hub:8081/hub/": ("http", "hub", 8081, "/hub/"),
        "https://hub.example.org/jupyter/hub": ("https", "hub.example.org", 443, "/jupyter/hub/"),
        "http://[::1]:8081/hub/": ("http", "::1", 8081, "/hub/"),
        "http://[::1]/hub/": ("http", "::1", 80, "/hub/"),
    }.items(),
)
def test_a_hub_url_is_taken_apart(url, parts):
    assert split_url(url) == parts


@pytest.mark.parametrize("url", ["hub:8081", "ftp://hub/hub/", "http:///hub/", "http://hub:x/", "http://u:pw@hub/hub/"])
def test_a_url_that_is_none_is_refused_without_its_password(url):
    with pytest.raises(AgentError, match=r"^--hub-url '[^@]*' is not a URL") as error:
        split_url(url)
    assert "pw" not in str(error.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a hub of the tests")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "hub.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def tls_hub(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    hub = FakeHub(context)
    yield hub
    hub.stop()


def test_a_hub_with_tls_is_trusted_by_the_ca_given(tls_hub, certificate):
    assert ask(tls_hub, str(certificate)).status == 200


def test_a_certificate_that_nobody_vouches_for_is_refused(tls_hub):
    with pytest.raises(AgentError, match=r"not trusted \(self.signed certificate\); --ca-file names the CA"):
        ask(tls_hub)
    assert tls_hub.asked == []


def test_an_agent_starts_over_tls(tls_hub, certificate, agents):
    agent = agents(tls_hub, ca_file=str(certificate))
    assert agent.ready() == {"ok": True}
    assert agent.read("tokens/rucio") == "rucio-token"
