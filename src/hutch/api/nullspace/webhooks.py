"""Lifecycle webhooks. What is posted has the form of `docs/events.md`, the same for every dialect.

An operation stands for the kinds of events that are told as that operation here.
"""

from typing import Any, Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.answers import Json, moment
from hutch.api.nullspace import lifecycle, refs, requests
from hutch.api.nullspace.errors import naming
from hutch.api.nullspace.responses import Answer
from hutch.control.webhooks import WebhookChange
from hutch.model.webhooks import Delivery, Webhook

router = APIRouter(tags=["lifecycle"])

_HOOKS = "/v1/lifecycle/webhooks"
_MISSING = "not_found"


class Hook(Answer):
    """A webhook without its secret."""

    id: str
    url: str
    operations: list[str]
    enabled: bool
    has_signing_secret: bool
    created_at: str
    updated_at: str


class Told(Answer):
    """An event on its way to a webhook."""

    id: str
    webhook_id: str
    event_id: str
    operation: str
    status: str
    delivery_status: Literal["queued", "succeeded", "dead_letter"]
    attempt_count: int
    created_at: str
    next_attempt_at: str | None = None
    last_response_status: int | None = None
    last_error: str | None = None


def _kinds(operations: list[requests.Operation]) -> list[str]:
    return [str(kind) for kind, (operation, _) in lifecycle.OPERATIONS.items() if operation in operations]


def _hook(it: Webhook) -> dict[str, Any]:
    operations = {lifecycle.OPERATIONS[kind][0] for kind in it.kinds if kind in lifecycle.OPERATIONS}
    return {
        "id": refs.as_uuid(it.id),
        "url": it.url,
        "operations": sorted(operations),
        "enabled": it.is_enabled,
        "has_signing_secret": True,
        "created_at": moment(it.created_at),
        "updated_at": moment(it.updated_at or it.created_at),
    }


def _state(it: Delivery) -> str:
    if it.delivered_at is not None:
        return "succeeded"
    return "dead_letter" if it.next_attempt_at is None else "queued"


def _delivery(it: Delivery) -> dict[str, Any]:
    operation, status = lifecycle.OPERATIONS.get(it.kind, ("reconcile", "succeeded"))
    shown = {
        "id": refs.as_uuid(it.id),
        "webhook_id": refs.as_uuid(it.webhook),
        "event_id": refs.as_uuid(it.event),
        "operation": operation,
        "status": status,
        "delivery_status": _state(it),
        "attempt_count": it.attempts,
        "created_at": moment(it.created_at),
        "next_attempt_at": None if it.next_attempt_at is None else moment(it.next_attempt_at),
        "last_response_status": it.status,
        "last_error": it.error,
    }
    return {name: value for name, value in shown.items() if value is not None}


@router.post(
    _HOOKS, status_code=201, responses={201: {"model": Hook}}, openapi_extra=openapi.body(requests.CreateWebhook)
)
async def create(request: Request) -> Response:
    """Have these operations told to a URL, signed with the secret."""
    body = await bodies.parse(request, requests.CreateWebhook)
    webhooks = service.of(request).control.webhooks
    made = await webhooks.create(
        service.principal(request),
        body.url,
        _kinds(body.operations),
        secret=body.signing_secret,
        is_enabled=body.enabled is not False,
    )
    return Json(_hook(made), 201)


@router.get(_HOOKS, responses={200: {"model": list[Hook]}})
async def list_all(request: Request) -> Response:
    """All, oldest first."""
    return Json([_hook(it) for it in service.of(request).control.webhooks.list(service.principal(request))])


@router.get(f"{_HOOKS}/{{id}}", responses={200: {"model": Hook}})
async def get(request: Request, id: str) -> Response:
    """One."""
    with naming(_MISSING):
        return Json(_hook(service.of(request).control.webhooks.get(service.principal(request), refs.of_uuid(id))))


@router.patch(f"{_HOOKS}/{{id}}", responses={200: {"model": Hook}}, openapi_extra=openapi.body(requests.UpdateWebhook))
async def update(request: Request, id: str) -> Response:
    """Change it, or turn it off and on."""
    body = await bodies.parse(request, requests.UpdateWebhook)
    kinds = None if body.operations is None else _kinds(body.operations)
    change = WebhookChange(body.url, kinds, body.signing_secret, is_enabled=body.enabled)
    with naming(_MISSING):
        return Json(
            _hook(
                await service.of(request).control.webhooks.update(service.principal(request), refs.of_uuid(id), change)
            )
        )


@router.delete(f"{_HOOKS}/{{id}}", status_code=204)
async def delete(request: Request, id: str) -> Response:
    """End it, with what is on its way."""
    with naming(_MISSING):
        await service.of(request).control.webhooks.delete(service.principal(request), refs.of_uuid(id))
    return Response(status_code=204)


@router.get(f"{_HOOKS}/{{id}}/deliveries", responses={200: {"model": list[Told]}})
async def deliveries(request: Request, id: str, offset: lifecycle.Offset = 0, limit: lifecycle.Limit = 50) -> Response:
    """What was told to it, newest first; of the last 1000."""
    webhooks = service.of(request).control.webhooks
    with naming(_MISSING):
        found = await webhooks.deliveries(service.principal(request), refs.of_uuid(id), offset + limit)
    return Json([_delivery(it) for it in found[offset:]])
