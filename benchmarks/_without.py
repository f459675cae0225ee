"""The package once more, without the code that asks whether a feature is on: what that asking costs while it is off.

Above: `bench_features_cost`. Below: the source of the package.

A copy of all modules is imported beside the real one, from the same source with fragments taken out of it. A fragment that is not
found is an error: a copy that has lost nothing would prove that nothing costs nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

__all__ = ["HOOKS", "Copy", "Hook", "LostHookError"]

PACKAGE = "streamflow"


class LostHookError(LookupError):
    """What should be taken out of a module is not in it: it was rewritten, and `HOOKS` has to follow."""


@dataclasses.dataclass(frozen=True)
class Hook:
    """What a feature that is off leaves in the code of a module."""

    module: str
    """Below the package, as in `channels._pump`."""
    text: str
    """A part of a line; each that is like it."""
    then: str = ""
    """Where `text` is an `if`: the line below it, which goes with it."""
    instead: str = ""
    """What stands there without it."""

    def taken_out_of(self, source: str) -> str:
        """Return the source without it.

        Raises:
            LostHookError: If it is not there.
        """
        lines = rf"(?m)^ *{re.escape(self.text)}\n *{re.escape(self.then)}\n" if self.then else re.escape(self.text)
        left, count = re.subn(lines, self.instead, source)
        if not count:
            message = f"{self.module} has no {self.text!r} {self.then!r} any more"
            raise LostHookError(message)
        return left


def _asking(module: str, question: str, then: str) -> Hook:
    """Return an `if` with one line in it, however deep it stands."""
    return Hook(module, f"if {question}:", then)


HOOKS: dict[str, tuple[Hook, ...]] = {
    "events and metrics": (
        _asking("channels._receive_end", "self._overseers", "self._tell_overseers()"),
        _asking("channels._send_end", "peer._overseers", "peer._tell_overseers()"),
        Hook("runtime._feeding", "0.0 if meter is None else meter.now()", instead="0.0"),
        _asking("runtime._feeding", "self.hears is not None", "self.hears(began)"),
        _asking("runtime._jobs", "self.meter is not None", "return error"),
        _asking("runtime._stage_run", "self.meter is not None", "return error"),
        Hook("runtime._jobs", "self._run_measured(self.meter) if self.meter is not None else "),
        _asking("runtime._engine", "self.config.metrics", "self.measure()"),
    ),
    "priority": (
        Hook("channels._pump", " or (lanes is not None and result.priority is not lanes.only)"),
        Hook("channels._pump", " or (lanes is not None and element.priority is not lanes.only)"),
        Hook("channels._pump", ", target._lanes", instead=", None"),
    ),
    "element tracing": (
        _asking(
            "channels._receive_end",
            "unusual and self._watch is not None",
            'self._watch.on_blocked("receive", blocked=True)',
        ),
        _asking(
            "channels._receive_end",
            "unusual and self._watch is not None",
            'self._watch.on_blocked("receive", blocked=False)',
        ),
        _asking("channels._receive_end", "self._watch is not None", "self._watch.on_received(item)"),
        _asking("channels._send_end", "peer._watch is not None", "peer._watch.on_sent(item)"),
        _asking(
            "runtime._stage_run", "host is not None and host.tracer is not None", "host.tracer.enter(self.context)"
        ),
        _asking(
            "runtime._wiring", "self._tracer is not None", "self._tracer.edge(len(self.sends), edge, send, receive)"
        ),
    ),
}
"""By feature."""


class Copy:
    """The package, imported once more.

    Args:
        hooks: What is taken out of it.

    Raises:
        LostHookError: If one of them is not there.
    """

    def __init__(self, hooks: Sequence[Hook]) -> None:
        self._hooks: dict[str, list[Hook]] = {}
        for hook in hooks:
            self._hooks.setdefault(f"{PACKAGE}.{hook.module}", []).append(hook)
        self._modules: dict[str, ModuleType] = {}
        with self.here():
            for name in (PACKAGE, *self._hooks):
                importlib.import_module(name)

    @contextlib.contextmanager
    def here(self) -> Iterator[Any]:
        """Let every import of the package find this copy, for as long as the block lasts; gives the copy."""
        others = _taken_out()
        sys.modules.update(self._modules)
        sys.meta_path.insert(0, self)  # type: ignore[arg-type] - all that is asked of a finder is `find_spec()`
        try:
            yield sys.modules.get(PACKAGE)
        finally:
            sys.meta_path.remove(self)  # type: ignore[arg-type]
            self._modules = _taken_out()
            sys.modules.update(others)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return how a module of the package is loaded."""
        if name.partition(".")[0] != PACKAGE:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin is not None and name in self._hooks:
            spec.loader = _Edited(name, spec.origin, self._hooks[name])
        return spec


class _Edited(SourceFileLoader):
    def __init__(self, name: str, path: str, hooks: Sequence[Hook]) -> None:
        super().__init__(name, path)
        self._hooks = hooks

    def get_code(self, fullname: str) -> CodeType:
        """Compile the source without the hooks; never from a cache, and into none."""
        source = self.get_data(self.path).decode()
        for hook in self._hooks:
            source = hook.taken_out_of(source)
        return compile(source, self.path, "exec", dont_inherit=True)


def _taken_out() -> dict[str, ModuleType]:
    """Take all modules of the package out of the interpreter."""
    names = [name for name in sys.modules if name.partition(".")[0] == PACKAGE]
    return {name: sys.modules.pop(name) for name in names}
