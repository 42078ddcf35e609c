"""A real registry on loopback, and images made by hand to push there.

`with Registry(directory) as registry: registry.push_busybox("busybox:latest")`; then pull
`registry.name("busybox:latest")` with `registry.host` among the insecure registries. Needs Debian's docker-registry,
skopeo and busybox-static.
"""

import base64
import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

START_LIMIT = 20.0
USER, PASSWORD = "hutch", "open sesame"
_HTPASSWD = "hutch:$2b$04$O7m3TF1myQ2uih8SaGn3aezHPQaCgLY9lCxMY8KBHwG7mc1z0wjuO\n"


class Registry:
    """Debian's docker-registry in a directory of its own, in plain HTTP, with `private` behind a password."""

    def __init__(self, directory: Path, *, private: bool = False) -> None:
        self._directory = directory
        self._private = private
        self._process: subprocess.Popen[bytes] | None = None
        self._copies = 0
        self.host = ""

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": str(self._directory / "data")}, "delete": {"enabled": True}},
            "http": {"addr": "127.0.0.1:0", "secret": "only for tests"},
        }
        if self._private:
            (self._directory / "htpasswd").write_text(_HTPASSWD)
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(self._directory / "htpasswd")}}
        path = self._directory / "config.json"  # JSON is YAML
        path.write_text(json.dumps(config))
        self._process = subprocess.Popen(
            ["docker-registry", "serve", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            self.host = self._wait_listening()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _wait_listening(self) -> str:
        """The address it says it listens on: it chooses a free port itself, so none can be taken meanwhile."""
        assert self._process is not None
        assert self._process.stderr is not None
        stderr, found, lines = self._process.stderr, threading.Event(), list[str]()

        def read() -> None:
            with contextlib.closing(stderr):
                for line in stderr:
                    if not found.is_set():
                        lines.append(line.decode())
                        if "listening on" in lines[-1]:
                            found.set()

        threading.Thread(target=read, daemon=True).start()
        deadline = time.monotonic() + START_LIMIT
        while not found.wait(0.05):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"docker-registry does not start: {''.join(lines)}")
        match = re.search(r"listening on (127\.0\.0\.1:\d+)", lines[-1])
        assert match is not None
        return match[1]

    def name(self, name: str) -> str:
        """The reference under which others pull what was pushed as `name`."""
        return f"{self.host}/{name}"

    def push(self, name: str, image: "OciImage", *options: str) -> str:
        """Push an image under `NAME:TAG`; its manifest's digest."""
        self._copies += 1
        layout = self._directory / f"push-{self._copies}"
        image.write(layout)
        written = self._directory / f"push-{self._copies}.digest"
        credentials = [f"--dest-creds={USER}:{PASSWORD}"] if self._private else []
        argv = [
            "skopeo",
            "--insecure-policy",
            "copy",
            "--dest-tls-verify=false",
            f"--digestfile={written}",
            *credentials,
        ]
        subprocess.run(
            [*argv, *options, f"oci:{layout}:image", f"docker://{self.name(name)}"],
            check=True,
            capture_output=True,
            timeout=120,
        )
        shutil.rmtree(layout)
        return written.read_text().strip()

    def put_index(self, name: str, tag: str, *platforms: tuple[str, str, str]) -> str:
        """Put an index of (OS, architecture, manifest digest) that are there already; its digest."""
        kind = "application/vnd.oci.image.index.v1+json"
        manifest = "application/vnd.oci.image.manifest.v1+json"
        listed = [
            {"mediaType": manifest, "digest": digest, "size": 1, "platform": {"os": os, "architecture": architecture}}
            for os, architecture, digest in platforms
        ]
        data = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": listed}).encode()
        request = urllib.request.Request(
            f"http://{self.host}/v2/{name}/manifests/{tag}", data, {"Content-Type": kind}, method="PUT"
        )
        urllib.request.urlopen(request, timeout=10).close()
        return f"sha256:{hashlib.sha256(data).hexdigest()}"

    def manifest(self, name: str, tag: str) -> str:
        """What the registry keeps under this tag."""
        accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        request = urllib.request.Request(f"http://{self.host}/v2/{name}/manifests/{tag}", headers=accept)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.read().decode())

    def corrupt(self, name: str) -> None:
        """Change the last byte of every layer of a repository, behind the registry's back."""
        storage = self._directory / "data/docker/registry/v2"
        for link in (storage / "repositories" / name / "_layers/sha256").iterdir():
            blob = storage / "blobs/sha256" / link.name[:2] / link.name / "data"
            data = blob.read_bytes()
            if data.startswith(b"\x1f\x8b"):
                blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    def push_busybox(self, name: str = "busybox:latest") -> str:
        """Push the small image of `busybox_image`; its digest."""
        return self.push(name, busybox_image())

    def auth_file(self, path: Path, password: str = PASSWORD) -> Path:
        """Write credentials for this registry as `podman login` would."""
        secret = base64.b64encode(f"{USER}:{password}".encode()).decode()
        path.write_text(json.dumps({"auths": {self.host: {"auth": secret}}}))
        return path


@dataclass(frozen=True)
class Member:
    """One member of a layer, as hostile as one likes: nothing here is checked."""

    name: str
    content: bytes = b""
    kind: bytes = tarfile.REGTYPE
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    target: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, str] = field(default_factory=dict)
    pax: Mapping[str, str] = field(default_factory=dict)

    def info(self) -> tarfile.TarInfo:
        info = tarfile.TarInfo(self.name)
        info.type, info.linkname, info.uid, info.gid = self.kind, self.target, self.uid, self.gid
        info.mode = self.mode if self.mode is not None else 0o755 if self.kind == tarfile.DIRTYPE else 0o644
        info.size = len(self.content)
        info.mtime = 1_000_000_000
        info.devmajor, info.devminor = self.device
        info.pax_headers = {f"SCHILY.xattr.{name}": value for name, value in self.xattrs.items()} | dict(self.pax)
        return info


def directory(name: str, **more: Any) -> Member:
    return Member(name, kind=tarfile.DIRTYPE, **more)


def symlink(name: str, target: str) -> Member:
    return Member(name, kind=tarfile.SYMTYPE, target=target)


def hardlink(name: str, target: str) -> Member:
    return Member(name, kind=tarfile.LNKTYPE, target=target)


def layer(*members: Member) -> bytes:
    """An uncompressed layer."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            tar.addfile(member.info(), io.BytesIO(member.content))
    return data.getvalue()


@dataclass(frozen=True)
class OciImage:
    """An image: layers (uncompressed; None of them is checked) and the config's `config`."""

    layers: Sequence[bytes]
    config: Mapping[str, Any] = field(default_factory=dict)
    architecture: str = "amd64"
    compress: Callable[[bytes], bytes] = lambda data: gzip.compress(data, compresslevel=1, mtime=0)
    layer_type: str = "layer.v1.tar+gzip"
    config_type: str = "config.v1+json"

    def write(self, layout: Path) -> None:
        """As an OCI layout with the one tag `image`."""
        blobs = layout / "blobs/sha256"
        blobs.mkdir(parents=True)

        def put(kind: str, data: bytes) -> dict[str, Any]:
            digest = hashlib.sha256(data).hexdigest()
            (blobs / digest).write_bytes(data)
            return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

        described = {
            "architecture": self.architecture,
            "os": "linux",
            "config": dict(self.config),
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in self.layers],
            },
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": put(self.config_type, json.dumps(described).encode()),
            "layers": [put(self.layer_type, self.compress(data)) for data in self.layers],
        }
        entry = put("manifest.v1+json", json.dumps(manifest).encode())
        entry["annotations"] = {"org.opencontainers.image.ref.name": "image"}
        (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
        (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


_APPLETS = (
    "ash cat chmod cp date dd echo env grep hostname id kill ln ls mkdir mount ps rm sed sh sleep stat sync tar test "
    "touch true uname wc"
)

BUSYBOX_CONFIG: Mapping[str, Any] = {
    "Entrypoint": ["/bin/sh", "-c"],
    "Cmd": ["echo hello from busybox"],
    "Env": ["PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "COLOR=green=blue"],
    "WorkingDir": "/srv",
    "User": "worker",
}


def busybox_image() -> OciImage:
    """About 2 MB, in three layers, the later ones with whiteouts; entrypoint, cmd, env, workdir and user are set."""
    passwd = b"root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/srv:/bin/sh\n"
    names = ("bin", "dev", "etc", "proc", "root", "run", "srv", "sys", "tmp", "usr", "usr/bin", "gone", "opaque")
    base = layer(
        *(directory(name, mode=0o1777 if name == "tmp" else 0o755) for name in names),
        Member("bin/busybox", Path("/bin/busybox").read_bytes(), mode=0o755),
        *(hardlink(f"bin/{applet}", "bin/busybox") for applet in _APPLETS.split()),
        Member("etc/passwd", passwd),
        Member("etc/group", b"root:x:0:\nworker:x:1000:\n"),
        Member("etc/removed-later", b"must not be seen"),
        Member("gone/file", b"must not be seen"),
        Member("opaque/lower", b"must not be seen"),
    )
    middle = layer(
        Member("etc/.wh.removed-later"), Member(".wh.gone"), Member("etc/message", b"from the middle layer\n")
    )
    top = layer(
        directory("opaque"),
        Member("opaque/.wh..wh..opq"),
        Member("opaque/upper", b"seen\n"),
        Member("etc/message", b"from the top layer\n"),
        Member("usr/bin/setuid", b"#!/bin/sh\n", mode=0o4755, uid=1000, gid=1000),
        symlink("usr/bin/link", "../../etc/message"),
    )
    return OciImage((base, middle, top), BUSYBOX_CONFIG)


def is_available() -> bool:
    """Whether the tools for a registry are installed."""
    return all(shutil.which(tool) for tool in ("docker-registry", "skopeo")) and os.access("/bin/busybox", os.X_OK)
