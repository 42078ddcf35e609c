"""Which machine and snapshot came from which."""

import io
from datetime import UTC, datetime, timedelta

from rich.console import Console

from hutch.cli import tree
from hutch.client import models

BEGAN = datetime(2026, 11, 22, tzinfo=UTC)


def machine(
    name: str, minute: int, parent: str | None = None, snapshot: str | None = None, **fields: object
) -> models.Machine:
    usual = {"state": "started", "state_detail": "running", "ready": True}
    return models.Machine(
        id=f"mach-{name}",
        name=name,
        image="debian",
        digest="sha256:1",
        cpus=1,
        memory_mb=512,
        disk_gb=20,
        network="open",
        env={},
        labels={},
        ephemeral=False,
        created_at=BEGAN + timedelta(minutes=minute),
        parent=parent and f"mach-{parent}",
        snapshot=snapshot and f"ckpt-{snapshot}",
        **(usual | fields),  # type: ignore[arg-type]
    )


def snapshot(name: str, minute: int, of: str) -> models.Snapshot:
    when = BEGAN + timedelta(minutes=minute)
    return models.Snapshot(f"ckpt-{name}", name, f"mach-{of}", "debian", "ready", 4096, 1, 512, 20, when)


def shape(nodes: list[tree.Node]) -> list[object]:
    return [(node.name, shape(node.children)) if node.children else node.name for node in nodes]


def test_forks_and_snapshots_hang_on_what_they_were_made_of_oldest_first() -> None:
    found = [machine("new", 4, "web", "before"), machine("web-2", 3, "web"), machine("web-1", 2, "web")]
    roots = tree.grow([*found, machine("web", 0), machine("other", 9)], [snapshot("before", 1, "web")])
    assert shape(roots) == [("web", [("before", ["new"]), "web-1", "web-2"]), "other"]


def test_what_was_made_of_something_gone_hangs_on_the_nearest_that_is_left() -> None:
    assert shape(tree.grow([machine("new", 2, "web", "gone"), machine("web", 0)], [])) == [("web", ["new"])]
    roots = tree.grow([machine("new", 2, "web", "gone")], [snapshot("left", 1, "web")])
    assert [(it.name, it.origin) for it in roots] == [("left", "mach-web"), ("new", "ckpt-gone")]


def test_things_of_the_same_moment_are_in_the_order_of_the_lists() -> None:
    found = [machine("web-2", 1, "web"), machine("web-1", 1, "web"), machine("web", 0)]
    assert shape(tree.grow(found, [snapshot("before", 1, "web")])) == [("web", ["before", "web-1", "web-2"])]


def test_a_drawn_tree_tells_kinds_and_states() -> None:
    found = [machine("web", 0), machine("web-1", 2, "web", state="paused", state_detail="suspended", ready=False)]
    console = Console(file=io.StringIO(), width=100)
    for top in tree.drawn(tree.grow(found, [snapshot("before", 1, "web")])):
        console.print(top)
    drawn = console.file.getvalue()  # type: ignore[attr-defined]
    assert [line.strip() for line in drawn.splitlines()] == [
        "web  started  debian",
        "├── snapshot before  ready  debian",
        "└── web-1  suspended  debian",
    ]


def test_there_may_be_nothing() -> None:
    assert tree.grow([], []) == []
