"""What Prometheus gets, and what it must never get."""

from hub_rig import rig
from prometheus_client import REGISTRY, generate_latest


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_exchanges_are_counted_by_audience_and_class() -> None:
    async with rig(audiences=("rucio", "eos")) as r:
        good = value("dlaas_exchanges_total", audience="rucio", **{"class": "ok"})
        await r.login(exchange=False)
        r.iam.faults.set("exchange", audience="eos", status=503)
        bad = value("dlaas_exchanges_total", audience="eos", **{"class": "outage"})
        await r.keeper.tokens(r.user(), ["rucio", "eos"])
        assert value("dlaas_exchanges_total", audience="rucio", **{"class": "ok"}) == good + 1
        assert value("dlaas_exchanges_total", audience="eos", **{"class": "outage"}) == bad + 1


async def test_refreshes_are_counted_by_class() -> None:
    async with rig() as r:
        await r.login()
        r.iam.end_sessions("alice")
        before = value("dlaas_refreshes_total", **{"class": "dead_session"})
        await r.keeper.renew(r.user(), force=True)
        assert value("dlaas_refreshes_total", **{"class": "dead_session"}) == before + 1


async def test_the_time_of_every_request_is_observed() -> None:
    async with rig() as r:
        before = value("dlaas_iam_request_seconds_count", operation="exchange")
        await r.login()
        assert value("dlaas_iam_request_seconds_count", operation="exchange") == before + 1


async def test_gauges_are_worked_out_when_asked() -> None:
    async with rig() as r:
        r.dlaas.metrics.gauges(r.dlaas.refresh.gauges)
        user = await r.login()
        r.dlaas.refresh.watch(user)
        r.clock.advance(600)
        assert value("dlaas_users_watched") == 1
        assert 2990 < value("dlaas_token_seconds_left_min") <= 3000
        assert value("dlaas_sessions_dead") == 0


async def test_no_user_name_is_in_the_metrics() -> None:
    async with rig() as r:
        r.dlaas.metrics.gauges(r.dlaas.refresh.gauges)
        user = await r.login()
        r.dlaas.refresh.watch(user)
        ours = [line for line in generate_latest(REGISTRY).decode().splitlines() if "dlaas" in line]
        assert ours
        assert not any("alice" in line for line in ours)
