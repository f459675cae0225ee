"""Routing by intent: a label for what the user says, stamped on the message.

Above: users, `apps`. Below: `_contract`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, cast

from ..elements import Message, MessageElement, TextElement
from ..errors import ConfigError
from ._contract import BaseStage

if TYPE_CHECKING:
    from ..channels import ReceiveEnd, SendEnd
    from ._admission import Accepts
    from ._supervision import CallForm

__all__ = ["RouteRule", "RouteStage", "as_message"]


@dataclasses.dataclass(frozen=True, slots=True)
class RouteRule:
    """One intent, and how to recognise it.

    ```python
    RouteRule("support", ["help", "support", "issue"], confidence=0.9)
    RouteRule("code", lambda text: text.startswith("```"))
    ```
    """

    label: str
    """The route."""
    when: Collection[str] | Callable[[str], bool]
    """Keywords, one of which stands in the text, in upper or lower case, also inside a word; or a predicate of the text."""
    confidence: float = 1.0
    """How sure the rule is, from 0 to 1."""

    def applies_to(self, text: str) -> bool:
        """Say whether `text` is about this."""
        if callable(self.when):
            return self.when(text)
        folded = text.casefold()
        return any(keyword.casefold() in folded for keyword in self.when)


class RouteStage(BaseStage):
    """Find out what each message of the user is about, and say so in its metadata: `route` and `confidence`.

    In: `MessageElement`; those of the user are stamped, others go on as they are. `TextElement`: each is one whole message of the
    user, and goes on as a `MessageElement` with its header. Join the fragments of a stream before this stage.
    Out: one `MessageElement` for each.

    Flow:
        emits: for each message, at once.
        fails: with what a predicate raises.

    Args:
        rules: In the order in which they are tried; the first that applies wins.
        default: The route when none applies, also for an empty text.
        default_confidence: How sure that is, from 0 to 1.
        name: Name in the graph.

    Raises:
        ConfigError: If a rule or the default is wrong; the field is named, as in `rules[1].when`.

    Source: seed 000 (RouterStage).
    """

    accepts: Accepts | None = (TextElement, MessageElement)
    emits: Accepts | None = (MessageElement,)
    _calls: CallForm = "one"

    def __init__(
        self,
        rules: Iterable[RouteRule],
        *,
        default: str = "general",
        default_confidence: float = 0.7,
        name: str = "route",
    ) -> None:
        super().__init__(name)
        self._rules = _checked_rules(rules)
        _check_label("default", default)
        _check_confidence("default_confidence", default_confidence)
        self._default = RouteRule(default, lambda _text: True, default_confidence)

    async def process(self, input: ReceiveEnd[TextElement | MessageElement], output: SendEnd[MessageElement]) -> None:
        """Run the stage."""
        async for element in input:
            whole = as_message(element)
            if whole.message.role == "user":
                rule = self.match(whole.message.text)
                whole = whole.with_metadata(route=rule.label, confidence=rule.confidence)
            await output.send(whole)

    def match(self, text: str) -> RouteRule:
        """Return the first rule that applies to `text`; one with the default route if none does."""
        return next((rule for rule in self._rules if rule.applies_to(text)), self._default)


def as_message(element: TextElement | MessageElement) -> MessageElement:
    """Return a text as the message of the user that it is, with its header; a message as it is."""
    if isinstance(element, MessageElement):
        return element
    return MessageElement(
        Message("user", element.text),
        id=element.id,
        metadata=element.metadata,
        priority=element.priority,
        interruptible=element.interruptible,
        timestamp_s=element.timestamp_s,
    )


def _checked_rules(given: object) -> tuple[RouteRule, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigError("rules", f"give a list of RouteRule, got {given!r:.80}")
    rules: list[RouteRule] = []
    for place, rule in enumerate(cast("Iterable[object]", given)):
        field = f"rules[{place}]"
        if not isinstance(rule, RouteRule):
            raise ConfigError(field, f"give RouteRule(label, keywords or predicate), got {rule!r:.80}")
        _check_label(f"{field}.label", rule.label)
        _check_when(f"{field}.when", rule.when)
        _check_confidence(f"{field}.confidence", rule.confidence)
        rules.append(rule)
    return tuple(rules)


def _check_when(field: str, when: object) -> None:
    if callable(when):
        return
    if isinstance(when, str) or not isinstance(when, Collection):
        raise ConfigError(field, f"give a list of keywords, or a predicate of the text, got {when!r:.80}")
    keywords = cast("Collection[object]", when)
    if not keywords or not all(isinstance(keyword, str) and keyword for keyword in keywords):
        raise ConfigError(field, f"give at least one keyword, and none that is empty, got {when!r:.80}")


def _check_label(field: str, label: object) -> None:
    if not isinstance(label, str) or not label.strip():
        raise ConfigError(field, f"a route is a non-empty text, got {label!r:.80}")


def _check_confidence(field: str, confidence: object) -> None:
    if not isinstance(confidence, (int, float)) or isinstance(confidence, bool) or not 0 <= confidence <= 1:
        raise ConfigError(field, f"how sure a rule is goes from 0 to 1, got {confidence!r:.80}")
