"""Rates: a bucket for each key, filled as time passes."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.control import rates
from hutch.control.accounts import Account
from hutch.control.clock import ManualClock
from hutch.control.keys import Principal
from hutch.control.rates import Rates
from hutch.model import errors
from hutch.model.ids import KeyId, TenantId
from hutch.model.keys import Limits, Tenant

CLOCK = ManualClock()


def who(key: str = "k", rate: float | None = None) -> Principal:
    account = Account(Tenant(TenantId("t"), "t", CLOCK.now(), limits=Limits(requests_per_second=rate)))
    return Principal(TenantId("t"), KeyId(key), frozenset(), account)


def take_all(its: Rates, principal: Principal) -> int:
    """How many come through at once."""
    for count in itertools.count():
        try:
            its.take(principal)
        except errors.RateLimited:
            return count
    raise AssertionError("there is no limit")


def test_without_a_limit_nothing_is_counted() -> None:
    assert [Rates(ManualClock(), 0).take(who()) for _ in range(100)] == [None] * 100


def test_what_is_left_is_told_and_then_it_is_refused() -> None:
    its = Rates(ManualClock(), 2)
    assert [its.take(who()) for _ in range(4)] == [3, 2, 1, 0]
    with pytest.raises(errors.RateLimited, match="2 a second are allowed") as refused:
        its.take(who())
    assert refused.value.retry_after == pytest.approx(0.5)


def test_after_the_time_that_was_told_it_is_allowed() -> None:
    clock = ManualClock()
    its = Rates(clock, 0.5)
    its.take(who())
    with pytest.raises(errors.RateLimited) as refused:
        its.take(who())
    clock.advance(refused.value.retry_after)
    assert its.take(who()) == 0


def test_each_key_has_its_own() -> None:
    its = Rates(ManualClock(), 1)
    assert take_all(its, who("a")) == take_all(its, who("b")) == 2


@pytest.mark.parametrize(("own", "many"), [(5.0, 10), (0.0, None), (None, 2)])
def test_the_tenants_own_limit_goes_first(own: float | None, many: int | None) -> None:
    its = Rates(ManualClock(), 1)
    if many is None:
        assert its.take(who(rate=own)) is None
    else:
        assert take_all(its, who(rate=own)) == many


def test_keys_that_have_rested_are_forgotten_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MAX_BUCKETS", 2)
    clock = ManualClock()
    its = Rates(clock, 1)
    its.take(who("old"))
    clock.advance(2)
    take_all(its, who("busy"))
    for key in ("new", "newer"):
        its.take(who(key))
    with pytest.raises(errors.RateLimited):
        its.take(who("busy"))
    assert "old" not in its._buckets


@given(st.floats(0.1, 50), st.lists(st.floats(0, 5), max_size=60))
def test_no_more_come_through_than_the_rate_and_one_burst(rate: float, waits: list[float]) -> None:
    clock = ManualClock()
    its, taken, passed = Rates(clock, rate), 0, 0.0
    for wait in waits:
        clock.advance(wait)
        passed += wait
        try:
            its.take(who())
        except errors.RateLimited:
            continue
        taken += 1
        assert taken <= rates.size(rate) + passed * rate + 1e-3
