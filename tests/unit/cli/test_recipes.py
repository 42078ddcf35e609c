"""Recipes as the SDK writes them are recipes as the API reads them."""

import dataclasses
import json
from typing import Any

import pytest

from hutch.api.smol import recipes as read
from hutch.client import recipes
from hutch.client.models import Port
from hutch.client.recipes import (
    Base,
    Credentials,
    Defaults,
    File,
    GitIdentity,
    Group,
    Layer,
    NamedChange,
    NewService,
    Persistence,
    Recipe,
    Repository,
    RestartPolicy,
    ServiceChange,
    User,
)

PAIRS: list[tuple[type[Any], type[read.Strict]]] = [
    (Recipe, read.CreateBuild),
    (Base, read.Base),
    (Layer, read.Layer),
    (Group, read.Group),
    (User, read.User),
    (GitIdentity, read.Identity),
    (Repository, read.Repository),
    (NewService, read.NewService),
    (NamedChange, read.NamedChange),
    (ServiceChange, read.ServiceChange),
    (RestartPolicy, read.Restart),
    (Defaults, read.NewDefaults),
    (Credentials, read.Credentials),
]


@pytest.mark.parametrize(("written", "model"), PAIRS, ids=lambda it: it.__name__)
def test_every_field_of_the_api_is_one_of_the_sdk_and_the_other_way_round(
    written: type[Any], model: type[read.Strict]
) -> None:
    assert {field.name for field in dataclasses.fields(written)} == set(model.model_fields)


def test_a_recipe_comes_through_as_it_was_meant() -> None:
    service = NewService(name="web", exec=["a"], env={"A": "b"}, enable=False, restart=RestartPolicy("always", burst=0))
    layer = Layer(
        memory_mb=256,
        groups=[Group("g", system=True)],
        users=[User("u", 0, groups=["g"])],
        files=[File("/text", "ä"), File("/exact", b"\0\xff", 0o600)],
        packages=["git"],
        git=GitIdentity(signing_key="k"),
        repositories=[Repository("u", "/p", "r")],
        services=[service],
        patches=[NamedChange(name="old", after=[])],
        waits_until_ready=False,
        ready_timeout_seconds=1.5,
    )
    recipe = Recipe(
        Base(dockerfile="FROM a"),
        [layer, Layer()],
        name="n",
        persistence=Persistence("sticky", 0),
        defaults=Defaults(0, [Port(80), Port(81, public=True)]),
        credentials=Credentials("r", "u", "p"),
        timeout_seconds=9,
    )
    meant = read.build(read.CreateBuild.model_validate_json(json.dumps(recipes.body(recipe))))
    below, above = meant.recipe.layers
    assert (meant.recipe.base.dockerfile, meant.name, meant.budget) == ("FROM a", "n", 9)
    assert (meant.persistence.value, meant.priority, meant.defaults.idle) == ("sticky", 0, 0)
    assert [(port.port, port.is_public) for port in meant.defaults.ports or ()] == [(80, False), (81, True)]
    assert [(file.content, file.mode) for file in below.files] == [("ä".encode(), 0o644), (b"\0\xff", 0o600)]
    assert (below.users[0].uid, below.users[0].groups, below.groups[0].system) == (0, ("g",), True)
    unit = below.units[0]
    assert (unit.env, unit.enable, unit.restart and unit.restart.burst) == ({"A": "b"}, False, 0)
    assert below.patches[0].changes == {"after": ()}
    assert (below.waits_until_ready, below.ready_timeout, above.waits_until_ready) == (False, 1.5, True)


def test_a_secret_is_in_no_representation() -> None:
    recipe = Recipe(credentials=Credentials("r", "u", "s3cret"), layers=[Layer(files=[File("/x", "s3cret")])])
    assert "s3cret" not in repr(recipe)
