"""The control plane as one thing: what a dialect holds in its hands, opened and closed as a whole."""

from dataclasses import dataclass, field

from hutch import settings
from hutch.control.building.builder import Turns
from hutch.control.building.flight import Yard
from hutch.control.building.workbench import Tools
from hutch.control.builds import Builds
from hutch.control.clock import Clock
from hutch.control.core import Core, Lock
from hutch.control.dockerfile import Dockerfiles
from hutch.control.domains import Certificates, Domains
from hutch.control.exposure import Exposure
from hutch.control.feed import Feed
from hutch.control.files import Files
from hutch.control.forks import Forks
from hutch.control.grants import Grants
from hutch.control.health import Health
from hutch.control.history import History
from hutch.control.idempotency import Idempotency
from hutch.control.images import Images
from hutch.control.job_watch import JobWatch
from hutch.control.jobs import Jobs
from hutch.control.keys import Keys
from hutch.control.launching import Launches
from hutch.control.logbook import Logbook
from hutch.control.machines import Machines
from hutch.control.making import Making
from hutch.control.pools import Pools
from hutch.control.processes import Processes
from hutch.control.rates import Rates
from hutch.control.services import Services
from hutch.control.sessions import Sessions
from hutch.control.shells import Shells
from hutch.control.snapshots import Snapshots
from hutch.control.tenants import Tenants
from hutch.control.terminals import Terminals
from hutch.control.usage import Usages
from hutch.control.vitals import Vitals
from hutch.control.volumes import Volumes
from hutch.control.watches import Watches
from hutch.control.webhooks import Webhooks
from hutch.host.interface import Host
from hutch.notify.interface import Proofs, Sender
from hutch.store.interface import Store


@dataclass(frozen=True)
class ControlPlane:
    """Every call on these checks the caller's scopes and tenant itself: no dialect decides."""

    keys: Keys
    tenants: Tenants
    rates: Rates
    usage: Usages
    volumes: Volumes
    idempotency: Idempotency
    machines: Machines
    exposure: Exposure
    grants: Grants
    domains: Domains
    certificates: Certificates
    vitals: Vitals
    logbook: Logbook
    processes: Processes
    sessions: Sessions
    jobs: Jobs
    terminals: Terminals
    shells: Shells
    feed: Feed
    history: History
    webhooks: Webhooks
    files: Files
    watches: Watches
    services: Services
    images: Images
    snapshots: Snapshots
    builds: Builds
    launches: Launches
    pools: Pools
    health: Health
    core: Core = field(repr=False)  # for the composition root and for tests

    async def open(self) -> None:
        """Take the home's lock, open store and host, reconcile what is recorded with what runs, and begin to serve.

        `Conflict`, naming the process that has it, if another service owns the home.
        """
        await self.core.open()

    async def close(self) -> None:
        """Finish or undo what is under way, write what is unwritten, and let go. Running machines run on."""
        await self.core.close()


@dataclass(frozen=True)
class Parts:
    """What a control plane is made of: the real things, or their fakes."""

    store: Store
    host: Host
    clock: Clock
    lock: Lock  # held while it is open
    version: str
    sender: Sender
    proofs: Proofs


def assemble(parts: Parts, its: settings.Settings) -> ControlPlane:
    """A control plane of these parts; not open yet."""
    store, clock, limits = parts.store, parts.clock, its.machines
    core = Core(store, parts.host, its, clock, parts.lock)
    webhooks = Webhooks(store, parts.sender, clock, its.webhooks.attempts)
    processes = Processes(core.fleet, core.background, limits, core.meter)
    files = Files(core.fleet, limits)
    terminals = Terminals(core.fleet, core.background, clock)
    sessions = Sessions(core.fleet, processes, core.background, store, clock)
    watch = JobWatch(core.fleet, store, clock)
    domains = Domains(core.fleet, store, parts.proofs, core.background, clock, its.proxy)
    exposure = Exposure(core.fleet, core.accounts, core.tokens, domains, clock, its.proxy)
    for sink in (webhooks.note, sessions.note, watch.note, domains.note):
        core.feed.add_sink(sink)
    making = Making(core.fleet, core.shelf, core.rack, core.background, clock, limits)
    forks = Forks(core.fleet, core.background, clock)
    machines = Machines(core.fleet, making, forks, core.shelf, store, clock)
    snapshots = Snapshots(core.fleet, core.shelf, store, core.background, clock)
    services = Services(core.fleet, processes, files)
    tools = Tools(core.fleet, making, machines, snapshots, core.shelf, processes, files, core.background)
    yard = Yard(tools, services, Dockerfiles(parts.host.images), store, clock, Turns())
    builds = Builds(yard, limits, its.builds)
    core.attend(webhooks, sessions, watch, domains, builds)
    return ControlPlane(
        keys=core.keys,
        tenants=Tenants(core.accounts, core.sanctions),
        rates=Rates(clock, its.tenants.requests_per_second),
        usage=Usages(core.accounts, core.fleet, core.meter, store, clock, its.tenants.keep_usage_days),
        volumes=Volumes(core.rack, core.quotas, core.background, clock),
        idempotency=core.idempotency,
        machines=machines,
        exposure=exposure,
        grants=Grants(core.fleet, exposure, core.tokens, clock),
        domains=domains,
        certificates=Certificates(exposure, domains, core.fleet),
        vitals=Vitals(core.fleet, clock),
        logbook=Logbook(core.fleet),
        processes=processes,
        sessions=sessions,
        jobs=Jobs(core.fleet, processes, watch, core.background, store, clock),
        terminals=terminals,
        shells=Shells(core.fleet, terminals, processes, core.background, core.meter),
        feed=core.feed,
        history=History(core.fleet.records, core.shelf, store),
        webhooks=webhooks,
        snapshots=snapshots,
        builds=builds,
        launches=Launches(machines, builds, services, domains, core.shelf, core.background),
        pools=Pools(core.fleet, making, core.background, core.meter, store, clock, limits),
        files=files,
        watches=Watches(core.fleet),
        services=services,
        images=Images(parts.host.images),
        health=Health(core, parts.version),
        core=core,
    )
