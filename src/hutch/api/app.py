"""The whole API as one ASGI application."""

from starlette.types import ASGIApp

from hutch.api import dialects
from hutch.api.metrics import Metrics
from hutch.api.observe import Observe
from hutch.api.service import Service
from hutch.api.tls import Ask
from hutch.control.plane import ControlPlane
from hutch.settings import Settings


def build(control: ControlPlane, settings: Settings) -> ASGIApp:
    """Every dialect over one control plane, which the caller opens and closes."""
    metrics = Metrics()
    its = Service(control, settings, metrics)
    rooms = {dialect.name: dialect.build(its) for dialect in dialects.DIALECTS}
    return Ask(control.certificates, Observe(dialects.Switchboard(rooms), metrics))
