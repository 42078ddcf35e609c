"""Systemd services as this dialect reads them, and what the control plane is asked. Pure."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from hutch.api.freestyle.requests import Body
from hutch.model.recipes import RestartPolicy, RestartWhen, Unit, UnitMode, UnitPatch

Whole = Annotated[int, Field(ge=0, le=2**31)]


class SystemdRestartPolicy(Body):
    """When systemd starts a service anew."""

    policy: RestartWhen
    restart_sec: Whole | None = None
    start_limit_burst: Whole | None = None
    start_limit_interval_sec: Whole | None = None


class SystemdUnitSpecPatch(Body):
    """What is to be different about a service that is there; what is left out stays."""

    name: str
    mode: UnitMode | None = None
    exec: list[str] | None = None
    env: dict[str, str] | None = None
    user: str | None = None
    group: str | None = None
    workdir: str | None = None
    after: list[str] | None = None
    requires: list[str] | None = None
    on_failure: list[str] | None = None
    wanted_by: list[str] | str | None = None
    enable: bool | None = None
    timeout_sec: Whole | None = None
    delete_after_success: bool | None = None
    ready_signal: bool | None = None
    watchdog_sec: Whole | None = None
    restart_policy: SystemdRestartPolicy | None = None


class SystemdUnitSpec(SystemdUnitSpecPatch):
    """A service."""

    mode: UnitMode
    exec: list[str]
    remain_after_exit: bool | None = None


def _given(it: SystemdUnitSpecPatch) -> Mapping[str, object]:
    """The fields of a `Unit` that are not left out."""
    wanted_by = [it.wanted_by] if isinstance(it.wanted_by, str) else it.wanted_by
    lists = {
        "exec": it.exec,
        "after": it.after,
        "requires": it.requires,
        "on_failure": it.on_failure,
        "wanted_by": wanted_by,
    }
    fields = {
        **{name: None if value is None else tuple(value) for name, value in lists.items()},
        "mode": it.mode,
        "env": it.env,
        "user": it.user,
        "group": it.group,
        "workdir": it.workdir,
        "enable": it.enable,
        "timeout": it.timeout_sec,
        "delete_after_success": it.delete_after_success,
        "remain_after_exit": it.remain_after_exit if isinstance(it, SystemdUnitSpec) else None,
        "ready_signal": it.ready_signal,
        "watchdog": it.watchdog_sec,
        "restart": None if it.restart_policy is None else _restart(it.restart_policy),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _restart(it: SystemdRestartPolicy) -> RestartPolicy:
    return RestartPolicy(it.policy, it.restart_sec, it.start_limit_burst, it.start_limit_interval_sec)


def unit(it: SystemdUnitSpec) -> Unit:
    """A service to make."""
    return Unit(name=it.name, **_given(it))  # type: ignore[arg-type]


def patch(it: SystemdUnitSpecPatch) -> UnitPatch:
    """What is to change about one."""
    return UnitPatch(it.name, _given(it))
