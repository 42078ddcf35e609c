"""Boot files from the host's real apt sources, and again without them."""

import asyncio
import os
from pathlib import Path

import pytest

from hutch import commands
from hutch.host import boot_files
from hutch.host.boot_files import ensure_boot_files
from hutch.host.interface import Progress
from hutch.host.paths import Paths
from hutch.model import errors


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    path = tmp_path / "agent"
    path.write_bytes(b"\x7fELF pretends to be the agent")
    return path


@pytest.fixture
def no_apt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """apt as it is on a host that has lost its network: it knows nothing and can fetch nothing."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("apt-get", "apt-cache"):
        (tools / tool).write_text("#!/bin/sh\necho 'E: Temporary failure resolving the mirror' >&2\nexit 100\n")
        (tools / tool).chmod(0o755)
    monkeypatch.setattr(commands, "ENVIRONMENT", {**commands.ENVIRONMENT, "PATH": f"{tools}:{commands.PATH}"})


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by the tests here, so that the kernel is fetched once."""
    given = os.environ.get("HUTCH_TEST_CACHE")
    return Path(given) / "boot-files" if given else tmp_path_factory.mktemp("home")


async def test_concurrent_calls_make_one_kernel_and_one_initramfs(home: Path, agent: Path) -> None:
    paths = Paths(home)
    phases: list[Progress] = []
    first, second = await asyncio.gather(*(ensure_boot_files(paths, agent, phases.append) for _ in range(2)))
    assert first == second
    assert [phase.phase for phase in phases].count("fetching kernel") <= 1
    assert first.kernel.read_bytes()[:4] == b"\x7fELF"
    assert first.kernel_version.endswith("-cloud-amd64")
    listed = await commands.run(["cpio", "-t"], timeout=10, stdin=first.initramfs.read_bytes())
    assert {"init", "modules/load", "modules/virtio_blk.ko", "newroot"} <= set(listed.stdout.decode().split())
    assert not list(paths.boot.glob(".tmp-*"))


async def test_another_agent_is_another_digest_and_the_old_one_stays(home: Path, agent: Path) -> None:
    first = await ensure_boot_files(Paths(home), agent)
    agent.write_bytes(b"\x7fELF of a new version")
    second = await ensure_boot_files(Paths(home), agent)
    assert first.digest != second.digest
    assert first.initramfs.exists()
    assert first.kernel.stat().st_ino == second.kernel.stat().st_ino


async def test_a_kernel_once_fetched_serves_without_a_network(home: Path, agent: Path, no_apt: None) -> None:
    if not list(Paths(home).boot.glob("kernel-*")):
        pytest.skip("needs the kernel that the first test of this file fetches")
    assert (await ensure_boot_files(Paths(home), agent)).kernel.exists()


async def test_without_package_lists_on_the_host_private_ones_are_fetched(
    tmp_path: Path, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    script = '#!/bin/sh\ncase "$*" in *Dir::State::Lists=*) exec /usr/bin/apt-cache "$@";; esac\nexit 100\n'
    (tools / "apt-cache").write_text(script)
    (tools / "apt-cache").chmod(0o755)
    monkeypatch.setattr(commands, "ENVIRONMENT", {**commands.ENVIRONMENT, "PATH": f"{tools}:{commands.PATH}"})
    phases: list[Progress] = []
    files = await ensure_boot_files(Paths(tmp_path / "home"), agent, phases.append)
    assert files.kernel.exists()
    assert phases[0].phase == "fetching package lists"


async def test_without_a_network_and_a_kernel_the_error_carries_the_words_of_apt(
    tmp_path: Path, agent: Path, no_apt: None
) -> None:
    with pytest.raises(errors.Unsupported, match="Temporary failure resolving the mirror"):
        await ensure_boot_files(Paths(tmp_path / "empty"), agent)
    assert [path.name for path in Paths(tmp_path / "empty").boot.iterdir()] == [".lock"]


async def test_a_missing_agent_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(errors.Unsupported, match="run guest/build"):
        await ensure_boot_files(Paths(tmp_path), tmp_path / "none")


async def test_what_a_crash_left_behind_is_removed(home: Path, agent: Path) -> None:
    leftover = Paths(home).boot / ".tmp-crashed"
    leftover.mkdir(parents=True)
    (leftover / "half").touch()
    await ensure_boot_files(Paths(home), agent)
    assert not leftover.exists()


def test_the_modules_name_no_module_twice() -> None:
    assert len(set(boot_files.MODULES)) == len(boot_files.MODULES)
