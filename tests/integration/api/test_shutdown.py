"""The end of the service: what runs in machines runs on."""

import asyncio
from pathlib import Path

import httpx

from hutch import bootstrap, settings
from hutch.api import app, server
from hutch.control.machines import MachineRequest
from hutch.control.plane import ControlPlane

LIMIT = 15.0


async def stream_until_cut_off(url: str, key: str, machine: str, seen: asyncio.Event) -> None:
    """A client that is still reading when the service ends."""
    body = {"command": "echo begun; sleep 1000"}
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=LIMIT) as http:
        try:
            async with http.stream("POST", f"/v1/machines/{machine}/exec/stream", json=body) as answer:
                async for _ in answer.aiter_lines():
                    seen.set()
        except httpx.RemoteProtocolError:
            pass


async def serve_one_stream(plane: ControlPlane, its: settings.Settings, key: str, machine: str) -> None:
    """The service, ended in the middle of a stream."""
    seen = asyncio.Event()
    with server.bind("127.0.0.1:0") as sock:
        url = server.url(sock)
        api = server.server(app.build(plane, its), on_end=plane.processes.release)
        serving = asyncio.create_task(api.serve(sockets=[sock]))
        reading = asyncio.create_task(stream_until_cut_off(url, key, machine, seen))
        await asyncio.wait_for(seen.wait(), LIMIT)
        api.should_exit = True
        await asyncio.wait_for(asyncio.gather(serving, reading), LIMIT)


async def test_a_streamed_command_runs_on_when_the_service_ends(tmp_path: Path) -> None:
    its = settings.load({"HUTCH_HOME": str(tmp_path)})
    plane = bootstrap.build_simulated(its)
    await plane.open()
    try:
        key = await plane.keys.bootstrap()
        assert key is not None
        caller = plane.keys.authenticate(key)
        machine = (await plane.machines.create(caller, MachineRequest("debian"))).id
        await serve_one_stream(plane, its, key, machine)
        (process,) = await plane.processes.list(caller, machine)
        assert process.exit is None
        assert (await plane.processes.output(caller, machine, process.id)).stdout == b"begun\n"
    finally:
        await plane.close()
