"""Webhooks: events told to an endpoint of ours."""

import httpx
import pytest

from hutch.api.smol.webhooks import DeliveryInfo, WebhookInfo

from .conftest import Machine, create
from .test_exec_stream import within

LIMIT = 15.0
URL = "https://hooks.invalid/x"


@pytest.fixture(autouse=True)
def _alone(http: httpx.Client) -> None:
    """Without those of other tests, whose endpoints are no better and take their time to fail."""
    for it in http.get("/v1/webhooks").json():
        http.delete(f"/v1/webhooks/{it['id']}")


def made(http: httpx.Client, **fields: object) -> WebhookInfo:
    answer = http.post("/v1/webhooks", json={"url": URL, **fields})
    assert answer.status_code == 201, answer.text
    return WebhookInfo.model_validate_json(answer.content)


def deliveries(http: httpx.Client, webhook: str) -> list[DeliveryInfo]:
    answer = http.get(f"/v1/webhooks/{webhook}/deliveries")
    assert answer.status_code == 200, answer.text
    return [DeliveryInfo.model_validate(it) for it in answer.json()]


def test_a_webhook_tells_its_secret_once(http: httpx.Client) -> None:
    hook = made(http, kinds=["machine.*"], description="ours")
    assert (hook.url, hook.kinds, hook.enabled, hook.description) == (URL, ["machine.*"], True, "ours")
    assert hook.secret
    shown = http.get(f"/v1/webhooks/{hook.id}").json()
    assert "secret" not in shown
    assert shown in http.get("/v1/webhooks").json()
    assert hook.secret not in http.get("/v1/webhooks").text
    assert http.delete(f"/v1/webhooks/{hook.id}").status_code == 204
    assert http.delete(f"/v1/webhooks/{hook.id}").status_code == 404


def test_a_secret_may_be_ones_own(http: httpx.Client) -> None:
    hook = made(http, secret="a-secret-of-my-own")
    assert hook.secret == "a-secret-of-my-own"
    http.delete(f"/v1/webhooks/{hook.id}")


def test_a_webhook_is_changed_and_turned_off_and_on(http: httpx.Client) -> None:
    hook = made(http, kinds=["machine.*"], enabled=False)
    path = f"/v1/webhooks/{hook.id}"
    assert hook.enabled is False
    changed = http.patch(path, json={"enabled": True, "kinds": [], "secret": "mine", "description": "x"})
    assert (changed.status_code, "secret" in changed.json()) == (200, False)
    shown = WebhookInfo.model_validate_json(changed.content)
    assert (shown.enabled, shown.kinds, shown.url, shown.description) == (True, [], URL, "x")
    assert http.get(path).json() == changed.json()
    for body, status in (
        ({"url": "nonsense"}, 400),
        ({"kinds": ["no"]}, 400),
        ({"secret": ""}, 400),
        ({"url": 1}, 422),
    ):
        assert http.patch(path, json=body).status_code == status
    assert http.patch("/v1/webhooks/none", json={}).status_code == 404


def test_what_cannot_be_told_is_recorded_and_tried_again(http: httpx.Client, machine: Machine) -> None:
    hook = made(http, kinds=["machine.destroyed"])
    other = create(http).json()["id"]
    http.delete(f"/v1/machines/{other}")
    within(LIMIT, lambda: any(it.attempts for it in deliveries(http, hook.id)))
    (first,) = deliveries(http, hook.id)
    assert (first.kind, first.state, first.status_code) == ("machine.destroyed", "pending", None)
    assert first.error
    assert other in str(first.payload) or other.removeprefix("mach-") in str(first.payload)
    again = http.post(f"/v1/webhooks/{hook.id}/deliveries/{first.id}/retry")
    assert again.status_code == 200, again.text
    assert DeliveryInfo.model_validate_json(again.content).id == first.id
    assert http.post(f"/v1/webhooks/{hook.id}/deliveries/none/retry").status_code == 404
    http.delete(f"/v1/webhooks/{hook.id}")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"url": 5}, 422),
        ({"url": "ftp://example.org"}, 400),
        ({"url": "nonsense"}, 400),
        ({"url": URL, "kinds": ["nonsense"]}, 400),
        ({"url": URL, "kinds": "machine.*"}, 422),
    ],
)
def test_a_webhook_that_makes_no_sense_is_refused(http: httpx.Client, body: object, status: int) -> None:
    answer = http.post("/v1/webhooks", json=body)
    assert (answer.status_code, bool(answer.text)) == (status, True)


def test_an_unknown_webhook_is_404(http: httpx.Client) -> None:
    for path in ("/v1/webhooks/none", "/v1/webhooks/none/deliveries"):
        assert http.get(path).status_code == 404
    assert http.get("/v1/webhooks/none/deliveries?limit=0").status_code == 400
