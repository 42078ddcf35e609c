"""Builds in real machines: what a layer does, what goes wrong in a guest, and what hostile ones leave behind."""

import contextlib
import subprocess
from collections.abc import AsyncIterator
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
from hutch.model.builds import Build, BuildState
from hutch.model.ids import MachineId
from hutch.model.machine import Snapshot
from hutch.model.recipes import Base, File, GitIdentity, Group, Layer, Recipe, Repository, Unit, UnitMode, User
from hutch.notify.memory import MemoryProofs, MemorySender
from hutch.store.memory import MemoryStore

BUDGET = 600.0
ROOT = Layer(memory_mib=512, disk_gib=2)
SMALL = Layer(memory_mib=128, disk_gib=1)
URL = "http://ann:hunter2222@127.0.0.1:9/x.git"
SERVER = b"""
import base64, http.server, os, socket

class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.headers.get("Authorization") == "Basic " + base64.b64encode(b"ann:hunter2222").decode():
            return super().do_GET()
        self.send_response(401)
        self.send_header("WWW-Authenticate", "Basic realm=x")
        self.send_header("Content-Length", "0")
        self.end_headers()

os.chdir("/srv")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Handler)
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
server.serve_forever()
"""


def oneshot(name: str, line: str, *after: str) -> Unit:
    command = "sh -c '" + line + "'"
    return Unit(name, UnitMode.ONESHOT, (command,), after=after, requires=after, delete_after_success=True)


class Yard:
    """A control plane over this box."""

    def __init__(self, control: ControlPlane, me: Principal) -> None:
        self.control, self.me = control, me
        self._made: list[MachineId] = []

    async def build(self, *layers: Layer, base: Base | None = None, budget: float = BUDGET) -> Snapshot:
        request = BuildRequest(Recipe(base or Base(image="debian"), layers), budget=budget)
        return await self.control.builds.ensure(self.me, request)

    async def last(self) -> Build:
        return (await self.control.builds.list(self.me))[0]

    async def phases(self) -> list[str]:
        return [phase.name for phase in await self.control.builds.phases(self.me, (await self.last()).id)]

    async def launch(self, snapshot: Snapshot) -> MachineId:
        machine = await self.control.machines.launch(self.me, MachineRequest("", snapshot=snapshot.id))
        self._made.append(machine.id)
        return machine.id

    async def run(self, machine: MachineId, line: str) -> str:
        command = Command(argv=("sh", "-c", line), timeout=60)
        ran = await self.control.processes.run(self.me, machine, command)
        assert ran.exit.code == 0, (ran.stdout, ran.stderr)
        return ran.stdout.decode().strip()

    async def fails(self, *layers: Layer, base: Base | None = None, budget: float = BUDGET) -> errors.BuildFailed:
        with pytest.raises(errors.BuildFailed) as caught:
            await self.build(*layers, base=base, budget=budget)
        build = await self.last()
        assert (build.state, build.reason) == (BuildState.FAILED, caught.value.message)
        assert [it.id for it in self.control.machines.list(self.me) if it.build == build.id] == []
        return caught.value

    async def clear(self) -> None:
        for machine in self.control.machines.list(self.me):
            await self.control.machines.delete(self.me, machine.id)
        for snapshot in self.control.snapshots.list(self.me):
            await self.control.snapshots.delete(self.me, snapshot.id)


@pytest.fixture
async def yard(wanted: settings.Settings) -> AsyncIterator[Yard]:
    host = LocalHost(wanted, Paths(wanted.service.home))
    told = (MemorySender(), MemoryProofs())
    parts = plane.Parts(MemoryStore(), host, SystemClock(), contextlib.nullcontext(), "test", *told)
    control = plane.assemble(parts, wanted)
    await control.open()
    try:
        token = await control.keys.bootstrap()
        assert token is not None
        yard = Yard(control, control.keys.authenticate(token))
        try:
            yield yard
            built = {it.build for it in yard.control.machines.list(yard.me)} - {None}
            assert all(machine in yard._made for machine in [it.id for it in yard.control.machines.list(yard.me)]), (
                built
            )
        finally:
            await yard.clear()
    finally:
        await control.close()


def make_repository(root: Path) -> tuple[File, ...]:
    """A package `hello-hutch` and all that apt needs to find it, as files of a guest; nothing else is found there."""
    package = root / "package"
    for name, text, mode in (
        (
            "DEBIAN/control",
            "Package: hello-hutch\nVersion: 1.0\nArchitecture: all\nMaintainer: x\nDescription: x\n",
            0o644,
        ),
        ("usr/bin/hello-hutch", "#!/bin/sh\necho hello\n", 0o755),
    ):
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
    package.chmod(0o755)
    deb = root / "hello-hutch.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", package, deb], check=True, stdout=subprocess.DEVNULL)
    content = deb.read_bytes()
    sums = subprocess.run(["sha256sum", deb], check=True, capture_output=True, text=True).stdout.split()[0]
    control = (package / "DEBIAN/control").read_text().replace("Description:", f"SHA256: {sums}\nDescription:")
    index = control.replace("Description:", f"Filename: ./hello-hutch.deb\nSize: {len(content)}\nDescription:")
    return (
        File("/srv/repo/hello-hutch.deb", content),
        File("/srv/repo/Packages", index.encode()),
        File("/etc/apt/sources.list", b"deb [trusted=yes] file:/srv/repo ./\n"),
    )


GIT = " && ".join(
    [
        "git init -q -b main /srv/src && cd /srv/src",
        "git config user.name x && git config user.email x@x",
        "echo 1 >a && git add a && git commit -qm one && git tag v1",
        "echo 2 >a && git commit -qam two",
        "git clone -q --bare /srv/src /srv/src.git && git -C /srv/src.git update-server-info",
    ]
)


async def test_five_layers_do_what_they_say_and_a_changed_top_alone_is_built_anew(
    yard: Yard, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    served = "http://ann:hunter2222@127.0.0.1:8000/src.git"
    server = Unit("server", UnitMode.SERVICE, ("python3 /srv/server.py",), ready_signal=True)
    layers = [
        Layer(
            memory_mib=512,
            disk_gib=2,
            groups=(Group("ops", 2000), Group("jobs", system=True)),
            users=(User("ann", 2001, "Ann A", ("ops", "jobs"), shell="/bin/bash"), User("job", system=True)),
            files=(
                *make_repository(tmp_path),
                File("/srv/deep/run.sh", b"#!/bin/sh\necho ran\n", 0o755),
                File("/srv/server.py", SERVER),
            ),
        ),
        Layer(packages=("hello-hutch",)),
        Layer(
            units=(
                oneshot("make-source", GIT),
                oneshot("after", "test -d /srv/src.git && touch /srv/after", "make-source"),
                server,
            )
        ),
        Layer(
            git=GitIdentity("Ann", "ann@example.org"),
            repositories=(Repository("/srv/src", "/code/main"), Repository(served, "/code/one", "v1")),
        ),
        Layer(workdir="/code/one", units=(Unit("web", UnitMode.SERVICE, ("sleep 1000",)),)),
    ]
    build = await yard.control.builds.begin(yard.me, BuildRequest(Recipe(Base(image="debian"), tuple(layers))))
    told = b"".join([it async for it in yard.control.builds.follow(yard.me, build.id) if isinstance(it, bytes)])
    build = await yard.control.builds.get(yard.me, build.id)
    assert (build.state, build.reason) == (BuildState.SUCCEEDED, None)
    assert b"Setting up hello-hutch" in told
    assert b"Cloning into '/code/one'" in told
    printed = capfd.readouterr()
    assert "hunter2222" not in told.decode() + printed.out + printed.err
    made = yard.control.snapshots.find(yard.me, build.snapshot)
    assert await yard.phases() == list(build.planned)
    machine = await yard.launch(made)
    assert await yard.run(machine, "id ann; getent passwd ann; ls -d /home/ann; id -gn job") == (
        "uid=2001(ann) gid=2001(ann) groups=2001(ann),2000(ops),999(jobs)\n"
        "ann:x:2001:2001:Ann A:/home/ann:/bin/bash\n/home/ann\njob"
    ).replace("999", (await yard.run(machine, "getent group jobs")).split(":")[2])
    assert await yard.run(machine, "/srv/deep/run.sh; hello-hutch") == "ran\nhello"
    assert await yard.run(machine, "pwd; cat a ../main/a; git config user.email") == "/code/one\n1\n2\nann@example.org"
    assert (await yard.control.services.status(yard.me, machine, "web")).active == "active"
    assert await yard.control.services.list(yard.me, machine) == ["server", "web"]
    kept = len(yard.control.snapshots.list(yard.me))
    assert kept == 5

    again = await yard.build(*layers)
    assert again.id == made.id
    changed = await yard.build(*layers[:4], Layer(workdir="/code/main"))
    assert await yard.phases() == [
        *("layer 4/5: cached", "start machine from layer 4/5", "layer 5/5: make working directory"),
        *("layer 5/5: wait until ready", "layer 5/5: snapshot", "optimize"),
    ]
    assert len(yard.control.snapshots.list(yard.me)) == kept + 1
    assert await yard.run(await yard.launch(changed), "pwd; cat a") == "/code/main\n2"


async def test_what_fails_in_a_guest_is_told_in_its_own_words(yard: Yard, tmp_path: Path) -> None:
    ground = await yard.build(Layer(memory_mib=512, disk_gib=2, files=make_repository(tmp_path)))
    base = Base(snapshot=ground.id)
    for layer, words in (
        (Layer(users=(User("games"),)), ["layer 1/1: make users", "useradd", "'games' already exists"]),
        (Layer(packages=("no-such",)), ["install packages", "Unable to locate package no-such"]),
        (Layer(repositories=(Repository("/srv/none", "/work"),)), ["cloning into /work", "'/srv/none' does not exist"]),
        (Layer(repositories=(Repository(URL, "/work"),)), ["cloning into /work", "unable to access"]),
        (Layer(units=(oneshot("bad", "echo gone wrong; exit 3"),)), ["service bad failed", "gone wrong"]),
        (Layer(files=(File("/etc/passwd/x", b""),)), ["write files", "/etc/passwd"]),
        (
            Layer(units=(Unit("late", UnitMode.SERVICE, ("sleep 1000",), ready_signal=True),), ready_timeout=1.0),
            ["wait until ready", "late"],
        ),
    ):
        failed = await yard.fails(layer, base=base)
        assert all(word in failed.message for word in words), failed.message
        assert "hunter2222" not in failed.message
    assert await yard.build(Layer(users=(User("ann"),)), base=base)


async def test_hostile_layers_end_in_bounded_time_and_leave_nothing(yard: Yard) -> None:
    base = Base(snapshot=(await yard.build(ROOT)).id)
    bomb = Unit("bomb", UnitMode.ONESHOT, ("sh -c 'b() { b | b & }; b; sleep 1000'",), timeout=0)
    failed = await yard.fails(Layer(units=(bomb,)), base=base, budget=15)
    assert isinstance(failed, errors.BuildTooLong)
    assert "more than the 15 s it may take, at layer 1/1: set up services" in failed.message
    fill = oneshot("fill", "fallocate -l 1800M /fill; cat /dev/zero >/fill2")
    failed = await yard.fails(Layer(units=(fill,)), base=base)
    assert "No space left" in failed.message
    assert [it.id for it in yard.control.machines.list(yard.me)] == []


async def test_a_guest_of_busybox_has_files_and_other_sizes_and_says_what_it_lacks(yard: Yard, tools: str) -> None:
    base = Base(image=tools)
    layers = (
        Layer(
            memory_mib=128,
            disk_gib=1,
            files=(File("/srv/a", b"1", 0o600),),
            workdir="/srv",
        ),
        Layer(memory_mib=192, disk_gib=2, discriminator="larger"),
    )
    made = await yard.build(*layers, base=base)
    assert (made.spec.resources.memory_mib, made.spec.resources.disk_gib) == (192, 2)
    machine = await yard.launch(made)
    assert await yard.run(machine, "pwd; cat a") == "/srv\n1"
    assert int(await yard.run(machine, "grep MemTotal /proc/meminfo | tr -cd 0-9")) > 140 * 1024
    for layer, words in (
        (Layer(groups=(Group("ops"),)), "neither groupadd nor addgroup"),
        (Layer(users=(User("ann"),)), "neither useradd nor adduser"),
        (Layer(packages=("curl",)), "no apt-get"),
        (Layer(repositories=(Repository("https://x/y", "/y"),)), "no git, and no apt-get"),
        (Layer(units=(oneshot("x", "true"),)), "systemd"),
    ):
        assert words in (await yard.fails(SMALL, layer, base=base)).message
