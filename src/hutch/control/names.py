"""Names for what was given none: readable, and easy to tell apart."""

import itertools
import secrets
from collections.abc import Callable, Iterator


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ADJECTIVES = _words(
    """
    amber ample azure brave brisk bright calm clever cosy crisp deft eager early fair fleet fresh gentle glad golden
    grand green handy happy hardy honest humble jolly keen kind lively lucky mellow merry mild misty modest neat noble
    patient plain proud quick quiet rapid ready rosy rustic sandy sharp silent silver smooth snowy solid spry steady
    still sturdy sunny swift tidy tiny vivid warm wild wise witty young
    """
)

ANIMALS = _words(
    """
    badger beaver bison bittern buzzard cod crane cuckoo curlew deer dipper dove duck eagle egret eider falcon ferret
    finch fox gannet goose grebe grouse hare hawk heron hobby ibis jackal jay kestrel kite lark leveret linnet lynx
    magpie marten merlin mink mole moose mouse newt otter owl perch pika pipit plover polecat puffin quail rabbit
    raven robin rook salmon seal shrew siskin snipe sparrow squirrel stoat stork swallow swan teal tern thrush toad
    trout turtle vole weasel whale wigeon wren
    """
)


def make_name(is_taken: Callable[[str], bool]) -> str:
    """A name like `brave-otter`; with a number behind it as soon as those run short."""
    for digits in (0, 0, 0, 2, 4, 8, 16):
        name = f"{secrets.choice(ADJECTIVES)}-{secrets.choice(ANIMALS)}"
        if digits:
            name += f"-{secrets.randbelow(10**digits):0{digits}}"
        if not is_taken(name):
            return name
    raise AssertionError("every name is taken")


def number(base: str, is_taken: Callable[[str], bool], length: int) -> Iterator[str]:
    """`base-1`, `base-2`… without those that are taken, none longer than `length`."""
    for count in itertools.count(1):
        end = f"-{count}"
        name = base[: length - len(end)] + end
        if not is_taken(name):
            yield name
