"""Settings, grouped by subject; the only reader of the environment.

Every field can be set by an environment variable named HUTCH_ + group + field (`HUTCH_HOST_ACCELERATOR`); those of
`Service` have no group (`HUTCH_HOME`).
"""

import dataclasses
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


def _default_home() -> Path:
    return Path("/var/lib/hutch") if os.geteuid() == 0 else Path.home() / ".local/share/hutch"


@dataclass(frozen=True)
class Service:
    """The service as a whole."""

    home: Path = field(default_factory=_default_home)
    """All state is below this directory."""

    listen: str = "127.0.0.1:7070"
    """HOST:PORT of the API."""

    database: str = ""
    """SQLAlchemy URL; empty means SQLite below `home`."""

    log_level: str = "info"
    """debug, info, warning or error."""

    region: str = "local"
    """What this host is called where an API asks for a region."""


@dataclass(frozen=True)
class Machines:
    """Defaults and limits of what a caller may ask for."""

    default_cpus: int = 1
    """vCPUs when a request names none."""

    default_memory_mib: int = 512
    """MiB of memory when a request names none: a Debian guest with Python and Node runs in it."""

    default_disk_gib: int = 20
    """GiB of disk when a request names none. Sparse: it costs what is written."""

    max_cpus: int = 8
    """Most vCPUs of one machine; also bounded by the box."""

    min_memory_mib: int = 64
    """Least memory a kernel, an agent and a shell run in."""

    stop_grace: float = 10.0
    """Seconds a guest has to shut down in order before it is ended by force."""

    exec_output_limit: int = 1024 * 1024
    """Bytes of each stream that a buffered exec returns; the rest is read and dropped, and the answer says so."""

    file_limit: int = 10 * 1024**3
    """Largest file that may be uploaded, in bytes."""

    sweep_interval: float = 1.0
    """Seconds between looks at the idle and lifetime timers."""

    storage_quota_gib: int = 0
    """GiB that machines and snapshots may take in all before sticky machines are destroyed; 0: no quota."""

    verify_interval: float = 86400.0
    """Seconds after which a snapshot is read and verified again, one at a time, in the background; 0: never."""


@dataclass(frozen=True)
class Builds:
    """How long snapshots may be built, and how many at once."""

    budget: float = 1800.0
    """Seconds one build may take, from when it runs."""

    at_once: int = 4
    """Builds of one tenant that run at the same time; others wait."""


@dataclass(frozen=True)
class Tenants:
    """What tenants may do, and how long is kept what they did."""

    requests_per_second: float = 0.0
    """Requests a second of each key, execs not counted, for tenants without a limit of their own; 0: no limit."""

    heartbeat: float = 30.0
    """Seconds between writes of what was used: as much as a killed service may not have counted."""

    keep_events_days: float = 30.0
    """Days that the events of machines are kept; 0: for ever."""

    keep_deliveries_days: float = 7.0
    """Days that the record of a webhook's deliveries is kept; 0: for ever."""

    keep_jobs_days: float = 30.0
    """Days that the records of jobs that have ended are kept; 0: for ever."""

    keep_builds_days: float = 30.0
    """Days that the records of builds that have ended, and of deleted snapshots, are kept; 0: for ever."""

    keep_usage_days: float = 30.0
    """Days that usage is kept exactly, then by the day; of a deleted machine only its tenant's sums. 0: for ever."""


@dataclass(frozen=True)
class Host:
    """How this host runs machines."""

    accelerator: str = "auto"
    """auto, kvm or tcg. `auto` tries KVM once with a real boot and remembers the verdict."""

    qemu: str = "qemu-system-x86_64"
    """The QEMU to run."""

    memory_reserve_mib: int = 1024
    """Memory kept back for the host itself when machines are admitted."""

    disk_reserve_mib: int = 512
    """Disk space below which no machine is made and nothing is pulled."""

    boot_timeout: float = 180.0
    """Seconds a first boot may take until the guest is up (software emulation on a busy box is slow)."""

    restore_timeout: float = 30.0
    """Seconds a restored machine may take to answer."""

    spare_processes: int = 2
    """QEMU processes kept waiting for each recently used template: a start that finds one is quicker. 0: none."""

    uid_base: int = 1_900_000_000
    """First of the user ids machines run under, when the service is root; above those of containers and users. A second
    service on the box needs one that is higher by 20 million: it would share ids, and the rules for them."""

    uid_count: int = 50_000
    """How many such ids there are."""


@dataclass(frozen=True)
class Images:
    """Where images come from."""

    insecure_registries: str = ""
    """Comma-separated HOST[:PORT] that are spoken to in plain HTTP or without checking certificates."""

    auth_file: str = ""
    """Path of a registry credentials file (the `auth.json` of skopeo, podman and docker); empty: none."""

    max_size_mib: int = 20 * 1024
    """Most an image may unpack to."""

    pull_timeout: float = 1800.0
    """Seconds a pull may take in all."""

    debian_mirror: str = ""
    """Where the built-in image's packages come from; empty: the host's own apt sources."""


@dataclass(frozen=True)
class Webhooks:
    """How events are told to tenants' own endpoints."""

    allow_local: bool = False
    """Whether a webhook may lead to loopback, link-local and the host's own addresses: any tenant reaches them then."""

    attempts: int = 8
    """How often a delivery is tried: 5 s after the first failure, twice as long after each further one."""


@dataclass(frozen=True)
class Network:
    """What machines are connected with, and what they may reach."""

    mode: str = "auto"
    """slots (a namespace for each machine; needs root and nftables), user (QEMU's user network), or auto."""

    range: str = "10.213.0.0/16"
    """Addresses by which this host reaches its machines, two for each; of a wider range each service takes a /20."""

    ready: int = 8
    """Slots made ahead, so that a start finds one."""

    allow_private: str = ""
    """Comma-separated private or link-local networks that machines may reach after all; empty: none."""


@dataclass(frozen=True)
class Proxy:
    """How published ports of machines are reached."""

    listen: str = "127.0.0.1:7071"
    """HOST:PORT of the proxy."""

    domain: str = "hutch.localhost"
    """Machines are reached at MACHINE-PORT.DOMAIN and PORT-MACHINE.DOMAIN. Browsers lead names below localhost here."""

    url: str = ""
    """How clients see the proxy when something stands before it: https://DOMAIN; empty: as it listens."""

    idle_timeout: float = 300.0
    """Seconds a proxied connection may be silent in both directions."""

    connect_timeout: float = 10.0
    """Seconds until a guest that does not take a connection is given up."""

    response_timeout: float = 60.0
    """Seconds an upstream has to begin its answer."""

    resolver: str = ""
    """ADDRESS[:PORT] of the name server that is asked for the proofs of tenants' domains; empty: the host's own."""


@dataclass(frozen=True)
class Settings:
    """All of them."""

    service: Service = field(default_factory=Service)
    machines: Machines = field(default_factory=Machines)
    builds: Builds = field(default_factory=Builds)
    tenants: Tenants = field(default_factory=Tenants)
    host: Host = field(default_factory=Host)
    images: Images = field(default_factory=Images)
    webhooks: Webhooks = field(default_factory=Webhooks)
    network: Network = field(default_factory=Network)
    proxy: Proxy = field(default_factory=Proxy)

    def listening(self, port: int) -> "Settings":
        """The same, once the proxy has its port: what shows addresses of machines must not show port 0."""
        host = self.proxy.listen.rpartition(":")[0]
        return dataclasses.replace(self, proxy=dataclasses.replace(self.proxy, listen=f"{host}:{port}"))


_BOOLS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _parse(name: str, kind: object, text: str) -> object:
    if isinstance(kind, types.UnionType):
        kind = next(k for k in typing.get_args(kind) if k is not type(None))
    try:
        if kind is bool:
            return _BOOLS[text.lower()]
        return kind(text) if callable(kind) else text
    except (ValueError, KeyError):
        raise ValueError(f"{name}={text!r}: not a valid {getattr(kind, '__name__', kind)}") from None


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """Defaults with what the environment sets laid over them. Raises ValueError naming the variable."""
    groups: dict[str, object] = {}
    for group in dataclasses.fields(Settings):
        cls = typing.get_type_hints(Settings)[group.name]
        prefix = "HUTCH_" if cls is Service else f"HUTCH_{group.name.upper()}_"
        hints = typing.get_type_hints(cls)
        given = {
            f.name: _parse(name, hints[f.name], environment[name])
            for f in dataclasses.fields(cls)
            if (name := prefix + f.name.upper()) in environment
        }
        groups[group.name] = cls(**given)
    return Settings(**groups)  # type: ignore[arg-type]
