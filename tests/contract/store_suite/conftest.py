"""The fixture every test of a store starts from: the fake, and SQLite."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contract.store_suite.nouns import OURS, THEIRS
from hutch.store.database import Database
from hutch.store.interface import Store
from hutch.store.memory import MemoryStore


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store: Store = MemoryStore() if request.param == "memory" else Database(f"sqlite+aiosqlite:///{tmp_path}/hutch.db")
    await store.open()
    await store.add_tenant(OURS)
    await store.add_tenant(THEIRS)
    yield store
    await store.close()
