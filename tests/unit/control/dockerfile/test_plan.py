"""From text to steps: what is read, what is refused with its line, what is left out, and what a hash covers."""

import contextlib

import pytest

from hutch.control.dockerfile import Dockerfiles, Plan
from hutch.control.dockerfile.reading import Instruction
from hutch.control.dockerfile.state import State
from hutch.host import interface
from hutch.host.interface import ImageConfig
from hutch.model import errors
from hutch.model.machine import ImageRef

DIGESTS: dict[str, str] = {}


async def resolve(reference: str) -> ImageRef:
    if "missing" in reference:
        raise errors.ImageUnavailable(f"{reference}: manifest unknown")
    return ImageRef(reference, DIGESTS.get(reference, f"sha256:{reference}"))


async def plan(text: str) -> Plan:
    images: interface.Images = None  # type: ignore[assignment]
    return await Dockerfiles(images).plan(text, resolve)


def bases(it: Plan) -> list[str | int]:
    return [base if isinstance(base := stage.base, int) else base.reference for stage in it.stages]


async def state(text: str, image: ImageConfig = ImageConfig()) -> State:  # noqa: B008
    """At the end of the last stage."""
    it = await plan(text)
    its = State.of(image)
    for stage in it.stages:
        its = its.next_stage()
        for doing in stage.doings:
            if isinstance(doing, Instruction):
                its = its.after(doing, it.escape, it.globals)
    return its


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1: file with no instructions"),
        ("# only a comment\n", "file with no instructions"),
        ("RUN x\n", "line 1: there is no FROM"),
        ("ENV A=1\nFROM a\n", "line 1: ENV: only ARG"),
        ("FROM a\nFETCH x\n", "line 2: unknown instruction FETCH"),
        ("FROM\n", "line 1: FROM: it takes an image"),
        ("FROM a b\n", "line 1: FROM: it takes an image"),
        ("FROM a AS 9\n", "line 1: FROM: 9 cannot be a stage's name"),
        ("FROM a AS x\nFROM b AS X\n", "line 2: FROM: there are two stages of the name x"),
        ("FROM scratch\n", "line 1: FROM: scratch is empty"),
        ("FROM $V\n", r"line 1: FROM: \$V is empty"),
        ("FROM --platform=linux/arm64 a\n", "line 1: FROM: platform linux/arm64"),
        ("FROM --pull=always a\n", "line 1: FROM: --pull"),
        ("FROM a\n\nENV A\n", "line 3: ENV must have two arguments"),
        ("FROM a\nENV\n", "line 2: ENV: it takes NAME=VALUE"),
        ("FROM a\nENV =x\n", "line 2: ENV: a name is empty"),
        ('FROM a\nENV A="\n', "line 2: "),
        ("FROM a\nARG\n", "line 2: ARG: a name is missing"),
        ("FROM a\nWORKDIR\n", "line 2: WORKDIR: it takes a directory"),
        ("FROM a\nUSER\n", "line 2: USER: it takes"),
        ("FROM a\nSHELL /bin/sh\n", "line 2: SHELL: it takes a list"),
        ("FROM a\nSHELL []\n", "line 2: SHELL: it takes a list"),
        ("FROM a\nUSER --x u\n", "line 2: USER: --x: it has no flags"),
        ("FROM a\nRUN\n", "line 2: RUN: a command is missing"),
        ("FROM a\nRUN []\n", "line 2: RUN: a command is missing"),
        ("FROM a\nRUN <<E\nx\n", "unterminated heredoc"),
        ("FROM a\nRUN --network=none x\n", "line 2: RUN: --network=none is not supported"),
        ("FROM a\nRUN --security=insecure x\n", "line 2: RUN: --security=insecure is not supported"),
        ("FROM a\nRUN --device=x y\n", "line 2: RUN: --device is not supported"),
        ("FROM a\nRUN --mount=type=secret,id=x y\n", "line 2: RUN: --mount=type=secret is not supported"),
        ("FROM a\nRUN --mount=type=ssh y\n", "line 2: RUN: --mount=type=ssh is not supported"),
        ("FROM a\nRUN --mount=target=/x y\n", "line 2: RUN: --mount=type=bind is not supported"),
        ("FROM a\nRUN --mount=type=cache,from=a,target=/x y\n", "line 2: RUN: --mount: from is not supported"),
        ("FROM a\nRUN --mount=type=cache y\n", "line 2: RUN: --mount: a target is missing"),
        ("FROM a\nRUN --mount=type=tmpfs,target=/x,size=1,exec y\n", "line 2: RUN: --mount: exec is not supported"),
        ("FROM a\nRUN --mount=type=tmpfs,target=/x,size=a y\n", "line 2: RUN: --mount: size cannot be a"),
        ("FROM a\nRUN --mount type=x y\n", "line 2: RUN: --mount has no value"),
        ("FROM a\nCOPY x\n", "line 2: COPY: what to copy"),
        ("FROM a\nRUN x\nCOPY app.py /srv/\n", "line 3: COPY: app.py: there is no build context"),
        ("FROM a\nCOPY http://x/y /srv/\n", "line 2: COPY: http://x/y: there is no build context"),
        ("FROM a\nADD app.tar /srv/\n", "line 2: ADD: app.tar: there is no build context"),
        ("FROM a\nADD https://u:pw@x/y.git /srv/\n", r"line 2: ADD: https://\*\*\*@x/y.git: git repositories"),
        ("FROM a\nADD git@x:y /srv/\n", "line 2: ADD: git@x:y: git repositories"),
        ("FROM a\nCOPY --from=1 /x /y\n", "line 2: COPY: --from=1: there is no such stage"),
        ("FROM a\nCOPY --from=0 /x /y\n", "line 2: COPY: --from=0: there is no such stage"),
        ("FROM a AS x\nCOPY --from=x /x /y\n", "line 2: COPY: stage x is not finished"),
        ("FROM a\nCOPY --from=later /x /y\nFROM b AS later\n", "line 2: COPY: stage later is not finished"),
        ("FROM a\nCOPY --from=$X /x /y\n", r"line 2: COPY: --from=\$X: variables do not work"),
        ("FROM a\nCOPY --from=scratch /x /y\n", "line 2: COPY: --from names nothing"),
        ("FROM a\nCOPY --parents --from=b /x /y\n", "line 2: COPY: --parents is not supported"),
        ("FROM a\nCOPY --from=b --from=c /x /y\n", "line 2: COPY: --from is given twice"),
        ("FROM a\nADD --from=b /x /y\n", "line 2: ADD: --from is not supported"),
        ("FROM a\nCOPY --from=b <<E /x\nE\n", "line 2: COPY: heredocs are not copied --from"),
        ("# syntax=example/other:1\nFROM a\n", "line 1: syntax example/other:1"),
        ("FROM a\0\n", "line 1: it holds a NUL"),
        ("FROM a\n\nRUN \udc80\n", "line 3: this is not valid Unicode"),
        (f"FROM a\nRUN {'x' * 70_000}\n", "greater than max allowed size"),
        ("x" * (1024 * 1024 + 1), "at most 1048576"),
        ("FROM a\n" + "USER x\n" * 1000, "line 1001: more than 1000 instructions"),
        (
            "FROM a\n" + "ENV A=" + "x" * 60_000 + "\nENV B=" + "x" * 60_000 + "\nENV C=" + "x" * 60_000,
            "line 4: ENV: env is",
        ),
    ],
)
async def test_what_is_wrong_is_told_with_its_line(text: str, why: str) -> None:
    with pytest.raises(errors.Flawed, match=why) as caught:
        await plan(text)
    assert caught.value.flaw == "dockerfile_invalid"


async def test_what_the_registry_says_of_an_image_is_told() -> None:
    with pytest.raises(errors.ImageUnavailable, match="manifest unknown"):
        await plan("FROM missing\n")


@pytest.mark.parametrize(
    "text",
    [
        "FROM a\n" + "RUN x\n" * 19_000,
        "FROM a\nRUN x" + "\\\n" * 500_000,
        "FROM a\nRUN " + "".join(f"<<A{at} " for at in range(5000)) + "\n" + f"{'x' * 49}\n" * 19_000,
        "FROM a\n" + "ONBUILD " * 8000 + "\n",
        "FROM a\nRUN " + "[" * 60_000 + "\n",
        "# escape=`\n" * 19_000,
        "\n" * 1_000_000,
        "FROM a\nENV A" + "=B C" * 15_000 + "\n",
        "# escape=a" + " " * 1_000_000 + "b",
    ],
)
async def test_hostile_text_ends(text: str) -> None:
    with pytest.raises(errors.Flawed) if "ONBUILD" not in text and "[" not in text else contextlib.nullcontext():
        await plan(text)


@pytest.mark.parametrize("name", ["ARG", "ENV"])
async def test_variables_are_bounded_in_all(name: str) -> None:
    large = f"ARG A={'x' * 60_000}\n"
    many = " ".join(f"B{at}=$A" for at in range(20))
    with pytest.raises(errors.Flawed, match=f"{name}: it grows to more than"):
        await state(f"{large}FROM a\nARG A\n{name} {many}\n")
    many = " ".join(f"B{at}=" for at in range(1001))
    with pytest.raises(errors.Flawed, match=f"{name}: more than 1000 variables"):
        await plan(f"FROM a\n{name} {many}\n")
    with pytest.raises(errors.Flawed, match="line 18: ARG: more than"):
        await plan(large + "".join(f"ARG B{at}=$A\n" for at in range(20)) + "FROM a\n")


async def test_so_many_images_are_asked_for_and_no_more_in_one_dockerfile() -> None:
    text = "".join(f"COPY --from=i{at} /a /b\n" for at in range(31))
    assert len((await plan(f"FROM i\n{text}")).steps) == 31
    with pytest.raises(errors.Flawed, match="line 33: more than 32 images"):
        await plan(f"FROM i\n{text}COPY --from=more /a /b\n")
    with pytest.raises(errors.ImageUnavailable):
        await plan(f"FROM missing\n{text}")


async def test_only_stages_that_are_needed_are_planned_and_resolved() -> None:
    it = await plan(
        "ARG V=12\nARG W=deb:$V\nFROM $W AS one\nRUN 1\nFROM missing AS two\nRUN 2\n"
        "FROM --platform=$BUILDPLATFORM One\nCOPY --from=tool:1 /a /b\nCOPY --from=0 /a /b\n"
    )
    assert bases(it) == ["deb:12", 0]
    assert [step.title for step in it.steps] == [
        "line 4: RUN 1",
        "line 8: COPY --from=tool:1 /a /b",
        "line 9: COPY --from=0 /a /b",
    ]
    assert it.is_plain
    assert it.hash == it.steps[-1].hash


async def test_settings_are_as_docker_has_them() -> None:
    its = await state(
        "ARG G=global\nFROM a AS base\nARG G\nARG N\nARG D=d$G TARGETARCH\n"
        "ENV A=1 B=$A\nENV A=2 B=$A\nENV OLD form with  $A\nENV PATH=/x:$PATH D2=$D N2=[$N] T=$TARGETARCH Q='$A'\n"
        "WORKDIR /a\nWORKDIR b/../c\nUSER $A:5\nFROM base\nWORKDIR d\nENV G2=[$G]\n",
        ImageConfig(env={"PATH": "/bin"}, workdir="/w", user="u"),
    )
    assert its.set_env == {
        "A": "2",
        "B": "1",
        "OLD": "form with  2",
        "PATH": "/x:/bin",
        "D2": "dglobal",
        "N2": "[]",
        "T": "amd64",
        "Q": "$A",
        "G2": "[]",
    }
    assert (its.workdir, its.user) == ("/a/c/d", "2:5")
    assert its.args == {}


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("", None),
        ('CMD ["a", "b"]\n', ("ep", "a", "b")),
        ("CMD a b\n", ("ep", "/bin/sh", "-c", "a b")),
        ('ENTRYPOINT ["x"]\n', ("x",)),
        ("ENTRYPOINT x y\n", ("/bin/sh", "-c", "x y")),
        ('CMD ["a"]\nENTRYPOINT ["x"]\n', ("x", "a")),
        ('ENTRYPOINT ["x"]\nCMD ["a"]\n', ("x", "a")),
        ('CMD ["a"]\nENTRYPOINT x\n', ("/bin/sh", "-c", "x")),
        ('ENTRYPOINT []\nCMD ["a"]\n', ("a",)),
        ('SHELL ["/bin/bash", "-ec"]\nENTRYPOINT x\n', ("/bin/bash", "-ec", "x")),
    ],
)
async def test_the_command_is_the_entrypoint_and_what_is_given_to_it(text: str, command: object) -> None:
    assert (await state("FROM a\n" + text, ImageConfig(entrypoint=("ep",), cmd=("c",)))).command == command


BASE = "FROM a\nARG X=1\nENV E=1\nUSER u\nWORKDIR /w\nRUN one\nRUN two\nCMD c\n"


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("FROM a", "# hello\n\nfrom a", [True, True, True]),
        ("RUN two", "RUN three", [True, False, False]),
        ("RUN two", "run \\\n two", [True, True, True]),
        ("RUN one", "RUN zero", [False, False, False]),
        ("E=1", "E=2", [False, False, False]),
        ("X=1", "X=2", [False, False, False]),
        ("USER u", "USER v", [False, False, False]),
        ("/w", "/v", [False, False, False]),
        ("CMD c", "CMD d", [True, True, False]),
        ("CMD c", "CMD c\nENV L=1", [True, True, False]),
        ("RUN two", "LABEL a=b\nEXPOSE 80\nHEALTHCHECK NONE\nRUN two", [True, True, True]),
        ("RUN two", 'ENTRYPOINT ["x"]\nRUN two', [True, True, False]),
        ("FROM a", "FROM b", [False, False, False]),
        ("FROM a", "# escape=`\nFROM a", [False, False, False]),
    ],
)
async def test_a_hash_covers_what_a_step_depends_on(old: str, new: str, same: list[bool]) -> None:
    one, two = await plan(BASE), await plan(BASE.replace(old, new))
    assert len(one.steps) == 3
    assert [a.hash == b.hash for a, b in zip(one.steps, two.steps, strict=True)] == same


async def test_a_hash_covers_what_is_copied_and_what_names_mean_now(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "ARG V=1\nFROM a AS x\nRUN {}\nFROM b\nARG V\nCOPY --from=x /a /b\nCOPY --from=c /a /b\nCOPY <<E /f\n{}\nE\n"
    one = [step.hash for step in (await plan(text.format("1", "1"))).steps]
    assert one == [step.hash for step in (await plan(text.format("1", "1"))).steps]

    async def same(changed: str) -> list[bool]:
        return [a == b.hash for a, b in zip(one, (await plan(changed)).steps, strict=True)]

    assert await same(text.format("2", "1")) == [False, False, False, False, False]
    assert await same(text.format("1", "2")) == [True, True, True, False, False]
    assert await same(text.format("1", "1").replace("V=1", "V=2")) == [True, False, False, False, False]
    monkeypatch.setitem(DIGESTS, "c", "sha256:another")
    assert await same(text.format("1", "1")) == [True, True, False, False, False]


@pytest.mark.parametrize(
    ("stage", "said", "then"),
    [
        ("FROM a AS x\n", "ARG V=1\n", "RUN echo $V\n"),
        ("FROM a AS x\n", 'CMD ["c"]\n', 'ENTRYPOINT ["x"]\n'),
    ],
)
async def test_a_hash_covers_what_ends_with_a_stage(stage: str, said: str, then: str) -> None:
    assert (await plan(f"{stage}{said}{then}")).hash != (await plan(f"{stage}{said}FROM x\n{then}")).hash


@pytest.mark.parametrize("name", ["V", '"V"', "'V'", "$N", "\\V"])
async def test_a_hash_covers_what_an_argument_takes_from_before_the_first_stage(name: str) -> None:
    text = f"ARG V={{}}\nFROM a\nENV N=V\nARG {name}\nRUN echo $V\n"
    assert (await plan(text.format(1))).hash != (await plan(text.format(2))).hash


async def test_a_title_is_one_short_line_without_passwords() -> None:
    it = await plan(f"FROM a\nADD https://me:se@cret@x/y /z\nRUN {'x ' * 1000}\nRUN <<E\na\nb\nE\n")
    titles = [step.title for step in it.steps]
    assert titles[0] == "line 2: ADD https://***@x/y /z"
    assert all(len(title) < 120 and "\n" not in title for title in titles)
