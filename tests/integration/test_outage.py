"""IAM fails while a server runs: nobody is logged out, files stay, and all heals by itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.scene import Person, Scene, Server, problems_of, until
from traitlets.config import Config

from jupyterhub_dlaas.demo.iam import Faults

pytestmark = pytest.mark.asyncio(loop_scope="module")


def configure(c: Config) -> None:
    c.IAMAuthenticator.timeout_seconds = 1.5


def slow(faults: Faults) -> None:
    faults.latency_seconds = 2.0  # longer than the hub waits


OUTAGES: dict[str, Callable[[Faults], object]] = {
    "503": lambda faults: faults.set("token", status=503),
    "502_everywhere": lambda faults: faults.set("*", status=502),
    "429": lambda faults: faults.set("token", status=429, retry_after=60),
    "hang": lambda faults: faults.set("token", hang=True),
    "latency": slow,
    "cut_off": lambda faults: faults.set("exchange", truncate=True),
    "no_json": lambda faults: faults.set("token", not_json=True),
    "connection_lost": lambda faults: faults.set("exchange", drop_answer=True),
}


async def assert_nobody_is_logged_out(lake: Scene, person: Person, server: Server) -> None:
    assert person.logged_in
    assert await person.home() == (200, "home")
    status, text = await lake.call("/hub/api/user", (await server.environ())["JUPYTERHUB_API_TOKEN"])
    assert status == 200, text


def lines_about(lake: Scene, person: Person, since: int) -> list[str]:
    """What the hub's log shows at its usual level."""
    lines = lake.log(since).splitlines()
    return [line for line in lines if f"user={person.name} " in line and not line.startswith("DEBUG")]


@pytest.mark.parametrize("fault", OUTAGES.values(), ids=list(OUTAGES))
async def test_an_outage_keeps_session_and_files_and_heals(lake: Scene, fault: Callable[[Faults], object]) -> None:
    person, server = await lake.working()
    before, since = await server.text("tokens/rucio"), lake.log_size()
    fault(lake.iam.faults)
    lake.clock.advance(3000)
    await until(lambda: person.trouble() == "outage")
    await assert_nobody_is_logged_out(lake, person, server)
    assert await server.text("tokens/rucio") == before
    outages = [line for line in lines_about(lake, person, since) if "class=outage" in line]
    assert 1 <= len(outages) <= 2, outages  # one for the session, or one for each audience
    assert "Traceback" not in lake.log(since)
    lake.iam.faults.clear()
    lake.clock.advance(130)
    await until(lambda: server.has_token(other_than=before))
    await until(lambda: person.trouble() == "")
    await assert_nobody_is_logged_out(lake, person, server)


async def test_an_outage_is_one_readable_line_however_long_it_lasts(lake: Scene) -> None:
    person, _ = await lake.working()
    lake.iam.faults.set("token", status=503)
    since = lake.log_size()
    await lake.pass_time(7200, step=120)
    outages = [line for line in lines_about(lake, person, since) if "class=outage" in line]
    assert len(outages) == 1, outages
    assert "IAM cannot answer now (HTTP 503). Nothing is lost." in outages[0]


async def test_an_iam_that_cannot_be_connected_to_is_an_outage(lake: Scene) -> None:
    person, server = await lake.working()
    before = await server.text("tokens/rucio")
    await lake.iam.stop()
    try:
        lake.clock.advance(3000)
        await until(lambda: person.trouble() == "outage")
        await assert_nobody_is_logged_out(lake, person, server)
    finally:
        await lake.iam.start()
    lake.clock.advance(130)
    await until(lambda: server.has_token(other_than=before))


async def test_an_outage_longer_than_a_token_removes_its_file_and_says_so(lake: Scene) -> None:
    person, server = await lake.working()
    lake.iam.faults.set("token", status=503)
    lake.clock.advance(3000)
    await until(lambda: person.trouble() == "outage")
    lake.clock.advance(700)
    await until(lambda: _gone(server, "tokens/rucio"))
    assert problems_of(await server.status()) == {"rucio": "outage", "eos-eulake": "outage"}
    await assert_nobody_is_logged_out(lake, person, server)
    lake.iam.faults.clear()
    lake.clock.advance(130)
    await until(server.has_token)
    await until(lambda: _no_problems(server))


async def test_an_expired_eos_token_stays_until_there_is_another(lake: Scene) -> None:
    # Without its file eosxd would take the process for somebody else, for up to a day.
    _person, server = await lake.working()
    before = await server.text("eos/token")
    lake.iam.faults.set("token", status=503)
    lake.clock.advance(3700)
    await until(lambda: _gone(server, "tokens/eos-eulake"))
    assert await server.text("eos/token") == before
    lake.iam.faults.clear()
    lake.clock.advance(130)
    await until(lambda: _other(server, "eos/token", before))


async def test_retry_after_is_kept_to(lake: Scene) -> None:
    person, _ = await lake.working()
    lake.iam.faults.set("token", status=429, retry_after=300)
    lake.clock.advance(3000)
    await until(lambda: person.trouble() == "outage")
    lake.iam.counters.clear()
    await lake.pass_time(270, step=30)
    assert not lake.iam.counters.requests["token"]
    await lake.pass_time(60)
    assert lake.iam.counters.requests["token"]


async def test_while_iam_is_down_one_user_finds_out_for_all(lake: Scene) -> None:
    people = [(await lake.working(environment="escape/root"))[0] for _ in range(4)]
    lake.iam.faults.set("token", status=503)
    lake.clock.advance(3500)
    lake.iam.counters.clear()
    await until(lambda: lake.hub.dlaas.health.down)
    await until(lake.idle)
    assert lake.iam.counters.requests["refresh"] < len(people)
    lake.iam.faults.clear()
    await lake.pass_time(300, step=30)
    assert not any(person.trouble() for person in people)


async def test_a_slow_iam_is_waited_for(lake: Scene) -> None:
    person, server = await lake.working()
    before = await server.text("tokens/rucio")
    lake.iam.faults.latency_seconds = 0.4
    lake.clock.advance(3000)
    await until(lambda: server.has_token(other_than=before))
    assert person.trouble() == ""


async def test_pages_of_the_hub_wait_two_seconds_at_most_for_an_iam_that_hangs(lake: Scene) -> None:
    person, server = await lake.working()
    lake.iam.faults.set("token", hang=True)
    lake.clock.advance(3700)  # the login's own access token has expired, too
    await assert_nobody_is_logged_out(lake, person, server)


async def test_a_server_starts_during_an_outage_while_tokens_last(lake: Scene) -> None:
    person = await lake.person("ska")
    lake.iam.faults.set("token", status=503)
    server = await person.start(environment="ska/astro")
    assert await server.has_token()


async def test_without_a_required_token_an_outage_refuses_the_start_with_a_sentence(lake: Scene) -> None:
    person = await lake.person("ska")
    lake.clock.advance(3700)
    lake.iam.faults.set("token", status=503)
    status, text = await person.ask(environment="ska/astro")
    assert status == 503
    assert "astro cannot work without access to rucio. rucio: IAM cannot answer now" in text


async def test_without_an_optional_token_the_server_starts_and_gets_it_later(lake: Scene) -> None:
    person = await lake.person()
    lake.clock.advance(3700)
    lake.iam.faults.set("token", status=503)
    server = await person.start()
    assert await server.text("tokens/rucio") is None
    assert problems_of(await server.status())["rucio"] == "outage"
    lake.iam.faults.clear()
    lake.clock.advance(130)
    await until(server.has_token)


async def test_a_wrong_issuer_in_discovery_does_not_touch_running_servers(lake: Scene) -> None:
    person, server = await lake.working()
    before = await server.text("tokens/rucio")
    lake.iam.faults.wrong_issuer = "https://evil.example.org/"
    await lake.hub.restart()  # a hub that has yet to discover
    lake.clock.advance(3000)
    await until(lambda: person.trouble() == "operator_error")
    await assert_nobody_is_logged_out(lake, person, server)
    assert await server.text("tokens/rucio") == before
    lake.iam.faults.clear()
    lake.clock.advance(1000)
    await until(server.has_token)


async def test_rotated_keys_do_not_matter_to_renewal(lake: Scene) -> None:
    person, server = await lake.working()
    before = await server.text("tokens/rucio")
    lake.iam.rotate_keys(keep_old=False)
    await lake.pass_time(3600, step=600)
    await until(lambda: server.has_token(other_than=before))
    assert person.trouble() == ""


async def test_an_expired_subject_is_refreshed_once_and_asked_again(lake: Scene) -> None:
    person, server = await lake.working()
    before = await server.text("tokens/rucio")
    # Somebody killed the access token, not the session: exchanges are answered with 401 invalid_token.
    lake.iam._store.access.clear()
    lake.iam.counters.clear()
    await lake.hub.dlaas.keeper.tokens(lake.hub.user(person.name), ["rucio"], at_least=3601)
    lake.clock.advance(3000)
    await until(lambda: server.has_token(other_than=before))
    assert person.trouble() == ""
    assert person.logged_in


async def _gone(server: Server, path: str) -> bool:
    return await server.text(path) is None


async def _other(server: Server, path: str, before: str | None) -> bool:
    return await server.text(path) not in (None, before)


async def _no_problems(server: Server) -> bool:
    return not problems_of(await server.status())
