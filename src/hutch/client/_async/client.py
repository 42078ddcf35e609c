"""The client as one thing."""

import os

from hutch.client import models, wire
from hutch.client._async.builds import Builds
from hutch.client._async.domains import Domains
from hutch.client._async.events import Events
from hutch.client._async.files import Files
from hutch.client._async.http import Http
from hutch.client._async.images import Images
from hutch.client._async.jobs import Jobs
from hutch.client._async.keys import Keys
from hutch.client._async.machines import Machines
from hutch.client._async.pools import Pools
from hutch.client._async.ports import Ports
from hutch.client._async.processes import Processes
from hutch.client._async.services import Services
from hutch.client._async.sessions import Sessions
from hutch.client._async.snapshots import Snapshots
from hutch.client._async.tenants import Tenants
from hutch.client._async.terminals import Terminals
from hutch.client._async.tunnels import Tunnels
from hutch.client._async.usage import Usages
from hutch.client._async.volumes import Volumes
from hutch.client._async.watching import Watching
from hutch.client._async.webhooks import Webhooks

DEFAULT_URL = "http://127.0.0.1:7070"


class AsyncHutch:
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

    async def __aenter__(self) -> "AsyncHutch":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def health(self) -> models.Health:
        """The service itself; needs no key."""
        return wire.health(await self._http.json("GET", "/health", timeout=5))
