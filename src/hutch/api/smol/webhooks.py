"""Webhooks, native: events told to a tenant's own HTTP endpoints, signed, and what became of each telling."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from hutch.api import bodies, openapi, service
from hutch.api.smol import present, requests, responses
from hutch.control.webhooks import WebhookChange
from hutch.model import webhooks

router = APIRouter(tags=["webhooks"])


class CreateWebhook(requests.Body):
    """Where to tell what: `kinds` of events such as `machine.failed` or `machine.*`; none means all."""

    url: str
    kinds: list[str] | None = None
    secret: str | None = None
    description: str | None = None
    enabled: bool | None = None


class UpdateWebhook(requests.Body):
    """What to change of a webhook; what is left out stays as it is. No `kinds`, `[]`, means all."""

    url: str | None = None
    kinds: list[str] | None = None
    secret: str | None = None
    description: str | None = None
    enabled: bool | None = None


class WebhookInfo(responses.Answer):
    """A webhook. Its `secret`, with which each delivery is signed, is told once, when it is made."""

    id: str
    url: str
    kinds: list[str]
    enabled: bool
    description: str
    created_at: str
    updated_at: str
    secret: str | None = Field(None, description="Only in the answer to its creation.")


class DeliveryInfo(responses.Answer):
    """One event on its way to a webhook. `statusCode` is the endpoint's last answer, `error` why there was none."""

    id: str
    event_id: str
    kind: str
    state: Literal["pending", "delivered", "failed"]
    attempts: int
    status_code: int | None
    error: str | None
    created_at: str
    delivered_at: str | None
    next_attempt_at: str | None
    payload: dict[str, Any]


def shown(it: webhooks.Webhook) -> dict[str, Any]:
    """A webhook as JSON, without its secret."""
    return {
        "id": it.id,
        "url": it.url,
        "kinds": it.kinds,
        "enabled": it.is_enabled,
        "description": it.description,
        "createdAt": present.time(it.created_at),
        "updatedAt": present.time(it.updated_at or it.created_at),
    }


def _state(it: webhooks.Delivery) -> str:
    if it.delivered_at is not None:
        return "delivered"
    return "failed" if it.next_attempt_at is None else "pending"


def delivery_shown(it: webhooks.Delivery) -> dict[str, Any]:
    """A delivery as JSON."""
    return {
        "id": it.id,
        "eventId": it.event,
        "kind": it.kind,
        "state": _state(it),
        "attempts": it.attempts,
        "statusCode": it.status,
        "error": it.error,
        "createdAt": present.time(it.created_at),
        "deliveredAt": present.time(it.delivered_at),
        "nextAttemptAt": present.time(it.next_attempt_at),
        "payload": dict(it.payload),
    }


@router.post(
    "/v1/webhooks", status_code=201, responses={201: {"model": WebhookInfo}}, openapi_extra=openapi.body(CreateWebhook)
)
async def create(request: Request) -> Response:
    """Begin to tell an endpoint of events. Without a `secret` one is made; it is told in this answer only."""
    body = await bodies.parse(request, CreateWebhook)
    made = await service.of(request).control.webhooks.create(
        service.principal(request),
        body.url,
        body.kinds or (),
        body.secret,
        body.description or "",
        body.enabled is not False,
    )
    return present.Json({**shown(made), "secret": made.secret}, 201)


@router.get("/v1/webhooks", responses={200: {"model": list[WebhookInfo]}})
async def list_all(request: Request) -> Response:
    """All, oldest first."""
    return present.Json([shown(it) for it in service.of(request).control.webhooks.list(service.principal(request))])


@router.get("/v1/webhooks/{id}", responses={200: {"model": WebhookInfo}})
async def get(request: Request, id: str) -> Response:
    """One."""
    return present.Json(shown(service.of(request).control.webhooks.get(service.principal(request), id)))


@router.patch("/v1/webhooks/{id}", responses={200: {"model": WebhookInfo}}, openapi_extra=openapi.body(UpdateWebhook))
async def update(request: Request, id: str) -> Response:
    """Change it. While it is not `enabled` it is told nothing, and what waits for it waits."""
    body = await bodies.parse(request, UpdateWebhook)
    change = WebhookChange(body.url, body.kinds, body.secret, body.description, body.enabled)
    changed = await service.of(request).control.webhooks.update(service.principal(request), id, change)
    return present.Json(shown(changed))


@router.delete("/v1/webhooks/{id}", status_code=204)
async def delete(request: Request, id: str) -> Response:
    """End it, and what is on its way."""
    await service.of(request).control.webhooks.delete(service.principal(request), id)
    return Response(status_code=204)


@router.get("/v1/webhooks/{id}/deliveries", responses={200: {"model": list[DeliveryInfo]}})
async def deliveries(request: Request, id: str, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
    """What became of its events, newest first."""
    found = await service.of(request).control.webhooks.deliveries(service.principal(request), id, limit)
    return present.Json([delivery_shown(it) for it in found])


@router.post("/v1/webhooks/{id}/deliveries/{delivery}/retry", responses={200: {"model": DeliveryInfo}})
async def retry(request: Request, id: str, delivery: str) -> Response:
    """Try one again, now."""
    found = await service.of(request).control.webhooks.retry(service.principal(request), id, delivery)
    return present.Json(delivery_shown(found))
