"""What a docstring says of a function and of its arguments, in Google style.

Above: `_arguments`, `_tool`. Below: nothing. Pure functions.
"""

from __future__ import annotations

import inspect
import re

__all__ = ["read_docstring"]

_SECTION = re.compile(r"^(Args|Arguments|Returns|Raises|Yields|Examples?|Notes?|Attributes|Source|Flow):\s*$")
_ENTRY = re.compile(r"^(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")


def read_docstring(text: str | None) -> tuple[str, dict[str, str]]:
    """Return what stands before the first section, and the texts of the section `Args:` by argument."""
    lines = inspect.cleandoc(text or "").splitlines()
    starts = [number for number, line in enumerate(lines) if _SECTION.match(line)]
    summary = "\n".join(lines[: starts[0] if starts else len(lines)]).strip()
    told: dict[str, str] = {}
    for start in starts:
        if lines[start].startswith("Arg"):
            end = next((number for number in starts if number > start), len(lines))
            told |= _entries(lines[start + 1 : end])
    return summary, told


def _entries(lines: list[str]) -> dict[str, str]:
    """Return the entries of a section: a name, a colon, a text that may go on in lines that are indented further."""
    filled = [line for line in lines if line.strip()]
    if not filled:
        return {}
    indent = min(len(line) - len(line.lstrip()) for line in filled)
    told: dict[str, str] = {}
    name = ""
    for line in filled:
        found = _ENTRY.match(line.strip()) if len(line) - len(line.lstrip()) == indent else None
        if found is not None:
            name = found[1]
            told[name] = found[2].strip()
        elif name:
            told[name] = f"{told[name]} {line.strip()}".strip()
    return told
