"""Paths that say which values of a JSON document are wanted, compiled to a tree that is walked beside the document.

Above: `_json_stream`, the stage `ExtractJsonStage`. Below: `errors`.
A path is `$`, the document itself, or names and places: `a.b`, `a[2]`, `a[*].b`, `*`, `a["odd.key"]`. All paths together become
one tree of nodes. What several paths say of one place is one node, so a value that two paths want is told once; what no path can
reach is no node at all, and costs the reader nothing.
"""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Node", "compile_paths", "is_selected", "show_path"]

_MAX_TREES = 256
_MAX_PATHS = 64  # they are the developer's; more than this is a mistake, and nodes may multiply

_STEP = re.compile(
    r"""
    \. (?P<dotted>\*|[^\s.\[\]"'*]+)
    | \[ \s* (?: (?P<star>\*) | (?P<place>[0-9]{1,9}) | (?P<quoted>"(?:[^"\\]|\\.)*"|'[^'\\]*') ) \s* \]
    """,
    re.VERBOSE,
)

_ANY_KEY: Final = "*"
_ANY_ITEM: Final = -1


class _Key(str):
    """A name that was given; `*` as a plain string stands for any."""

    __slots__ = ()


_Step: TypeAlias = "_Key | str | int"
_Positions: TypeAlias = "frozenset[tuple[_Step, ...]]"


class Node:
    """What the paths say of one place in the document."""

    __slots__ = ("is_wanted", "items", "keys", "other_item", "other_key")

    def __init__(self, *, is_wanted: bool) -> None:
        self.is_wanted: bool = is_wanted
        """Whether a path ends here: the value is wanted."""
        self.keys: dict[str, Node | None] = {}
        """By member: its node. Only names that a path gives."""
        self.other_key: Node | None = None
        """The node of all other members."""
        self.items: dict[int, Node | None] = {}
        """By place in an array: its node. Only places that a path gives."""
        self.other_item: Node | None = None
        """The node of all other items."""


@functools.lru_cache(_MAX_TREES)
def compile_paths(paths: tuple[str, ...]) -> Node | None:
    """Return the root of the tree, None if there are no paths. Nodes are never changed, so readers share them.

    Raises:
        ConfigError: If a path cannot be read; the field is `select`.
    """
    parsed = [_parse(path) for path in paths]
    if len(parsed) > _MAX_PATHS:
        raise ConfigError("select", f"{len(parsed)} paths; give {_MAX_PATHS} or fewer, or wildcards")
    return _node(frozenset(parsed), {})


def is_selected(path: Iterable[str | int], select: str) -> bool:
    """Say whether `select`, as in `slots[*].message`, means the value at `path`, as in `("slots", 0, "message")`.

    Raises:
        ConfigError: If `select` cannot be read.
    """
    node = compile_paths((select,))
    for step in path:
        if node is None:
            return False
        node = node.items.get(step, node.other_item) if isinstance(step, int) else node.keys.get(step, node.other_key)
    return node is not None and node.is_wanted


def show_path(path: Iterable[str | int]) -> str:
    """Return a path as a person writes it, as in `$.slots[0].message`."""
    return "$" + "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" if step.isidentifier() else f"[{json.dumps(step)}]"
        for step in path
    )


def _parse(path: object) -> tuple[_Step, ...]:
    if not isinstance(path, str) or not path:
        _refuse(path, "give text as in 'slots[*].message', or '$' for the document itself")
    rest = path.removeprefix("$")
    if rest == path and not rest.startswith("["):
        rest = f".{rest}"
    steps: list[_Step] = []
    at = 0
    while at < len(rest):
        match = _STEP.match(rest, at)
        if match is None:
            _refuse(path, f'it cannot be read from {rest[at:]!r:.40} on; write a.b, a[2], a[*].b, * or a["odd key"]')
        steps.append(_step(match, path))
        at = match.end()
    return tuple(steps)


def _step(match: re.Match[str], path: str) -> _Step:
    dotted, star, place, quoted = match.group("dotted", "star", "place", "quoted")
    if dotted is not None:
        return _ANY_KEY if dotted == "*" else _Key(dotted)
    if star is not None:
        return _ANY_ITEM
    if place is not None:
        return int(place)
    assert quoted is not None
    try:
        return _Key(json.loads(quoted) if quoted[0] == '"' else quoted[1:-1])
    except ValueError:
        _refuse(path, f"{quoted} is no JSON string")


def _refuse(path: object, message: str) -> NoReturn:
    raise ConfigError("select", f"the path {path!r:.80} is wrong: {message}")


def _node(positions: _Positions, known: dict[_Positions, Node | None]) -> Node | None:
    """Return the node of what is left of all paths at one place."""
    if not positions:
        return None
    if positions in known:
        return known[positions]
    node = known[positions] = Node(is_wanted=() in positions)
    ahead = [rest for rest in positions if rest]
    keys = {step for step, *_ in ahead if isinstance(step, _Key)}
    places = {step for step, *_ in ahead if isinstance(step, int) and step != _ANY_ITEM}
    any_key = {rest[1:] for rest in ahead if _is_any_key(rest[0])}
    any_item = {rest[1:] for rest in ahead if rest[0] == _ANY_ITEM}
    node.other_key, node.other_item = _node(frozenset(any_key), known), _node(frozenset(any_item), known)
    for key in keys:
        own = {rest[1:] for rest in ahead if isinstance(rest[0], _Key) and rest[0] == key}
        node.keys[str(key)] = _node(frozenset(own | any_key), known)
    for place in places:
        own = {rest[1:] for rest in ahead if isinstance(rest[0], int) and rest[0] == place}
        node.items[place] = _node(frozenset(own | any_item), known)
    return node


def _is_any_key(step: _Step) -> bool:
    return step == _ANY_KEY and not isinstance(step, _Key)
