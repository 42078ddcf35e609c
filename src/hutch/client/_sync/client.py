"""The client as one thing."""

import os

from hutch.client import models, wire
from hutch.client._sync.builds import Builds
from hutch.client._sync.domains import Domains
from hutch.client._sync.events import Events
from hutch.client._sync.files import Files
from hutch.client._sync.http import Http
from hutch.client._sync.images import Images
from hutch.client._sync.jobs import Jobs
from hutch.client._sync.keys import Keys
from hutch.client._sync.machines import Machines
from hutch.client._sync.pools import Pools
from hutch.client._sync.ports import Ports
from hutch.client._sync.processes import Processes
from hutch.client._sync.services import Services
from hutch.client._sync.sessions import Sessions
from hutch.client._sync.snapshots import Snapshots
from hutch.client._sync.tenants import Tenants
from hutch.client._sync.terminals import Terminals
from hutch.client._sync.tunnels import Tunnels
from hutch.client._sync.usage import Usages
from hutch.client._sync.volumes import Volumes
from hutch.client._sync.watching import Watching
from hutch.client._sync.webhooks import Webhooks

DEFAULT_URL = "http://127.0.0.1:7070"


class Hutch:
    """A service, spoken to with one key; `url` and `key` default to HUTCH_URL and HUTCH_KEY."""

    def __init__(self, url: str | None = None, key: str | None = None) -> None:
        self.url = (url or os.environ.get("HUTCH_URL") or DEFAULT_URL).rstrip("/")
        self._http = Http(self.url, key or os.environ.get("HUTCH_KEY") or "")
        self.machines = Machines(self._http)
        self.ports = Ports(self._http)
        self.tunnels = Tunnels(self._http)
        self.processes = Processes(self._http)
        self.sessions = Sessions(self._http)
        self.jobs = Jobs(self._http)
        self.terminals = Terminals(self._http)
        self.services = Services(self._http)
        self.watching = Watching(self._http)
        self.files = Files(self._http)
        self.volumes = Volumes(self._http)
        self.snapshots = Snapshots(self._http)
        self.builds = Builds(self._http)
        self.pools = Pools(self._http)
        self.images = Images(self._http)
        self.events = Events(self._http)
        self.domains = Domains(self._http)
        self.webhooks = Webhooks(self._http)
        self.usage = Usages(self._http)
        self.keys = Keys(self._http)
        self.tenants = Tenants(self._http)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __enter__(self) -> "Hutch":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def health(self) -> models.Health:
        """The service itself; needs no key."""
        return wire.health(self._http.json("GET", "/health", timeout=5))
