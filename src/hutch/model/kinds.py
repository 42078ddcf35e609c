"""The kinds of events, for programs; an event's message is for people. `docs/events.md` lists them from here."""

from collections.abc import Collection
from enum import StrEnum

from hutch.model import errors
from hutch.model.states import State


class Kind(StrEnum):
    """What happened to a machine."""

    CREATING = "machine.creating"  # its record exists, its host is making its disk
    CREATED = "machine.created"  # it is there: stopped, suspended in a snapshot, or (a fork) about to run
    STARTING = "machine.starting"  # a boot or a wake has begun
    STARTED = "machine.started"  # it runs
    START_FAILED = "machine.start_failed"  # it could not be started, and is what the message says
    WOKEN = "machine.woken"  # it runs again, out of its saved memory
    RESUMED = "machine.resumed"  # it was paused and runs again
    PAUSING = "machine.pausing"  # it is about to stand still
    PAUSED = "machine.paused"  # its vCPUs stand still
    SUSPENDING = "machine.suspending"  # its memory is being saved
    SUSPENDED = "machine.suspended"  # its memory is on disk
    STOPPING = "machine.stopping"  # it is shutting down
    STOPPED = "machine.stopped"  # it has a disk and no memory
    FAILED = "machine.failed"  # it died, or something that was done to it left it unusable
    REFUSED = "machine.refused"  # something asked of it could not be done; it is as it was
    ADOPTED = "machine.adopted"  # it went on running while the service was away
    RECONCILED = "machine.reconciled"  # its record was brought in line with what its host says
    TIMER = "machine.timer"  # one of its timers fired; what that brings about follows
    TIMED = "machine.timed"  # its timers were set
    NETWORK_SET = "machine.network_set"  # it was given another network policy
    PUBLISHED = "machine.published"  # its published ports were set
    REVOKED = "machine.revoked"  # its traffic tokens and links were made invalid
    EVICTED = "machine.evicted"  # it goes, to make room on the disk
    FORKED = "machine.forked"  # copies of it were made
    SNAPSHOTTED = "machine.snapshotted"  # a snapshot was made of it
    ROLLED_BACK = "machine.rolled_back"  # it was put back to a snapshot
    RESIZED = "machine.resized"  # its disk has grown, or it has other vCPUs and memory
    OPTIMIZED = "machine.optimized"  # its saved state was made cheap to go on from
    DESTROYING = "machine.destroying"  # it is being removed
    DESTROYED = "machine.destroyed"  # it is gone
    NOTED = "machine.noted"  # anything else

    LAGGED = "feed.lagged"  # to a listener alone: so many events were dropped because it did not keep up


OF_STATE = {
    State.CREATING: Kind.CREATING,
    State.STOPPED: Kind.STOPPED,
    State.STARTING: Kind.STARTING,
    State.RUNNING: Kind.STARTED,
    State.PAUSING: Kind.PAUSING,
    State.PAUSED: Kind.PAUSED,
    State.SUSPENDING: Kind.SUSPENDING,
    State.SUSPENDED: Kind.SUSPENDED,
    State.STOPPING: Kind.STOPPING,
    State.DESTROYING: Kind.DESTROYING,
    State.DESTROYED: Kind.DESTROYED,
    State.FAILED: Kind.FAILED,
    State.LOST: Kind.FAILED,
}
"""What a transition into a state is, where nothing else is said of it."""


def check_kinds(wanted: Collection[str]) -> tuple[str, ...]:
    """Kinds that somebody wants to be told of: names, or `machine.*` for all of a family. `InvalidRequest`."""
    families = {f"{kind.split('.')[0]}.*" for kind in Kind}
    for one in wanted:
        if one not in families and one not in {str(kind) for kind in Kind}:
            raise errors.InvalidRequest(
                f"{one[:80]!a} is not a kind of event: there are {', '.join(sorted(families))}, {', '.join(Kind)}"
            )
    return tuple(dict.fromkeys(wanted))


def matches(kind: str, wanted: Collection[str]) -> bool:
    """Whether somebody who wants these (none: all) is told of this one."""
    return not wanted or kind in wanted or f"{kind.split('.')[0]}.*" in wanted
