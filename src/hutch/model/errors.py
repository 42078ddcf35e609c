"""What can go wrong, told once and in one vocabulary; each dialect turns it into its own statuses and bodies.

An error's message is public: it says what happened, to what, and what to do. Anything internal (paths of the host,
commands, other tenants' names) goes into `context`, which is logged and never shown.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hutch.model.ids import BuildId
    from hutch.model.machine import Machine


class HutchError(Exception):
    """Something in Hutch itself failed; the service's log has the details."""

    def __init__(self, message: str | None = None, **context: object) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])
        self.context: Mapping[str, object] = context

    @property
    def message(self) -> str:
        """The public text."""
        return str(self.args[0])


class InvalidRequest(HutchError):
    """The request does not make sense as it stands."""


class Flawed(InvalidRequest):
    """The request does not make sense as it stands."""

    def __init__(self, message: str | None = None, flaw: str = "invalid_request") -> None:
        super().__init__(message)
        self.flaw = flaw  # a word for programs, which tells flaws of one kind from all others: service_name_empty


class Unauthenticated(HutchError):
    """Missing or invalid API key."""


class UnknownKey(Unauthenticated):
    """unknown API key"""


class ExpiredKey(UnknownKey):
    """API key has expired"""


class Forbidden(HutchError):
    """The key lacks a scope."""


class NotFound(HutchError):
    """There is no such thing, or it belongs to another tenant."""


class Conflict(HutchError):
    """The request collides with what is already there."""


class IdempotencyMismatch(Conflict):
    """The idempotency key was used before for another request."""


class IllegalTransition(Conflict):
    """The machine's state does not allow this."""

    def __init__(self, message: str | None = None, machine: "Machine | None" = None) -> None:
        super().__init__(message)
        self.machine = machine  # as it was, where the caller had named the states it is allowed in


class NoCapacity(HutchError):
    """More was asked for than this box has or the quota allows."""


class QuotaExceeded(NoCapacity):
    """A limit of the tenant is reached; the message names limit, value and use."""


class DiskFull(NoCapacity):
    """The host has no space left on its disk."""


class PoolUnavailable(NoCapacity):
    """No machine of the pool is ready."""


class ImageUnavailable(HutchError):
    """The image cannot be had; the registry's own words are in the message."""


class BuildFailed(HutchError):
    """The build failed; its reason is in the message."""

    def __init__(self, message: str | None = None, build: "BuildId | None" = None, code: int | None = None) -> None:
        super().__init__(message)
        self.build = build
        self.code = code  # with which the failing command ended


class BuildTooLong(BuildFailed):
    """The build did not end in the time it may take."""


class MachineFailed(HutchError):
    """The machine failed; its reason is in the message."""


class Incompatible(Conflict):
    """The saved state was made on another board or by another QEMU, and cannot be loaded here."""


class Damaged(HutchError):
    """The saved state is not what was saved."""


class NotPublished(Forbidden):
    """The port is not published on this machine."""


class NotRunning(Conflict):
    """The machine is not running."""


class Asleep(NotRunning):
    """The machine is paused or suspended, and traffic does not wake it."""


class AgentUnavailable(HutchError):
    """The guest's agent does not answer."""


class TimedOut(HutchError):
    """It did not happen in the time given."""


class GuestError(HutchError):
    """The guest refused an operation on one of its files or processes."""


class GuestNotFound(GuestError):
    """No such file or process in the guest."""


class GuestDiskFull(GuestError):
    """The machine's own disk is full."""


class Unsupported(HutchError):
    """This installation of Hutch cannot do that."""


class RateLimited(HutchError):
    """Too many requests with this key."""

    def __init__(self, message: str | None = None, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds


class Suspended(Forbidden):
    """The tenant is suspended: its things can be looked at and deleted, and nothing else."""
