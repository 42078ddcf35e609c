"""tree: which machine and snapshot came from which."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hutch.cli import machines, options, out, service

if TYPE_CHECKING:
    from rich.tree import Tree

    from hutch.client import models


@dataclass
class Node:
    """A machine or a snapshot, and what was made of it, oldest first."""

    kind: str  # machine or snapshot
    id: str
    name: str
    state: str
    of: str  # its image
    origin: str | None = None  # the id of what it was made of, if that is gone
    children: list["Node"] = field(default_factory=list)


def grow(found: "Sequence[models.Machine]", snapshots: "Sequence[models.Snapshot]") -> list[Node]:
    """The trees of all there is, oldest first. What was made of something that is gone hangs on the nearest that is
    left, else it is a root and says of what it was made. Pure."""
    # The lists have the newest first; this order decides between things of the same millisecond.
    nodes = {it.id: Node("snapshot", it.id, it.name, it.status, it.image) for it in reversed(snapshots)}
    nodes |= {it.id: Node("machine", it.id, it.name, machines.state(it), it.image) for it in reversed(found)}
    ancestry: dict[str, Sequence[str | None]] = {it.id: (it.snapshot, it.parent) for it in found}
    ancestry |= {it.id: (it.machine,) for it in snapshots}
    born = {it.id: it.created_at for it in found} | {it.id: it.created_at for it in snapshots}
    roots = []
    for id in sorted(nodes, key=lambda id: born[id]):
        named = [ancestor for ancestor in ancestry[id] if ancestor is not None]
        nearest = next((ancestor for ancestor in named if ancestor in nodes), None)
        if nearest is not None:
            nodes[nearest].children.append(nodes[id])
        else:
            nodes[id].origin = next(iter(named), None)
            roots.append(nodes[id])
    return roots


def _label(node: Node) -> str:
    kind = "snapshot " if node.kind == "snapshot" else ""
    gone = f", of {node.origin} which is gone" if node.origin else ""
    return f"{kind}{node.name}  {node.state}  {node.of}{gone}"


def _hang(tree: "Tree", nodes: Sequence[Node]) -> None:
    from rich.text import Text

    for node in nodes:
        style = "cyan" if node.kind == "snapshot" else "green" if node.state == "started" else ""
        _hang(tree.add(Text(_label(node), style)), node.children)


def drawn(roots: Sequence[Node]) -> "Iterator[Tree]":
    """Each root as a tree of Rich's."""
    from rich.text import Text
    from rich.tree import Tree

    for root in roots:
        top = Tree(Text(_label(root), "bold"))
        _hang(top, root.children)
        yield top


def tree(as_json: options.AsJson = False) -> None:
    """Draw which machine and snapshot came from which."""
    with service.connect() as hutch:
        roots = grow(hutch.machines.list(), hutch.snapshots.list())
    if as_json:
        out.as_json(roots)
        return
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False)
    for top in drawn(roots):
        console.print(top)
