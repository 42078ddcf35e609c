"""What a template's first boot is given."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hutch import settings
from hutch.host import disks
from hutch.host.paths import Paths
from hutch.host.qemu import vm
from hutch.host.qemu.argv import Board
from hutch.host.templates.manifest import Recipe
from hutch.host.templates.templates import Templates
from hutch.model import errors
from hutch.model.machine import NetworkMode


async def test_an_image_reaches_nothing_before_it_is_a_machine_with_a_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[vm.Hardware] = []

    async def start(launcher: object, name: str, where: object, hardware: vm.Hardware) -> None:
        started.append(hardware)
        raise errors.MachineFailed("far enough")

    async def make_layer(path: Path, *_: object) -> None:
        path.touch()

    monkeypatch.setattr(vm.Vm, "start", start)
    monkeypatch.setattr(disks, "make_layer", make_layer)
    launcher: Any = SimpleNamespace(boot=SimpleNamespace(digest="boot"))
    templates = Templates(Paths(tmp_path), settings.Host(disk_reserve_mib=0), launcher, root=False)
    templates.open()
    recipe = Recipe("sha256:1", 20, Board("tcg", 1, 16), "qemu64", "7.2.22", "boot")
    with pytest.raises(errors.MachineFailed, match="far enough"):
        await templates.ensure(recipe, tmp_path / "image", lambda _: None)
    assert [hardware.policy.mode for hardware in started] == [NetworkMode.BLOCKED]
