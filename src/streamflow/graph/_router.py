"""What a route is told: a rule that chooses one of several branches for each element.

Above: `_builder`, users. Below: `stages` (how each rule chooses), `_nesting`.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, Never, TypeAlias, cast, get_args

from ..channels import Unroutable
from ..elements import ControlElement, StreamElement
from ..errors import ConfigError
from ..stages import any_in_turn, any_weighted, by_chance, first_that_applies, key_hash, name_given, nearest_type

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..stages import Choose
    from ._nesting import GraphStage

__all__ = ["DROP", "Drop", "Router", "RouterKind", "check_route"]

RouterKind: TypeAlias = Literal["rules", "type", "key", "round_robin", "weight", "random", "function"]
"""What a route chooses by."""


class Drop(enum.Enum):
    """The type of `DROP`."""

    DROP = "drop"
    """Drop what no rule applies to, and count it."""


DROP: Final = Drop.DROP
"""Given as `default=` of a route: data that no rule applies to is dropped, and counted as `unrouted`."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Router:
    """A rule that chooses one of several branches for each element, for `PipelineBuilder.route()`. Made by its class methods.

    ```python
    builder.route("ears", Router.by_type({TextElement: read, AudioElement: listen}), default=DROP)
    builder.route("intake", Router.by_key(lambda element: element.id, "shard-1", "shard-2"))
    ```

    Rules are asked about data alone, once for each element; control goes to every branch. A rule with a memory (whose turn it is)
    begins anew in each run. What a rule raises is the failure of the stage that sends.
    """

    kind: RouterKind
    """What it chooses by."""
    choices: tuple[GraphStage | str, ...]
    """The branches, in order; one that several rules send to is there several times."""
    labels: tuple[str, ...]
    """When each is chosen, in words."""
    begin: Callable[[Sequence[str], str], Choose] = dataclasses.field(repr=False)
    """Returns what chooses in one run, given the names of the choices, and of the route for errors."""
    types: tuple[type[StreamElement], ...] = ()
    """For each choice the type that it is for; empty where it is not chosen by type."""

    @property
    def may_miss(self) -> bool:
        """Whether there can be elements that no rule applies to."""
        return self.kind in ("rules", "type", "function")

    @property
    def spreads(self) -> bool:
        """Whether all choices are alike, so that another one can take the place of a branch that has gone."""
        return self.kind in ("round_robin", "weight", "random")

    @classmethod
    def by_rules(cls, *rules: tuple[Callable[[Never], object], GraphStage | str]) -> Router:
        """Send each element to the stage of the first rule that says yes to it.

        Args:
            rules: Each a predicate, which is asked about every data element that no rule before it took, and a stage.

        Raises:
            ConfigError: If there is no rule, or one is no such pair.
        """
        for one in cast("tuple[object, ...]", rules):
            if not isinstance(one, tuple) or len(cast("tuple[object, ...]", one)) != 2:
                raise _wrong(f"a rule is a pair, (predicate, stage), got {one!r:.80}")
        predicates = [_function(predicate, "a predicate") for predicate, _ in rules]
        labels = [f"when {name}" if name else f"by rule {number}" for number, name in _named(predicates)]
        return cls(
            "rules",
            _some([stage for _, stage in rules]),
            tuple(labels),
            lambda _names, _route: first_that_applies(predicates),
        )

    @classmethod
    def by_type(cls, targets: Mapping[type[StreamElement], GraphStage | str]) -> Router:
        """Send each element to the stage of its type, or of the nearest type above it.

        Args:
            targets: Types of data, each with a stage that accepts it.

        Raises:
            ConfigError: If there is no type, or one is no type of data.
        """
        given = _mapping(targets, "{TextElement: stage, …}")
        types: list[type[StreamElement]] = []
        for one in given:
            if not isinstance(one, type) or not issubclass(one, StreamElement) or issubclass(one, ControlElement):
                raise _wrong(
                    f"{one!r:.80} is no type of data; control goes to every branch, so no rule is asked about it"
                )
            types.append(one)
        labels = tuple(f"for {one.__name__}" for one in types)
        return cls(
            "type", _some(list(targets.values())), labels, lambda _names, _route: nearest_type(types), tuple(types)
        )

    @classmethod
    def by_key(cls, key: Callable[[Never], str | bytes | int], *targets: GraphStage | str) -> Router:
        """Send all elements of one key to one stage, and spread the keys evenly: consistent (rendezvous) hashing.

        The same key goes to the same stage in each run, process and machine; what decides is the name of the stage in its own
        pipeline. One stage more takes its share of the keys, all others stay where they are.

        Args:
            key: Returns the key of an element: a string, bytes or an integer.
            targets: The stages.

        Raises:
            ConfigError: If there is no stage, or `key` is no function.
        """
        begin = partial(key_hash, _function(key, "key"))
        return cls("key", _some(targets), ("by key",) * len(targets), begin)

    @classmethod
    def round_robin(cls, *targets: GraphStage | str) -> Router:
        """Send elements to all stages in turn, passing over those that take no more.

        Args:
            targets: The stages.

        Raises:
            ConfigError: If there is no stage.
        """
        begin = partial(any_in_turn, len(targets))
        return cls("round_robin", _some(targets), ("in turn",) * len(targets), lambda _names, _route: begin())

    @classmethod
    def by_weight(cls, targets: Mapping[GraphStage | str, float]) -> Router:
        """Send elements to all stages in turn, each as often as its weight says, spread evenly: smooth weighted round robin.

        `{a: 3, b: 1}` gives `a a b a`, again and again. Stages that take no more are passed over.

        Args:
            targets: Stages, each with a number above 0.

        Raises:
            ConfigError: If there is no stage, or a weight is none.
        """
        weights = _weights(targets)
        begin = partial(any_weighted, weights)
        return cls("weight", _some(list(targets)), _shares(weights), lambda _names, _route: begin())

    @classmethod
    def at_random(cls, targets: Mapping[GraphStage | str, float], *, seed: int | None = None) -> Router:
        """Send each element to a stage by chance, each as likely as its weight says; never to one that takes no more.

        Args:
            targets: Stages, each with a number above 0.
            seed: With the same seed each run makes the same choices; None: each its own.

        Raises:
            ConfigError: If there is no stage, a weight is none, or the seed is no integer.
        """
        given = cast("object", seed)
        if given is not None and (not isinstance(given, int) or isinstance(given, bool)):
            raise _wrong(f"a seed is an integer, or None for none, got {given!r:.80}")
        weights = _weights(targets)
        labels = tuple(f"{one}, at random" for one in _shares(weights))
        begin = partial(by_chance, weights, seed)
        return cls("random", _some(list(targets)), labels, lambda _names, _route: begin())

    @classmethod
    def by_function(cls, function: Callable[[Never], str | None], *targets: GraphStage | str) -> Router:
        """Send each element to the stage that a function names.

        Args:
            function: Returns the name of one of the stages, as it is called where the route is made; None where there is none for
                the element.
            targets: The stages.

        Raises:
            ConfigError: If there is no stage, or it is no function.
        """
        called = _function(function, "a function")
        ((_, name),) = _named([called])
        label = f"by {name or 'a function'}"
        return cls("function", _some(targets), (label,) * len(targets), partial(name_given, called))


def check_route(router: Router, default: object, unroutable: Unroutable) -> None:
    """Check what a route was told.

    Raises:
        ConfigError: If it is no router, lacks a default, has one that nothing can go to, or has no such policy.
    """
    given = cast("object", router)
    if not isinstance(given, Router):
        raise _wrong(f"a Router was expected, got {given!r:.80}; write Router.by_type({{TextElement: stage}})")
    policies = get_args(Unroutable)
    if unroutable not in policies:
        message = f"there are {', '.join(map(repr, policies))}, got {unroutable!r:.80}"
        raise ConfigError("unroutable", message)
    if given.may_miss and default is None:
        message = "there may be elements that no rule applies to; name a stage for them, or DROP to drop and count them"
        raise ConfigError("default", message)
    if default is not None and not given.may_miss and unroutable != "default":
        message = "a rule applies to each element, so nothing would go there; leave it out, or say unroutable='default'"
        raise ConfigError("default", message)
    if unroutable == "default" and (default is None or default is DROP):
        message = "elements whose branch has gone cannot go to a default that is no stage; name one, or say 'drop'"
        raise ConfigError("unroutable", message)
    if unroutable != "drop" and given.spreads:
        message = "another stage takes the place of one that has gone; leave it out"
        raise ConfigError("unroutable", message)


def _wrong(message: str) -> ConfigError:
    return ConfigError("router", message)


def _some(targets: Sequence[GraphStage | str]) -> tuple[GraphStage | str, ...]:
    if not targets:
        raise _wrong("there is no stage to send to; give at least one")
    return tuple(targets)


def _function(given: object, what: str) -> Callable[[object], object]:
    if not callable(given):
        raise _wrong(f"{what} is a function of an element, got {given!r:.80}")
    if inspect.iscoroutinefunction(given) or inspect.isasyncgenfunction(given):
        message = f"{what} is asked while elements are sent, so it cannot wait"
        raise _wrong(f"{message}; give a plain function, and let a stage before it do what takes time")
    return given


def _named(functions: Sequence[object]) -> list[tuple[int, str]]:
    """Return the functions' numbers, from 1, and their names; none for a lambda or an object."""
    names = [str(getattr(one, "__name__", "")) for one in functions]
    return [(number, name if name.isidentifier() else "") for number, name in enumerate(names, 1)]


def _mapping(given: object, example: str) -> Mapping[object, object]:
    if not isinstance(given, Mapping):
        raise _wrong(f"a mapping was expected, as {example}, got {given!r:.80}")
    return cast("Mapping[object, object]", given)


def _weights(targets: object) -> Sequence[float]:
    given = list(_mapping(targets, "{stage: 3, other: 1}").values())
    weights = [
        one for one in given if isinstance(one, (int, float)) and not isinstance(one, bool) and 0 < one < math.inf
    ]
    if len(weights) < len(given):
        raise _wrong(f"a weight is a number above 0, got {', '.join(f'{one!r:.80}' for one in given)}")
    return weights


def _shares(weights: Sequence[float]) -> tuple[str, ...]:
    return tuple(f"{one:g} in {sum(weights):g}" for one in weights)
