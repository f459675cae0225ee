"""A store over SQL: each call is one operation of `_sql`, in a transaction that reads or one that writes.

Above: `_sqlite`, `_postgres`. Below: `_sql`, `_base`.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, TypeVar

from . import _sql
from ._base import BaseStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._records import Head, Record
    from ._sql import Transaction

__all__ = ["SqlStore"]

T = TypeVar("T")


class SqlStore(BaseStore):
    """Base of the stores over SQL: give `_read()` and `_write()`."""

    @abc.abstractmethod
    async def _read(self, work: Callable[[Transaction], T]) -> T:
        """Return what `work` returns, in a transaction that sees one state of the store."""

    @abc.abstractmethod
    async def _write(self, work: Callable[[Transaction], T], *, again: bool = False) -> T:
        """Return what `work` returns, in a transaction that may write.

        Args:
            work: What to do. It may be called again after a rollback.
            again: Whether it may also be done again although its commit may have succeeded.
        """

    async def _ping(self) -> None:
        await self._read(lambda tx: tx.execute("SELECT 1"))

    async def _create(self, id: str, metadata: bytes, ttl_s: float | None) -> Head:
        return await self._write(lambda tx: _sql.create(tx, id, metadata, ttl_s))

    async def _info(self, id: str) -> Head | None:
        return await self._read(lambda tx: _sql.info(tx, id))

    async def _load(self, id: str, last: int | None, since: int) -> tuple[Head | None, list[Record]]:
        return await self._read(lambda tx: _sql.load(tx, id, last, since, self._limits))

    async def _find(self, id: str, turn: str) -> Record | None:
        return await self._read(lambda tx: _sql.find(tx, id, turn))

    async def _append(self, id: str, given: Record, expected: int | None) -> int:
        return await self._write(lambda tx: _sql.append(tx, id, given, expected, self._ttl_s), again=True)

    async def _replace(self, id: str, given: list[Record], expected: int | None) -> int:
        return await self._write(lambda tx: _sql.replace(tx, id, given, expected, self._ttl_s))

    async def _fork(self, source: str, target: str, at: int | None) -> Head | None:
        return await self._write(lambda tx: _sql.fork(tx, source, target, at, self._ttl_s))

    async def _expire(self, id: str, ttl_s: float | None) -> bool:
        return await self._write(lambda tx: _sql.expire(tx, id, ttl_s))

    async def _delete(self, id: str, expected: int | None) -> bool:
        return await self._write(lambda tx: _sql.delete(tx, id, expected))

    async def _page(self, prefix: str, after: str | None, limit: int) -> list[tuple[str, Head]]:
        return await self._read(lambda tx: _sql.page(tx, prefix, after, limit))

    async def _get(self, key: str) -> tuple[bytes, int] | None:
        return await self._read(lambda tx: _sql.get(tx, key))

    async def _put(self, key: str, data: bytes, expected: int | None, ttl_s: float | None) -> int:
        return await self._write(lambda tx: _sql.put(tx, key, data, expected, ttl_s))

    async def _remove(self, key: str, expected: int | None) -> bool:
        return await self._write(lambda tx: _sql.remove(tx, key, expected))
