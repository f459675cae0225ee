"""What legacy code looks like: which of the known shapes a thing has, found out once, when the adapter is made.

Above: `_adapter`, `_chain`. Below: `stages`.
A shape is known by its methods and the number of their parameters, never by a class: none of the packages that these shapes come
from is imported. What has no known shape is refused here, and not in a running task.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections import Counter
from typing import TYPE_CHECKING, Literal, cast

from ..errors import ConfigError
from ..stages import BaseStage, StageSpec, definition_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["HookKind", "Link", "Shape", "links_of", "name_of"]

Shape = Literal["around", "interceptor", "call"]
"""`around`: calls `next` itself. `interceptor`: has hooks before, after and on errors. `call`: takes the request and answers."""

HookKind = Literal["stream_chunk", "on_chunk"]
"""How a hook sees the fragments of a stream: `stream_chunk` changes the fragment in hand, `on_chunk` returns what goes on."""

_NEXT = {"next", "next_", "_next", "nxt", "call_next", "next_call", "next_handler", "proceed", "get_response"}
_TEXT = {"text", "input_text", "message", "prompt", "query", "question", "user_input", "user_message"}
_HOOKS = {
    "before": ("the stage's name", "the context"),
    "after": ("the stage's name", "the result", "the context"),
    "on_error": ("the stage's name", "the error", "the context"),
}
_HINT = (
    "give an object or class with execute(ctx), run(ctx), process(ctx, next) or before/after/on_error, "
    "or a function of the context, or of the context and next"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """One piece of legacy code in a chain."""

    name: str
    """What it is called in errors, events and outputs."""
    shape: Shape
    """How it is called."""
    make: Callable[[], object]
    """Returns the object that is called: the same for every request, or one of its own when a class was given."""
    method: str = ""
    """The method that is called; empty: the object itself."""
    wants_text: bool = False
    """Whether it takes the text of the newest message, and no context."""
    streams: bool = False
    """Whether it is an async generator, whose fragments go on as they come."""
    hook: HookKind | None = None
    """Its hook for the fragments of a stream."""
    priority: float = 100
    """Place among interceptors that stand next to each other: low is outside."""

    def function(self, target: object) -> Callable[..., object]:
        """Return what to call."""
        return getattr(target, self.method) if self.method else cast("Callable[..., object]", target)


def name_of(legacy: object) -> str | None:
    """Return the name that legacy code has of itself, None when it has none."""
    if isinstance(legacy, list | tuple):
        names = [name_of(one) for one in cast("Iterable[object]", legacy)]
        return next((name for name in names if name), None)
    while isinstance(legacy, functools.partial):
        legacy = cast("Callable[..., object]", legacy.func)
    for given in (getattr(legacy, "name", None), getattr(legacy, "__name__", None)):
        if isinstance(given, str) and given.strip() and given != "<lambda>":
            return given
    return None if inspect.isfunction(legacy) else type(legacy).__name__


def links_of(legacy: object, handler: object, config: Mapping[str, object] | None, stage: str) -> tuple[Link, ...]:
    """Return legacy code as a chain of links, outermost first.

    Args:
        legacy: One piece, or a list of them.
        handler: What the innermost `next` calls; None: nothing.
        config: Arguments of the one class among them.
        stage: Name of the adapter, for errors.

    Raises:
        StageDefinitionError: If one has no known shape.
        ConfigError: If there is not exactly one class for `config`.
    """
    given = _flat(legacy)
    if not given:
        message = f"stage {stage!r}: there is nothing to wrap"
        raise definition_error(stage, message, _HINT)
    if handler is not None:
        given.append(handler)
    classes = [one for one in given if isinstance(one, type)]
    if config is not None and len(classes) != 1:
        message = f"arguments for a class are given with {len(classes)} classes; give exactly one class, or objects"
        raise ConfigError("config", message)
    links = [_link_of(one, config or {}, stage) for one in given]
    if handler is not None and links[-1].shape != "call":
        message = f"stage {stage!r}: handler={handler!r:.80} is no handler, but middleware around one"
        raise definition_error(
            stage, message, "give a function of the context, or an object with execute(ctx) or run(ctx)"
        )
    return _in_order(_named_apart(links, stage))


def _flat(legacy: object) -> list[object]:
    if isinstance(legacy, list | tuple):
        return [one for each in cast("Iterable[object]", legacy) for one in _flat(each)]
    return [legacy]


def _named_apart(links: list[Link], stage: str) -> list[Link]:
    """Give each link a name of its own; the one that answers alone is called as the adapter is."""
    if sum(link.shape == "call" for link in links) == 1:
        links = [dataclasses.replace(link, name=stage) if link.shape == "call" else link for link in links]
    seen: Counter[str] = Counter()
    named: list[Link] = []
    for link in links:
        seen[link.name] += 1
        number = seen[link.name]
        named.append(link if number == 1 else dataclasses.replace(link, name=f"{link.name}_{number}"))
    return named


def _in_order(links: list[Link]) -> tuple[Link, ...]:
    """Sort interceptors that stand next to each other by priority."""
    ordered: list[Link] = []
    group: list[Link] = []
    for link in links:
        if link.shape == "interceptor":
            group.append(link)
            continue
        ordered += [*sorted(group, key=lambda one: one.priority), link]
        group = []
    return (*ordered, *sorted(group, key=lambda one: one.priority))


def _link_of(given: object, config: Mapping[str, object], stage: str) -> Link:
    if isinstance(given, BaseStage | StageSpec):
        message = f"stage {stage!r}: {given!r:.80} is a stage already"
        raise definition_error(stage, message, "give it to chain() as it is")
    if inspect.iscoroutine(given):
        given.close()  # else Python warns that it was never awaited, besides our own error
        message = f"stage {stage!r}: a coroutine was given"
        raise definition_error(stage, message, "pass the function itself, without calling it")
    made = _Made(given, stage)
    link = _of_methods(made) or _of_callable(made)
    if link is None:
        message = f"stage {stage!r}: {given!r:.80} ({made.kind}) has none of the shapes of middleware"
        raise definition_error(stage, message, _HINT)
    return dataclasses.replace(link, make=_maker(given, config, stage), hook=_hook_of(made))


def _maker(given: object, config: Mapping[str, object], stage: str) -> Callable[[], object]:
    if not isinstance(given, type):
        return lambda: given
    try:
        inspect.signature(given).bind(**config)
    except TypeError as error:
        message = (
            f"stage {stage!r}: the class {given.__name__} cannot be made with config={dict(config)!r:.80} ({error})"
        )
        raise definition_error(stage, message, "give its arguments as config=, or an object of it") from error
    except ValueError:  # it has no signature to look at
        pass
    return functools.partial(given, **config)


class _Made:
    """An object, or what objects of a class will be, to look at before there is one."""

    def __init__(self, given: object, stage: str) -> None:
        self.given = given
        self.stage = stage
        self.name = name_of(given) or stage
        self.is_class = isinstance(given, type)
        self.kind = "class" if self.is_class else type(given).__name__

    def method(self, name: str) -> Callable[..., object] | None:
        """Return a method, as it will be called; None if there is none."""
        found = getattr(self.given, name, None)
        if not callable(found):
            return None
        is_plain = inspect.isfunction(inspect.getattr_static(self.given, name, None))
        return functools.partial(found, None) if self.is_class and is_plain else found

    def refuse(self, method: str, wanted: str) -> Exception:
        """Return the error for a method that takes something else."""
        message = f"stage {self.stage!r}: {self.name}.{method} does not take {wanted}"
        return definition_error(self.stage, message, _HINT)


def _parameters(function: Callable[..., object]) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


def _takes(function: Callable[..., object], count: int) -> bool:
    """Say whether `function` can be called with `count` arguments; one whose signature nobody can tell, with any number."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def _of_methods(made: _Made) -> Link | None:
    process = made.method("process")
    if process is not None:
        return _around_or_call(made, process, "process")
    execute = made.method("execute")
    if execute is not None:
        if not _takes(execute, 1):
            raise made.refuse("execute", "the context alone")
        return _call(made, execute, "execute")
    hooks = {name: made.method(name) for name in _HOOKS}
    if any(hooks.values()):
        for name, hook in hooks.items():
            if hook is not None and not _takes(hook, len(_HOOKS[name])):
                raise made.refuse(name, ", ".join(_HOOKS[name]))
        priority = getattr(made.given, "priority", 100)
        return Link(made.name, "interceptor", _nothing, priority=priority if isinstance(priority, int | float) else 100)
    for name in ("run", "invoke"):
        run = made.method(name)
        if run is not None:
            if not _takes(run, 1):
                raise made.refuse(name, "the context alone")
            return _call(made, run, name)
    return None


def _of_callable(made: _Made) -> Link | None:
    if made.is_class:
        is_callable = any("__call__" in vars(one) for one in cast("type", made.given).__mro__)
        found = made.method("__call__") if is_callable else None
        return None if found is None else _around_or_call(made, found, "__call__")
    return _around_or_call(made, made.given, "") if callable(made.given) else None


def _around_or_call(made: _Made, function: Callable[..., object], method: str) -> Link:
    names = [one.name for one in _parameters(function) or ()]
    if names[:2] == ["input", "output"]:
        message = f"stage {made.stage!r}: {made.name} is a stage already: it takes input and output"
        raise definition_error(made.stage, message, "give it to chain() as it is")
    names_next = len(names) > 1 and names[1] in _NEXT
    if _takes(function, 2) and (names_next or not _takes(function, 1)):
        return Link(made.name, "around", _nothing, method)
    if not _takes(function, 1):
        raise made.refuse(method or "it", "the context, or the context and next")
    return _call(made, function, method)


def _call(made: _Made, function: Callable[..., object], method: str) -> Link:
    while isinstance(function, functools.partial):
        function = function.func
    written = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    seen = made.method(method) if method else None
    first = next(iter(_parameters(seen or function) or ()), None)
    says_text = first is not None and (first.annotation in {str, "str"} or first.name in _TEXT)
    return Link(
        made.name,
        "call",
        _nothing,
        method,
        wants_text=method == "invoke" or says_text,
        streams=inspect.isasyncgenfunction(written),
    )


def _hook_of(made: _Made) -> HookKind | None:
    kinds: tuple[HookKind, ...] = ("stream_chunk", "on_chunk")
    for kind in kinds:
        hook = made.method(kind)
        if hook is not None:
            if not _takes(hook, 2):
                raise made.refuse(kind, "the context and the fragment")
            return kind
    return None


def _nothing() -> None:
    """Stand in for what makes the object, until that is known."""
