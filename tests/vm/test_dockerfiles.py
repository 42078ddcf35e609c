"""Dockerfiles in real guests: what each instruction does, what is cached, what goes wrong, and what is left."""

import asyncio
import contextlib
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from hutch import settings
from hutch.control import plane
from hutch.control.builds import BuildRequest
from hutch.control.clock import SystemClock
from hutch.control.commands import Command
from hutch.control.keys import Principal
from hutch.control.machines import MachineRequest
from hutch.control.plane import ControlPlane
from hutch.host.local import LocalHost
from hutch.host.paths import Paths
from hutch.model import errors
from hutch.model.ids import MachineId
from hutch.model.machine import Snapshot
from hutch.model.recipes import Base, Credentials, Recipe
from hutch.notify.memory import MemoryProofs, MemorySender
from hutch.store.memory import MemoryStore
from machines import left, traces
from registry import PASSWORD, USER, Member, OciImage, Registry, directory, layer, symlink

LIMIT = 240.0
"""Seconds that a build may take here."""


@dataclass
class Yard:
    """A control plane on a real host, and a few words to build with."""

    control: ControlPlane
    me: Principal
    image: str
    made: list[MachineId] = field(default_factory=list)

    async def build(self, text: str, budget: float = LIMIT, credentials: Credentials | None = None) -> Snapshot:
        text = text.replace("@", self.image)
        request = BuildRequest(Recipe(Base(dockerfile=text)), budget=budget, credentials=credentials)
        return await self.control.builds.ensure(self.me, request)

    async def failures(self, *texts: str, budget: float = LIMIT) -> list[errors.BuildFailed]:
        """How builds of these end, which are made at once."""
        ends = await asyncio.gather(*(self.build(text, budget) for text in texts), return_exceptions=True)
        failed = [end for end in ends if isinstance(end, errors.BuildFailed)]
        assert len(failed) == len(ends), ends
        return failed

    async def phases(self) -> list[str]:
        build = (await self.control.builds.list(self.me, 1))[0]
        return [it.name for it in await self.control.builds.phases(self.me, build.id)]

    async def machine(self, snapshot: Snapshot) -> "Guest":
        machine = await self.control.machines.create(self.me, MachineRequest(image="", snapshot=snapshot.id))
        self.made.append(machine.id)
        await self.control.machines.start(self.me, machine.id)
        return Guest(self, machine.id)

    async def built(self, text: str) -> "Guest":
        return await self.machine(await self.build(text))

    async def clear(self) -> None:
        for machine in self.made:
            await self.control.machines.delete(self.me, machine)
        for snapshot in self.control.snapshots.list(self.me):
            await self.control.snapshots.delete(self.me, snapshot.id)


@dataclass
class Guest:
    """A machine made of what was built."""

    yard: Yard
    id: MachineId

    async def run(self, line: str, **more: str) -> str:
        """As whoever is the default."""
        command = Command(argv=("sh", "-c", line), timeout=60.0, **more)  # type: ignore[arg-type]
        ran = await self.yard.control.processes.run(self.yard.me, self.id, command)
        return (ran.stdout + ran.stderr).decode().strip()


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that wants a password."""
    with Registry(tmp_path_factory.mktemp("private"), private=True) as registry:
        registry.push_busybox("secret:1")
        yield registry


@pytest.fixture
async def yard(
    wanted: settings.Settings, tools: str, home: Path, registry: Registry, private: Registry
) -> AsyncIterator[Yard]:
    images = replace(wanted.images, insecure_registries=f"{registry.host},{private.host}")
    wanted = replace(wanted, machines=replace(wanted.machines, default_memory_mib=128), images=images)
    before = traces(home)
    host = LocalHost(wanted, Paths(home))
    parts = plane.Parts(
        MemoryStore(), host, SystemClock(), contextlib.nullcontext(), "test", MemorySender(), MemoryProofs()
    )
    control = plane.assemble(parts, wanted)
    await control.open()
    try:
        token = await control.keys.bootstrap(force=True)
        assert token is not None
        yard = Yard(control, control.keys.authenticate(token), tools)
        yield yard
        await yard.clear()
        assert [it.name for it in control.machines.list(yard.me)] == []
    finally:
        await control.close()
    assert await left(home, before) == before


async def test_each_instruction_acts_as_with_docker(yard: Yard) -> None:
    guest = await yard.built(
        r"""
        # syntax=docker/dockerfile:1
        ARG BASE=@
        FROM ${BASE} AS base
        ARG GREETING="hello  you"
        ENV A=1 B="two words"
        ENV A=2 OLD=$A
        RUN echo "$A|$B|$OLD|$GREETING|$HOME" > /env
        RUN ["sh", "-c", "echo $0 > /exec", "$A"]
        RUN echo 'app:x:1000:1000::/home/app:/bin/sh' >> /etc/passwd && echo 'app:x:1000:' > /etc/group
        WORKDIR /srv
        WORKDIR deep/er
        USER app
        WORKDIR mine
        RUN pwd > here; id -u > who
        USER root
        SHELL ["/bin/sh", "-e", "-c"]
        RUN echo "$-" > /flags
        RUN <<EOF
        echo one > /lines
        echo two >> /lines
        EOF
        RUN cat > /spliced <<-EOF
        ~tab$A
        ~EOF
        RUN <<EOF
        #!/bin/sh -e
        echo "$0 $-" > /program
        EOF
        COPY --chown=app --chmod=640 <<one <<"two" texts/
        $A
        one
        $A
        two
        RUN --mount=type=tmpfs,target=/scratch --mount=type=cache,target=cache \
            touch /scratch/x cache/y && mount > /mounts
        RUN (sleep 1000 & echo $! > /left)
        LABEL a=b
        EXPOSE 80 90/udp
        USER 1000:7
        CMD ["sh", "-c", "echo $A > /tmp/ran; sleep 1000"]
        """.replace("\n        ", "\n").replace("~", "\t")
    )
    async with asyncio.timeout(60):
        while await guest.run("cat /tmp/ran") != "2":  # the command, started beside the agent
            await asyncio.sleep(0.2)
    told = {}
    for path in ("/env", "/exec", "/flags", "/lines", "/spliced", "/program", "/left"):
        told[path] = await guest.run(f"cat {path}")
    assert told == {
        "/env": "2|two words|1|hello  you|/root",
        "/exec": "$A",
        "/flags": told["/flags"],
        "/lines": "one\ntwo",
        "/spliced": "tab2",
        "/program": "/.hutch-run e",
        "/left": told["/left"],
    }
    assert "e" in told["/flags"]
    mine = "/srv/deep/er/mine"
    assert await guest.run("pwd; id -u; id -g; echo $A $B") == f"{mine}\n1000\n7\n2 two words"
    assert await guest.run("cat here who; stat -c '%u %a' .") == f"{mine}\n1000\n1000 755"
    assert await guest.run("stat -c %u /srv /srv/deep/er") == "0\n0"
    assert await guest.run("cd texts; stat -c '%n %u:%g %a' *; cat one two", user="root") == (
        "one 1000:1000 640\ntwo 1000:1000 640\n2\n$A"
    )
    mounts = await guest.run("cat /mounts")
    assert "tmpfs on /scratch" in mounts
    assert f"on {mine}/cache" in mounts
    assert await guest.run("ls -A /scratch cache /.hutch* 2>/dev/null") == "/scratch:\n\ncache:"
    assert await guest.run(f"kill -0 {told['/left']}", user="root") != ""  # it ended with its RUN


async def test_stages_are_copied_from_and_unused_ones_are_not_built(yard: Yard) -> None:
    guest = await yard.built(
        """
        FROM @ AS made
        RUN mkdir -p /out/sub /other && echo a > /out/sub/a && echo 'q' > "/out/sub/with 'quotes' \\$x" \\
            && ln -s a /out/sub/link && ln -s /out/sub /short && chown 5:6 /out/sub/a && chmod 4711 /out/sub/a \\
            && chmod 700 /out && dd if=/dev/zero of=/out/big bs=1M count=6 2>/dev/null \\
            && touch /other/.x1 /other/x2 /y3
        FROM @ AS unused
        RUN false
        FROM made AS more
        RUN echo more > /other/more
        FROM @
        RUN mkdir /there && chmod 711 /there
        COPY --from=made /out /new
        COPY --from=0 /out/ /there
        COPY --from=more /other/*x[0-9] /other/m?re /short/link /wild/
        COPY --from=more --chown=7:8 /y3 /renamed
        COPY --from=@ /bin/busybox /from-image/
        """.replace("\n        ", "\n")
    )
    assert not any("line 7" in name for name in await yard.phases())  # the stage that nobody needs
    assert await guest.run("stat -c '%a %u:%g' /new /new/sub/a /there /renamed") == (
        "700 0:0\n4711 5:6\n711 0:0\n644 7:8"
    )
    assert await guest.run("readlink /new/sub/link; stat -c %s /there/big; ls /there/sub | wc -l") == "a\n6291456\n3"
    assert await guest.run("ls -A /wild; cat /wild/link") == ".x1\nlink\nmore\nx2\na"
    assert await guest.run("cmp /bin/busybox /from-image/busybox && ls -d /.hutch* 2>&1 | grep -c '^/'") == "0"


async def test_what_is_known_is_not_done_again(yard: Yard) -> None:
    first = "FROM @\nENV A=1\nRUN cat /proc/sys/kernel/random/uuid > /first\nRUN echo $A > /second\n"
    one = await yard.built(first + "RUN echo a > /third\n")
    two = await yard.built(f"# a comment\n\n{first}LABEL x=y\nRUN echo b > /third\nENV A=2\n")
    assert [name for name in await yard.phases() if "line" in name] == [
        "line 6: RUN echo $A > /second: cached",
        "line 8: RUN echo b > /third",
    ]
    assert await one.run("cat /first") == await two.run("cat /first")
    assert await two.run("cat /second /third; echo $A") == "1\nb\n2"
    await yard.build(first.replace("A=1", "A=3") + "RUN echo a > /third\n")
    assert [name for name in await yard.phases() if "line" in name] == [
        "line 3: RUN cat /proc/sys/kernel/random/uuid > /first",
        "line 4: RUN echo $A > /second",
        "line 5: RUN echo a > /third",
    ]


FAILURES = [
    ("FROM @\nRUN echo some; echo words >&2; exit 3\n", r"line 2: RUN echo some.*code 3:\nsome\nwords"),
    ("FROM @\nUSER nobody\nRUN true\n", "line 3: RUN true.*nobody"),
    ('FROM @\nRUN ["/no/such"]\n', "line 2: .*code 255:\n.*/no/such"),
    ("FROM @\nCOPY --from=@ /nowhere /x\n", "line 2: COPY .*/nowhere"),
    ("FROM @\nCOPY --from=@ /bin/nothing* /x/\n", r"line 2: COPY .*/bin/nothing\*: there is nothing of that name"),
    ("FROM @\nCOPY --from=@ /bin/sh /etc\nCOPY --from=@ /etc/passwd /etc/passwd/x\n", "line 3: COPY"),
    ("FROM @\nADD http://127.0.0.1:9/x /x\n", "line 2: ADD .*fetching http://127.0.0.1:9/x"),
    ('FROM @\nCMD ["/no/such"]\n', "/no/such"),
    ("FROM @\nARG A=app.py\nCOPY $A /\n", r"line 3: COPY: app\.py: there is no build context"),
]


async def test_what_fails_is_told_with_its_line_and_its_words(yard: Yard) -> None:
    ends = await yard.failures(*(text for text, _ in FAILURES))
    for end, (_, words) in zip(ends, FAILURES, strict=True):
        assert re.search(f"(?s){words}", end.message), end.message


async def test_an_image_without_any_program_and_a_whole_one_can_be_copied_from(yard: Yard, registry: Registry) -> None:
    files = (
        directory("opt", mode=0o750),
        Member("opt/a", b"x" * 100_000, mode=0o4755, uid=7, gid=8),
        Member("opt/empty"),
        symlink("opt/link", "a"),
        symlink("short", "opt"),
        Member("opt/" + "long" * 50, b"y"),
    )
    registry.push("bare:latest", OciImage([layer(*files)]))
    guest = await yard.built(
        f"""
        FROM @ AS whole
        RUN echo told > /file
        FROM @
        COPY --from={registry.name("bare")} /short /there
        COPY --from={registry.name("bare")} /opt/li* /short/empty /one/
        COPY --from=whole / /all
        """.replace("\n        ", "\n")
    )
    assert await guest.run("stat -c '%a %u:%g %s' /there /there/a; readlink /there/link; ls /there | wc -l") == (
        "750 0:0 4096\n4755 7:8 100000\na\n4"
    )
    assert await guest.run(
        "ls /one; stat -c %s /one/link; cat /all/file; ls -d /all/proc /all/dev 2>&1 | grep -c No"
    ) == ("empty\nlink\n100000\ntold\n2")


async def test_tools_of_other_kinds_copy_to_each_other(yard: Yard) -> None:
    guest = await yard.built(
        """
        FROM debian
        RUN useradd -u 4321 ada && install -d -o ada -g ada -m 750 /data && su ada -c 'echo hers > /data/x'
        RUN ["/bin/bash", "-c", "[[ -d /run/systemd/system ]] && systemctl is-active dbus > /dbus; true"]
        USER ada
        WORKDIR /work
        COPY --from=@ --chown=ada /bin/busybox /opt/
        FROM @
        COPY --from=0 /data /data
        COPY --from=0 /opt /work /opt/
        """.replace("\n        ", "\n")
    )
    assert (
        await guest.run("stat -c '%u:%g %a' /data /data/x /opt/busybox")
        == "4321:4321 750\n4321:4321 644\n4321:4321 755"
    )


async def test_a_private_image_is_built_upon_with_credentials_and_as_it_says(yard: Yard, private: Registry) -> None:
    name = private.name("secret:1")
    text = f"FROM {name}\nRUN id -un > /tmp/who; pwd >> /tmp/who\nCOPY --from={name} /etc/message /tmp/\n"
    for wrong in (None, Credentials(private.host, USER, "guessed")):
        with pytest.raises(errors.ImageUnavailable, match="unauthorized"):
            await yard.build(text, credentials=wrong)
    snapshot = await yard.build(text, credentials=Credentials(private.host, USER, PASSWORD))
    guest = await yard.machine(snapshot)
    assert await guest.run("cat /tmp/who /tmp/message; id -un; pwd") == (
        "worker\n/srv\nfrom the top layer\nworker\n/srv"
    )
    assert snapshot.spec.command is None  # the image's own entrypoint is not run


async def test_hostile_commands_end_as_failures_in_bounded_time(yard: Yard) -> None:
    endless, bomb, gone = (
        "while :; do sleep 1000 & sleep 1; done",
        "f() { f | f & }; f; sleep 1000",
        "poweroff -f; sleep 1000",
    )
    async with asyncio.timeout(LIMIT):
        ends = await yard.failures(*(f"FROM @\nRUN {line}\n" for line in (endless, bomb, gone)), budget=15.0)
    assert isinstance(ends[0], errors.BuildTooLong)


@pytest.fixture
def world() -> Iterator[str]:
    """A server of files at a public address in a namespace beside this host."""
    name, link, address = "hutch-test-files", "hwtest1", "93.184.217.34"
    inside = f"ip netns exec {name}"
    script = f"""
        ip netns add {name}
        ip link add {link} type veth peer name eth0 netns {name}
        ip addr add 93.184.217.1/24 dev {link}; ip link set {link} up
        {inside} ip addr add {address}/24 dev eth0; {inside} ip link set eth0 up; {inside} ip link set lo up
        mkdir -p /tmp/{name}; echo served > /tmp/{name}/'a file'
    """
    subprocess.run(["sh", "-ec", script], check=True)
    server = subprocess.Popen([*f"{inside} busybox httpd -f -p 80 -h /tmp/{name}".split()])
    try:
        yield address
    finally:
        server.kill()
        server.wait()
        undo = f"ip link del {link}; ip netns del {name}; rm -r /tmp/{name}"
        subprocess.run(["sh", "-ec", undo], check=True)


async def test_add_fetches_in_the_guest_under_its_network(yard: Yard, world: str) -> None:
    checksum = "sha256:0f8c6b8e3d8a5dc5d4a9ae8bcd5c0f7f1f1a6d6f4e6f0a4d3f0f4c5ab9fdb9a3"
    guest = await yard.built(
        f"FROM @\nARG HOST={world}\nADD http://$HOST/a%20file /x/\nADD --chmod=644 http://$HOST/a%20file y\n"
    )
    assert await guest.run("cat '/x/a file' /y; stat -c '%a %u' '/x/a file' /y") == "served\nserved\n600 0\n644 0"
    with pytest.raises(errors.BuildFailed, match=r"line 2: .*its checksum is sha256:[0-9a-f]{64}, not"):
        await yard.build(f"FROM @\nADD --checksum={checksum} http://{world}/a%20file /y\n")
