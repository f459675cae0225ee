"""The tools of the command line: a few that are safe anywhere, and those of the user's own modules.

Above: `_main`, `_offline`. Below: `agents`.
"""

from __future__ import annotations

import ast
import datetime
import importlib
import math
import sys
import zoneinfo
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from ..agents import Tool, Tools, tool
from ..errors import ConfigError, ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..agents import ToolLike

__all__ = ["BUNDLED", "add_tools", "bundled_tools", "tools_for"]

BUNDLED: Final = "bundled"
"""What stands for the bundled tools among the names of tools."""

_MAX_CHARS = 200
_MAX_BITS = 4096  # of a number on the way to a result: 9**9**9 must not fill the memory
_Number: TypeAlias = "int | float"


@tool(name="time")
def _time(zone: str = "") -> str:
    """Say what day and time it is.

    Args:
        zone: A time zone, as in Europe/Rome; empty: that of this machine.
    """
    try:  # reads files, so this function is not async: it runs in a thread
        where = zoneinfo.ZoneInfo(zone) if zone else None
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ToolError(f"There is no time zone {zone!r:.80}. Give one like Europe/Rome, or none.") from None
    return datetime.datetime.now(where).astimezone(where).strftime("%A, %d %B %Y, %H:%M:%S %Z").strip()


@tool(name="calculator")
async def _calculator(expression: str) -> str:
    """Calculate with numbers: + - * / // % ** and parentheses.

    Args:
        expression: What to calculate, as in 12 * (3 + 4).
    """
    if len(expression) > _MAX_CHARS:
        raise ToolError(f"The expression is longer than {_MAX_CHARS} characters. Divide it into parts.")
    try:
        value = _value_of(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ToolError("That is no expression of numbers and + - * / // % ** ( ).") from None
    except ZeroDivisionError:
        raise ToolError("It divides by zero.") from None
    except OverflowError:
        raise ToolError("The numbers become too large.") from None
    return f"{value:.15g}" if isinstance(value, float) else str(value)


@tool(name="count_words")
async def _count_words(text: str) -> str:
    """Count the words, the characters and the lines of a text.

    Args:
        text: The text.
    """
    words, lines = len(text.split()), len(text.splitlines())
    return f"{words} word{'s' * (words != 1)}, {len(text)} characters, {lines} line{'s' * (lines != 1)}"


def add_tools(add_argument: Callable[..., object]) -> None:
    """Add the option that names tools, by the method of the command or group that it is of."""
    add_argument(
        "--tools",
        metavar="MODULE:NAME",
        action="append",
        nargs="?",
        const=BUNDLED,
        default=[],
        help="what the model may call: a tool, a function or a list of them; alone: time, calculator and count_words,"
        " which the offline provider has anyway; may be repeated",
    )


def bundled_tools() -> tuple[Tool, ...]:
    """Return the tools that read nothing of this machine but its clock, and change nothing."""
    return _time, _calculator, _count_words


def tools_for(names: Iterable[str]) -> Tools:
    """Return the tools of these names: `bundled`, or `module:name`, where the name is a tool, a function, or several in a list.

    The module is looked for as Python does, and in the current folder.

    Raises:
        ConfigError: If there is no such module or name, or it is no tool.
    """
    found: list[ToolLike] = []
    for name in names:
        found += bundled_tools() if name == BUNDLED else _own(name)
    try:
        return Tools(found)
    except ConfigError as bad:
        raise ConfigError("--tools", str(bad)) from bad


def _own(name: str) -> list[ToolLike]:
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise ConfigError("--tools", f"{name!r:.80} is none; give module:name, or --tools alone for the bundled ones")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does, which the console script does not
    try:
        module = importlib.import_module(module_name)
    except Exception as bad:
        raise ConfigError("--tools", f"{module_name!r:.80} cannot be imported: {type(bad).__name__}: {bad}") from bad
    given: object = getattr(module, attribute, None)
    if given is None:
        raise ConfigError("--tools", f"module {module_name!r:.80} has no {attribute!r:.80}")
    several = isinstance(given, (list, tuple, Tools))
    return list(cast("Iterable[ToolLike]", given)) if several else [cast("ToolLike", given)]


def _value_of(node: ast.expr) -> _Number:
    """Return the value of an expression; only what is named here is calculated.

    Raises:
        ValueError: If there is anything else in it.
        OverflowError: If a number becomes too large.
    """
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return _checked(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value_of(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value_of(operand)
        case ast.BinOp(left=left, op=op, right=right):
            return _checked(_joined(_value_of(left), op, _value_of(right)))
        case _:
            raise ValueError(type(node).__name__)


def _joined(left: _Number, op: ast.operator, right: _Number) -> _Number:
    match op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            return left / right
        case ast.FloorDiv():
            return left // right
        case ast.Mod():
            return left % right
        case ast.Pow():
            return _power(left, right)
        case _:
            raise ValueError(type(op).__name__)


def _power(base: _Number, exponent: _Number) -> _Number:
    if isinstance(base, int) and base.bit_length() * abs(exponent) > _MAX_BITS:
        raise OverflowError
    if base < 0 and not float(exponent).is_integer():
        raise ValueError("a root of a negative number")
    raised: _Number = base**exponent
    return raised


def _checked(value: _Number) -> _Number:
    is_too_large = value.bit_length() > _MAX_BITS if isinstance(value, int) else not math.isfinite(value)
    if is_too_large:
        raise OverflowError
    return value
