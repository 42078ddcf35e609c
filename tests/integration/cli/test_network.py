"""publish, url, net; and the SDK behind them."""

import json
from typing import Any

import pytest

from hutch.client import Hutch, errors, models

from .conftest import Cli


def shown(hutch: Cli, *words: str) -> Any:
    return json.loads(hutch.text(*words, "--json"))


def port(number: int, public: bool = False) -> dict[str, Any]:
    return {"port": number, "public": public}


def test_a_port_is_published_listed_and_removed(hutch: Cli, machine: str) -> None:
    assert hutch.text("publish", machine).splitlines() == ["PORT  ACCESS"]
    url = hutch.text("publish", machine, "8080")
    assert "-8080.hutch.localhost" in url
    assert hutch.text("publish", machine, "80", "--public") == url.replace("-8080.", "-80.")
    assert shown(hutch, "publish", machine) == [port(8080), port(80, public=True)]
    assert hutch.text("publish", machine).split() == ["PORT", "ACCESS", "8080", "private", "80", "public"]
    assert shown(hutch, "publish", machine, "80") == [port(8080), port(80)], "private again"
    assert shown(hutch, "publish", machine, "8080", "--public") == [port(8080, public=True), port(80)], (
        "still the first"
    )
    assert hutch.text("publish", machine, "8080", "--remove") == "8080"
    assert shown(hutch, "publish", machine) == [port(80)]


def test_a_port_that_is_not_published_is_a_clear_error(hutch: Cli, machine: str) -> None:
    assert b"no port of" in hutch("url", machine, code=1).stderr
    hutch("publish", machine, "80")
    for words in (
        ("publish", machine, "81", "--remove"),
        ("url", machine, "81"),
        ("url", machine, "81", "--ttl", "1h"),
    ):
        failed = hutch(*words, code=1)
        assert b"port 81 of" in failed.stderr
        assert b"hint: " in failed.stderr
    assert b"no machine" in hutch("publish", "nothing-of-the-kind", code=1).stderr.lower()


@pytest.mark.parametrize(
    "words",
    [
        ("publish", "x", "0"),
        ("publish", "x", "65536"),
        ("publish", "x", "http"),
        ("publish", "x", "--public"),
        ("publish", "x", "--remove"),
        ("publish", "x", "80", "--public", "--remove"),
        ("url", "x", "--ttl", "soon"),
        ("url", "x", "--ttl", "1h", "--link"),
        ("url", "x", "--revoke", "80"),
        ("net", "set", "x"),
        ("net", "set", "x", "--open", "--blocked"),
        ("net", "set", "x", "--blocked", "--allow", "10.0.0.0/8"),
        ("net", "set", "x", "--kbit", "0"),
        ("create", "debian", "-p", "80:everybody"),
        ("create", "debian", "-p", "0"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_exit_code_2(hutch: Cli, words: tuple[str, ...]) -> None:
    hutch(*words, code=2)


def test_a_link_lets_whoever_has_it_in(hutch: Cli, machine: str) -> None:
    plain = hutch.text("publish", machine, "80")
    assert hutch.text("url", machine) == hutch.text("url", machine, "80") == plain
    assert shown(hutch, "url", machine) == {"port": 80, "url": plain, "expires_at": None}
    lasting = hutch.text("url", machine, "--link")
    assert lasting.startswith(f"{plain}/?hutch_token=")
    assert hutch.text("url", machine, "--link") == lasting
    ending = shown(hutch, "url", machine, "80", "--ttl", "10m")
    assert ending["expires_at"] is not None
    assert ending["url"] != lasting
    assert hutch.text("url", machine, "--revoke") == machine
    assert hutch.text("url", machine, "--link") != lasting


def test_what_a_machine_may_reach_is_shown_and_set(hutch: Cli, machine: str) -> None:
    assert shown(hutch, "net", "show", machine)["mode"] == "open"
    words = ("--allow", "192.0.2.7", "--allow", "*.example.org", "--deny", "192.0.2.0/28", "--kbit", "900")
    told = shown(hutch, "net", "set", machine, *words, "--pps", "50", "--burst", "5")
    assert told == shown(hutch, "net", "show", machine)
    assert told == {
        "mode": "allow",
        "allow": ["192.0.2.7", "*.example.org"],
        "deny": ["192.0.2.0/28"],
        "kbit_per_second": 900,
        "packets_per_second": 50,
        "burst": 5,
    }
    assert hutch.text("net", "show", machine).splitlines()[1].split() == [
        *("allow", "192.0.2.7,*.example.org", "192.0.2.0/28", "900", "50", "5")
    ]
    told = shown(hutch, "net", "set", machine, "--blocked")
    assert (told["mode"], told["allow"], told["deny"], told["kbit_per_second"]) == ("blocked", [], [], None)
    assert shown(hutch, "net", "set", machine, "--deny", "192.0.2.0/24")["mode"] == "open"
    assert b"is not a CIDR" in hutch("net", "set", machine, "--deny", "nonsense", code=1).stderr


def test_a_new_machine_may_publish_at_once(hutch: Cli, sdk: Hutch) -> None:
    made = sdk.machines.get(hutch.text("create", "debian", "-p", "80", "--publish", "443:public"))
    assert made.ports == [models.Port(80), models.Port(443, public=True)]
    sdk.machines.delete(made.id)


def test_a_running_machine_whose_ports_are_closed_says_so(hutch: Cli, machine: str) -> None:
    hutch("start", machine)
    hutch("publish", machine, "9")
    assert "started: ports closed" in hutch.text("ps")


def test_the_sdk_can_do_all_of_it(sdk: Hutch) -> None:
    wanted = models.NewMachine(
        "debian",
        network=models.Network("allow", ["198.51.100.0/24", "example.org"], ["192.0.2.0/24"], kbit_per_second=5),
        ports=[models.Port(80), models.Port(81, public=True)],
        wakes_on_traffic=False,
        starts_on_traffic=True,
    )
    made = sdk.machines.create(wanted)
    assert (made.policy, made.ports, made.network) == (wanted.network, wanted.ports, "allowCidrs")
    assert (made.wakes_on_traffic, made.starts_on_traffic) == (False, True)
    links = sdk.ports.links(made.id)
    assert set(links) == {80, 81}
    assert sdk.ports.token(made.id) == sdk.ports.token(made.id)
    shared = sdk.ports.share(made.id)
    assert shared.url.endswith(shared.token)
    assert shared.token not in repr(shared)
    sdk.ports.unshare(made.id)
    assert sdk.ports.links(made.id) == links
    assert sdk.ports.link(made.id, 80, 60).expires_at is not None
    sdk.ports.revoke(made.id)
    assert sdk.ports.links(made.id) != links
    with pytest.raises(errors.NotFound):
        sdk.ports.link(made.id, 82)
    sdk.machines.start(made.id)
    (child,) = sdk.machines.fork(made.id, ports=[models.Port(90)])
    assert child.ports == [models.Port(90)]
    assert sdk.machines.set_network(made.id, models.Network("blocked")).policy == models.Network("blocked", [], [])
    for it in (made, child):
        sdk.machines.delete(it.id)
