"""What a machine may be asked to be, and what is said of anything else."""

from collections.abc import Mapping
from typing import Any

import pytest

from hutch import settings
from hutch.control import requests
from hutch.control.requests import MachineRequest
from hutch.host.interface import Capacity
from hutch.model import errors
from hutch.model.machine import ImageRef, NetworkMode, NetworkPolicy, Resources, Timers

LIMITS = settings.Machines()
BOX = Capacity(cpus=4, memory_mib=8192, memory_free_mib=100, disk_gib=100, disk_free_gib=1)
IMAGE = ImageRef("alpine", "sha256:1")


def check(**fields: Any) -> None:
    requests.check(MachineRequest(**{"image": "alpine", **fields}), LIMITS)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": "a"},
        {"name": "My_machine.2-x"},
        {"name": "x" * 63},
        {"cpus": 1, "memory_mib": 64, "disk_gib": 1},
        {"env": {"A": "", "b.c-d": "x\ny=z"}},
        {"workdir": "/"},
        {"command": ("sh", "-c", "")},
        {"labels": {"k": "", "team/owner": "ü"}},
        {"timers": Timers(1, 1)},
        {"network": NetworkPolicy(NetworkMode.ALLOW, ("10.0.0.0/8", "10.0.0.1/8", "1.2.3.4"), ())},
        {"network": NetworkPolicy(NetworkMode.ALLOW, (), ("example.org", "*.example.org", "_srv.a.", "localhost"))},
    ],
)
def test_this_may_be_asked(fields: Mapping[str, Any]) -> None:
    check(**fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"image": " "}, "image is empty"),
        ({"name": ""}, "name '': use 1 to 63 letters"),
        ({"name": "-a"}, "name '-a'"),
        ({"name": "a b"}, "name 'a b'"),
        ({"name": "a\n"}, r"name 'a\\n'"),
        ({"name": "ü"}, r"name '\\xfc'"),
        ({"name": "x" * 64}, "name 'x"),
        ({"cpus": 0}, "cpus is 0: at least 1"),
        ({"memory_mib": 63}, "memory is 63 MiB: at least 64 MiB"),
        ({"disk_gib": 0}, "disk is 0 GiB: at least 1 GiB"),
        ({"disk_gib": 16385}, "at most 16384 GiB"),
        ({"env": {"A=B": "x"}}, "env: 'A=B' is not a name"),
        ({"env": {"": "x"}}, "env: '' is not a name"),
        ({"env": {"A": "\0"}}, "env: the value of 'A' holds a NUL"),
        ({"env": {"A": "x" * 200_000}}, "env is 200001 bytes in all"),
        ({"workdir": "relative"}, "workdir 'relative': use an absolute path"),
        ({"workdir": ""}, "workdir '': use an absolute path"),
        ({"command": ()}, "command is empty"),
        ({"command": ("a", "\0")}, "command: an argument holds a NUL"),
        ({"labels": {"a=b": "x"}}, "labels: 'a=b' is not a key"),
        ({"labels": {"": "x"}}, "labels: '' is not a key"),
        ({"labels": {"k": "x" * 1025}}, "labels: the value of 'k' is longer than 1024"),
        ({"labels": {str(number): "" for number in range(65)}}, "labels: 65 given, at most 64"),
        ({"timers": Timers(idle=0)}, "idle stop is 0 s: at least 1 s"),
        ({"timers": Timers(suspended=0)}, "time suspended is 0 s: at least 1 s"),
        ({"priority": -1}, "priority is -1: 0 to 10"),
        ({"priority": 11}, "priority is 11: 0 to 10"),
        ({"snapshot": "s"}, "image and snapshot: a machine is made of one of them"),
        ({"timers": Timers(lifetime=-1)}, "lifetime is -1 s: at least 1 s"),
        ({"network": NetworkPolicy(NetworkMode.ALLOW)}, "requires at least one CIDR or host"),
        ({"network": NetworkPolicy(NetworkMode.ALLOW, ("10.0.0.0/33",))}, "'10.0.0.0/33' is not a CIDR"),
        ({"network": NetworkPolicy(NetworkMode.ALLOW, (), ("a b",))}, "'a b' is not a host name"),
    ],
)
def test_this_may_not_and_the_words_say_what_and_where(fields: Mapping[str, Any], words: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=words):
        check(**fields)


def test_a_hostile_name_is_cut_and_escaped_when_told() -> None:
    with pytest.raises(errors.InvalidRequest) as told:
        check(name="\x1b[31m" * 1000)
    assert "\x1b" not in told.value.message
    assert len(told.value.message) < 600


def test_what_is_not_named_is_the_services_default() -> None:
    spec = requests.plan(MachineRequest("alpine"), "Web_1.a", IMAGE, LIMITS, BOX)
    assert spec.resources == Resources(1, 512, 20)
    assert spec.hostname == "web-1-a"


def test_a_default_is_cut_to_what_the_box_has() -> None:
    small = Capacity(cpus=1, memory_mib=256, memory_free_mib=256, disk_gib=8, disk_free_gib=8)
    assert requests.plan(MachineRequest("alpine"), "web", IMAGE, LIMITS, small).resources == Resources(1, 256, 8)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cpus": 5}, "vCPUs: 5 asked for, this box has 4 for a machine"),
        ({"memory_mib": 8193}, "memory: 8193 MiB asked for, this box has 8192 MiB"),
        ({"disk_gib": 101}, "disk: 101 GiB asked for, this box has 100 GiB"),
    ],
)
def test_more_than_the_box_has_is_refused_with_what_there_is(fields: Mapping[str, Any], words: str) -> None:
    with pytest.raises(errors.NoCapacity, match=words):
        requests.plan(MachineRequest("alpine", **fields), "web", IMAGE, LIMITS, BOX)


def test_more_than_is_free_now_can_still_be_made() -> None:
    assert requests.plan(MachineRequest("alpine", memory_mib=8192), "web", IMAGE, LIMITS, BOX).resources.cpus == 1
