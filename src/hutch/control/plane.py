"""The control plane as one thing: what a dialect holds in its hands, opened and closed as a whole."""

from dataclasses import dataclass

from hutch.control.files import Files
from hutch.control.health import Health
from hutch.control.images import Images
from hutch.control.keys import Keys
from hutch.control.machines import Machines
from hutch.control.processes import Processes


@dataclass(frozen=True)
class ControlPlane:
    """Every call on these checks the caller's scopes and tenant itself: no dialect decides."""

    keys: Keys
    machines: Machines
    processes: Processes
    files: Files
    images: Images
    health: Health

    async def open(self) -> None:
        """Take the home's lock, open store and host, reconcile what is recorded with what runs, and begin to serve.

        `Conflict`, naming the process that has it, if another service owns the home.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Finish or undo what is under way, write what is unwritten, and let go. Running machines run on."""
        raise NotImplementedError
