"""A store on a Redis server, by `coredis`, which runs on both event loops.

Above: users. Below: `_redis_scripts`, `_base`. Needs the extra `redis`, and Redis 6.2 or newer.

Each operation is one script on the server. What is sent cannot be taken back: a call that has begun is finished under `timeout_s`,
cancelled or not, and so never leaves a connection with an answer that nobody reads. When a connection was lost the call is sent
once more: scripts know their own repetition.
"""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Protocol, cast

import anyio

from ..errors import ConfigError, MissingExtraError, StateConflictError, StateError, StateLimitError
from . import _redis_scripts as scripts
from ._base import BaseStore
from ._checks import checked_seconds, checked_whole
from ._records import Head, Record, past_prefix

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from ._protocol import StoreLimits

__all__ = ["RedisStore"]


class _Client(Protocol):
    """What the store needs of a client."""

    async def eval(self, script: str, keys: list[str], args: Sequence[str | bytes | int]) -> object: ...
    async def ping(self) -> object: ...


class RedisStore(BaseStore):
    """Keep conversations and documents on a Redis server.

    ```python
    async with RedisStore("redis://localhost:6379") as store:
        history = await store.load("chat-7", last=20)
    ```

    How much survives a crash of the server is what the server is told: with `appendonly yes` and `appendfsync always` each commit
    does. A restart of it is met by a new connection.

    Cancellation: a call that has begun is finished, at the latest after `timeout_s`, and its result is returned.

    Args:
        url: Where the server is: `redis://`, `rediss://` (TLS) or `unix://`, with user and password if it asks for them. No error
            and no log repeats it.
        prefix: What all keys begin with, so that several stores can share a server. In braces, as in a cluster one part of it
            holds all keys of a store.
        timeout_s: How long a connection, and each answer, may take, in seconds.
        max_connections: Most connections at a time; who needs one more waits.
        ttl_s: How long after its last commit something is forgotten, in seconds; None: never.
        limits: How large things may be.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
        MissingExtraError: If `coredis` is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "{streamflow}",
        timeout_s: float = 5.0,
        max_connections: int = 8,
        ttl_s: float | None = None,
        limits: StoreLimits | None = None,
    ) -> None:
        super().__init__("the Redis store", limits=limits, ttl_s=ttl_s)
        given = cast("object", url)
        if not isinstance(given, str) or not given.startswith(("redis://", "rediss://", "unix://")):
            raise ConfigError("url", "give a text that begins with redis://, rediss:// or unix://")
        named = cast("object", prefix)
        if not isinstance(named, str) or not named.isprintable() or not 1 <= len(named) <= 100:
            raise ConfigError("prefix", f"give 1 to 100 printable characters, got {prefix!r:.80}")
        self._url = url
        self._prefix = prefix
        self._timeout_s = checked_seconds(timeout_s, "timeout_s")
        self._max_connections = checked_whole(max_connections, "max_connections", least=1)
        self._module = _coredis()
        self._stack: AsyncExitStack | None = None
        self._client: _Client | None = None

    async def _open(self) -> None:
        self._stack = AsyncExitStack()
        client = cast(
            "AbstractAsyncContextManager[_Client]",
            self._module.Redis.from_url(
                self._url,
                connect_timeout=self._timeout_s,
                stream_timeout=self._timeout_s,
                pool_timeout=4 * self._timeout_s,
                max_connections=self._max_connections,
                retry_policy=self._module.retry.NoRetryPolicy(),
            ),
        )
        try:
            self._client = await self._stack.enter_async_context(client)
            await self._ping()
        except BaseException as bad:
            await self._close()
            told = self._told(bad)
            if told is None or told is bad:
                raise
            raise told from _without_secret(bad)

    async def _close(self) -> None:
        stack, self._stack, self._client = self._stack, None, None
        if stack is not None:
            await stack.aclose()

    async def _ping(self) -> None:
        await self._call("return {'ok'}", [], [])

    async def _create(self, id: str, metadata: bytes, ttl_s: float | None) -> Head:
        answer = await self._call(scripts.CREATE, self._of(id), [id, metadata, _number(ttl_s), _token()], id)
        return _head(answer[1])

    async def _info(self, id: str) -> Head | None:
        answer = await self._call(scripts.INFO, [self._talk(id)], [])
        return _head(answer[1]) if answer else None

    async def _load(self, id: str, last: int | None, since: int) -> tuple[Head | None, list[Record]]:
        most = (self._limits.max_load_messages, self._limits.max_load_bytes)
        answer = await self._call(scripts.LOAD, [self._talk(id)], (_number(last), since, *most), id)
        if not answer:
            return None, []
        return _head(answer[1]), [_record(turn, info, body) for turn, info, body in answer[2]]

    async def _find(self, id: str, turn: str) -> Record | None:
        answer = await self._call(scripts.FIND, [self._talk(id)], [turn])
        return _record(turn.encode(), answer[1], answer[2]) if answer else None

    async def _append(self, id: str, given: Record, expected: int | None) -> int:
        values: list[str | bytes | int] = [id, *_fields(given), _number(expected), _number(self._ttl_s)]
        answer = await self._call(scripts.APPEND, self._of(id), values, id, expected)
        return int(answer[1])

    async def _replace(self, id: str, given: list[Record], expected: int | None) -> int:
        values: list[str | bytes | int] = [id, _number(expected), _number(self._ttl_s), _token()]
        for record in given:
            values += _fields(record)
        answer = await self._call(scripts.REPLACE, self._of(id), values, id, expected)
        return int(answer[1])

    async def _fork(self, source: str, target: str, at: int | None) -> Head | None:
        values: list[str | bytes | int] = [target, _number(at), _number(self._ttl_s), _token()]
        answer = await self._call(scripts.FORK, [self._talk(source), *self._of(target)], values, target, 0)
        return _head(answer[1]) if answer else None

    async def _expire(self, id: str, ttl_s: float | None) -> bool:
        return bool(await self._call(scripts.EXPIRE, [self._talk(id)], [_number(ttl_s)]))

    async def _delete(self, id: str, expected: int | None) -> bool:
        return bool(await self._call(scripts.DELETE, self._of(id), [id, _number(expected)], id, expected))

    async def _page(self, prefix: str, after: str | None, limit: int) -> list[tuple[str, Head]]:
        start = f"[{prefix}" if prefix else "-"
        if after is not None and after >= prefix:
            start = f"({after}"
        past = past_prefix(prefix)
        values: list[str | bytes | int] = [self._talk(""), start, "+" if past is None else f"({past}", limit]
        answer = await self._call(scripts.PAGE, [self._index], values)
        return [(id.decode(), _head(head)) for id, head in answer[1]]

    async def _get(self, key: str) -> tuple[bytes, int] | None:
        answer = await self._call(scripts.GET, [self._paper(key)], [])
        return (answer[1], int(answer[2])) if answer else None

    async def _put(self, key: str, data: bytes, expected: int | None, ttl_s: float | None) -> int:
        values: list[str | bytes | int] = [data, _number(expected), _number(ttl_s), _token()]
        answer = await self._call(scripts.PUT, [self._paper(key)], values, key, expected)
        return int(answer[1])

    async def _remove(self, key: str, expected: int | None) -> bool:
        return bool(await self._call(scripts.REMOVE, [self._paper(key)], [_number(expected)], key, expected))

    @property
    def _index(self) -> str:
        return f"{self._prefix}:index"

    def _talk(self, id: str) -> str:
        return f"{self._prefix}:c:{id}"

    def _of(self, id: str) -> list[str]:
        return [self._talk(id), self._index]

    def _paper(self, key: str) -> str:
        return f"{self._prefix}:d:{key}"

    async def _call(
        self,
        script: str,
        keys: list[str],
        values: Sequence[str | bytes | int],
        about: str = "",
        expected: int | None = 0,
    ) -> list[Any]:
        """Run a script, and return its answer; an empty list: there is no such thing.

        Args:
            script: The script.
            keys: What it reads and writes.
            values: What it is given.
            about: What a conflict or a limit is about.
            expected: What the writer has seen, to be told in a conflict.
        """
        if self._client is None:
            raise StateError("closed", f"{self._name} is closed")
        answer = await self._ask(self._client, script, keys, values)
        match answer[0]:
            case b"conflict":
                seen = None if len(answer) > 3 else expected
                raise StateConflictError(about, seen, int(answer[1]), answer[2].decode())
            case b"limit":
                name = answer[1].decode()
                raise StateLimitError(
                    name,
                    f"{about!r} has more than {name}={getattr(self._limits, name)} to load; ask for less with last= or "
                    "since=, or raise the limit",
                )
            case b"none":
                return []
            case _:
                return answer

    async def _ask(
        self, client: _Client, script: str, keys: list[str], values: Sequence[str | bytes | int]
    ) -> list[Any]:
        for attempt in (1, 2):
            try:
                # The client's own time limits end this. A cancelled call would take its connection with it.
                with anyio.CancelScope(shield=True):
                    return cast("list[Any]", await client.eval(script, keys, values))
            except Exception as bad:
                told = self._told(bad)
                if told is None:
                    raise
                if told.code != "unavailable" or not told.retryable or attempt == 2:
                    raise told from _without_secret(bad)
        raise AssertionError  # the second attempt has returned or raised

    def _told(self, bad: BaseException) -> StateError | None:
        """Return what a client's exception is in our tree; None: it is no failure of the store."""
        errors = self._module.exceptions
        if isinstance(bad, BaseExceptionGroup):
            return self._told(cast("BaseExceptionGroup[BaseException]", bad).exceptions[0])
        if isinstance(bad, StateError):
            return bad
        if isinstance(bad, (errors.AuthenticationError, errors.AuthorizationError)):
            return StateError("denied", f"{self._name}: the server refused user or password; correct the url")
        if isinstance(bad, TimeoutError):
            message = (
                f"{self._name} did not answer within {self._timeout_s:g} s; raise timeout_s, or look at the server"
            )
            return StateError("timeout", message, retryable=True)
        if isinstance(bad, (errors.ConnectionError, OSError, anyio.BrokenResourceError, anyio.ClosedResourceError)):
            message = f"{self._name} cannot be reached; see whether the server runs and where"
            return StateError("unavailable", message, retryable=True)
        if isinstance(bad, errors.RedisError):
            kind = str(bad).partition(" ")[0][:40]  # as in `OOM command not allowed`; what follows may repeat values
            is_full = kind == "OOM"
            message = f"{self._name}: the server refused the call ({'OOM' if is_full else type(bad).__name__})"
            return StateError("unavailable", message + ("; it is out of memory" if is_full else ""), retryable=False)
        return None


def _coredis() -> Any:
    try:
        import coredis
    except ImportError as error:
        raise MissingExtraError("coredis", "redis") from error
    return coredis


def _without_secret(bad: BaseException) -> BaseException | None:
    """Return an exception as a cause, unless it might repeat what was sent."""
    return bad if isinstance(bad, (OSError, TimeoutError)) else None


def _token() -> str:
    return uuid.uuid4().hex


def _fields(record: Record) -> tuple[str | bytes | int, ...]:
    return record.id, record.status, record.messages, record.fingerprint, record.body


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)


def _head(row: list[Any]) -> Head:
    revision, turns, messages, size, created, updated, ttl, expires, metadata = row
    return Head(
        int(revision),
        int(turns),
        int(messages),
        int(size),
        float(created),
        float(updated),
        float(ttl) if ttl else None,
        float(expires) if expires else None,
        bytes(metadata),
    )


def _record(turn: bytes, info: bytes, body: bytes) -> Record:
    _, revision, status, messages, _, at_s, fingerprint = info.decode().split("|")
    return Record(turn.decode(), status, int(messages), fingerprint, bytes(body), int(revision), float(at_s))
