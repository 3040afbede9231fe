"""When to renew and when to try again."""

import pytest

from jupyterhub_dlaas.hub.plan import Timing, Wish, next_due, plan
from jupyterhub_dlaas.hub.session import Held, Session
from jupyterhub_dlaas.hub.timing import OUTAGE, Backoff, Lead, Retry, enough
from jupyterhub_dlaas.oidc.secret import Secret

LEAD = Lead(minimum_seconds=60, share=0.2)


def session(**changes: object) -> Session:
    known = {
        "generation": "g",
        "subject": "s",
        "issuer": "i",
        "access": Held(Secret("a"), 3600, 0),
        "refresh_token": Secret("r"),
        "refresh_expires_at": None,
        "checked_at": 0.0,
        "tokens": {"rucio": Held(Secret("t"), 3600, 0)},
    }
    return Session(**{**known, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(("lifetime", "seconds"), [(3600, 720), (200, 60), (60, 30), (2, 1), (0, 0)])
def test_the_lead_is_the_larger_of_minimum_and_share_up_to_half(lifetime: float, seconds: float) -> None:
    assert LEAD.seconds(lifetime) == seconds


@pytest.mark.parametrize("jitter", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("lifetime", [1, 59, 60, 120, 3600, 86400])
def test_jitter_only_moves_ahead_and_by_a_tenth_at_most(lifetime: float, jitter: float) -> None:
    latest = 1000 + lifetime - LEAD.seconds(lifetime)
    assert latest - lifetime / 10 <= LEAD.due(1000, 1000 + lifetime, jitter) <= latest


@pytest.mark.parametrize("lifetime", [1, 10, 60, 3600])
def test_a_fresh_token_is_never_due(lifetime: float) -> None:
    assert LEAD.due(1000, 1000 + lifetime, 0.999) > 1000


def test_nobody_can_ask_for_more_than_half_a_lifetime() -> None:
    assert enough(0, 10, at_least=60, now=4)
    assert not enough(0, 10, at_least=60, now=6)


def test_delays_double_up_to_the_longest() -> None:
    assert [Backoff(5, 30).delay(count, 0.0) for count in (1, 2, 3, 4, 9999)] == [5, 10, 20, 30, 30]


def test_retry_after_is_obeyed_within_reason() -> None:
    assert OUTAGE.delay(1, 0.0, 90) == 90
    assert OUTAGE.delay(1, 0.0, 1e9) == 600


def test_a_person_who_waits_tries_before_the_background_does() -> None:
    retry = Retry(3, tried_at=100, again_at=900)
    assert retry.may_try(106, asked=True)
    assert not retry.may_try(106, asked=False)
    assert not retry.may_try(101, asked=True)


def test_all_tokens_of_a_session_fall_due_together_and_other_users_at_another_time() -> None:
    other = session(generation="h")
    assert session().jitter != other.jitter
    assert next_due(session(), Timing(check_seconds=1e9), 0, entitled=["rucio"]) != next_due(
        other, Timing(check_seconds=1e9), 0, entitled=["rucio"]
    )


def test_an_audience_without_token_is_due_at_once() -> None:
    assert next_due(session(), Timing(), 5, entitled=["rucio", "eos"]) <= 5


def test_what_the_user_may_not_have_is_not_due() -> None:
    assert next_due(session(allowed=False), Timing(check_seconds=900), 5, entitled=["rucio", "eos"]) > 800


def test_a_session_without_anything_left_is_never_due() -> None:
    assert next_due(session(refresh_token=None, access=None), Timing(), 5, entitled=["rucio"]) == float("inf")


def test_a_fresh_access_token_is_exchanged_without_a_refresh() -> None:
    todo = plan(session(tokens={}), Wish(), Timing(), 100, entitled=["rucio"])
    assert (todo.refresh, todo.exchange) == (False, ("rucio",))


def test_a_spent_access_token_is_refreshed_first() -> None:
    todo = plan(session(tokens={}), Wish(), Timing(check_seconds=1e9), 3590, entitled=["rucio"])
    assert (todo.refresh, todo.exchange) == (True, ("rucio",))


def test_for_the_account_alone_nothing_is_exchanged() -> None:
    todo = plan(session(tokens={}), Wish(account_only=True), Timing(), 3590, entitled=["rucio"])
    assert (todo.refresh, todo.exchange) == (True, ())
