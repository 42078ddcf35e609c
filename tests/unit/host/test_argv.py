"""From a launch to QEMU's argument list."""

import dataclasses
import itertools

import pytest

from hutch.host import facts
from hutch.host.qemu import argv

LAUNCH = argv.Launch(
    name="tag/abc",
    board=argv.Board("tcg", cpus=2, memory_mib=512),
    kernel=3,
    initramfs=4,
    memory=5,
    shared_memory=False,
    disk=argv.Disk(6, (7, 8)),
    sockets=argv.Sockets(9, 10, 11),
    netdev=argv.UserNetwork(),
    tsc_khz=2_600_000,
)


def value_of(words: list[str], option: str) -> list[str]:
    return [value for name, value in itertools.pairwise(words) if name == option]


def built(**changes: object) -> list[str]:
    return argv.build("qemu", dataclasses.replace(LAUNCH, **changes))  # type: ignore[arg-type]


def test_a_restored_machine_maps_its_memory_privately_and_waits_for_a_state() -> None:
    words = built(incoming=True)
    assert value_of(words, "-object") == ["memory-backend-file,id=ram,size=512M,mem-path=/proc/self/fd/5,share=off"]
    assert "-S" in words
    assert value_of(words, "-incoming") == ["defer"]


def test_kernel_and_arguments_of_a_guest_are_read_from_its_process() -> None:
    booted, restored = built(grow=True), built(incoming=True)
    assert facts.of_words(booted) == facts.of_words(restored)
    assert facts.of_words(booted) == (
        "/proc/self/fd/3",
        argv.kernel_command_line("tcg", LAUNCH.tsc_khz, grow=True),
    )
    with pytest.raises(KeyError):
        facts.of_words(["qemu", "-kernel"])


def test_a_template_shares_its_memory_and_boots() -> None:
    words = built(shared_memory=True)
    assert value_of(words, "-object")[0].endswith("share=on")
    assert "-incoming" not in words


def test_only_the_top_layer_is_writable() -> None:
    nodes = value_of(built(), "-blockdev")
    assert [("read-only=off" in node) for node in nodes] == [False, False, False, False, True, True]
    assert nodes[5].endswith("backing=d1")


@pytest.mark.parametrize(("is_blocked", "restrict"), [(False, "off"), (True, "on")])
def test_a_machine_that_may_reach_nothing_is_restricted(is_blocked: bool, restrict: str) -> None:
    assert f"restrict={restrict}" in value_of(built(netdev=argv.UserNetwork(is_blocked)), "-netdev")[0]


def test_a_slot_comes_as_a_tap_that_is_inherited() -> None:
    assert value_of(built(netdev=argv.Tap(42)), "-netdev")[0] == "tap,id=net0,fd=42"
    assert 42 in argv.inherited(dataclasses.replace(LAUNCH, netdev=argv.Tap(42)))
    assert value_of(built(netdev=argv.Tap(42)), "-device") == value_of(built(), "-device")


@pytest.mark.parametrize(
    ("accelerator", "told"), [("tcg", "tsc_early_khz=2600000"), ("kvm", "console=ttyS0 quiet reboot=t panic=-1")]
)
def test_a_guest_is_told_its_clock_only_under_emulation(accelerator: str, told: str) -> None:
    words = built(board=dataclasses.replace(LAUNCH.board, accelerator=accelerator))
    assert told in value_of(words, "-append")[0]
    assert ("tsc_early_khz" in value_of(words, "-append")[0]) is (accelerator == "tcg")


def test_every_process_is_confined() -> None:
    assert value_of(built(), "-sandbox") == ["on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    assert "-nodefaults" in built()


def test_the_process_inherits_exactly_what_its_arguments_name() -> None:
    assert sorted(argv.inherited(LAUNCH)) == [3, 4, 5, 6, 7, 8, 9, 10, 11]
    volumes = (argv.Volume(12, "a", False), argv.Volume(13, "b", True))
    assert sorted(argv.inherited(dataclasses.replace(LAUNCH, volumes=volumes))) == [*range(3, 14)]


def test_volumes_come_last_on_the_board_and_are_known_by_their_serials() -> None:
    words = built(volumes=(argv.Volume(12, "first", False), argv.Volume(13, "second", True)))
    assert value_of(words, "-device")[:-2] == value_of(built(), "-device")
    assert [device.split(",")[-1] for device in value_of(words, "-device")[-2:]] == ["serial=first", "serial=second"]
    nodes = value_of(words, "-blockdev")[-4:]
    assert [("read-only=off" in node) for node in nodes] == [True, True, False, False]
    numbers = [word.rpartition("set=")[2] for word in value_of(words, "-add-fd")]
    assert len(set(numbers)) == len(numbers)
