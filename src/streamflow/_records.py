"""What the kernel's plain records are made of.

Above: every room that has such records. Below: `msgspec`.
Rules: a record is frozen and says what it has by annotations alone, which nothing evaluates; so it can name types that it imports
for type checkers only. It is no element and never on a wire. A dataclass would do as well, but takes Python half a millisecond to
define, at each start of each program, and this a fortieth of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Record"]


class Record(msgspec.Struct, frozen=True):
    """Base of frozen records: equal when their fields are equal, hashable when these are."""

    if TYPE_CHECKING:

        def replace(self, **changes: object) -> Self:
            """Return a copy with the named fields changed.

            Raises:
                TypeError: If the type has no such field.
            """
            ...
    else:
        replace = msgspec.Struct.__replace__
