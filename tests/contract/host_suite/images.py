"""The images of a host."""

import pytest

from contract.host_suite import rig as use
from contract.host_suite.rig import Rig
from hutch.model import errors
from hutch.model.machine import ImageRef


class ImagesSuite:
    async def test_a_reference_means_a_digest(self, rig: Rig) -> None:
        ref = await rig.host.images.resolve(rig.image)
        assert ref.digest.startswith("sha256:")
        assert await rig.host.images.resolve(rig.image) == ref

    async def test_an_image_is_there_once_it_has_been_asked_for(self, rig: Rig) -> None:
        ref = await rig.host.images.resolve(rig.image)
        image = await rig.host.images.ensure(ref)
        assert await rig.host.images.ensure(ref) == image
        assert image.ref == ref
        assert ref.digest in [known.ref.digest for known in await rig.host.images.list()]
        assert image.size > 0

    @pytest.mark.parametrize("reference", ["", "UPPER CASE", "a b", "a@sha256:xyz", "../../etc", "-x"])
    async def test_a_malformed_reference_is_refused(self, rig: Rig, reference: str) -> None:
        with pytest.raises(errors.InvalidRequest):
            await rig.host.images.resolve(reference)

    async def test_what_no_registry_has_is_unavailable(self, rig: Rig) -> None:
        with pytest.raises(errors.ImageUnavailable):
            await rig.host.images.resolve("127.0.0.1:1/no/such:image")

    async def test_an_image_is_kept_while_a_machine_is_made_of_it(self, rig: Rig) -> None:
        machine, ref = await use.launch(rig), await rig.host.images.resolve(rig.image)
        with pytest.raises(errors.Conflict):
            await rig.host.images.remove(ref.digest)
        assert (await use.run(rig, machine, "echo up")).stdout == b"up\n"

    async def test_an_image_that_is_not_there_cannot_be_removed(self, rig: Rig) -> None:
        with pytest.raises(errors.NotFound):
            await rig.host.images.remove("no-such-image")

    async def test_a_machine_of_an_image_that_cannot_be_had_does_not_start(self, rig: Rig) -> None:
        machine = await use.create(rig, image=ImageRef("127.0.0.1:1/no/such:image", "sha256:" + "0" * 64))
        with pytest.raises(errors.ImageUnavailable):
            await rig.host.start(machine)
