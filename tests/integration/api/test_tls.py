"""What a TLS front asks: answered to this host alone."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from hutch import bootstrap, settings
from hutch.api import app
from hutch.control.machines import MachineRequest
from hutch.control.plane import ControlPlane
from hutch.model.network import PublishedPort


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    control = bootstrap.build_simulated(settings.load({"HUTCH_HOME": str(tmp_path)}))
    await control.open()
    yield control
    await control.close()


async def ask(control: ControlPlane, query: str, peer: str = "127.0.0.1", **headers: str) -> int:
    transport = httpx.ASGITransport(app.build(control, settings.load({})), client=(peer, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        answer = await http.get(f"/internal/tls/ask?{query}", headers=headers)
        assert answer.status_code in (200, 404, 401)
        return answer.status_code


async def test_names_of_ours_are_known_to_a_front_on_this_host_alone(control: ControlPlane) -> None:
    token = await control.keys.bootstrap(force=True)
    assert token is not None
    me = control.keys.authenticate(token)
    machine = (await control.machines.create(me, MachineRequest("debian"))).id
    await control.exposure.publish(me, machine, [PublishedPort(80)])
    ours = f"domain={machine}-80.hutch.localhost"
    assert [await ask(control, ours, peer) for peer in ("127.0.0.1", "127.9.9.9", "::1")] == [200] * 3
    assert [await ask(control, ours, peer) for peer in ("10.0.0.1", "fe80::1", "")] == [401] * 3
    assert await ask(control, ours, **{"x-forwarded-for": "10.0.0.1"}) == 401
    others = ("", "domain=", "domain", "domain=shop.example", f"{ours}&{ours}", "x=1&" * 99 + ours, "domain=%00%ff")
    assert [await ask(control, it) for it in others] == [404] * 7
