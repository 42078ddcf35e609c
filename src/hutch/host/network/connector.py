"""Chooses how this host's machines are connected: by slots where it can have them, else by QEMU's user network."""

import os
from dataclasses import replace

import structlog

from hutch import settings
from hutch.host.network import user
from hutch.host.network.connection import Connection
from hutch.host.network.slots import Slots, has_left
from hutch.host.network.user import UserConnection
from hutch.host.paths import Paths
from hutch.model import errors
from hutch.model.machine import NetworkMode, NetworkPolicy

log = structlog.get_logger(__name__)

MODES = ("auto", "slots", "user")


class LocalConnector:
    """Implements `hutch.host.network.connection.Connector`."""

    def __init__(self, paths: Paths, wanted: settings.Network) -> None:
        self._paths = paths
        self._wanted = wanted
        self._slots: Slots | None = None

    @property
    def has_slots(self) -> bool:
        """Whether machines that are started now get one."""
        return self._slots is not None and self._wanted.mode != "user"

    async def open(self) -> None:
        """Choose. `Unsupported` if slots cannot be had, and are asked for by name or what runs may be in some."""
        mode = self._wanted.mode
        if mode not in MODES:
            raise errors.InvalidRequest(f"HUTCH_NETWORK_MODE={mode!r}: use {', '.join(MODES)}")
        if mode == "user" and not has_left(self._paths.tag):
            return
        try:
            if os.geteuid() != 0:
                raise errors.Unsupported("network slots need root")
            slots = Slots(self._paths, self._wanted if mode != "user" else replace(self._wanted, ready=0))
            await slots.open()
            self._slots = slots
        except errors.Unsupported as error:
            if mode == "slots":
                raise
            if mode == "auto" and has_left(self._paths.tag):  # what runs would have to be ended
                remedy = "mend that, or end what runs in the slots of a former service with HUTCH_NETWORK_MODE=user"
                raise errors.Unsupported(f"{error.message}; {remedy}") from error
            log.warning("machines get QEMU's user network", reason=error.message)

    async def collect(self, is_known: bool) -> None:
        """Everything that is known to run has been adopted; `is_known`: that is all there is."""
        if self._slots is not None:
            await self._slots.collect(is_known)

    async def put_back(self) -> None:
        """Somebody has removed all rules of this host. `HutchError`."""
        if self._slots is not None:
            await self._slots.put_back()

    async def close(self) -> None:
        """Let go; what runs stays connected."""
        if self._slots is not None:
            await self._slots.close()
            self._slots = None

    def base(self, policy: NetworkPolicy) -> NetworkPolicy:
        """See the interface."""
        if self.has_slots:
            return NetworkPolicy()
        user.check(policy)
        return policy

    async def connect(self, policy: NetworkPolicy) -> Connection:
        """See the interface."""
        if self._slots is not None and self.has_slots:
            return await self._slots.take(policy)
        user.check(policy)
        return UserConnection(policy.mode is NetworkMode.BLOCKED)

    async def adopt(self, slot: int | None, policy: NetworkPolicy) -> Connection:
        """See the interface."""
        if slot is None:
            return UserConnection(policy.mode is NetworkMode.BLOCKED)
        if self._slots is None:
            raise errors.MachineFailed("the machine's network is a slot, and this service can have none")
        return await self._slots.adopt(slot, policy)

    def abandon(self, slot: int | None) -> None:
        """See the interface."""
        if slot is not None and self._slots is not None:
            self._slots.give_back(slot)
