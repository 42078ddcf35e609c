"""The services that published clients are run against: the simulated host, and real machines."""

from collections.abc import Iterator

import pytest
from bench.live import Live

import live


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Live]:
    with live.simulated(tmp_path_factory.mktemp("clients")) as running:
        yield running


@pytest.fixture(scope="session", params=["simulated", "real"])
def service(request: pytest.FixtureRequest) -> live.Live | Live:
    """Anything with `url` and `key` will do."""
    found: live.Live | Live = request.getfixturevalue("simulated" if request.param == "simulated" else "real_service")
    return found
