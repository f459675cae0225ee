"""Mistakes that a type checker must find. `tests/typing/test_rejected.py` compares each `# rejected:` with what mypy says."""

from __future__ import annotations

from streamflow import TextElement

element = TextElement("a")
element.text = "b"  # rejected: misc
TextElement(b"a")  # rejected: arg-type
TextElement()  # rejected: call-arg
