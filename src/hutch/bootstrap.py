"""The composition root: builds the real things and wires them. Nothing else constructs a store, a host or a plane.

plane = bootstrap.build(settings.load())
await plane.open()
token = await plane.keys.bootstrap()   # at the first start; None later
...
await plane.close()
"""

import fcntl
import importlib.metadata
import os
from pathlib import Path
from typing import Protocol

from hutch.control import plane
from hutch.control.clock import SystemClock
from hutch.control.plane import ControlPlane
from hutch.host.interface import Host
from hutch.host.paths import Paths
from hutch.model import errors
from hutch.notify.http import HttpSender
from hutch.notify.proofs import NetProofs
from hutch.settings import Settings
from hutch.store.database import Database
from hutch.store.interface import Store
from hutch.store.memory import MemoryStore


class Check(Protocol):
    """One finding about this box; `ok` None is a warning: it works without, but worse."""

    @property
    def name(self) -> str: ...
    @property
    def ok(self) -> bool | None: ...
    @property
    def detail(self) -> str: ...
    @property
    def remedy(self) -> str: ...


class HomeLock:
    """Held by the one service that owns a home; the kernel lets go of it when that service dies, however it dies."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._held: int | None = None

    def __enter__(self) -> None:
        """`Conflict`, naming the process that holds it."""
        self._paths.home.mkdir(parents=True, exist_ok=True)
        self._paths.home.chmod(0o700)  # the database holds machines' environments: theirs and ours alone
        lock = os.open(self._paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise errors.Conflict(
                f"process {holder} already serves {self._paths.home}: stop it, or set HUTCH_HOME to another directory"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._held = lock

    def __exit__(self, *_: object) -> None:
        if self._held is not None:
            os.ftruncate(self._held, 0)
            os.close(self._held)
            self._held = None


def build(settings: Settings) -> ControlPlane:
    """The real service: the database by URL (SQLite below the home by default) and this box as its host."""
    from hutch.host.local import LocalHost

    paths = Paths(settings.service.home)
    return _assemble(settings, paths, Database(_url(settings, paths)), LocalHost(settings, paths))


def diagnose(settings: Settings) -> list[Check]:
    """What this box has and lacks for running machines, with what to do about it."""
    from hutch.host import doctor

    return list(doctor.diagnose(settings))


def build_simulated(settings: Settings) -> ControlPlane:
    """The same over a simulated host: machines are directories and local processes, and nothing outlives it.

    For tests. The record is in memory unless the settings name a database.
    """
    from hutch.host.simulated.host import SimulatedHost
    from hutch.host.simulated.world import World

    paths = Paths(settings.service.home)
    store: Store = Database(settings.service.database) if settings.service.database else MemoryStore()
    return _assemble(settings, paths, store, SimulatedHost(World(paths.machines), owns_world=True))


def _assemble(settings: Settings, paths: Paths, store: Store, host: Host) -> ControlPlane:
    version = importlib.metadata.version("hutch")
    sender = HttpSender(settings.webhooks.allow_local)
    proofs = NetProofs(sender, settings.proxy.resolver)
    parts = plane.Parts(store, host, SystemClock(), HomeLock(paths), version, sender, proofs)
    return plane.assemble(parts, settings)


def _url(settings: Settings, paths: Paths) -> str:
    return settings.service.database or f"sqlite+aiosqlite:///{Path.absolute(paths.database)}"
