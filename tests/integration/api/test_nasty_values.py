"""Whatever a client sends, it gets an answer that is not our fault."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from .conftest import Machine

NASTY: list[Any] = [
    None,
    True,
    0,
    -1,
    2**31,
    2**32 - 1,
    2**64,
    10**30,
    1.5,
    "",
    "x",
    "\0",
    "\ud800",
    "a\nb",
    "x" * 200_000,
]
NASTY += [[], [""], ["\0"], ["x"] * 3, {}, {"a": 1}, {"": "x"}, {"a\0": "b"}]

BODIES: dict[str, dict[str, Any]] = {
    "/v1/machines": {
        "source": {"type": "image", "reference": "debian"},
        "name": None,
        "resources": {"cpus": 1, "memoryMb": 64, "diskGb": 1, "diskDurability": "full"},
        "network": {"mode": "open", "cidrs": [], "hosts": [], "denied": [], "kbitPerSecond": 1, "burst": None},
        "ports": [],
        "wakesOnTraffic": True,
        "startsOnTraffic": False,
        "env": {},
        "workdir": "/",
        "command": ["true"],
        "labels": {},
        "autoStopSeconds": 5,
        "ttlSeconds": 5,
        "idleAction": "suspend",
        "lifetimeAction": "destroy",
        "deleteAfterSuspendedSeconds": 5,
        "ephemeral": False,
        "persistence": {"type": "persistent", "priority": None},
        "mounts": [],
    },
    "{machine}/pause": {"keepMemory": True},
    "{machine}/resize": {"cpus": None, "memoryMb": None, "diskGb": 20},
    "{machine}/rollback": {"checkpoint": "none"},
    "{machine}/branches": {"name": "", "freezeSource": False, "branchable": False, "ports": []},
    "{machine}/branches/batch": {"count": 0, "names": [], "namePrefix": "x", "freezeSource": False, "ports": []},
    "{machine}/links": {"port": 80, "ttlSeconds": 1},
    "{machine}/checkpoints": {"name": ""},
    "/v1/checkpoints/none/restore": {"name": None, "network": {"mode": "open"}, "cacheDisk": None},
    "/v1/builds": {
        "base": {"checkpoint": None, "image": None, "dockerfile": "FROM scratch"},
        "layers": [],
        "name": "n/a",
        "persistence": {"type": "ephemeral", "priority": None},
        "defaults": {"autoStopSeconds": 5, "ports": []},
        "credentials": {"registry": "r.invalid", "username": "u", "password": "p"},
        "timeoutSeconds": 5,
    },
    "{machine}/services": {"name": "web", "exec": ["true"], "mode": "service", "env": {}, "restart": {"policy": "no"}},
    "{machine}/services/start": {"services": ["web"]},
    "/v1/pools": {
        "image": "",
        "cpus": 1,
        "memoryMb": 64,
        "diskGb": 1,
        "network": True,
        "targetSize": None,
        "maxIdleSecs": None,
        "tenantId": None,
        "name": None,
        "min": 0,
        "max": 1,
        "warmUp": None,
    },
    "/v1/pools/none/claim": {"name": None, "env": {}, "ttlSeconds": 5},
    "{machine}/exec": {
        "command": "true",
        "env": {},
        "cwd": "/",
        "timeoutSeconds": 3,
        "user": "root",
        "stdin": "x",
        "stdinB64": None,
        "background": False,
        "stream": False,
    },
    "{machine}/exec/stream": {"command": "true", "terminal": {"cols": 1, "rows": 1}, "interactive": False},
    "{machine}/code": {"language": "python", "code": "1", "env": {}, "cwd": "/", "timeoutSeconds": 3},
    "{machine}/processes/{process}/signal": {"signal": 0},
    "{machine}/processes/{process}/resize": {"cols": 1, "rows": 1},
    "/v1/apikeys": {"description": "x", "scopes": [], "expiresInDays": 1, "tenantId": None, "prefix": "smk"},
    "/v1/images/pull": {"reference": "debian"},
}


def spoiled(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The body with every field in turn replaced by every nasty value."""
    for name, value in body.items():
        yield from ({**body, name: nasty} for nasty in NASTY)
        if isinstance(value, dict):
            yield from ({**body, name: inner} for inner in spoiled(value))


def is_our_fault(answer: httpx.Response) -> bool:
    return answer.status_code >= 500 and answer.status_code != 501


@pytest.mark.parametrize("path", BODIES)
def test_no_value_of_any_field_is_a_server_error(machine: Machine, path: str) -> None:
    process = machine.exec("sleep 1000", background=True)["processId"]
    url = path.format(machine=machine.path, process=process)
    for body in spoiled(BODIES[path]):
        content = json.dumps(body).encode("utf-8", "surrogatepass")
        answer = machine.http.post(url, content=content)
        assert not is_our_fault(answer), (str(body)[:300], answer.status_code, answer.text)


@pytest.mark.parametrize("value", ["-1", "1e3", "nan", "inf", "9" * 30, "x", "", "%00", "%FF", "=", "a=%FF"])
def test_no_value_of_any_query_is_a_server_error(machine: Machine, value: str) -> None:
    process = machine.exec("true", background=True)["processId"]
    output = f"{machine.path}/processes/{process}/output"
    queries = [f"{output}?{name}={value}" for name in ("stdout", "stderr", "wait", "limit")]
    for url in (*queries, f"{machine.path}/logs?tail={value}", f"/v1/machines?label={value}"):
        answer = machine.http.get(url)
        assert not is_our_fault(answer), (url, answer.text)


@pytest.mark.parametrize("part", ["%00", "%FF", "a%2Fb", "%2e%2e", "%0a", "x" * 5000, "%25", "mach-", "mach-%00"])
def test_no_part_of_a_path_is_a_server_error(machine: Machine, part: str) -> None:
    rests = (
        "",
        "/start",
        "/exec",
        "/events",
        "/files/x",
        "/processes",
        "/suspend",
        "/branches",
        "/checkpoints",
        "/wait",
    )
    urls = [f"/v1/machines/{part}{rest}" for rest in rests]
    urls += [f"/v1/checkpoints/{part}{rest}" for rest in ("", "/restore", "/verify")]
    urls += [f"/v1/pools/{part}{rest}" for rest in ("", "/claim")]
    urls += [
        f"/v1/images/{part}",
        f"/v1/apikeys/{part}",
        f"{machine.path}/processes/{part}",
        f"{machine.path}/files/{part}",
    ]
    for url in urls:
        for method in ("GET", "POST", "PUT", "DELETE"):
            answer = machine.http.request(method, url)
            assert not is_our_fault(answer), (method, url, answer.text)
