"""The way through a Dockerfile's steps, in build machines."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hutch.control.dockerfile import plan as planning
from hutch.control.dockerfile import reading
from hutch.control.dockerfile.plan import Plan, Resolve
from hutch.host import interface
from hutch.model.machine import Snapshot

if TYPE_CHECKING:
    from hutch.control.building.workbench import Workbench


@dataclass(frozen=True, slots=True)
class Built:
    """What came of a Dockerfile. Labels and ports (`80/tcp`) are as it tells them; nobody has opened the ports."""

    snapshot: Snapshot
    labels: dict[str, str]
    ports: tuple[str, ...]


class Dockerfiles:
    """Dockerfiles, read and built. `images` are those of the host the build machines run on."""

    def __init__(self, images: interface.Images) -> None:
        self._images = images

    async def plan(self, text: str, resolve: Resolve) -> Plan:
        """What is to be done; `resolve` tells what an image's name means now, once for each. Nothing is built yet.

        `Flawed` with the line of what is wrong; what `resolve` raises.
        """
        return await planning.make(await reading.read(text), resolve)

    async def run(self, plan: Plan, workbench: "Workbench") -> Built:
        """Do it; what is known already is used. The snapshot is kept under `plan.hash`.

        Each of `plan.steps` is begun as a phase by its title. All machines it opened are closed when it returns or
        raises: `BuildFailed` with the line, and the end of what the command wrote, `Flawed` for what could only be
        found out with the image at hand, `ImageUnavailable`.
        """
        raise NotImplementedError
