"""The real Nullspace client (PyPI), unmodified, its SDK and its command line: templates and their warm pools."""

import contextlib
import gc
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nullspace import Machine, Template
from nullspace.errors import MachineError, NotFoundError
from nullspace.template_warm_pool import TemplateWarmPool
from nullspace.types import MachineQuery

import live

PROGRAM = Path(sys.executable).with_name("nullspace")

pytestmark = [  # the client's own: it leaves sockets open
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def cloud(simulated: live.Live, monkeypatch: pytest.MonkeyPatch) -> Iterator[live.Live]:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("NULLSPACE_API_URL", f"{simulated.url}/nullspace")
    monkeypatch.setenv("NULLSPACE_API_KEY", simulated.key)
    yield simulated
    gc.collect()


def name() -> str:
    return f"p{uuid.uuid4().hex[:8]}"


@pytest.fixture
def pool() -> Iterator[TemplateWarmPool]:
    made = TemplateWarmPool.create("base", name=name(), min_ready=1, max_ready=2, vcpus=1, memory_mb=128)
    made.wait_until_ready(timeout_secs=60, interval_secs=0.1)
    yield made
    with contextlib.suppress(NotFoundError):
        made.delete()


def checkout(it: Machine) -> tuple[Any, ...]:
    (info,) = list(Machine.list(query=MachineQuery(metadata={"run": it.get_info().metadata["run"]})))
    for one in (it.get_info(), info):
        assert one.warm_pool_checkout is not None
    result: Any = info.warm_pool_checkout
    return str(getattr(result.source, "value", result.source)), result.hit, result.id


def test_a_machine_comes_out_of_a_pool_is_made_or_is_refused(pool: TemplateWarmPool) -> None:
    def create(mode: str, wait: int | None = None) -> Machine:
        run = {"run": uuid.uuid4().hex}
        return Machine.create(
            vcpus=1, memory_mb=128, warm_pool=pool, warm_pool_mode=mode, warm_pool_wait_ms=wait, metadata=run
        )

    made = [create("require", 30_000)]
    assert checkout(made[0]) == ("ready_instance", True, pool.id)
    assert made[0].commands.run("echo hello").stdout == "hello\n"  # type: ignore[union-attr]
    made.append(create("bypass"))
    assert checkout(made[1]) == ("bypassed", False, pool.id)
    assert pool.drain().status.ready == 0
    made.append(create("prefer"))
    assert checkout(made[2]) == ("cold_create", False, pool.id)
    with pytest.raises(MachineError, match="draining") as refused:
        create("require", 30_000)
    assert refused.value.code == "warm_pool_unavailable"
    for one in made:
        one.kill()


def test_a_pool_is_changed_disabled_enabled_and_deleted(pool: TemplateWarmPool) -> None:
    info = pool.update(name=name(), min_ready=0, max_ready=3, labels={"team": "a"}, checkout_policy="require")
    assert (info.min_ready, info.max_ready, info.labels, info.checkout_policy) == (0, 3, {"team": "a"}, "require")
    assert [it.id for it in TemplateWarmPool.list(label="team=a")] == [pool.id]
    assert pool.disable().state == "disabled"
    assert [it.id for it in TemplateWarmPool.list(state="disabled")] == [pool.id]
    assert pool.enable().state == "enabled"
    assert pool.reconcile().degraded_reason is None
    with pytest.raises(MachineError, match="make another pool"):
        pool.update(vcpus=2)
    pool.delete()
    with pytest.raises(NotFoundError):
        pool.get_info()


def test_templates_are_listed_and_found() -> None:
    (base,) = [it for it in Template.list() if it.builtin]
    assert (base.id, base.ref) == ("base", "base")
    assert Template.get("base").name == "base"


def told(*words: str, code: int = 0) -> Any:
    """What the program writes, as JSON."""
    done = subprocess.run(
        [PROGRAM, *words, "--json"], env=os.environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout or "null")


def test_the_command_line_makes_waits_scales_uses_drains_and_deletes_a_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    group = ("template", "warm-pool")
    shape = ("--vcpus", "1", "--memory", "128")
    sizes = ("--min-ready", "1", "--max-ready", "1")
    id = told(*group, "create", "base", "--name", name(), *sizes, *shape)["id"]
    assert told(*group, "wait", id, "--timeout", "60")["status"]["ready"] >= 1
    assert told(*group, "scale", id, "--max-ready", "2")["max_ready"] == 2
    made = told(
        *("machine", "create", *shape, "--warm-pool", id),
        *("--warm-pool-mode", "require", "--warm-pool-wait", "30000"),
    )
    assert told("machine", "get", made["id"])["warm_pool_checkout"]["source"] == "ready_instance"
    assert told(*group, "drain", id)["state"] == "draining"
    assert told(*group, "delete", id)["deleted"] is True
