"""A layer's hash: what it covers, what it does not, and what stands on it."""

import dataclasses

import pytest

from hutch.control.building import chain
from hutch.model import errors
from hutch.model.machine import Resources
from hutch.model.recipes import (
    File,
    GitIdentity,
    Group,
    Layer,
    Repository,
    RestartPolicy,
    RestartWhen,
    Unit,
    UnitMode,
    UnitPatch,
    User,
)

SIZES = Resources(1, 512, 20)
BASE = chain.make_key("image", "sha256:1")


def recipe(*layers: Layer, base: str = BASE, sizes: Resources = SIZES) -> str:
    return chain.make_links(base, sizes, layers, is_base_kept=False)[-1].recipe


ONE = Layer(
    groups=(Group("ops", 1000),),
    users=(User("ann", groups=("ops",)),),
    files=(File("/a", b"1"), File("/b", b"2", 0o755)),
    packages=("curl", "jq"),
    git=GitIdentity("Ann"),
    repositories=(Repository("https://x/y", "/y"),),
    units=(Unit("web", UnitMode.SERVICE, ("sleep 1",), {"A": "1", "B": "2"}),),
    patches=(UnitPatch("cron", {"restart": RestartPolicy(RestartWhen.ALWAYS)}),),
    workdir="/srv",
)


def test_the_same_layer_has_the_same_hash_however_it_is_written() -> None:
    turned = dataclasses.replace(
        ONE,
        files=ONE.files[::-1],
        packages=("jq", "curl", "jq"),
        units=(dataclasses.replace(ONE.units[0], env={"B": "2", "A": "1"}, enable=True),),
    )
    assert recipe(ONE) == recipe(turned)


def test_sizes_that_are_the_base_s_own_may_be_given_or_left_out() -> None:
    assert recipe(ONE) == recipe(dataclasses.replace(ONE, cpus=1, memory_mib=512, disk_gib=20))
    assert recipe(ONE) != recipe(dataclasses.replace(ONE, memory_mib=1024))


@pytest.mark.parametrize(
    "change",
    [
        {"groups": ()},
        {"users": (User("ann"),)},
        {"files": (File("/a", b"1"), File("/b", b"3", 0o755))},
        {"files": (File("/a", b"1"), File("/b", b"2"))},
        {"packages": ("curl",)},
        {"git": GitIdentity("Bob")},
        {"repositories": (Repository("https://x/y", "/y", "main"),)},
        {"units": (Unit("web", UnitMode.SERVICE, ("sleep 2",), {"A": "1", "B": "2"}),)},
        {"patches": (UnitPatch("cron", {"restart": RestartPolicy(RestartWhen.NO)}),)},
        {"workdir": "/opt"},
        {"discriminator": "2"},
        {"waits_until_ready": False},
    ],
)
def test_whatever_defines_a_layer_is_in_its_hash(change: dict[str, object]) -> None:
    assert recipe(ONE) != recipe(dataclasses.replace(ONE, **change))  # type: ignore[arg-type]


def test_how_it_is_made_is_not() -> None:
    assert recipe(ONE) == recipe(dataclasses.replace(ONE, skip_cache=True, ready_timeout=5.0))


def test_a_link_s_hash_covers_all_below_and_nothing_above() -> None:
    two, other = Layer(packages=("git",)), Layer(packages=("make",))
    made = chain.make_links(BASE, SIZES, (ONE, two), is_base_kept=False)
    changed = chain.make_links(BASE, SIZES, (ONE, other), is_base_kept=False)
    assert made[0] == changed[0]
    assert made[1].recipe != changed[1].recipe
    assert recipe(two, ONE) != recipe(ONE, two)
    assert recipe(ONE, base=chain.make_key("image", "sha256:2")) != recipe(ONE)
    assert recipe(ONE, base=chain.make_key("snapshot", "sha256:1")) != recipe(ONE)


def test_an_empty_layer_adds_nothing() -> None:
    empty = Layer(skip_cache=True, waits_until_ready=False, ready_timeout=3)
    assert recipe(empty, ONE, empty) == recipe(ONE)
    assert chain.make_links(BASE, SIZES, (empty,), is_base_kept=True) == ()


def test_what_an_empty_layer_says_of_the_cache_holds_for_the_next_one() -> None:
    links = chain.make_links(BASE, SIZES, (Layer(skip_cache=True), ONE), is_base_kept=False)
    assert [link.layer.skip_cache for link in links] == [True]


def test_a_base_that_is_no_snapshot_has_one_link_at_least() -> None:
    only = chain.make_links(BASE, SIZES, (), is_base_kept=False)
    assert [link.layer for link in only] == [Layer()]
    bigger = chain.make_links(BASE, SIZES, (Layer(memory_mib=1024),), is_base_kept=False)
    assert (len(bigger), bigger[0].resources) == (1, Resources(1, 1024, 20))


def test_sizes_left_out_are_those_below() -> None:
    links = chain.make_links(BASE, SIZES, (Layer(cpus=2, packages=("a0",)), ONE), is_base_kept=False)
    assert [link.resources for link in links] == [Resources(2, 512, 20)] * 2


def test_a_disk_only_grows() -> None:
    with pytest.raises(errors.InvalidRequest, match="at least the 20 GiB of the layer below"):
        recipe(Layer(disk_gib=10))
