"""Who is let in, what of it the guest sees (nothing), and what those hear who are not."""

import asyncio
from pathlib import Path

import httpx
import pytest

from hutch.control.exposure import TOKEN_PARAMETER
from hutch.control.machines import MachineRequest
from hutch.model.kinds import Kind
from hutch.model.network import PublishedPort
from hutch.store.interface import EventQuery

from .conftest import LIMIT, Guest, Rig, open_rig

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
async def guest(rig: Rig) -> Guest:
    """On a private port."""
    return await rig.answering(OK, is_public=False)


def token(rig: Rig) -> str:
    return rig.plane.exposure.token(rig.caller, rig.machine)


async def test_nobody_is_let_in_without_a_way(rig: Rig, guest: Guest) -> None:
    for headers in ({}, {"x-hutch-traffic-token": "htt_wrong"}, {"authorization": "Bearer smk_wrong"}):
        told = await rig.http.get(rig.path(guest), headers=headers)
        assert told.status_code == 401
        assert set(told.json()) == {"error"}
    assert guest.seen == []


async def test_the_header_lets_in_and_stays_here(rig: Rig, guest: Guest) -> None:
    told = await rig.http.get(rig.path(guest), headers={"x-hutch-traffic-token": token(rig)})
    assert (told.status_code, told.headers.get("set-cookie")) == (200, None)
    assert b"htt_" not in guest.seen[0]


@pytest.mark.parametrize("name", ["authorization", "x-api-key"])
async def test_a_key_of_the_tenant_lets_in_and_stays_here(rig: Rig, guest: Guest, name: str) -> None:
    value = f"Bearer {rig.key}" if name == "authorization" else rig.key
    assert (await rig.http.get(rig.path(guest), headers={name: value})).status_code == 200
    assert name not in guest.head
    assert rig.key.encode() not in guest.seen[0]


async def test_a_key_stays_here_where_none_is_needed(rig: Rig) -> None:
    public = await rig.answering(OK)
    headers = {"authorization": f"Bearer {rig.key}", "cookie": f"hutch_traffic_token={token(rig)}"}
    assert (await rig.http.get(rig.path(public), headers=headers)).status_code == 200
    assert not {"authorization", "cookie"} & {line.partition(":")[0] for line in public.head.split("\r\n")}


async def test_the_apps_own_credentials_reach_it(rig: Rig, guest: Guest) -> None:
    own = {"authorization": "Bearer sk_live_0123456789", "x-api-key": "mine", "cookie": "a=1; b=2"}
    await rig.http.get(rig.path(guest), headers={**own, "x-hutch-traffic-token": token(rig)})
    for name, value in own.items():
        assert f"{name}: {value}".lower() in guest.head


async def test_a_key_without_the_scope_is_refused(rig: Rig, guest: Guest) -> None:
    _, weak = await rig.plane.keys.create(rig.caller, scopes=["machine:read"])
    assert (await rig.http.get(rig.path(guest), headers={"authorization": f"Bearer {weak}"})).status_code == 403


async def test_a_link_is_opened_once_in_a_browser_and_then_kept_in_a_cookie(rig: Rig, guest: Guest) -> None:
    link = rig.plane.exposure.sign(rig.caller, rig.machine, guest.port, 3600)
    page = {"accept": "text/html,*/*"}
    asked = rig.path(guest, f"//a?x=1&{TOKEN_PARAMETER}={link.token}&y=2")
    told = await rig.http.get(asked, headers=page)
    assert told.status_code == 302
    assert told.headers["location"] == f"{rig.url}{rig.path(guest, '//a?x=1&y=2')}"
    cookie = told.headers["set-cookie"]
    assert cookie == (
        f"hutch_traffic_token={link.token}; Path=/proxy/{rig.machine}/{guest.port}; HttpOnly; SameSite=Lax"
    )
    assert guest.seen == []
    sent = {"cookie": f"a=1; {cookie.partition(';')[0]}; b=2"}
    assert (await rig.http.get(told.headers["location"], headers=sent | page)).status_code == 200
    assert "\r\ncookie: a=1; b=2" in guest.head
    assert b"htl_" not in guest.seen[0]


async def test_a_link_works_at_once_for_a_program(rig: Rig, guest: Guest) -> None:
    link = rig.plane.exposure.sign(rig.caller, rig.machine, guest.port, None)
    parameter = f"{TOKEN_PARAMETER}={link.token}"
    told = await rig.http.post(f"/x?{parameter}", headers={"host": rig.host(guest)}, content=b"1")
    assert told.status_code == 200
    assert "; Path=/; HttpOnly; SameSite=Lax" in told.headers["set-cookie"]
    assert guest.seen[0].startswith(b"POST /x HTTP/1.1\r\n")


async def test_a_cookie_is_secure_behind_https(tmp_path: Path) -> None:
    async with open_rig(tmp_path, HUTCH_PROXY_URL="https://hutch.example") as rig:
        guest = await rig.answering(OK, is_public=False)
        told = await rig.http.get(rig.path(guest, f"/?{TOKEN_PARAMETER}={token(rig)}"))
        assert told.headers["set-cookie"].endswith("; Secure")


async def test_no_cookie_is_made_of_a_token_that_could_end_a_header(rig: Rig) -> None:
    public = await rig.answering(OK)
    told = await rig.http.get(rig.path(public, f"/?{TOKEN_PARAMETER}=a%0d%0aX-Evil:%201"))
    assert told.status_code == 200
    assert "set-cookie" not in told.headers
    assert public.seen[0].startswith(b"GET / HTTP/1.1\r\n")


async def test_a_guest_cannot_set_the_cookie_that_lets_in(rig: Rig) -> None:
    cookies = (b"hutch_traffic_token=x; Path=/", b"hutch_traffic_token =x", b"hutch_traffic_token\t=x", b"a=1")
    told = b"".join(b"Set-Cookie: %b\r\n" % it for it in cookies)
    public = await rig.answering(b"HTTP/1.1 200 OK\r\n" + told + b"Content-Length: 0\r\n\r\n")
    assert (await rig.http.get(rig.path(public))).headers.get_list("set-cookie") == ["a=1"]


async def test_the_good_cookie_counts_whatever_others_were_set_beside_it(rig: Rig, guest: Guest) -> None:
    cookie = f"hutch_traffic_token=htt_{'x' * 43}; a=1; hutch_traffic_token={token(rig)}; hutch_traffic_token=y"
    assert (await rig.http.get(rig.path(guest), headers={"cookie": cookie})).status_code == 200
    assert "\r\ncookie: a=1\r\n" in guest.head + "\r\n"


async def test_the_cookie_lets_in_what_pages_of_the_tenant_ask_and_no_others(rig: Rig, guest: Guest) -> None:
    stranger = await rig.plane.tenants.create(rig.caller, "stranger")
    _, key = await rig.plane.keys.create(rig.caller, tenant=stranger.id)
    theirs = await rig.plane.machines.create(rig.plane.keys.authenticate(key), MachineRequest("debian"))
    host, cookie = rig.host(guest), f"hutch_traffic_token={token(rig)}"
    own = await rig.plane.machines.create(rig.caller, MachineRequest("debian"))
    for origin, status in (
        (host, 200),
        (host.upper(), 200),
        (f"{own.id}-3000.hutch.localhost:7071", 200),
        (f"{theirs.id}-3000.hutch.localhost", 401),
        ("evil.example", 401),
    ):
        asked = {"host": host, "origin": f"http://{origin}", "cookie": cookie}
        assert (await rig.http.post("/", headers=asked)).status_code == status, origin
    assert (await rig.http.get("/", headers={"host": host, "origin": "null", "cookie": cookie})).status_code == 200
    explicit = {"host": host, "origin": "http://evil.example", "x-hutch-traffic-token": token(rig)}
    assert (await rig.http.get("/", headers=explicit)).status_code == 200


async def test_the_address_of_the_page_that_asks_tells_no_token(rig: Rig) -> None:
    public = await rig.answering(OK)
    await rig.http.get(rig.path(public), headers={"referer": f"http://a/b?x=1&{TOKEN_PARAMETER}=htl_secret&y=2"})
    assert "\r\nreferer: http://a/b?x=1&y=2\r\n" in guest_head(public)


def guest_head(guest: Guest) -> str:
    return guest.head + "\r\n"


async def test_revoked_tokens_let_nobody_in(rig: Rig, guest: Guest) -> None:
    before = token(rig)
    await rig.plane.exposure.revoke(rig.caller, rig.machine)
    assert (await rig.http.get(rig.path(guest), headers={"x-hutch-traffic-token": before})).status_code == 401


async def test_what_is_not_there_is_told_in_the_documented_words(rig: Rig, guest: Guest) -> None:
    for path in ("/", "/proxy/nothing/80/", f"/proxy/{'a' * 20}/80/", "/proxy/x", f"/proxy/{rig.machine}/0/"):
        told = await rig.http.get(path)
        assert (told.status_code, told.json()) == (404, {"error": "Machine not found"}), path
    closed = await rig.http.get(rig.path(3000))
    assert (closed.status_code, closed.json()) == (403, {"error": "Port 3000 is not exposed on this machine"})


async def test_a_port_where_nobody_listens_is_a_502(rig: Rig) -> None:
    await rig.publish(1, is_public=True)
    told = await rig.http.get(rig.path(1))
    assert (told.status_code, told.json()) == (502, {"error": "Failed to connect to upstream"})


async def test_a_stopped_machine_is_a_503_that_says_when_to_come_back(rig: Rig) -> None:
    public = await rig.answering(OK)
    await rig.plane.machines.stop(rig.caller, rig.machine)
    told = await rig.http.get(rig.path(public))
    assert (told.status_code, told.json()) == (503, {"error": "Machine is not running"})
    assert told.headers["retry-after"] == "5"


async def test_a_silent_guest_is_a_504(tmp_path: Path) -> None:
    async with open_rig(tmp_path, HUTCH_PROXY_RESPONSE_TIMEOUT="0.2") as rig:
        silent = await rig.answering(b"", rest=True)
        told = await rig.http.get(rig.path(silent))
        assert (told.status_code, set(told.json())) == (504, {"error"})
        await asyncio.wait_for(silent.gone.wait(), LIMIT)


async def test_an_answer_that_falls_silent_is_broken_off(tmp_path: Path) -> None:
    async with open_rig(tmp_path, HUTCH_PROXY_IDLE_TIMEOUT="0.2") as rig:
        silent = await rig.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", rest=True)
        with pytest.raises(httpx.RemoteProtocolError):
            await rig.http.get(rig.path(silent))
        await asyncio.wait_for(silent.gone.wait(), LIMIT)


async def test_the_request_that_wakes_a_machine_is_answered(rig: Rig) -> None:
    public = await rig.answering(OK)
    await rig.plane.machines.suspend(rig.caller, rig.machine)
    told = await rig.http.post(rig.path(public), content=b"with its body")
    assert told.text == "ok"
    assert public.seen[0].endswith(b"with its body")


async def test_two_hundred_requests_at_once_wake_each_of_five_machines_once(rig: Rig) -> None:
    guest = await rig.answering(OK)
    machines = []
    for _ in range(5):
        it = await rig.plane.machines.create(rig.caller, MachineRequest("debian"))
        await rig.plane.machines.start(rig.caller, it.id)
        await rig.plane.exposure.publish(rig.caller, it.id, [PublishedPort(guest.port, True)])
        await rig.plane.machines.suspend(rig.caller, it.id)
        machines.append(it.id)
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=LIMIT, limits=limits) as http:
        asked = [http.get(f"/proxy/{machines[number % 5]}/{guest.port}/") for number in range(200)]
        answers = await asyncio.gather(*asked)
    assert [it.text for it in answers] == ["ok"] * 200
    for machine in machines:
        query = EventQuery(rig.caller.tenant, machine, kinds=[Kind.WOKEN])
        assert len(await rig.plane.history.events(rig.caller, query)) == 1
