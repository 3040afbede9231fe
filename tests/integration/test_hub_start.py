"""Hubs that begin in other circumstances: without IAM, with another issuer, with many audiences."""

from __future__ import annotations

from pathlib import Path

from support.scene import SceneClock, hub_over, scene, until
from traitlets.config import Config

from jupyterhub_dlaas.demo.iam import StandInIAM


async def test_auth_state_stays_below_16_kb_with_six_audiences(tmp_path: Path) -> None:
    keys = [f"audience-{number}" for number in range(6)]

    def six(c: Config) -> None:
        c.IAMAuthenticator.audiences = {key: {} for key in ["rucio", "eos-eulake", *keys[:4]]}
        c.DLaaSConfig.vos = {name: {"groups": {name}, "trusted": True} for name in ("escape", "ska")}

    async with scene(tmp_path, six, token_bytes=1300) as lake:
        person, _ = await lake.working()
        state = await person.auth_state()
        assert len(state["dlaas"]["tokens"]) == 6
        assert all(len(held["token"]) >= 1300 for held in state["dlaas"]["tokens"].values())
        assert len(lake.hub.user(person.name).encrypted_auth_state) < 16 * 1024
        await lake.pass_time(3600, step=900)
        assert len(lake.hub.user(person.name).encrypted_auth_state) < 16 * 1024


async def test_a_hub_starts_without_iam_says_so_and_heals(tmp_path: Path) -> None:
    clock = SceneClock()
    async with StandInIAM(clock=clock) as iam:
        await iam.stop()
        async with hub_over(tmp_path, iam, clock) as lake:
            person = await lake.newcomer()
            await until(lambda: lake.hub.dlaas.health.down)
            status, text = await person.browser.get("/hub/login")
            assert status == 200
            assert "does not answer at the moment" in text
            assert (await person.browser.get("/hub/oauth_login"))[0] == 503
            await iam.start()
            clock.advance(60)
            await until(lambda: lake.hub.dlaas.issuer.known)
            _, text = await person.browser.get("/hub/login")
            assert "does not answer" not in text
            assert (await person.log_in())[0] == 200


async def test_another_issuer_than_the_one_set_is_refused_by_name(tmp_path: Path) -> None:
    clock = SceneClock()
    async with StandInIAM(clock=clock) as iam:
        iam.faults.wrong_issuer = "https://evil.example.org/"
        async with hub_over(tmp_path, iam, clock) as lake:
            person = await lake.newcomer()
            status, text = await person.browser.get("/hub/oauth_login")
            assert status == 500
            assert "https://evil.example.org/" in text
            assert lake.hub.dlaas.issuer.known is None
            iam.faults.clear()
            clock.advance(600)
            await until(lambda: lake.hub.dlaas.issuer.known)
            assert (await person.log_in())[0] == 200
