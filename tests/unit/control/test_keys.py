"""Who is asking, and what they may do."""

from datetime import timedelta

import pytest

from hutch.control import keys
from hutch.control.keys import Principal
from hutch.model import errors
from hutch.model.keys import SCOPES
from unit.control.rig import Rig


async def test_a_token_tells_whose_it_is(rig: Rig) -> None:
    key, token = await rig.plane.keys.create(rig.me, "for a friend", ["machine:read"], prefix="ns_live")
    assert token.startswith("ns_live_")
    principal = rig.plane.keys.authenticate(token)
    assert principal == Principal(rig.me.tenant, key.id, frozenset({"machine:read"}))


@pytest.mark.parametrize("token", ["", "smk_", "smk_wrong", "\udcff", "x" * 100_000])
async def test_an_unknown_token_is_nobodys(rig: Rig, token: str) -> None:
    with pytest.raises(errors.UnknownKey, match="unknown API key"):
        rig.plane.keys.authenticate(token)


async def test_of_a_token_only_its_hash_is_kept(rig: Rig) -> None:
    _, token = await rig.plane.keys.create(rig.me)
    recorded = await rig.store.load()
    assert token not in repr(recorded)
    assert token.split("_", 1)[1] not in repr(recorded)


async def test_a_revoked_key_ends_at_once(rig: Rig) -> None:
    key, token = await rig.plane.keys.create(rig.me)
    await rig.plane.keys.revoke(rig.me, key.id)
    with pytest.raises(errors.UnknownKey):
        rig.plane.keys.authenticate(token)
    with pytest.raises(errors.NotFound):
        await rig.plane.keys.revoke(rig.me, key.id)
    await rig.restart()
    with pytest.raises(errors.UnknownKey):
        rig.plane.keys.authenticate(token)


async def test_a_key_ends_when_its_time_is_over(rig: Rig) -> None:
    _, token = await rig.plane.keys.create(rig.me, expires_in=timedelta(seconds=10))
    rig.clock.advance(9)
    rig.plane.keys.authenticate(token)
    rig.clock.advance(1)
    with pytest.raises(errors.UnknownKey, match="API key has expired"):
        rig.plane.keys.authenticate(token)


async def test_keys_outlive_the_service(rig: Rig) -> None:
    _, token = await rig.plane.keys.create(rig.me, scopes=["machine:read"])
    await rig.crash_and_restart()
    assert rig.plane.keys.authenticate(token).scopes == {"machine:read"}


async def test_keys_are_listed_newest_first_with_their_last_use(rig: Rig) -> None:
    key, token = await rig.plane.keys.create(rig.me, "mine")
    assert (await rig.plane.keys.list(rig.me))[0].last_used_at is None
    rig.clock.advance(60)
    rig.plane.keys.authenticate(token)
    newest = (await rig.plane.keys.list(rig.me))[0]
    assert (newest.id, newest.description, newest.last_used_at) == (key.id, "mine", rig.clock.now())
    await rig.plane.close()
    assert {stored.key.last_used_at for stored in (await rig.store.load()).keys if stored.key.id == key.id} == {
        rig.clock.now()
    }


async def test_a_key_without_scopes_can_do_what_its_maker_can(rig: Rig) -> None:
    _, token = await rig.plane.keys.create(rig.me)
    assert rig.plane.keys.authenticate(token).scopes == rig.me.scopes


async def test_only_an_admin_deals_with_keys(rig: Rig) -> None:
    poor = await rig.someone("machine:create", "machine:read")
    for call in (rig.plane.keys.create(poor), rig.plane.keys.list(poor), rig.plane.keys.revoke(poor, "x")):
        with pytest.raises(errors.Forbidden, match="missing scope: admin"):
            await call


async def test_another_tenants_key_is_not_found(rig: Rig) -> None:
    key, _ = await rig.plane.keys.create(rig.me)
    them = await rig.someone(tenant="them")
    assert await rig.plane.keys.list(them) == []
    with pytest.raises(errors.NotFound):
        await rig.plane.keys.revoke(them, key.id)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scopes": ["machine:fly"]}, "unknown scope 'machine:fly': there are machine:create"),
        ({"scopes": ["**"]}, "unknown scope"),
        ({"scopes": [":*"]}, "unknown scope"),
        ({"prefix": "Sm"}, "key prefix 'Sm'"),
        ({"prefix": ""}, "key prefix ''"),
        ({"prefix": "a_"}, "key prefix 'a_'"),
        ({"prefix": "a" * 33}, "key prefix"),
        ({"expires_in": timedelta(0)}, "a key's life"),
        ({"expires_in": timedelta(days=99999)}, "a key's life"),
        ({"description": "x" * 2000}, "the description"),
    ],
)
async def test_a_key_that_makes_no_sense_is_refused(rig: Rig, fields: dict[str, object], words: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=words):
        await rig.plane.keys.create(rig.me, **fields)  # type: ignore[arg-type]


def test_a_star_stands_for_all_scopes_of_a_kind() -> None:
    assert keys.expand_scopes(["volume:*", "usage:read"]) == {
        "volume:create",
        "volume:read",
        "volume:delete",
        "usage:read",
    }


@pytest.mark.parametrize("scope", SCOPES)
def test_an_admin_has_every_scope_and_others_only_theirs(scope: str) -> None:
    Principal("t", "k", frozenset({"admin"})).require(scope)  # type: ignore[arg-type]
    Principal("t", "k", frozenset({scope})).require(scope)  # type: ignore[arg-type]
    with pytest.raises(errors.Forbidden, match=f"missing scope: {scope}"):
        Principal("t", "k", frozenset(SCOPES) - {scope, "admin"}).require(scope)  # type: ignore[arg-type]


async def test_the_first_admin_key_is_made_once_unless_forced(rig: Rig) -> None:
    assert await rig.plane.keys.bootstrap() is None
    token = await rig.plane.keys.bootstrap(force=True)
    assert token is not None
    assert rig.plane.keys.authenticate(token).tenant == rig.me.tenant
    await rig.restart()
    assert await rig.plane.keys.bootstrap() is None
    assert rig.plane.keys.authenticate(token).tenant == rig.me.tenant


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ("machines:read", {"machine:read"}),
        ("machines:write", {"machine:create", "machine:exec", "machine:delete"}),
        ("machines:exec", {"machine:exec", "machine:files"}),
        ("*", {"machine:create", "machine:read", "machine:exec", "machine:delete", "machine:files"}),
    ],
)
def test_hyperfleets_scopes_are_taken_for_what_they_mean(asked: str, granted: set[str]) -> None:
    assert keys.expand_scopes([asked]) == granted
