"""image ls, pull, rm."""

from typing import Annotated

import typer

from hutch.cli import options, out, progress, service
from hutch.cli.failure import Failure

app = typer.Typer(no_args_is_help=True, help="Images: what machines are made of.")

Reference = Annotated[str, typer.Argument(metavar="IMAGE", help="debian, or any OCI reference: python:3.12, …")]

_COLUMNS: out.Columns = (
    ("IMAGE", lambda it: it.reference),
    ("DIGEST", lambda it: it.digest[:19]),
    ("SIZE", lambda it: out.size(it.size)),
    ("AGE", lambda it: out.age(it.created_at)),
)


@app.command("ls")
def list_all(as_json: options.AsJson = False) -> None:
    """List the images that are here."""
    with service.connect() as hutch:
        out.listing(hutch.images.list(), _COLUMNS, as_json)


@app.command()
def pull(image: Reference) -> None:
    """Pull or build an image. Prints its digest."""
    with service.connect() as hutch, progress.shown(f"pulling {image}") as tell:
        from hutch.client import models

        for told in hutch.images.pull(image):
            if isinstance(told, models.Image):
                out.data(told.digest)
                return
            tell(told.phase, told.fraction)
    raise Failure(f"the pull of {image} broke off")


@app.command()
def rm(image: Reference, as_json: options.AsJson = False) -> None:
    """Remove an image, by reference or digest."""
    with service.connect() as hutch:
        hutch.images.remove(image)
    out.deleted(image, image, as_json)
