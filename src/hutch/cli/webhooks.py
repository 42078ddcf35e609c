"""webhook create, update, ls, rm, deliveries, retry."""

import sys
from typing import Annotated

import typer

from hutch.cli import options, out, service

app = typer.Typer(no_args_is_help=True, help="Webhooks: events told to HTTP endpoints, signed.")

WebhookRef = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its id, as `hutch webhook ls` shows it.")]

_COLUMNS: out.Columns = (
    ("ID", lambda it: it.id),
    ("URL", lambda it: it.url),
    ("KINDS", lambda it: ",".join(it.kinds) or "all"),
    ("ENABLED", lambda it: "yes" if it.enabled else "no"),
    ("AGE", lambda it: out.age(it.created_at)),
    ("DESCRIPTION", lambda it: it.description),
)
_DELIVERIES: out.Columns = (
    ("ID", lambda it: it.id),
    ("KIND", lambda it: it.kind),
    ("STATE", lambda it: it.state),
    ("ATTEMPTS", lambda it: str(it.attempts)),
    ("STATUS", lambda it: "" if it.status_code is None else str(it.status_code)),
    ("AGE", lambda it: out.age(it.created_at)),
    ("ERROR", lambda it: it.error or ""),
)


_STDIN = "-: the first line of stdin, so that no list of processes shows it."


def _secret(said: str | None) -> str | None:
    return sys.stdin.readline().rstrip("\n") if said == "-" else said


@app.command()
def create(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where events are sent.")],
    kind: Annotated[list[str] | None, typer.Option(help="Such as machine.failed or machine.*; none means all.")] = None,
    secret: Annotated[
        str | None, typer.Option(help=f"With which each is signed; made up if not said. {_STDIN}")
    ] = None,
    description: Annotated[str, typer.Option(help="For you to know it by.")] = "",
    as_json: options.AsJson = False,
) -> None:
    """Begin to tell an endpoint of events. Prints its id and the secret, this once."""
    with service.connect() as hutch:
        made = hutch.webhooks.create(url, kind or (), _secret(secret), description)
    out.one(made, f"{made.id} {made.secret}", as_json)


@app.command()
def update(
    webhook: WebhookRef,
    url: Annotated[str | None, typer.Option(help="Where events are sent from now on.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Of these kinds alone; `all` of all.")] = None,
    secret: Annotated[str | None, typer.Option(help=f"With which each is signed from now on. {_STDIN}")] = None,
    description: Annotated[str | None, typer.Option(help="For you to know it by.")] = None,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="Turn it on or off.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Change a webhook. What is not said stays as it is; one that is off is told nothing. Prints its id."""
    kinds = None if not kind else [] if kind == ["all"] else kind
    with service.connect() as hutch:
        changed = hutch.webhooks.update(
            webhook, url=url, kinds=kinds, secret=_secret(secret), description=description, enabled=enabled
        )
    out.one(changed, changed.id, as_json)


@app.command("ls")
def list_all(as_json: options.AsJson = False) -> None:
    """List webhooks, without their secrets."""
    with service.connect() as hutch:
        out.listing(hutch.webhooks.list(), _COLUMNS, as_json)


@app.command()
def rm(webhook: WebhookRef, as_json: options.AsJson = False) -> None:
    """End a webhook, and what is on its way."""
    with service.connect() as hutch:
        hutch.webhooks.delete(webhook)
    out.deleted(webhook, webhook, as_json)


@app.command()
def deliveries(
    webhook: WebhookRef,
    tail: Annotated[int, typer.Option("-n", "--tail", min=1, max=1000, help="So many.")] = 100,
    as_json: options.AsJson = False,
) -> None:
    """List what became of a webhook's events, newest first."""
    with service.connect() as hutch:
        out.listing(hutch.webhooks.deliveries(webhook, tail), _DELIVERIES, as_json)


@app.command()
def retry(
    webhook: WebhookRef,
    delivery: Annotated[str, typer.Argument(metavar="DELIVERY", help="As `hutch webhook deliveries` shows it.")],
    as_json: options.AsJson = False,
) -> None:
    """Try to tell an event again, now."""
    with service.connect() as hutch:
        done = hutch.webhooks.retry(webhook, delivery)
    out.one(done, done.state, as_json)
