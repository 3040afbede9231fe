"""The background service: whom it renews, when, and what it leaves alone."""

import asyncio
from collections.abc import Callable
from typing import Any

from hub_rig import Rig, rig


async def until(condition: Callable[[], Any], *, seconds: float = 5.0) -> None:
    for _ in range(int(seconds / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came true")


def runs(r: Rig, *names: str) -> None:
    """These users have a server, and nobody else."""
    r.dlaas.refresh._has_servers = lambda user: user.name in names


async def settled(r: Rig) -> None:
    await asyncio.sleep(0.05)
    await until(lambda: not r.dlaas.refresh._running)


async def test_a_watched_user_is_renewed_before_expiry() -> None:
    async with rig() as r:
        user = await r.login()
        runs(r, "alice")
        r.dlaas.refresh.start()
        r.dlaas.refresh.watch(user)
        for _ in range(6):
            r.clock.advance(600)
            await settled(r)
            assert r.seconds_left() > 600


async def test_a_renamed_user_is_renewed_under_the_new_name() -> None:
    async with rig() as r:
        user = await r.login()
        runs(r, "alice", "ann")
        r.dlaas.refresh.start()
        r.dlaas.refresh.watch(user)
        user.orm_user.name = "ann"
        r.db.commit()
        for _ in range(6):
            r.clock.advance(600)
            await settled(r)
        assert r.dlaas.refresh._users.keys() == {"ann"}
        assert r.keeper.peek("ann", ["rucio"])["rucio"].expires_at - r.clock.now() > 600


async def test_who_is_not_watched_is_not_renewed() -> None:
    async with rig() as r:
        await r.login()
        r.dlaas.refresh.start()
        r.clock.advance(3590)
        await settled(r)
        assert not r.asked


async def test_after_the_last_server_nothing_is_renewed() -> None:
    async with rig() as r:
        user = await r.login()
        runs(r, "alice")
        r.dlaas.refresh.start()
        r.dlaas.refresh.watch(user)
        r.dlaas.refresh.unwatch("alice")
        r.clock.advance(3590)
        await settled(r)
        assert not r.asked


async def test_a_user_whose_server_vanished_is_dropped_when_due() -> None:
    async with rig() as r:
        user = await r.login()
        runs(r)
        r.dlaas.refresh.start()
        r.dlaas.refresh.watch(user)
        r.clock.advance(3590)
        await until(lambda: not r.dlaas.refresh._users)
        assert not r.asked


async def test_one_users_misfortune_does_not_stop_the_others() -> None:
    async with rig() as r:
        alice, bob = await r.login("alice"), await r.login("bob")
        runs(r, "alice", "bob")
        r.keeper._entries["alice"].session = "not a session"  # type: ignore[assignment]
        r.dlaas.refresh._users["alice"] = alice
        r.dlaas.refresh._schedule("alice", 0)
        r.dlaas.refresh.watch(bob)
        r.dlaas.refresh.start()
        r.clock.advance(3590)
        await until(lambda: r.granted["refresh"] == 1)
        await settled(r)
        assert r.seconds_left("bob") > 3500


async def test_in_an_outage_one_user_at_a_time_tries() -> None:
    async with rig() as r:
        names = [f"user{number}" for number in range(20)]
        for name in names:
            r.iam.add_user(name, groups=["escape"])
            await r.login(name)
        runs(r, *names)
        r.iam.faults.set("*", status=503)
        r.dlaas.refresh.start()
        r.clock.advance(3000)
        # The first answers come while others are on their way; from then on it is one.
        for name in names:
            r.dlaas.refresh.watch(r.user(name))
        await until(lambda: r.dlaas.health.down)
        await settled(r)
        r.iam.counters.clear()
        r.clock.advance(10)
        await settled(r)
        assert r.asked["refresh"] == 1


async def test_all_are_renewed_once_iam_is_back() -> None:
    async with rig() as r:
        names = [f"user{number}" for number in range(10)]
        for name in names:
            r.iam.add_user(name, groups=["escape"])
            await r.login(name)
        runs(r, *names)
        fault = r.iam.faults.set("*", status=503)
        r.dlaas.refresh.start()
        r.clock.advance(3000)
        for name in names:
            r.dlaas.refresh.watch(r.user(name))
        await until(lambda: r.dlaas.health.down)
        r.iam.faults.remove(fault)
        for _ in range(3):
            await settled(r)
            r.clock.advance(100)
        await until(lambda: min(map(r.seconds_left, names)) > 1000)


async def test_no_more_than_so_many_at_the_same_time() -> None:
    async with rig(hub_max_renewals=3) as r:
        names = [f"user{number}" for number in range(12)]
        for name in names:
            r.iam.add_user(name, groups=["escape"])
            await r.login(name)
        runs(r, *names)
        r.iam.faults.latency_seconds = 0.05
        r.dlaas.refresh.start()
        r.clock.advance(3500)
        for name in names:
            r.dlaas.refresh.watch(r.user(name))
        await until(lambda: r.granted["refresh"] == 12)
        assert r.iam.counters.max_concurrent["refresh"] <= 3


async def test_after_a_restart_everybody_is_watched_again() -> None:
    async with rig() as r:
        await r.login("alice")
        await r.login("bob")
        r.restart_hub()
        runs(r, "alice", "bob")
        r.dlaas.refresh.start()
        r.dlaas.refresh.restore([r.user("alice"), r.user("bob")])
        await until(lambda: len(r.dlaas.refresh._due) == 2)
        r.clock.advance(3000)
        await until(lambda: r.granted["refresh"] == 2)


async def test_after_a_restart_late_checks_are_spread_and_short_tokens_come_first() -> None:
    async with rig() as r:
        names = [f"user{number}" for number in range(8)]
        for name in names:
            r.iam.add_user(name, groups=["escape"])
            await r.login(name)
        await r.login("alice")
        r.clock.advance(1000)  # every check is late, no token is
        r.restart_hub()
        service = r.dlaas.refresh
        service.restore([r.user(name) for name in names])
        await until(lambda: len(service._due) == len(names))
        now = r.clock.now()
        assert all(now <= due <= now + 120 for due in service._due.values())
        assert max(service._due.values()) - min(service._due.values()) > 10
        r.clock.advance(2595)  # alice's token ends in five seconds
        service.restore([r.user("alice")])
        await until(lambda: "alice" in service._due)
        assert service._due["alice"] < r.clock.now() + 3


async def test_a_new_login_is_scheduled_at_once() -> None:
    async with rig() as r:
        user = await r.login()
        runs(r, "alice")
        r.dlaas.refresh.watch(user)
        r.iam.end_sessions("alice")
        await r.keeper.renew(user, force=True)
        assert "alice" not in r.dlaas.refresh._due
        await r.login()
        assert "alice" in r.dlaas.refresh._due
