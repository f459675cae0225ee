"""The stage that adds up what models use and what that costs.

Above: users. Below: `_contract`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from ..elements import DataElement, ErrorElement, Metadata, StreamElement, TurnEnd, Usage, UsageElement
from ..errors import ConfigError, UsageLimitError
from ._contract import BaseStage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..channels import ReceiveEnd, SendEnd
    from ._admission import Accepts
    from ._turns import OnInterrupt

__all__ = ["ModelPrice", "OnLimit", "UsageStage"]

OnLimit = Literal["fail", "tell"]
"""What happens beyond a limit: the run fails, which ends the model's call; or an `ErrorElement` tells, once."""


@dataclasses.dataclass(frozen=True, slots=True)
class ModelPrice:
    """What a model costs, in US dollars for a million tokens."""

    input: float
    """Tokens read."""
    output: float
    """Tokens written."""
    cached: float | None = None
    """Tokens read from the provider's cache; None: as much as others."""
    cache_write: float | None = None
    """Tokens written to the provider's cache; None: as much as others that are read."""

    def cost_usd(self, usage: Usage) -> float:
        """Return what a usage costs."""
        cached, written = usage.cached_tokens or 0, usage.cache_write_tokens or 0
        plain = max(0, (usage.input_tokens or 0) - cached - written)
        read = plain * self.input
        read += cached * (self.input if self.cached is None else self.cached)
        read += written * (self.input if self.cache_write is None else self.cache_write)
        return (read + (usage.output_tokens or 0) * self.output) / 1_000_000


class UsageStage(BaseStage):
    """Add up what the model calls of a run use, say what it costs, and hold it to limits.

    ```python
    UsageStage({"gpt-4o-mini": ModelPrice(0.15, 0.60)}, max_cost_usd=0.05)
    ```

    In: `UsageElement`, of which the final ones count, and of a call that goes on the latest; `TurnEnd`.
    Out: each `UsageElement`, with `cost_usd` if the provider gave none and the price of its model is known. In front of a
    `TurnEnd`, if a call has ended since the last one, a `DataElement` named `usage_total`: what all calls of the run have used.

    Flow:
        emits: each element at once.
        fails: `UsageLimitError` behind the usage that is beyond a limit, with `fail`.

    Args:
        prices: What models cost, by the name that the provider gives.
        max_tokens: Most tokens of a run, read and written.
        max_cost_usd: Most that a run may cost. What has no price costs nothing.
        max_calls: Most model calls of a run.
        on_limit: `fail`, or `tell`: an `ErrorElement` with the code `usage_limit`, once.
        name: Name in the graph.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    on_interrupt: OnInterrupt | None = "fence"
    accepts: Accepts | None = (UsageElement, TurnEnd)
    emits: Accepts | None = (UsageElement, DataElement, ErrorElement, TurnEnd)

    def __init__(
        self,
        prices: Mapping[str, ModelPrice] | None = None,
        *,
        max_tokens: int | None = None,
        max_cost_usd: float | None = None,
        max_calls: int | None = None,
        on_limit: OnLimit = "fail",
        name: str = "usage",
    ) -> None:
        super().__init__(name)
        self._prices = dict(prices or {})
        for model, price in cast("dict[str, object]", self._prices).items():
            if not isinstance(price, ModelPrice):
                raise ConfigError(
                    f"prices[{model!r}]", f"stage {name!r}: give ModelPrice(input, output), got {price!r:.80}"
                )
        self._limits: dict[str, float] = {}
        for field, what, limit in (
            ("max_tokens", "tokens", max_tokens),
            ("max_cost_usd", "cost_usd", max_cost_usd),
            ("max_calls", "calls", max_calls),
        ):
            if limit is not None:
                if isinstance(limit, bool) or not limit > 0:
                    raise ConfigError(field, f"stage {name!r}: give more than 0, got {limit!r:.80}")
                self._limits[what] = limit
        if on_limit not in ("fail", "tell"):
            raise ConfigError("on_limit", f"stage {name!r}: give 'fail' or 'tell', got {on_limit!r:.80}")
        self._fails = on_limit == "fail"

    async def process(self, input: ReceiveEnd[UsageElement | TurnEnd], output: SendEnd[StreamElement]) -> None:
        """Run the stage."""
        total, calls, told_calls, has_told = Usage(), 0, 0, False
        async for element in input:
            if isinstance(element, TurnEnd):
                if calls > told_calls:
                    told_calls = calls
                    await output.send(_total(total, calls))
                await output.send(element)
                continue
            usage = self._priced(element.usage)
            sum_so_far = total + usage
            if element.final:
                total, calls = sum_so_far, calls + 1
            await output.send(element.replace(usage=usage))
            beyond = self._beyond(sum_so_far, calls if element.final else calls + 1)
            if beyond is not None and self._fails:
                raise beyond
            if beyond is not None and not has_told:
                has_told = True
                await output.send(ErrorElement("usage_limit", str(beyond), stage=self.name))

    def _priced(self, usage: Usage) -> Usage:
        price = self._prices.get(usage.model or "")
        if price is None or usage.cost_usd is not None:
            return usage
        return msgspec.structs.replace(usage, cost_usd=price.cost_usd(usage))

    def _beyond(self, usage: Usage, calls: int) -> UsageLimitError | None:
        """Return the first limit that is passed."""
        used = {"tokens": usage.total_tokens, "cost_usd": usage.cost_usd or 0.0, "calls": calls}
        for what, limit in self._limits.items():
            if used[what] > limit:
                return UsageLimitError(what, limit, used[what])
        return None


def _total(total: Usage, calls: int) -> DataElement:
    told = {"calls": calls, **msgspec.to_builtins(total)}
    return DataElement("usage_total", Metadata(told), interruptible=False)
