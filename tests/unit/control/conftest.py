"""The fixture every test of behaviour starts from."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hutch import settings
from unit.control.rig import Rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path / "world", settings.Machines(stop_grace=1.0))
    await rig.open()
    yield rig
    await rig.plane.close()
    await rig.world.close()
