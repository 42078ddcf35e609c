"""The real agent as an ordinary process of this host, in its development mode, and a client that speaks with it."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from contract.agent.support import Serving, serve
from hutch.host.agent.client import Agent

REPOSITORY = Path(__file__).parents[3]
BINARY = REPOSITORY / "src/hutch/_guest/hutch-agent"


@pytest.fixture(scope="session")
def binary() -> Path:
    """The agent's binary, built if it is not there."""
    if not BINARY.exists():
        subprocess.run([REPOSITORY / "guest/build"], check=True, timeout=900)
    return BINARY


@pytest.fixture
def serving(binary: Path, tmp_path: Path) -> Iterator[Serving]:
    yield from serve(binary, tmp_path)


@pytest.fixture
async def agent(serving: Serving) -> AsyncIterator[Agent]:
    agent = await serving.connect()
    yield agent
    await agent.close()
