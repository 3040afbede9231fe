"""The keeper's promises, over real IAM requests and a real database."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from hub_rig import VOS, Rig, rig
from sqlalchemy.exc import SQLAlchemyError

from jupyterhub_dlaas.errors import OperatorError
from jupyterhub_dlaas.hub import store
from jupyterhub_dlaas.hub.keeper import NewSession
from jupyterhub_dlaas.hub.status import audience_model


async def test_fifty_callers_at_expiry_make_one_grant() -> None:
    async with rig(refuse_reuse=True) as r:
        await r.login()
        r.clock.advance(3590)
        states = await asyncio.gather(*(r.token() for _ in range(50)))
        assert (r.granted["refresh"], r.granted["exchange"]) == (1, 1)
        assert {state.token for state in states} == {states[0].token}


async def test_nothing_is_asked_while_tokens_are_good() -> None:
    async with rig() as r:
        await r.login()
        r.clock.advance(600)
        await r.token()
        assert not r.asked


async def test_an_outage_keeps_the_session_and_the_token() -> None:
    async with rig() as r:
        await r.login()
        before = await r.token()
        r.iam.faults.set("*", status=503)
        r.clock.advance(3000)
        after = await r.token(at_least=3599)
        assert after.token == before.token
        assert after.problem is not None
        assert after.problem.label == "outage"
        assert not r.keeper.needs_login("alice")


async def test_after_an_outage_the_token_is_renewed() -> None:
    async with rig() as r:
        await r.login()
        fault = r.iam.faults.set("*", status=503)
        r.clock.advance(3590)
        await r.token()
        r.iam.faults.remove(fault)
        r.clock.advance(200)
        state = await r.token()
        assert state.problem is None
        assert r.seconds_left() == pytest.approx(3600, abs=2)


async def test_retry_after_is_kept_to() -> None:
    async with rig() as r:
        await r.login()
        r.iam.faults.set("refresh", status=429, retry_after=300)
        r.clock.advance(3000)
        await r.keeper.renew(r.user())
        assert r.keeper.next_due("alice") >= r.clock.now() + 300


async def test_the_rotated_refresh_token_is_saved_before_any_exchange() -> None:
    async with rig() as r:
        await r.login()
        before = await r.stored()
        r.iam.faults.set("exchange", hang=True)
        r.clock.advance(3590)
        waiting = asyncio.create_task(r.token())
        await r.until_asked("exchange")
        saved = await r.stored()
        waiting.cancel()
        r.iam._stopped.set()
        assert before is not None
        assert saved is not None
        assert saved.refresh_token != before.refresh_token
        assert saved.refresh_token == r.keeper.session("alice").refresh_token


async def test_a_hub_killed_before_the_exchange_goes_on_after_its_restart() -> None:
    async with rig() as r:
        await r.login()
        r.iam.faults.set("exchange", status=503)
        r.clock.advance(3590)
        await r.token()
        r.iam.faults.clear()
        r.restart_hub()
        state = await r.token()
        assert state.problem is None
        assert r.seconds_left() == pytest.approx(3600, abs=2)


async def test_who_goes_away_does_not_stop_the_renewal() -> None:
    async with rig() as r:
        await r.login()
        r.iam.faults.set("refresh", delay_seconds=0.05)
        r.clock.advance(3590)
        waiting = asyncio.create_task(r.token())
        await r.until_asked("refresh")
        waiting.cancel()
        await r.keeper.close()
        assert r.seconds_left() > 3500


async def test_a_hub_that_ends_lets_a_renewal_save_its_rotated_token() -> None:
    async with rig() as r:
        await r.login()
        ended: list[str] = []

        async def cleanup() -> None:
            ended.append("JupyterHub")

        app = SimpleNamespace(
            spawner_class=object, log=logging.getLogger(), tornado_settings={"users": {}}, db=r.db, users={}
        )
        app.cleanup = cleanup
        r.dlaas.start(app)
        before = await r.stored()
        r.iam.faults.set("refresh", delay_seconds=0.05)
        r.clock.advance(3590)
        renewal = asyncio.create_task(r.token())
        await r.until_asked("refresh")
        await app.cleanup()
        renewal.cancel()
        saved = await r.stored()
        assert ended == ["JupyterHub"]
        assert before is not None
        assert saved is not None
        assert saved.refresh_token not in (None, before.refresh_token)


async def test_a_login_during_a_renewal_wins() -> None:
    async with rig() as r:
        user = await r.login()
        r.iam.faults.set("refresh", delay_seconds=0.1)
        r.clock.advance(3590)
        renewal = asyncio.create_task(r.token())
        await r.until_asked("refresh")
        session = r.new_session()
        async with r.keeper.opening("alice"):
            await user.save_auth_state(session.to_auth_state())
            await r.keeper.login("alice", NewSession(session))
        await renewal
        stored = await r.stored()
        assert stored is not None
        assert stored.generation == session.generation
        assert r.keeper.session("alice").generation == session.generation


async def test_no_renewal_starts_while_a_login_is_saved() -> None:
    async with rig() as r:
        user = await r.login()
        r.clock.advance(3590)
        async with r.keeper.opening("alice"):
            renewal = asyncio.create_task(r.token())
            await asyncio.sleep(0.02)
            assert not r.asked
            session = r.new_session()
            await user.save_auth_state(session.to_auth_state())
            await r.keeper.login("alice", NewSession(session))
        state = await renewal
        assert state.token is not None
        assert r.granted["refresh"] == 0


async def test_a_dead_session_needs_a_login_and_leaves_valid_tokens() -> None:
    async with rig() as r:
        await r.login()
        before = await r.token()
        r.iam.end_sessions("alice")
        r.clock.advance(2900)
        after = await r.token(at_least=1700)
        assert r.keeper.needs_login("alice")
        assert after.token == before.token
        assert after.problem is not None
        assert after.problem.label == "dead_session"


async def test_a_dead_session_is_dead_after_a_restart_too() -> None:
    async with rig() as r:
        await r.login()
        r.iam.end_sessions("alice")
        await r.keeper.renew(r.user(), force=True)
        r.restart_hub()
        state = await r.token()
        assert r.keeper.needs_login("alice")
        assert state.problem is not None
        assert state.problem.label == "dead_session"
        assert r.keeper.next_due("alice") == float("inf")


async def test_a_new_login_heals_a_dead_session() -> None:
    async with rig() as r:
        await r.login()
        r.iam.end_sessions("alice")
        await r.keeper.renew(r.user(), force=True)
        await r.login()
        assert (await r.token()).problem is None


async def test_a_disabled_account_gets_no_exchange_although_iam_would_give_one() -> None:
    async with rig() as r:
        await r.login()
        r.iam.users["alice"].active = False
        r.clock.advance(3000)
        state = await r.token()
        assert state.problem is not None
        assert state.problem.label == "account_disabled"
        assert r.asked["exchange"] == 0


async def test_an_account_that_is_enabled_again_works_without_a_login() -> None:
    async with rig() as r:
        await r.login()
        r.iam.users["alice"].active = False
        r.clock.advance(3000)
        await r.token()
        r.iam.users["alice"].active = True
        r.clock.advance(200)
        assert (await r.token()).problem is None
        assert r.seconds_left() > 3500


async def test_a_disabled_account_is_noticed_within_the_minutes_set() -> None:
    async with rig(hub_refresh_every_minutes=10) as r:
        await r.login()
        assert r.keeper.next_due("alice") <= r.clock.now() + 600


async def test_an_unsigned_aup_keeps_the_session() -> None:
    async with rig() as r:
        await r.login()
        r.iam.users["alice"].aup_signed = False
        r.clock.advance(3000)
        state = await r.token()
        assert state.problem is not None
        assert state.problem.label == "user_action"
        assert not r.keeper.needs_login("alice")


async def test_a_lost_answer_to_a_refresh_keeps_valid_tokens() -> None:
    async with rig() as r:
        await r.login()
        r.iam.faults.set("refresh", drop_answer=True, times=1)
        r.clock.advance(2900)
        state = await r.token(at_least=3000)
        assert state.token is not None
        assert state.problem is not None
        assert state.problem.label == "outage"


async def test_a_refused_audience_leaves_the_others_alone() -> None:
    async with rig(audiences=("rucio", "eos")) as r:
        await r.login(exchange=False)
        r.iam.faults.refuse("eos")
        states = await r.keeper.tokens(r.user(), ["rucio", "eos"])
        assert states["rucio"].problem is None
        assert states["eos"].token is None
        assert states["eos"].problem is not None
        assert states["eos"].problem.label in ("operator_error", "no_entitlement")


async def test_a_refused_audience_is_not_asked_for_again_and_again() -> None:
    async with rig(audiences=("rucio", "eos")) as r:
        await r.login(exchange=False)
        r.iam.faults.refuse("eos")
        for _ in range(5):
            await r.keeper.tokens(r.user(), ["rucio", "eos"])
        assert r.asked["exchange:eos"] == 1


async def test_a_stale_subject_is_refreshed_once() -> None:
    async with rig() as r:
        await r.login(exchange=False)
        r.iam._store.access.clear()
        state = await r.token()
        assert state.problem is None
        assert r.granted["refresh"] == 1


async def test_lost_groups_reach_the_hub_at_the_next_refresh() -> None:
    async with rig() as r:
        user = await r.login()
        assert {group.name for group in user.groups} == {"escape", "escape/cms"}
        r.iam.users["alice"].groups = ["escape"]
        await r.keeper.renew(user, force=True)
        assert {group.name for group in user.groups} == {"escape"}


async def test_who_may_no_longer_log_in_gets_no_exchange() -> None:
    async with rig() as r:
        user = await r.login()
        r.iam.users["alice"].groups = []
        await r.keeper.renew(user, force=True)
        state = await r.token(at_least=3599)
        assert r.asked["exchange"] == 0
        assert state.problem is not None
        assert state.problem.label == "no_entitlement"


async def test_a_lost_right_is_remembered_over_a_restart() -> None:
    async with rig() as r:
        user = await r.login()
        r.iam.users["alice"].groups = []
        await r.keeper.renew(user, force=True)
        r.restart_hub()
        r.clock.advance(100)
        state = await r.token()
        assert r.asked["exchange"] == 0
        assert state.problem is not None


async def test_a_group_that_comes_back_brings_the_tokens_back() -> None:
    async with rig() as r:
        user = await r.login()
        r.iam.users["alice"].groups = []
        await r.keeper.renew(user, force=True)
        r.iam.users["alice"].groups = ["escape"]
        await r.keeper.renew(user, force=True)
        assert (await r.token()).problem is None


async def test_a_lost_vo_ends_the_exchanges_for_its_audiences(tmp_path: object) -> None:
    async with rig(audiences=("rucio", "eos"), hub_catalogue=str(tmp_path), hub_vos=VOS) as r:
        user = await r.login(exchange=False)
        r.iam.users["alice"].groups = ["ska"]
        await r.keeper.renew(user, force=True)
        states = await r.keeper.tokens(user, ["rucio", "eos"])
        assert states["rucio"].problem is None
        assert states["eos"].problem is not None
        assert states["eos"].problem.label == "no_entitlement"
        assert r.asked["exchange:eos"] == 0


async def test_next_due_is_never_later_than_promised() -> None:
    async with rig(token_seconds=120) as r:
        await r.login()
        # Half the lifetime is the most that can be promised of a token that lives two minutes.
        assert r.clock.now() < r.keeper.next_due("alice") <= r.clock.now() + 60


async def test_short_tokens_do_not_make_a_loop() -> None:
    async with rig(token_seconds=10) as r:
        await r.login()
        for _ in range(5):
            await r.token(at_least=60)
        assert not r.asked


async def test_a_refresh_token_that_dies_idle_is_used_in_time() -> None:
    async with rig(refresh_token_seconds=400, token_seconds=3600) as r:
        await r.login()
        await r.keeper.renew(r.user(), force=True)
        assert r.keeper.next_due("alice") < r.clock.now() + 400 - 79


async def test_another_writer_of_auth_state_is_believed_once() -> None:
    async with rig() as r:
        await r.login()
        r.iam.end_sessions("alice")
        other = r.new_session()
        await r.user().save_auth_state(other.to_auth_state())
        await r.keeper.renew(r.user(), force=True)
        assert not r.keeper.needs_login("alice")
        assert r.keeper.session("alice").generation == other.generation


async def test_forgetting_revokes_and_keeps_only_whose_user_it_is() -> None:
    async with rig() as r:
        user = await r.login()
        await r.keeper.forget("alice", user)
        await r.keeper.close()
        state = await user.get_auth_state()
        assert list(state) == ["dlaas"]
        assert set(state["dlaas"]) == {"sub", "issuer"}
        assert r.asked["revoke"] >= 1
        assert r.keeper.needs_login("alice")


async def test_what_a_renewal_gets_during_a_logout_is_revoked_too() -> None:
    async with rig() as r:
        user = await r.login()
        r.iam.faults.set("refresh", delay_seconds=0.05)
        r.iam.faults.set("revoke", delay_seconds=0.1)
        r.clock.advance(3590)
        renewal = asyncio.create_task(r.token())
        await r.until_asked("refresh")
        await r.keeper.forget("alice", user)
        await renewal
        await r.keeper.close()
        assert r.granted["refresh"] == 1
        assert r.iam._store.refreshable(r.clock.now()) == 0


async def test_a_user_name_that_iam_does_not_say_is_a_sentence_at_login_and_no_end_of_renewal() -> None:
    async with rig() as r:
        await r.login()
        r.authenticator.username_claim = "uid"
        with pytest.raises(OperatorError, match="says in 'uid'"):
            r.authenticator.user_info_to_username({"sub": "1", "preferred_username": "alice"})
        r.clock.advance(3590)
        assert (await r.token()).problem is None


async def test_a_session_that_never_was_has_no_date() -> None:
    async with rig() as r:
        state = await r.token()
        problem = audience_model("rucio", state, r.clock.now())["problem"]
        assert (problem["class"], problem["since"]) == ("dead_session", None)


def rename(r: Rig, old: str, new: str) -> Any:
    """As an administrator renames a user; returns the one who then gets the old name."""
    r.user(old).orm_user.name = new
    r.db.commit()
    r._users[new] = r._users.pop(old)
    return r.user(old)


async def test_who_gets_the_name_of_a_renamed_user_gets_none_of_their_tokens() -> None:
    async with rig() as r:
        renamed = await r.login()
        newcomer = rename(r, "alice", "ann")
        assert (await r.keeper.tokens(newcomer, ["rucio"]))["rucio"].token is None
        assert await r.keeper.subject(newcomer) is None
        assert (await r.keeper.tokens(renamed, ["rucio"]))["rucio"].token is not None
        assert r.granted["refresh"] == 0


async def test_a_name_that_was_given_up_is_free_for_a_login() -> None:
    async with rig() as r:
        await r.login()
        rename(r, "alice", "ann")
        r.keeper.release("alice", owner=None)
        assert r.keeper.session("alice") is None


async def test_whose_user_it_is_outlives_session_and_restart() -> None:
    async with rig() as r:
        user = await r.login()
        await r.keeper.forget("alice", user)
        r.restart_hub()
        assert await r.keeper.subject(r.user()) == (r.iam.issuer_url.rstrip("/"), r.iam.users["alice"].sub)


async def test_six_audiences_with_tokens_of_iams_size_fit_16_kb() -> None:
    keys = [f"audience-{number}" for number in range(6)]
    async with rig(audiences=keys, token_bytes=1300) as r:
        await r.login(exchange=False)
        await r.keeper.tokens(r.user(), keys)
        assert len(store.stored(r.user()) or b"") < 16_000


async def test_peek_and_version_change_together() -> None:
    async with rig() as r:
        assert r.keeper.peek("alice", ["rucio"]) is None
        await r.login()
        seen, version = r.keeper.peek("alice", ["rucio"]), r.keeper.version("alice")
        await r.keeper.renew(r.user(), force=True)
        assert r.keeper.peek("alice", ["rucio"]) != seen
        assert r.keeper.version("alice") != version


async def test_with_two_keys_an_old_value_put_back_is_noticed(rig_two_keys: Rig) -> None:
    r = rig_two_keys
    user = await r.login()
    old = user.encrypted_auth_state
    await r.keeper.renew(user, force=True)
    user.encrypted_auth_state = old
    await r.keeper._confirm(user, r.keeper._entries["alice"], after_seconds=0)
    stored = await r.stored()
    assert stored is not None
    assert stored.refresh_token == r.keeper.session("alice").refresh_token


@pytest.fixture
async def rig_two_keys():
    async with rig(keys=2) as made:
        yield made


async def test_a_database_that_fails_once_does_not_lose_the_rotated_token() -> None:
    async with rig() as r:
        user = await r.login()
        r.clock.advance(3590)
        r.db.connection().exec_driver_sql(
            "CREATE TRIGGER full BEFORE UPDATE ON users BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
        r.db.commit()
        with pytest.raises(SQLAlchemyError):
            await r.keeper.renew(user)
        r.db.connection().exec_driver_sql("DROP TRIGGER full")
        r.db.commit()
        await r.keeper.renew(user)
        stored = await r.stored()
        assert stored is not None
        assert stored.refresh_token == r.keeper.session("alice").refresh_token
        assert r.granted["refresh"] == 1


async def test_groups_in_another_order_are_no_news_to_save() -> None:
    async with rig() as it:
        user = await it.login()
        it.iam.users["alice"].groups = [f"escape/{number}" for number in range(20)] + ["escape"]
        await it.keeper.renew(user, force=True)
        before = it.keeper.session("alice")
        await it.keeper.renew(user, force=True)
        after = it.keeper.session("alice")
        assert before is not None and after is not None
        assert after.serial - before.serial == 2  # the refresh and the audience's token
