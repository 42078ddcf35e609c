"""The service that published clients are run against."""

from collections.abc import Iterator

import pytest

import live


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Live]:
    """On the simulated host; anything with `url` and `key` will do."""
    with live.simulated(tmp_path_factory.mktemp("clients")) as running:
        yield running
