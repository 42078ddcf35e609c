"""Published ports of real machines: every request to sleeping machines is answered, and each is woken once."""

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from bench.live import Live
from bench.proxy import PORT, SERVER

from hutch.client import Command, Hutch, NewMachine
from hutch.client.models import Port
from machines import left_by_service, traces

MACHINES, REQUESTS = 5, 200
LIMIT = 120.0


@pytest.fixture
def hutch(real_service: Live) -> Iterator[Hutch]:
    """A client; no trace of its machines may stay."""
    before = traces(real_service.home)
    with Hutch(real_service.url, real_service.key) as hutch:
        yield hutch
        for it in hutch.machines.list():
            hutch.machines.delete(it.id)
    assert left_by_service(real_service.home, before) == before


def suspended_server(hutch: Hutch) -> httpx.URL:
    """A machine with a server on a public port, suspended; where the proxy is asked for it, by path."""
    it = hutch.machines.create(NewMachine("debian", memory_mb=256)).id
    hutch.machines.start(it)
    hutch.processes.start(it, Command(["perl", "-e", SERVER]))
    probe = f"until bash -c '</dev/tcp/127.0.0.1/{PORT}' 2>/dev/null; do sleep 0.05; done"
    assert hutch.processes.run(it, Command(["timeout", "60", "sh", "-c", probe])).exit_code == 0
    hutch.ports.publish(it, [Port(PORT, public=True)])
    link = urlsplit(hutch.ports.link(it, PORT).url)
    hutch.machines.suspend(it)
    return httpx.URL(f"http://127.0.0.1:{link.port}/proxy/{it}/{PORT}/")


async def ask(urls: list[httpx.URL]) -> list[int]:
    limits = httpx.Limits(max_connections=len(urls))
    async with httpx.AsyncClient(trust_env=False, timeout=LIMIT, limits=limits) as http:
        return [it.status_code for it in await asyncio.gather(*map(http.get, urls))]


def test_two_hundred_requests_at_once_wake_each_of_five_machines_once(hutch: Hutch) -> None:
    urls = [suspended_server(hutch) for _ in range(MACHINES)]
    statuses = asyncio.run(ask([urls[number % MACHINES] for number in range(REQUESTS)]))
    assert statuses == [200] * REQUESTS
    for url in urls:
        kinds = [it.kind for it in hutch.machines.events(url.path.split("/")[2])]
        assert kinds.count("machine.woken") == 1, kinds
