"""What a build is to make, once its base is known: the links above it, where to begin, and the phases from there."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hutch.control.building import chain, layers
from hutch.control.building.chain import Link
from hutch.control.dockerfile import Plan as DockerPlan
from hutch.model.machine import ImageRef, Resources, Snapshot
from hutch.model.recipes import Layer

OPTIMIZE = "optimize"


@dataclass(frozen=True, slots=True)
class Plan:
    """`base` is what the links stand on; `title` is its name for people."""

    base: ImageRef | Snapshot | DockerPlan
    title: str
    resources: Resources  # of machines made of the base
    links: tuple[Link, ...]
    recipe: str  # the hash of the uppermost link, or of the base where there is none
    is_fresh: bool  # the base itself is made anew

    def where(self, index: int) -> str:
        """A link's name for people."""
        return f"layer {index + 1}/{len(self.links)}"

    def first_forced(self) -> int:
        """The lowest link that is to be made anew; behind the last if there is none."""
        return next((index for index, link in enumerate(self.links) if link.layer.skip_cache), len(self.links))

    def beginnings(self) -> Iterator[int]:
        """Links that may be used as they are found, the uppermost first."""
        yield from reversed(range(min(self.first_forced(), len(self.links))))

    def phases(self, first: int) -> tuple[str, ...]:
        """Their names, when `first` is the lowest link that is not there yet."""
        names: list[str] = []
        if first > 0:
            names.append(cached(self.where(first - 1)))
        elif isinstance(self.base, ImageRef | Snapshot):
            names.append(start(self.title))
        else:
            names += [step.title for step in self.base.steps]
        if first > 0 or not isinstance(self.base, ImageRef | Snapshot):
            names.append(start(self.where(first - 1) if first else self.title))
        below = self.links[first - 1].resources if first else self.resources
        for index, link in enumerate(self.links[first:], first):
            where = self.where(index)
            if link.resources != below:
                names.append(f"{where}: resize machine")
            names += [f"{where}: {step.title}" for step in layers.steps_of(link.layer)]
            names.append(f"{where}: snapshot")
            below = link.resources
        return (*names, *(["snapshot"] if first == len(self.links) else []), OPTIMIZE)


def start(source: str) -> str:
    """The phase in which a machine is started."""
    return f"start machine from {source}"


def cached(where: str) -> str:
    """The phase of a link that was there."""
    return f"{where}: cached"


def make(base: ImageRef | Snapshot | DockerPlan, title: str, default: Resources, of_recipe: Sequence[Layer]) -> Plan:
    """The plan for these layers; `default` are sizes for a base without any, its disk no larger than a layer names."""
    named = next((layer.disk_gib for layer in of_recipe if layer.disk_gib is not None), default.disk_gib)
    default = dataclasses.replace(default, disk_gib=min(named, default.disk_gib))
    if isinstance(base, Snapshot):
        key, its = chain.make_key("snapshot", base.id), base.spec.resources
    elif isinstance(base, ImageRef):
        key, its = chain.make_key("image", base.digest), default
    else:
        key, its = chain.make_key("dockerfile", base.hash), default
    links = chain.make_links(key, its, of_recipe, is_base_kept=isinstance(base, Snapshot))
    if not isinstance(base, Snapshot):
        its = links[0].resources  # a machine of the base is made as the first link wants it
    recipe = links[-1].recipe if links else key
    is_fresh = bool(of_recipe) and of_recipe[0].skip_cache
    return Plan(base, title, its, links, recipe, is_fresh)
