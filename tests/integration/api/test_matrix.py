"""Who may do what: every operation of the document, with every kind of key. A new route cannot be forgotten here."""

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.types import ASGIApp, Message

from hutch import bootstrap, settings
from hutch.api import app
from hutch.control.plane import ControlPlane
from hutch.model import keys
from hutch.model.ids import TenantId
from hutch.notify.memory import MemoryProofs

from .operations import BODIES, EITHER, PUBLIC, REFUSED, SCOPES, Operation, every_operation

_NUMBER = itertools.count()
SOURCE = {"type": "image", "reference": "debian"}


@dataclass(frozen=True)
class Answer:
    status: int
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


async def ask(api: ASGIApp, method: str, url: str, body: Any, key: str | None) -> Answer:
    """One request, made as a server would make it. What would go on for ever is left as soon as it has begun."""
    target, is_socket = urlsplit(url), url.endswith("/exec/interactive")
    headers = [(b"host", b"x")] + ([] if key is None else [(b"authorization", f"Bearer {key}".encode())])
    sent = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    scope = {
        "type": "websocket" if is_socket else "http",
        "path": target.path,
        "raw_path": target.path.encode(),
        "query_string": target.query.encode(),
        "headers": headers,
        "method": method,
        "scheme": "http",
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
        "asgi": {"version": "3.0", "spec_version": "2.4"},
    }
    status, told, left = 0, b"", asyncio.Event()
    waiting = [{"type": "websocket.connect"} if is_socket else {"type": "http.request", "body": sent}]

    async def receive() -> Message:
        if waiting:
            return waiting.pop()
        await left.wait()
        return {"type": "websocket.disconnect" if is_socket else "http.disconnect", "code": 1000}

    async def send(message: Message) -> None:
        nonlocal status, told
        if message["type"] == "websocket.accept":
            status = 101
            left.set()
        elif message["type"].endswith("response.start"):
            status = message["status"]
            if b"event-stream" in dict(message["headers"]).get(b"content-type", b""):
                left.set()
        told += message.get("body", b"")

    async with asyncio.timeout(10):
        await api(scope, receive, send)
    return Answer(status, told.decode(errors="replace"))


@dataclass(frozen=True)
class Box:
    """A service with a key of every kind; what paths name is made when it is needed, by the owner."""

    api: ASGIApp
    control: ControlPlane
    owner: str
    stranger: str
    home: TenantId
    paper: Mapping[str, Any]

    async def do(self, method: str, url: str, body: Any = None) -> Any:
        answer = await ask(self.api, method, url, body, self.owner)
        assert answer.status < 300, (method, url, answer)
        return json.loads(answer.text) if answer.text[:1] in ("{", "[") else answer.text

    async def key(self, scopes: set[str], **options: Any) -> str:
        caller = self.control.keys.authenticate(self.owner)
        return (await self.control.keys.create(caller, scopes=scopes, **options))[1]

    async def url(self, path: str) -> str:
        """The path of fresh things, each in the state in which most can be done with it."""
        made: dict[str, str] = {}
        for root, make in MAKERS.items():
            if path.startswith(root) and "{id}" in path:
                made["id"] = await make(self)
        for name, make_in in MAKERS_IN.items():
            if f"{{{name}}}" in path:
                made[name] = await make_in(self, made.get("id", ""))
        return re.sub(r"\{(\w+)\}", lambda match: made[match[1]], path)


async def _machine(box: Box) -> str:
    made = await box.do("POST", "/v1/machines", {"source": SOURCE, "resources": {"memoryMb": 128}})
    assert (await box.do("POST", f"/v1/machines/{made['id']}/start"))["ready"]
    await box.do("PUT", f"/v1/machines/{made['id']}/files/tmp/x", b"x")
    await box.do("PUT", f"/v1/machines/{made['id']}/ports", {"ports": [{"port": 80}]})
    return str(made["id"])


async def _checkpoint(box: Box) -> str:
    return str((await box.do("POST", f"/v1/machines/{await _machine(box)}/checkpoints"))["id"])


def _maker(path: str, **body: Any) -> Callable[[Box], Awaitable[str]]:
    async def make(box: Box) -> str:
        named = {name: value.format(next(_NUMBER)) if isinstance(value, str) else value for name, value in body.items()}
        return str((await box.do("POST", path, named))["id"])

    return make


def _maker_in(what: str, **body: Any) -> Callable[[Box, str], Awaitable[str]]:
    async def make(box: Box, machine: str) -> str:
        made = await box.do("POST", f"/v1/machines/{machine}/{what}", body)
        return str(made.get("processId") or made["id"])

    return make


async def _said(box: Box, _: str) -> str:
    return "tmp/x"


async def _service(box: Box, _: str) -> str:
    return "web"


async def _image(box: Box, _: str) -> str:
    await box.do("POST", "/v1/images/pull", {"reference": "node:22"})
    return "node%3A22".replace("%3A", ":")


async def _delivery(box: Box, webhook: str) -> str:
    await _machine(box)
    for _ in range(100):
        for it in await box.do("GET", f"/v1/webhooks/{webhook}/deliveries"):
            if it["attempts"]:
                return str(it["id"])
        await asyncio.sleep(0.05)
    raise AssertionError("nothing was told")


async def _domain(box: Box, _: str) -> str:
    """One whose proof is there."""
    number, proofs = next(_NUMBER), MemoryProofs()
    made = await box.do(
        "POST", "/v1/domains", {"name": f"d{number}.example", "machine": await _machine(box), "port": 80}
    )
    proofs.records[made["record"]["name"]] = [made["record"]["value"]]
    box.control.domains._proofs = proofs
    return str(made["name"])


MAKERS: Mapping[str, Callable[[Box], Awaitable[str]]] = {
    "/v1/machines": _machine,
    "/v1/checkpoints": _checkpoint,
    "/v1/builds": _maker("/v1/builds", base={"image": "debian"}),
    "/v1/pools": _maker("/v1/pools", image="debian", min=0, max=1),
    "/v1/volumes": _maker("/v1/volumes", name="v{}", sizeGb=1),
    "/v1/webhooks": _maker("/v1/webhooks", url="https://hooks.invalid/{}"),
    "/v1/apikeys": _maker("/v1/apikeys"),
    "/v1/tenants": _maker("/v1/tenants", name="t{}"),
}
MAKERS_IN: Mapping[str, Callable[[Box, str], Awaitable[str]]] = {
    "session": _maker_in("sessions"),
    "job": _maker_in("jobs", command="sleep 100"),
    "process": _maker_in("exec", command="sleep 100", background=True),
    "name": _service,
    "path": _said,
    "reference": _image,
    "delivery": _delivery,
    "domain": _domain,
}

OF_THE_BOX = {operation for operation in SCOPES if operation[1].startswith("/v1/tenants")}
"""For admins of the tenant `default` alone."""
OF_ALL = {("DELETE", "/v1/images/{reference}")}
"""Images are the box's: whoever is an admin may remove one that is not used."""
HAPPEN_TO_FAIL = {
    **{operation: 501 for operation in SCOPES if "/services" in operation[1]},  # the guest has no systemd
    ("POST", "/v1/domains"): 404,  # no such machine
    ("POST", "/v1/machines/{id}/rollback"): 404,  # no such checkpoint
    ("POST", "/v1/machines/{id}/processes/{process}/resize"): 400,  # it has no terminal
    ("POST", "/v1/machines/{id}/processes/{process}/stdin"): 400,  # it was not started interactive
}


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    its = settings.load({"HUTCH_HOME": str(tmp_path)})
    control = bootstrap.build_simulated(its)
    await control.open()
    owner = await control.keys.bootstrap(force=True)
    assert owner is not None
    caller = control.keys.authenticate(owner)
    other = await control.tenants.create(caller, "other")
    _, stranger = await control.keys.create(caller, scopes=["admin"], tenant=other.id)
    api = app.build(control, its)
    paper = (await ask(api, "GET", "/smol/openapi.json", None, None)).json()
    yield Box(api, control, owner, stranger, caller.tenant, paper)
    await control.close()


def _kept(scope: str) -> set[str]:
    return {"usage:read", "machine:read"} if scope == EITHER else {scope}


async def _each(box: Box, key: str | None) -> AsyncIterator[tuple[Operation, Answer]]:
    for operation in SCOPES:
        method, path = operation
        yield operation, await ask(box.api, method, await box.url(path), BODIES.get(operation), key)


async def test_the_table_names_every_operation_of_the_document(box: Box) -> None:
    assert set(every_operation(box.paper)) == set(SCOPES) | REFUSED | PUBLIC


async def test_the_owners_key_may_do_everything(box: Box) -> None:
    async for operation, answer in _each(box, box.owner):
        expected = HAPPEN_TO_FAIL.get(operation)
        assert answer.status == expected if expected else answer.status < 300, (operation, answer)


async def test_a_key_with_the_one_scope_may_do_what_it_is_for(box: Box) -> None:
    for operation, scope in SCOPES.items():
        method, path = operation
        url, key = await box.url(path), await box.key(_kept(scope) if scope else {"usage:read"})
        answer = await ask(box.api, method, url, BODIES.get(operation), key)
        assert answer.status not in (401, 403), (operation, answer)


async def test_a_key_with_every_scope_but_the_one_is_told_its_name(box: Box) -> None:
    for operation, scope in SCOPES.items():
        if not scope:
            continue
        method, path = operation
        url, key = await box.url(path), await box.key(set(keys.SCOPES) - _kept(scope) - {"admin"})
        answer = await ask(box.api, method, url, BODIES.get(operation), key)
        named = scope.split(" or ")
        assert answer.status == 403, (operation, answer)
        assert answer.text in {f"missing scope: {name}" for name in named}, (operation, answer)


async def test_another_tenants_things_are_not_there(box: Box) -> None:
    async for operation, answer in _each(box, box.stranger):
        if operation in OF_ALL:
            continue
        if "{" in operation[1]:
            expected = {403, 404} if operation in OF_THE_BOX else {404}
            assert answer.status in expected, (operation, answer)
        elif operation in OF_THE_BOX:
            assert answer.status == 403, (operation, answer)


async def test_lists_tell_nothing_of_another_tenant(box: Box) -> None:
    for path in MAKERS:
        if path != "/v1/tenants":
            await box.url(f"{path}/{{id}}")
    await box.do("POST", "/v1/volumes", BODIES["POST", "/v1/volumes"])
    await box.url("/v1/domains/{domain}")
    for method, path in SCOPES:
        if method == "GET" and "{" not in path and path not in ("/v1/tenants", "/v1/images", "/v1/usage", "/v1/events"):
            shown = (await ask(box.api, method, path, None, box.stranger)).json()
            assert shown == [] or path == "/v1/apikeys", path
            assert len(shown) < len(await box.do("GET", path)), path


async def test_an_expired_a_revoked_and_no_key_are_401(box: Box) -> None:
    expired = await box.key({"admin"}, expires_in=timedelta(microseconds=1))
    caller = box.control.keys.authenticate(box.owner)
    doomed, revoked = await box.control.keys.create(caller, scopes=["admin"])
    await box.control.keys.revoke(caller, doomed.id)
    for key, text in ((None, ""), (expired, "API key has expired"), (revoked, "unknown API key")):
        for operation in SCOPES:
            method, path = operation
            url = re.sub(r"\{\w+\}", "x", path)
            answer = await ask(box.api, method, url, BODIES.get(operation), key)
            assert answer.status == 401, (operation, answer)
            assert text in answer.text, (operation, answer)
            assert bool(answer.text) == (key is not None), operation
