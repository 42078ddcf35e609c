"""The composition root: builds the real things and wires them. Nothing else constructs a store, a host or a plane.

plane = bootstrap.build(settings.load())
await plane.open()
token = await plane.keys.bootstrap()   # at the first start; None later
...
await plane.close()
"""

from hutch.control.plane import ControlPlane
from hutch.settings import Settings


def build(settings: Settings) -> ControlPlane:
    """The real service: the database by URL (SQLite below the home by default) and this box as its host."""
    raise NotImplementedError


def build_simulated(settings: Settings) -> ControlPlane:
    """The same over a simulated host: machines are directories and local processes. For tests."""
    raise NotImplementedError
