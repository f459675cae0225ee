"""The tools that a model may call, and the rules under which calls of them run.

Above: `_calls`, the stages, users. Below: `_tool`.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias, cast

import msgspec

from ..elements import thaw
from ..errors import ConfigError
from ._tool import Tool, check_approve

if TYPE_CHECKING:
    from ..elements import ToolCallElement
    from ..providers import ToolSpec
    from ._tool import Approval, Approve

__all__ = ["Repeats", "ToolLike", "Tools", "as_tools"]

ToolLike: TypeAlias = Tool | Callable[..., object]
"""A tool, or a typed function that becomes one."""


class Tools:
    """Tools by name, and the rules under which they run. Immutable; any number of stages and runs may share one.

    Args:
        tools: Tools, or typed functions, which become tools.
        approve: Whether calls may run, for tools that do not say it themselves.
        blocked: Names of tools that are neither offered nor run.
        max_parallel: Most calls of one answer that run at a time.
        timeout_s: Longest time of a call, in seconds, for tools that do not say it themselves; None: no limit.
        max_result_bytes: Most bytes of a result, for tools that do not say it themselves; the rest is cut, with a note.
        max_repeats: How often the very same call may be made in one turn; the next ones are not run, and the model is told so.

    Raises:
        ConfigError: If two tools have one name, a blocked one is not there, or a number is out of its range.
    """

    def __init__(
        self,
        tools: Iterable[ToolLike] = (),
        *,
        approve: Approve = "allow",
        blocked: Iterable[str] = (),
        max_parallel: int = 8,
        timeout_s: float | None = 60.0,
        max_result_bytes: int = 64_000,
        max_repeats: int = 3,
    ) -> None:
        given_one = cast("object", tools)
        if callable(given_one) or isinstance(given_one, (Tool, str)):
            raise ConfigError("tools", f"a list of them was expected, got {given_one!r:.80}; put it into one: [tool]")
        self._tools: dict[str, Tool] = {}
        for given in tools:
            one = given if isinstance(given, Tool) else Tool(given)
            if one.name in self._tools:
                raise ConfigError("tools", f"two of them are called {one.name!r}; give each a name of its own")
            self._tools[one.name] = one
        self._blocked = frozenset(blocked)
        for name in sorted(self._blocked - set(self._tools)):
            raise ConfigError(
                "blocked", f"there is no tool {name!r}; the tools are: {', '.join(self._tools) or 'none'}"
            )
        for field, value in (
            ("max_parallel", max_parallel),
            ("max_result_bytes", max_result_bytes),
            ("max_repeats", max_repeats),
        ):
            if value < 1:
                raise ConfigError(field, f"{value} is out of range; give 1 or more")
        if timeout_s is not None and not timeout_s > 0:
            raise ConfigError("timeout_s", f"{timeout_s} is out of range; give more than 0 seconds, or None")
        check_approve(approve, "Tools")
        self.max_parallel: int = max_parallel
        """Most calls of one answer that run at a time."""
        self.max_repeats: int = max_repeats
        """How often the very same call may be made in one turn."""
        self._approve: Approve = approve
        self._timeout_s = timeout_s
        self._max_result_bytes = max_result_bytes

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What a model is told of the tools, blocked ones left out."""
        return tuple(one.spec for one in self)

    def find(self, name: str) -> Tool | None:
        """Return the tool of this name, None if there is none; a blocked one is not there."""
        return None if name in self._blocked else self._tools.get(name)

    def only(self, names: Iterable[str]) -> Tools:
        """Return those of these names, under the same rules.

        Raises:
            ConfigError: If there is no tool of a name.
        """
        wanted = tuple(dict.fromkeys(names))
        for name in wanted:
            if self.find(name) is None:
                known = ", ".join(one.name for one in self) or "none"
                raise ConfigError("tools", f"there is no tool {name!r:.80}; the tools are: {known}")
        return Tools(
            [self._tools[name] for name in wanted],
            approve=self._approve,
            max_parallel=self.max_parallel,
            timeout_s=self._timeout_s,
            max_result_bytes=self._max_result_bytes,
            max_repeats=self.max_repeats,
        )

    def timeout_of(self, tool: Tool) -> float | None:
        """Return the longest time of a call, in seconds."""
        return self._timeout_s if tool.timeout_s is None else tool.timeout_s

    def max_result_bytes_of(self, tool: Tool) -> int:
        """Return the most bytes of a result."""
        return self._max_result_bytes if tool.max_result_bytes is None else tool.max_result_bytes

    async def approval_of(self, tool: Tool, call: ToolCallElement) -> Approval:
        """Return whether a call may run. A function that fails, or says something else, means `deny`.

        Cancellation: ends the asking.
        """
        approve = self._approve if tool.approve is None else tool.approve
        if not callable(approve):
            return approve
        try:
            said = approve(call)
            if inspect.isawaitable(said):
                said = await said
        except Exception:  # noqa: BLE001 - who cannot be asked has not allowed it
            return "deny"
        return said if said in {"allow", "ask"} else "deny"

    def __iter__(self) -> Iterator[Tool]:
        return (one for name, one in self._tools.items() if name not in self._blocked)

    def __len__(self) -> int:
        return len(self._tools) - len(self._blocked)

    def __repr__(self) -> str:
        return f"<Tools {', '.join(one.name for one in self) or 'none'}>"


def as_tools(given: Tools | Iterable[ToolLike]) -> Tools:
    """Return tools under the usual rules, unless they come with rules.

    Raises:
        ConfigError: If two tools have one name, or one cannot be described.
    """
    return given if isinstance(given, Tools) else Tools(given)


class Repeats:
    """Counts calls of one turn that are the very same."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: Counter[tuple[str, bytes]] = Counter()

    def is_too_many(self, call: ToolCallElement) -> bool:
        """Count a call, and return whether there have been too many like it."""
        said = call.raw.encode("utf-8", "replace") if call.error is not None else _canonical(call)
        self._counts[call.name, said] += 1
        return self._counts[call.name, said] > self._most


def _canonical(call: ToolCallElement) -> bytes:
    return msgspec.json.encode(thaw(call.args), order="deterministic")
