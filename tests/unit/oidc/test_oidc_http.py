"""Whatever goes wrong between hub and IAM is an outage; a connection is used again, and nothing is followed or kept."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from jupyterhub_dlaas.errors import ConfigError, Outage
from jupyterhub_dlaas.oidc.http import HTTP, MAX_BODY_BYTES, Answer


@asynccontextmanager
async def raw_server(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def sends(raw: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    return answer


async def test_a_refused_connection_is_an_outage(http):
    with pytest.raises(Outage, match="cannot be reached"):
        await http.request("GET", "http://127.0.0.1:1/")


async def test_a_hang_is_an_outage_after_its_time(http):
    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_server(hang) as url:
        with pytest.raises(Outage, match=r"within 0\.2 seconds"):
            await http.request("GET", url, timeout_seconds=0.2)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"garbage\r\n\r\n",
    ],
)
async def test_a_cut_off_answer_is_an_outage(http, raw):
    async with raw_server(sends(raw)) as url:
        with pytest.raises(Outage):
            await http.request("POST", url, data={"a": "b"})


async def test_an_endless_answer_is_an_outage(http):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1)
    async with raw_server(sends(head + b" " * (MAX_BODY_BYTES + 1))) as url:
        with pytest.raises(Outage, match="more than"):
            await http.request("GET", url)


async def test_a_page_instead_of_json_is_an_outage(iam, http):
    iam.answer("/token", "<html>")
    answer = await http.request("POST", f"{iam.url}token", data={})
    with pytest.raises(Outage, match="not JSON"):
        answer.json()


async def test_a_lost_post_is_not_sent_again(http):
    asked = 0

    async def hang_up(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1

    async with raw_server(hang_up) as url:
        with pytest.raises(Outage):
            await http.request("POST", url, data={"refresh_token": "r"})
    assert asked == 1


async def test_an_outage_names_the_host_and_no_query(http):
    with pytest.raises(Outage) as caught:
        await http.request("GET", "http://127.0.0.1:1/callback?code=c0de")
    assert "127.0.0.1:1" in caught.value.message
    assert "c0de" not in caught.value.sentence()


async def test_a_redirect_is_returned_and_not_followed(iam, http):
    iam.answer("/token", status=307, headers={"Location": f"{iam.url}elsewhere"})
    assert (await http.request("POST", f"{iam.url}token", data={"secret": "s"})).status == 307
    assert iam.count("/elsewhere") == 0


async def test_cookies_are_not_kept(iam, http):
    iam.answer("/token", {}, headers={"Set-Cookie": "session=1; Path=/"})
    for _ in range(2):
        await http.request("POST", f"{iam.url}token", data={})
    assert "Cookie" not in iam.requests[1][2]


async def test_one_connection_serves_many_requests(http):
    ports = set()

    async def handle(request: web.Request) -> web.Response:
        ports.add(request.transport.get_extra_info("peername")[1])  # type: ignore[union-attr]
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        for _ in range(5):
            await http.request("GET", f"http://127.0.0.1:{runner.addresses[0][1]}/")
    finally:
        await runner.cleanup()
    assert len(ports) == 1


async def test_no_more_connections_than_allowed(iam):
    most = now = 0

    async def slow(_: web.Request) -> web.Response:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return web.json_response({})

    iam.answers["/token"] = slow
    http = HTTP(max_connections=3)
    try:
        await asyncio.gather(*(http.request("GET", f"{iam.url}token") for _ in range(12)))
    finally:
        await http.close()
    assert most == 3


async def test_a_cancelled_request_stays_cancelled(iam, http):
    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    iam.answers["/token"] = hang
    task = asyncio.create_task(http.request("GET", f"{iam.url}token"))
    await iam.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_an_answer_does_not_show_what_it_holds():
    assert "s3cret" not in repr(Answer(200, {"WWW-Authenticate": "s3cret"}, b"s3cret"))


async def test_no_cause_of_an_outage_shows_in_a_traceback(http):
    secret = "-".join(("s3cret", "token"))
    async with raw_server(sends(secret.encode() + b"\r\n\r\n")) as url:
        with pytest.raises(Outage) as caught:
            await http.request("POST", url, data={}, headers={"Authorization": f"Basic {secret}"})
    assert secret not in "".join(traceback.format_exception(caught.value))


async def test_loopback_is_never_asked_through_a_proxy(iam, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    iam.answer("/token", {})
    http = HTTP()
    try:
        assert (await http.request("GET", f"{iam.url}token")).status == 200
    finally:
        await http.close()


async def test_a_netrc_is_not_read(iam, http, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    iam.answer("/token", {})
    await http.request("GET", f"{iam.url}token")
    assert "Authorization" not in iam.requests[0][2]


async def test_the_proxy_of_the_environment_is_used(iam, monkeypatch):
    monkeypatch.setenv("http_proxy", iam.url)
    monkeypatch.setenv("no_proxy", "")
    iam.answer("/token", {"by": "proxy"})
    http = HTTP()
    try:
        answer = await http.request("GET", "http://iam.invalid/token")
    finally:
        await http.close()
    assert answer.json() == {"by": "proxy"}


class TestTLS:
    @pytest.fixture
    def certificate(self, keys, tmp_path):
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
        today = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(keys.rsa.public_key())
            .serial_number(1)
            .not_valid_before(today - datetime.timedelta(days=1))
            .not_valid_after(today + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .sign(keys.rsa, hashes.SHA256())
        )
        pem = tmp_path / "ca.pem"
        pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key = tmp_path / "key.pem"
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        key.write_bytes(keys.rsa.private_bytes(*form))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, key)
        return str(pem), context

    OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"

    async def test_an_unknown_authority_is_an_outage_that_says_what_to_set(self, http, certificate):
        async with raw_server(sends(self.OK), certificate[1]) as url:
            with pytest.raises(Outage, match="not trusted") as caught:
                await http.request("GET", url)
        assert "SSL_CERT_FILE" in caught.value.hint

    async def test_ca_file_is_trusted(self, certificate):
        http = HTTP(ca_file=certificate[0])
        async with raw_server(sends(self.OK), certificate[1]) as url:
            assert (await http.request("GET", url)).status == 200
            await http.close()

    async def test_ssl_cert_file_is_trusted(self, certificate, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
        http = HTTP()
        async with raw_server(sends(self.OK), certificate[1]) as url:
            assert (await http.request("GET", url)).status == 200
            await http.close()

    def test_a_ca_file_that_is_not_there_is_refused_at_once(self):
        with pytest.raises(ConfigError, match=r"/nowhere/ca\.pem"):
            HTTP(ca_file="/nowhere/ca.pem")


def test_every_event_loop_has_its_own_connections():
    http = HTTP()

    async def once() -> None:
        with pytest.raises(Outage):
            await http.request("GET", "http://127.0.0.1:1/")
        await http.close()

    asyncio.run(once())
    asyncio.run(once())


async def test_a_form_arrives_as_it_was_sent(iam, http):
    form = {"scope": "openid storage.read:/", "odd": "ü&=+% ", "empty": "", "token": "a.b-c_d~e"}
    iam.answer("/token", {})
    await http.request("POST", f"{iam.url}token", data=form, headers={"Authorization": "Basic x"})
    _, found, headers = iam.requests[0]
    assert found == form
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
