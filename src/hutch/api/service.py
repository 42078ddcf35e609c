"""What every handler holds in its hands: the control plane, the settings, the counters, and who is asking.

Of a request or of a WebSocket, which Starlette calls a connection both.
"""

from dataclasses import dataclass

from starlette.requests import HTTPConnection

from hutch.api.metrics import Metrics
from hutch.control.keys import Principal
from hutch.control.plane import ControlPlane
from hutch.settings import Settings

PRINCIPAL = "hutch.principal"
"""Where `auth` leaves the caller in an ASGI scope."""


@dataclass(frozen=True, slots=True)
class Service:
    """The collaborators of a dialect, the same for every request."""

    control: ControlPlane
    settings: Settings
    metrics: Metrics


def of(request: HTTPConnection) -> Service:
    """The service a request is made of; the dialect's builder put it there."""
    service: Service = request.app.state.service
    return service


def principal(request: HTTPConnection) -> Principal:
    """Whoever makes the request. Only for routes behind `auth.Authenticate`."""
    caller: Principal = request.scope[PRINCIPAL]
    return caller
