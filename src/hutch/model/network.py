"""Nouns of machines' networks: what is published of them, and where they are reached."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A TCP port of a guest that the proxy lets traffic through to."""

    port: int  # 1 to 65535, in the guest
    is_public: bool = False  # else only with a traffic token of the machine, a signed link, or a key of its tenant


@dataclass(frozen=True, slots=True)
class Grant:
    """A way in to one published port that is kept, so that it can be listed and revoked."""

    id: str
    port: int
    issued_at: datetime
    expires_at: datetime
    in_header: bool = False  # its token is for a proxy of the tenant's, not for a browser
    generation: int = 0  # of its machine's tokens: when that is raised, it is revoked
    revoked_at: datetime | None = None

    def is_good(self, now: datetime, generation: int) -> bool:
        """Whether it lets anybody in now; `generation` is that of its machine's tokens."""
        return self.revoked_at is None and self.generation == generation and now < self.expires_at


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the service opens a TCP connection that ends at a port of a guest."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """How a running machine is really connected; what does not exist on this host is None."""

    tap_device: str | None
    tap_address: str | None  # the guest's gateway, on the host's side of the tap
    guest_address: str
    guest_mac: str
    outside_address: str | None  # by which this host reaches it


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes a machine has received and sent since its process was started."""

    received: int
    sent: int
