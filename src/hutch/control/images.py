"""The images of the box, which all tenants share."""

from collections.abc import AsyncGenerator

from hutch.control.keys import Principal
from hutch.host.interface import Image as Image
from hutch.host.interface import ImageConfig as ImageConfig
from hutch.host.interface import OnProgress as OnProgress
from hutch.host.interface import Progress as Progress
from hutch.host.interface import ignore_progress


class Images:
    """Images by reference (`debian`, `python:3.12`, `registry.example/a/b@sha256:…`)."""

    async def list(self, principal: Principal) -> list[Image]:
        """All that are here, newest first. Needs `machine:read`."""
        raise NotImplementedError

    async def ensure(self, principal: Principal, reference: str, on_progress: OnProgress = ignore_progress) -> Image:
        """Pull or build it unless it is here. Needs `machine:create`.

        `InvalidRequest` (malformed), `ImageUnavailable` (with the registry's words), `DiskFull`.
        """
        raise NotImplementedError

    def pull(self, principal: Principal, reference: str) -> AsyncGenerator[Progress | Image, None]:
        """As `ensure`, told as it goes: any number of `Progress`, then the `Image`. Closing it early gives up."""
        raise NotImplementedError

    async def remove(self, principal: Principal, reference: str) -> None:
        """Remove by reference or digest. Needs `admin`. `NotFound`; `Conflict` while a machine is made of it."""
        raise NotImplementedError
