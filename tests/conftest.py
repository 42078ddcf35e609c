"""What tiers share: a real host, a real registry, a real service. Nothing here is made unless a test asks for it.

Images and templates take long to make, so they are kept between runs, in .hutch/test.
"""

import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from bench.live import Live

from hutch import settings
from hutch.host.local import LocalHost
from hutch.host.paths import Paths
from machines import Launcher, launching
from registry import Member, OciImage, Registry, directory, layer, symlink

# A run begun with nohup or in the background of a script ignores these, and so would all that it starts.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def home() -> Path:
    """State that outlives the run: what takes long to make is made once."""
    path = ROOT / ".hutch" / "test"
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="session")
def tools(registry: Registry) -> str:
    """The reference of a small image in a real registry: all of busybox, run as root, without an init."""
    binary = Path("/bin/busybox")
    applets = subprocess.run([binary, "--list"], capture_output=True, text=True, check=True).stdout.split()
    links = [symlink(f"bin/{name}", "busybox") for name in applets if name != "busybox"]
    users = Member("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    files = [directory(name) for name in ("bin", "etc", "root")]
    image = OciImage([layer(*files, Member("bin/busybox", binary.read_bytes(), mode=0o755), *links, users)])
    registry.push("tools:latest", image)
    return registry.name("tools:latest")


@pytest.fixture
def wanted(home: Path, registry: Registry) -> settings.Settings:
    given = {"HUTCH_HOME": str(home), "HUTCH_IMAGES_INSECURE_REGISTRIES": registry.host}
    # Spare processes and networks come in the background: only tests about them have any.
    return settings.load({**given, "HUTCH_HOST_SPARE_PROCESSES": "0", "HUTCH_NETWORK_READY": "0"})


@pytest.fixture
async def host(wanted: settings.Settings) -> AsyncIterator[LocalHost]:
    host = LocalHost(wanted, Paths(wanted.service.home))
    await host.open()
    yield host
    await host.close()


@pytest.fixture
async def vms(host: LocalHost, tools: str, home: Path) -> AsyncIterator[Launcher]:
    """Launches machines, of `tools` unless told otherwise; asserts that nothing is left of them."""
    async with launching(host, tools, home) as launcher:
        yield launcher


@pytest.fixture(scope="session")
def real_service(registry: Registry) -> Iterator[Live]:
    """`hutch up` in a process of its own, with a home of its own beside the tests' (one service a home)."""
    environment = {
        "HUTCH_IMAGES_INSECURE_REGISTRIES": registry.host,
        "HUTCH_HOST_SPARE_PROCESSES": "0",
        "HUTCH_NETWORK_READY": "0",
    }
    live = Live(ROOT / ".hutch" / "service", **environment)
    yield live
    live.stop()
