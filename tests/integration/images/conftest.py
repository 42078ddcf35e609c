"""Real registries, and the images of a home of their own for every test."""

import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from hutch import settings
from hutch.host.images.local import LocalImages
from hutch.host.interface import Image, Progress
from hutch.host.paths import Paths
from registry import Registry, is_available


@dataclass
class Rig:
    """Images in a home of their own, with what the driver of machines would be asked and told."""

    home: Path
    images: LocalImages
    machines: dict[str, list[str]] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)

    async def pull(self, reference: str) -> Image:
        return await self.images.ensure(await self.images.resolve(reference), self.progress.append)

    def ask(self, image: Image, question: str) -> str:
        """Ask debugfs about the root image: nothing is mounted."""
        argv = ["debugfs", "-R", question, str(self.images.root_image(image.ref.digest))]
        return subprocess.run(argv, check=True, capture_output=True, text=True, errors="replace", timeout=30).stdout

    def cat(self, image: Image, path: str) -> str:
        return self.ask(image, f"cat {path}")

    def has(self, image: Image, path: str) -> bool:
        return "Inode:" in self.ask(image, f"stat {path}")

    def leftovers(self) -> list[str]:
        """What lies in the images' directory and is no image."""
        return [
            path.name for path in Paths(self.home).images.iterdir() if not path.name.startswith(("sha256-", "names"))
        ]


MakeRig = Callable[..., Rig]


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    if not is_available():
        pytest.skip("needs docker-registry, skopeo and busybox-static")
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        registry.push_busybox("busybox:1")
        yield registry


@pytest.fixture
async def make_rig(registry: Registry, tmp_path: Path) -> AsyncIterator[MakeRig]:
    """A rig; `reserve` in MiB, everything else is a setting of images."""
    if os.geteuid() != 0:
        pytest.skip("making images needs root")
    rigs: list[Rig] = []
    mounted = _mounts(tmp_path)  # a test's own disk

    def make(home: Path = tmp_path / "home", reserve: int = 64, **changes: object) -> Rig:
        wanted = replace(settings.Images(insecure_registries=registry.host), **changes)  # type: ignore[arg-type]
        rig = Rig(home, None)  # type: ignore[arg-type]
        rig.images = LocalImages(
            Paths(home),
            wanted,
            settings.Host(disk_reserve_mib=reserve),
            in_use=lambda digest: rig.machines.get(digest, []),
            on_remove=rig.dropped.append,
        )
        rigs.append(rig)
        return rig

    yield make
    for rig in rigs:
        await rig.images.close()
        assert rig.leftovers() == []
    assert _mounts(tmp_path) == mounted
    assert _loops(tmp_path) == []


@pytest.fixture
async def rig(make_rig: MakeRig) -> Rig:
    rig = make_rig()
    await rig.images.open()
    return rig


def _mounts(home: Path) -> list[str]:
    """What is mounted below; others on this box mount what they like meanwhile."""
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(home) in line]


def _loops(home: Path) -> list[str]:
    files = Path("/sys/block").glob("loop*/loop/backing_file")
    return [path for file in files if (path := file.read_text().strip()).startswith(str(home))]
