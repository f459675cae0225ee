"""A tool: what a model may call, made of a typed Python function, a model class, or a schema that someone else gives.

Above: `_tools`, users. Below: `_arguments`, `_docstrings`, `elements`.
"""

from __future__ import annotations

import functools
import inspect
import re
import threading
from typing import TYPE_CHECKING, Generic, Literal, TypeAlias, TypeVar, cast, overload

import anyio.to_thread

from ..elements import DataElement, ToolCallElement, ToolResultElement, thaw
from ..errors import ConfigError
from ..providers import ToolSpec
from ._arguments import arguments_of, arguments_of_type
from ._content import content_of
from ._docstrings import read_docstring

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ..elements import JsonValue, StreamElement
    from ._arguments import Arguments

__all__ = ["Approval", "Approve", "Tool", "ToolContext", "tool"]

DepsT_co = TypeVar("DepsT_co", covariant=True)

Approval = Literal["allow", "deny", "ask"]
"""Whether a call may run: yes, no, or a person decides."""

Approve: TypeAlias = "Approval | Callable[[ToolCallElement], Approval | Awaitable[Approval]]"
"""Whether calls may run: the same for all, or a function of the call, which may be async. One that fails means `deny`."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ToolContext(Generic[DepsT_co]):
    """What a tool may ask and tell while it works. A tool gets it by having a parameter of this type, which no model sees."""

    def __init__(
        self,
        call: ToolCallElement,
        deps: DepsT_co,
        send: Callable[[StreamElement], Awaitable[None]],
        limiter: anyio.CapacityLimiter | None = None,
    ) -> None:
        self.call_id: str = call.call_id
        """Joins the call and its result."""
        self.name: str = call.name
        """Name of the tool."""
        self.deps = deps
        """What the caller of the run gave as `execute(…, deps=…)`."""
        self.send: Callable[[StreamElement], Awaitable[None]] = send
        """Sends an element beside the result, as `progress()` and `data()` do."""
        self.limiter: anyio.CapacityLimiter | None = limiter
        """Bounds the threads of tools."""
        self._over = threading.Event()

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for the result any more: for tools in threads, which cannot be cancelled."""
        return self._over.is_set()

    def end(self) -> None:
        """Tell a tool in a thread that nobody waits for it any more."""
        self._over.set()

    async def progress(self, value: object) -> None:
        """Send a preliminary result, which the next one, or the final one, replaces.

        Cancellation: a checkpoint; when it raises, nothing was sent.
        """
        content = content_of(value)
        await self.send(
            ToolResultElement(self.call_id, self.name, content, preliminary=True, id=f"{self.call_id}-progress")
        )

    async def data(self, name: str, value: JsonValue) -> None:
        """Send a named value for whoever watches; the model does not see it, and it is not stored.

        Cancellation: a checkpoint; when it raises, nothing was sent.
        """
        await self.send(DataElement(name, value, transient=True, id=self.call_id))


class _Given:
    """A function that takes the arguments as they come, and what the model is told of it."""

    def __init__(
        self, spec: ToolSpec, call: Callable[[Mapping[str, JsonValue], ToolContext[object]], Awaitable[object]]
    ) -> None:
        self.spec, self._call = spec, call

    async def __call__(self, args: Mapping[str, JsonValue], context: ToolContext[object]) -> object:
        return await self._call(args, context)


class Tool:
    """A function that a model may call. `@tool` makes one.

    Args:
        func: A typed function; async, or not: then it runs in a thread. Its docstring is the description, with `Args:` for each
            parameter. What it returns is told as it is if it is text or parts of a message, else as JSON.
        name: What models call it; default the function's.
        description: What it does and when to use it; default the docstring.
        args: A pydantic model, a Struct or a dataclass: its fields are the arguments, and the function takes one instance of it.
        timeout_s: Longest time of a call, in seconds; None: what `Tools` says.
        sequential: Whether no other call of the same answer may run beside it: those before it have ended, those behind it wait.
        eager: Whether a call may run as soon as its arguments are complete, before it is known whether the answer ends well.
            Only for tools that read and change nothing: the result may be thrown away.
        approve: Whether calls may run; None: what `Tools` says.
        max_result_bytes: Most bytes of a result; None: what `Tools` says.
        show_errors: Whether the model is told the text of any exception; else only that of a `ToolError`.
        strict: Whether the server is to hold the model to the schema, where it can.

    Raises:
        ConfigError: If the function or one of its parameters cannot be described, or an option is out of its range.
    """

    def __init__(
        self,
        func: Callable[..., object],
        *,
        name: str | None = None,
        description: str | None = None,
        args: type | None = None,
        timeout_s: float | None = None,
        sequential: bool = False,
        eager: bool = False,
        approve: Approve | None = None,
        max_result_bytes: int | None = None,
        show_errors: bool = False,
        strict: bool = False,
    ) -> None:
        if not callable(func):
            raise ConfigError("tool", f"{func!r:.80} is no function")
        self._arguments: Arguments | None = None
        self._context: str | None = None
        if isinstance(func, _Given):
            spec = func.spec
        else:
            own_name = name if name is not None else str(getattr(func, "__name__", type(func).__name__))
            self._arguments, self._context = _described(func, own_name, args)
            text = description if description is not None else read_docstring(inspect.getdoc(func))[0]
            spec = ToolSpec(own_name, text, self._arguments.schema, strict)
        self.func: Callable[..., object] = func
        """The function."""
        self._is_async = inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(
            getattr(func, "__call__", None)  # noqa: B004 - an object with an async __call__ is asked for, not callability
        )
        if _NAME.fullmatch(spec.name) is None:
            raise ConfigError(
                "name", f"{spec.name!r:.80} cannot be the name of a tool; use at most 64 of A-Z a-z 0-9 _ -"
            )
        if timeout_s is not None and not timeout_s > 0:
            raise ConfigError("timeout_s", f"tool {spec.name!r}: {timeout_s} is out of range; give more than 0 seconds")
        if max_result_bytes is not None and max_result_bytes < 1:
            raise ConfigError(
                "max_result_bytes", f"tool {spec.name!r}: {max_result_bytes} is out of range; give 1 or more"
            )
        if eager and sequential:
            raise ConfigError("eager", f"tool {spec.name!r}: it cannot be both eager and sequential; choose one")
        check_approve(approve, f"tool {spec.name!r}")
        self.spec: ToolSpec = spec
        """What the model is told of it."""
        self.timeout_s: float | None = timeout_s
        """Longest time of a call, in seconds."""
        self.sequential: bool = sequential
        """Whether no other call of the same answer may run beside it."""
        self.eager: bool = eager
        """Whether a call may run before it is known whether the answer ends well."""
        self.approve: Approve | None = approve
        """Whether calls may run."""
        self.max_result_bytes: int | None = max_result_bytes
        """Most bytes of a result."""
        self.show_errors: bool = show_errors
        """Whether the model is told the text of any exception."""

    @classmethod
    def from_schema(
        cls,
        spec: ToolSpec,
        call: Callable[[Mapping[str, JsonValue], ToolContext[object]], Awaitable[object]],
        *,
        timeout_s: float | None = None,
        sequential: bool = False,
        approve: Approve | None = None,
        max_result_bytes: int | None = None,
        show_errors: bool = False,
    ) -> Tool:
        """Return a tool whose schema is given, and whose arguments reach `call` as they come: whoever runs it checks them.

        Args:
            spec: What the model is told of it.
            call: Takes the arguments and the context; returns what a tool may return.
            timeout_s: Longest time of a call, in seconds; None: what `Tools` says.
            sequential: Whether no other call of the same answer may run beside it.
            approve: Whether calls may run; None: what `Tools` says.
            max_result_bytes: Most bytes of a result; None: what `Tools` says.
            show_errors: Whether the model is told the text of any exception; else only that of a `ToolError`.

        Raises:
            ConfigError: If the name cannot be one, or an option is out of its range.
        """
        return cls(
            _Given(spec, call),
            timeout_s=timeout_s,
            sequential=sequential,
            approve=approve,
            max_result_bytes=max_result_bytes,
            show_errors=show_errors,
        )

    @property
    def name(self) -> str:
        """What models call it."""
        return self.spec.name

    async def run(self, args: Mapping[str, JsonValue], context: ToolContext[object]) -> object:
        """Call the function, in a thread if it is not async, and return what it returns.

        Cancellation: ends an async function; a thread is left, and told by `ToolContext.is_over`.

        Raises:
            ArgumentsError: If the arguments do not fit the schema; the function is then not called.
            Exception: What the function raises.
        """
        if self._arguments is None:
            return await cast("Awaitable[object]", self.func(args, context))
        # Frozen all the way down: who asks for a model, a dataclass or a dict inside would not get one.
        given = self._arguments.read(cast("Mapping[str, object]", thaw(args)))
        if self._context is not None:
            given[self._context] = context
        call = functools.partial(self.func, **given)
        if self._is_async:
            return await cast("Awaitable[object]", call())
        try:
            result = await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=context.limiter)
        finally:
            context.end()
        return await cast("Awaitable[object]", result) if inspect.isawaitable(result) else result

    def __repr__(self) -> str:
        return f"<Tool {self.name!r}>"


def check_approve(approve: object, where: str) -> None:
    """Do nothing if this can say whether calls may run.

    Raises:
        ConfigError: If it cannot.
    """
    if approve is not None and not callable(approve) and approve not in {"allow", "deny", "ask"}:
        raise ConfigError("approve", f"{where}: {approve!r:.80} is none; give 'allow', 'deny', 'ask' or a function")


def _described(func: Callable[..., object], name: str, args: type | None) -> tuple[Arguments, str | None]:
    """Return the arguments of a tool, and the parameter for the context."""
    if args is None:
        return arguments_of(func, name, ToolContext)
    parameters = list(inspect.signature(func).parameters)
    if not 1 <= len(parameters) <= 2:
        raise ConfigError(
            "tool", f"{name!r}: with args= its function takes one instance, and the context if it wants it"
        )
    context = parameters[1] if len(parameters) == 2 else None
    return arguments_of_type(args, name, parameters[0]), context


@overload
def tool(func: Callable[..., object], /) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    args: type | None = None,
    timeout_s: float | None = None,
    sequential: bool = False,
    eager: bool = False,
    approve: Approve | None = None,
    max_result_bytes: int | None = None,
    show_errors: bool = False,
    strict: bool = False,
) -> Callable[[Callable[..., object]], Tool]: ...
def tool(
    func: Callable[..., object] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    args: type | None = None,
    timeout_s: float | None = None,
    sequential: bool = False,
    eager: bool = False,
    approve: Approve | None = None,
    max_result_bytes: int | None = None,
    show_errors: bool = False,
    strict: bool = False,
) -> Tool | Callable[[Callable[..., object]], Tool]:
    """Return a tool made of a typed function; with or without options, which are those of `Tool`.

    ```python
    @tool
    async def weather(city: str, days: int = 1) -> str:
        \"\"\"Say what the weather will be.

    Args:
            city: Name of the city, in English.
            days: How many days ahead, 1 to 7.
        \"\"\"
    ```

    Args:
        func: See `Tool`, also for all others.
        name: What models call it; default the function's.
        description: What it does and when to use it; default the docstring.
        args: A type whose fields are the arguments.
        timeout_s: Longest time of a call, in seconds.
        sequential: Whether no other call of the same answer may run beside it.
        eager: Whether a call may run before it is known whether the answer ends well.
        approve: Whether calls may run.
        max_result_bytes: Most bytes of a result.
        show_errors: Whether the model is told the text of any exception.
        strict: Whether the server is to hold the model to the schema, where it can.

    Raises:
        ConfigError: If the function or one of its parameters cannot be described.
    """

    def make(given: Callable[..., object]) -> Tool:
        return Tool(
            given,
            name=name,
            description=description,
            args=args,
            timeout_s=timeout_s,
            sequential=sequential,
            eager=eager,
            approve=approve,
            max_result_bytes=max_result_bytes,
            show_errors=show_errors,
            strict=strict,
        )

    return make if func is None else make(func)
