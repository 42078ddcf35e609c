"""What a start from a state that was made before costs: the service, through HTTP as a client would, and the floor.

The state is of a machine of 512 MiB that wrote 64 MiB of its memory, and it is optimized. A known spec is created from
a snapshot of it, under the open network that a Freestyle VM has, started, and answers its first command; the floor's
restore of a template is the same without a control plane. Then one copy of the suspended machine, and eight at once,
each to its first command; the floor the same.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import floor, freezing, service
from bench import floor_freezing as bare

ROUNDS = 7
CHILDREN = 8
KNOWN = "known_spec_to_first_command_ms"
ONE, EIGHT, TIMES = "optimized_child_to_first_command_ms", "optimized_8_ms", "optimized_8_times_one"


def side_by_side(hutch: service.Service, template: floor.Template, work: Path) -> dict[str, freezing.Figures]:
    """All of it, in turns."""
    floors: freezing.Figures = {}
    ours: freezing.Figures = {}
    source = freezing.source(hutch)
    hutch.post(f"/v1/machines/{source}/optimize")
    snapshot = str(hutch.post(f"/v1/machines/{source}/checkpoints")["id"])
    _create(hutch, snapshot)
    for _ in range(ROUNDS):
        service.settle()
        freezing.add(floors, (KNOWN, _restore(template, work, 1)))
        freezing.add(ours, (KNOWN, _create(hutch, snapshot)))
        service.settle()
        freezing.add(floors, (ONE, _restore(template, work, 1)))
        freezing.add(ours, (ONE, _copy(hutch, source, 1)))
        service.settle()
        freezing.add(floors, (EIGHT, _restore(template, work, CHILDREN)))
        freezing.add(ours, (EIGHT, _copy(hutch, source, CHILDREN)))
    hutch.delete(source)
    hutch.http.delete(f"/v1/checkpoints/{snapshot}").raise_for_status()
    for figures in (floors, ours):
        figures[TIMES] = [many / one for many, one in zip(figures[EIGHT], figures[ONE], strict=True)]
    return {"floor": floors, "hutch": ours}


def _restore(template: floor.Template, work: Path, count: int) -> float:
    """So many of the template's own state to their first command, as many at a time as there are processors."""
    began = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = list(pool.map(lambda _: bare.child(template, work, template.state), range(count)))
    took = bare.since(began)
    for machine in made:
        machine.kill()
    return took


def _create(hutch: service.Service, snapshot: str) -> float:
    began = time.perf_counter()
    machine = service.id_of(hutch.post(f"/v1/checkpoints/{snapshot}/restore", network={"mode": "open"}))
    hutch.start(machine)
    freezing.first_command(hutch, machine)
    took = bare.since(began)
    freezing.check(hutch, machine)
    hutch.delete(machine)
    return took


def _copy(hutch: service.Service, source: str, count: int) -> float:
    began = time.perf_counter()
    made = hutch.post(f"/v1/machines/{source}/branches/batch", count=count)["clones"]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        copies = list(pool.map(lambda it: freezing.first_command(hutch, service.id_of(it)), made))
    took = bare.since(began)
    assert len(copies) == count
    for copy in copies:
        freezing.check(hutch, copy)
        hutch.delete(copy)
    return took
