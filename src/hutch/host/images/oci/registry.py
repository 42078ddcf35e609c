"""Asks registries, by way of skopeo."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hutch import commands, settings
from hutch.host.images.oci import login, manifest
from hutch.host.images.reference import Reference
from hutch.model import errors
from hutch.model.recipes import Credentials

ANSWER_TIMEOUT = 30.0
_LONGEST_WORDS = 600
_POLICY = Path("/etc/containers/policy.json")


@dataclass(frozen=True, slots=True)
class Registries:
    """How each registry is spoken to. Credentials stay in their file: nothing secret is in an argv."""

    auth_file: str
    insecure: frozenset[str]

    @classmethod
    def by(cls, images: settings.Images) -> "Registries":
        """As the settings say."""
        hosts = (host.strip() for host in images.insecure_registries.split(","))
        return cls(images.auth_file, frozenset(host for host in hosts if host))

    async def manifest(self, ref: Reference, credentials: Credentials | None = None) -> bytes:
        """The manifest or index a reference leads to, byte by byte. Quick."""
        limits = commands.Limits(output=manifest.LARGEST)
        with login.shown(ref, credentials) as secret:
            argv = ["inspect", "--raw", *self._options(ref, "", secret)]
            done = await _skopeo(ref, argv, [f"docker://{ref.canonical}"], ANSWER_TIMEOUT, limits, secret)
        if ref.digest and manifest.digest_of(done.stdout) != ref.digest:
            raise errors.ImageUnavailable("the registry sent a manifest of another digest")
        return done.stdout

    async def copy(
        self, ref: Reference, layout: Path, largest: int, timeout: float, credentials: Credentials | None = None
    ) -> None:
        """Bring an image into a new OCI layout, under the name `image`; `largest` bounds each blob, in bytes.

        skopeo checks every digest. Layers in a compression that umoci does not know are compressed anew.
        """
        limits = commands.Limits(file_size=largest)
        with login.shown(ref, credentials) as secret:
            options = self._options(ref, "src-", secret)
            argv = ["copy", "--quiet", "--retry-times=2", "--dest-compress-format=gzip", *options]
            names = [f"docker://{ref.canonical}", f"oci:{layout}:image"]
            await _skopeo(ref, argv, names, timeout, limits, secret)

    def _options(self, ref: Reference, prefix: str, secret: int | None) -> list[str]:
        options = [f"--{prefix}tls-verify={'false' if ref.domain in self.insecure else 'true'}"]
        auth_file = self.auth_file if secret is None else f"/proc/self/fd/{secret}"
        return [*options, f"--{prefix}authfile={auth_file}" if auth_file else f"--{prefix}no-creds"]


async def _skopeo(
    ref: Reference,
    argv: Sequence[str],
    names: Sequence[str],
    timeout: float,
    limits: commands.Limits,
    secret: int | None,
) -> commands.Completed:
    descriptors = () if secret is None else (secret,)
    common = ["skopeo", "--override-os=linux", "--override-arch=amd64"]
    if not _POLICY.exists():  # without one skopeo refuses to work; the host's own, if any, is obeyed
        common.append("--insecure-policy")
    try:
        command = [*common, *argv, *names]
        return await commands.run(command, timeout=timeout, limits=limits, descriptors=descriptors)
    except commands.CommandTimedOut as error:
        raise errors.ImageUnavailable(
            f"{ref.domain} did not deliver within {timeout:g} s", stderr=error.stderr
        ) from error
    except commands.CommandFailed as error:
        if "no space left on device" in error.stderr.lower():
            raise
        raise errors.ImageUnavailable(words(error.stderr), stderr=error.stderr) from error


def words(stderr: str) -> str:
    """The registry's own words out of skopeo's log: the fatal message without what skopeo puts around it."""
    found = re.findall(r'level=fatal msg=("(?:[^"\\]|\\.)*"|\S+)', stderr)
    said = found[-1] if found else (stderr.strip().splitlines() or ["skopeo failed without a word"])[-1]
    if said.startswith('"'):
        try:
            said = json.loads(said)
        except ValueError:
            said = said.strip('"')
    for noise in (
        r'Error parsing image name "[^"]*": ',
        r"initializing source \S+: ",
        r"reading manifest \S+ in \S+: ",
    ):
        said = re.sub(f"^{noise}", "", said)
    return "".join(char if char.isprintable() else " " for char in said)[:_LONGEST_WORDS]
