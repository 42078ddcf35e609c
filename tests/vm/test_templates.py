"""Templates are kept as long as something can use them."""

import json
import shutil
from pathlib import Path

from hutch import settings
from hutch.host.local import LocalHost
from hutch.host.paths import Paths
from machines import Launcher


def recast(template: Path, **changes: object) -> None:
    """As if it had been made by another version."""
    manifest = json.loads((template / "manifest.json").read_text())
    manifest["recipe"].update(changes)
    (template / "manifest.json").write_text(json.dumps(manifest))


async def test_a_template_of_another_kernel_is_removed_unless_a_disk_stands_on_it(
    vms: Launcher, wanted: settings.Settings, home: Path
) -> None:
    machine = await vms.launch(memory=152)
    used = next(path.parent for path in (home / "templates").glob("*/manifest.json") if ": 152" in path.read_text())
    recast(used, boot="sha256:another")
    unused = home / "templates" / ("0" * 32)
    shutil.copytree(used, unused)
    await vms.host.stop(machine.id, grace=5)
    await vms.host.close()  # type: ignore[attr-defined]
    vms.host = LocalHost(wanted, Paths(home))
    await vms.host.open()
    assert used.exists()
    assert not unused.exists()
    await vms.host.start(machine.id)
    await vms.destroy_all()
    shutil.rmtree(used)
    await vms.host.close()


async def test_a_template_whose_manifest_does_not_fit_is_made_anew(vms: Launcher, home: Path) -> None:
    first = await vms.launch(memory=160)
    template = next(path.parent for path in (home / "templates").glob("*/manifest.json") if ": 160" in path.read_text())
    await vms.host.destroy(first.id)  # while its disk stands on the template, that is not replaced
    recast(template, vmm="99.9")
    phases: list[str] = []
    machine = await vms.create(memory=160)
    await vms.host.start(machine.id, lambda progress: phases.append(progress.phase))
    assert "first boot" in phases
    assert (await machine.run("echo up")).text == "up"
    shutil.rmtree(template)
