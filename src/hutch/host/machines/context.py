"""What every owner on a host shares."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hutch import settings
from hutch.host.images.local import LocalImages
from hutch.host.interface import Died
from hutch.host.layers import Layers
from hutch.host.paths import Paths
from hutch.host.qemu import vm
from hutch.host.saved.states import States
from hutch.host.templates.templates import Templates
from hutch.host.volumes import LocalVolumes

if TYPE_CHECKING:
    from hutch.host.machines.spares import Spares


@dataclass(frozen=True, slots=True)
class Engine:
    """What machines are run with; there once the kernel is fetched and the accelerator chosen."""

    launcher: vm.Launcher
    templates: Templates
    accelerator: str
    vmm: str  # QEMU's version


@dataclass(frozen=True, slots=True)
class Context:
    """Collaborators of an owner."""

    paths: Paths
    settings: settings.Host
    images: LocalImages
    layers: Layers
    states: States
    spares: "Spares"
    volumes: LocalVolumes
    engine: Engine
    on_death: Callable[[Died], None]
    collect: Callable[[], None]  # remove the layers and states that no machine needs any more
