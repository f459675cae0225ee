"""How a route chooses among its branches, by number: pure functions of the elements, each with the state of one run.

Above: `graph`, whose `Router` says which branch a number stands for. Below: `elements`.

Each function returns what is called once with each data element, and with the numbers that are not to be chosen (branches that have
gone; only where all branches are alike): it returns a number, or None where no rule applies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ..errors import RoutingError

if TYPE_CHECKING:
    from ..elements import StreamElement

__all__ = [
    "Choose",
    "any_in_turn",
    "any_weighted",
    "by_chance",
    "first_that_applies",
    "key_hash",
    "name_given",
    "nearest_among",
    "nearest_type",
]

Choose: TypeAlias = Callable[[Any, Sequence[int]], int | None]
"""Called with an element and the numbers that are not to be chosen; returns a number, or None."""

E = TypeVar("E")

_MASK = (1 << 64) - 1
_TYPES = 1000  # most types whose way is remembered


def first_that_applies(rules: Sequence[Callable[[E], object]]) -> Choose:
    """Choose the first rule that says yes; those behind it are not asked."""

    def choose(element: E, _gone: Sequence[int]) -> int | None:
        return next((number for number, rule in enumerate(rules) if rule(element)), None)

    return choose


def nearest_type(types: Sequence[type[StreamElement]]) -> Choose:
    """Choose the type of an element, or the nearest one above it."""
    nearest = nearest_among(types)

    def choose(element: object, _gone: Sequence[int]) -> int | None:
        return nearest(type(element))

    return choose


def nearest_among(types: Sequence[type[StreamElement]]) -> Callable[[type], int | None]:
    """Return what finds for a type the number of the same one, or of the nearest one above it; None where there is none."""
    numbers = {kind: number for number, kind in enumerate(types)}
    known: dict[type, int | None] = {}

    def nearest(kind: type) -> int | None:
        if kind not in known:
            if len(known) >= _TYPES:
                known.clear()
            known[kind] = next((numbers[one] for one in kind.__mro__ if one in numbers), None)
        return known[kind]

    return nearest


def key_hash(key: Callable[[E], object], names: Sequence[str], route: str) -> Choose:
    """Choose by the hash of a key: rendezvous hashing, so that one more name takes its share of the keys and moves no other.

    The hash is the same in each process and on each machine. The order of the names does not matter.

    Args:
        key: Returns a string, bytes or an integer for each element.
        names: The names of the branches.
        route: What errors call the route.

    Source: Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates" (1998); SplitMix64's mixing function.
    """
    from hashlib import blake2b  # noqa: PLC0415 - most programs have no such route

    def digest(data: bytes) -> int:
        return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")

    seeds = [digest(name.encode()) for name in names]

    def choose(element: E, _gone: Sequence[int]) -> int:
        hashed = digest(_key_bytes(key(element), route))
        return max(range(len(seeds)), key=lambda number: _mixed(hashed ^ seeds[number]))

    return choose


def any_in_turn(count: int) -> Choose:
    """Choose all in turn: round robin."""
    last = -1

    def choose(_element: object, gone: Sequence[int]) -> int:
        nonlocal last
        last = (last + 1) % count
        while last in gone and len(gone) < count:
            last = (last + 1) % count
        return last

    return choose


def any_weighted(weights: Sequence[float]) -> Choose:
    """Choose all in turn, each as often as its weight says, and spread evenly: smooth weighted round robin.

    Source: nginx, https://github.com/nginx/nginx/commit/52327e0627f49dbda1e8db695e63a4b0af4448b1
    """
    current = [0.0] * len(weights)

    def choose(_element: object, gone: Sequence[int]) -> int:
        numbers = [one for one in range(len(weights)) if one not in gone] or list(range(len(weights)))
        for one in numbers:
            current[one] += weights[one]
        chosen = max(numbers, key=lambda one: current[one])
        current[chosen] -= sum(weights[one] for one in numbers)
        return chosen

    return choose


def by_chance(weights: Sequence[float], seed: int | None) -> Choose:
    """Choose by chance, each as likely as its weight says; with a seed, the same elements get the same choices in each run."""
    import random  # noqa: PLC0415 - most programs have no such route

    draw = random.Random(seed)  # noqa: S311 - nothing secret hangs on it

    def choose(_element: object, gone: Sequence[int]) -> int:
        numbers = [one for one in range(len(weights)) if one not in gone] or list(range(len(weights)))
        return draw.choices(numbers, [weights[one] for one in numbers])[0]

    return choose


def name_given(function: Callable[[E], object], names: Sequence[str], route: str) -> Choose:
    """Choose the branch that a function names; None: no rule applies.

    Args:
        function: Returns one of the names, or None.
        names: The names of the branches.
        route: What errors call the route.
    """
    numbers = {name: number for number, name in reversed(list(enumerate(names)))}

    def choose(element: E, _gone: Sequence[int]) -> int | None:
        name = function(element)
        if name is None:
            return None
        if not isinstance(name, str) or name not in numbers:
            listed = ", ".join(map(repr, numbers))
            message = f"the function named {name!r:.80}, which is no branch of it; let it return {listed}, or None"
            raise RoutingError(route, message)
        return numbers[name]

    return choose


def _key_bytes(key: object, route: str) -> bytes:
    match key:
        case str():
            return b"s" + key.encode(errors="surrogatepass")
        case bytes():
            return b"b" + key
        case int():
            return b"i%d" % key
        case _:
            message = f"the key {key!r:.80} of an element is a {type(key).__name__}"
            raise RoutingError(route, f"{message}; give a string, bytes or an integer, which hash the same everywhere")


def _mixed(value: int) -> int:
    """Return 64 bits of which each hangs on all bits of `value`."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
