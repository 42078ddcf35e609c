"""Namespaces for all tests here; they are gone at the end."""

import os
from collections.abc import Iterator

import pytest

from hutch.model.machine import NetworkPolicy
from namespaces import World


@pytest.fixture(scope="session")
def whole_world() -> Iterator[World]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    world = World()
    try:
        world.open()
        yield world
    finally:
        world.close()


@pytest.fixture
def world(whole_world: World) -> World:
    """Under the open policy, and with nothing asked yet."""
    whole_world.forget_admitted()
    whole_world.put_under(NetworkPolicy())
    whole_world.names.asked.clear()
    return whole_world
