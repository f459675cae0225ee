"""The enriched chat pipeline: route, profile and memory at the same time, joined before the model.

Above: users. Below: `_enrich`, `_chat`, `runtime`, `providers`, `stages`.

The branches meet where the messages of a turn are kept until its end. The fork has copied that end to all branches, and the merge
gives it once all have shown it: then everything is there that is to be known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias, cast

from ..elements import DataElement, JsonValue, MessageElement, TurnEnd
from ..errors import ConfigError
from ..providers import ProviderStage, as_provider
from ..runtime import PipelineBuilder
from ..stages import BaseStage, PassthroughStage, PromptStage, RouteRule, RouteStage, StageKind, check_turn_size
from ._chat import DEFAULT_RULES, ChatEvents, model_stages, with_listeners
from ._enrich import EnrichStage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..channels import ReceiveEnd, SendEnd
    from ..observe import AsyncListener, Listener
    from ..providers import ProviderLike
    from ..runtime import Pipeline, PipelineConfig
    from ..stages import Accepts, OnFailure, OnInterrupt, RunContext
    from ._enrich import Enricher, EnrichFunction

__all__ = ["EnrichedSystem", "enriched_chat_pipeline", "enriched_system"]

EnrichedSystem: TypeAlias = Callable[[str, Mapping[str, JsonValue], Mapping[str, JsonValue]], str]
"""Makes the system message of a turn out of route, profile and memory; both are empty where nothing is known."""

_MAX_TURN = 1000  # messages, as for `ProviderStage`


def enriched_system(route: str, profile: Mapping[str, JsonValue], memory: Mapping[str, JsonValue]) -> str:
    """Return the system message of seed 000: whom the model talks to, up to three goals, up to three recent topics.

    Args:
        route: Not used.
        profile: `display_name`, a text; `goals`, a list of texts.
        memory: `recent_topics`, a list of texts.
    """
    del route
    parts = ["You are a helpful AI assistant."]
    name = profile.get("display_name")
    if isinstance(name, str) and name:
        parts.append(f"You're talking to {name}.")
    if goals := _texts(profile.get("goals")):
        parts.append(f"Their goals: {', '.join(goals[:3])}")
    if topics := _texts(memory.get("recent_topics")):
        parts.append(f"Recent topics: {', '.join(topics[:3])}")
    return " ".join(parts)


def enriched_chat_pipeline(
    provider: ProviderLike,
    *,
    profile: Enricher | EnrichFunction,
    memory: Enricher | EnrichFunction,
    system: EnrichedSystem = enriched_system,
    rules: Iterable[RouteRule] = DEFAULT_RULES,
    enrich_timeout_s: float = 2.0,
    history_limit: int = 10,
    model: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    on_failure: OnFailure = "error",
    chat_events: ChatEvents = "off",
    listeners: Iterable[Listener | AsyncListener] = (),
    config: PipelineConfig | None = None,
) -> Pipeline:
    """Return a chat pipeline whose model is told what is known of the user: `route` | `profile` | `memory` → `prompt` → `model`.

    In and out: as `chat_pipeline()`. The three branches work at the same time; the model is asked once all are done. A service that
    is slower than `enrich_timeout_s`, fails, or gives what is no JSON object is done without: an event `enrichment.skipped` says so
    at once, and behind the answer an `ErrorElement` (`enrichment_timeout`, `enrichment_failed`, `enrichment_invalid`).

    Args:
        provider: The model; see `as_provider()`.
        profile: Who the user is: has `async enrich(said)`, or is such a function.
        memory: What is remembered; likewise.
        system: Makes the system message; default the seed's.
        rules: What tells the routes apart.
        enrich_timeout_s: Longest time that an answer waits for a service, in seconds.
        history_limit: Most messages of the history that the model reads.
        model: Name of the model; None: the provider's default.
        temperature: How freely it samples, from 0; None: the server's default.
        max_tokens: Most tokens of an answer; None: the server's default.
        on_failure: As for `chat_pipeline()`.
        chat_events: As for `chat_pipeline()`.
        listeners: As for `chat_pipeline()`.
        config: Sizes and limits.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
        MissingExtraError: If a package that the provider needs is not installed.

    Source: seed 000 (create_enriched_chat_pipeline).
    """
    if not callable(cast("object", system)):
        raise ConfigError("system", f"give a function of route, profile and memory, got {system!r:.80}")
    model_stage = ProviderStage(
        as_provider(provider), model=model, temperature=temperature, max_tokens=max_tokens, on_failure=on_failure
    )

    def told(run: RunContext[object], said: MessageElement | None) -> str | None:
        del run
        if said is None:
            return None
        known = said.metadata
        return system(str(known.get("route", "general")), _mapping(known.get("profile")), _mapping(known.get("memory")))

    join = _KnownStage()
    services = [
        EnrichStage(profile, name="profile", timeout_s=enrich_timeout_s),
        EnrichStage(memory, name="memory", timeout_s=enrich_timeout_s),
    ]
    route = RouteStage(rules)
    builder = with_listeners(PipelineBuilder(config), listeners)
    builder.branch(PassthroughStage("said"), *services, route)
    builder.merge(join, *services, route)
    prompt = PromptStage("", parts=[told], history_limit=history_limit)
    return builder.chain(join.name, prompt, *model_stages(model_stage, chat_events)).build()


class _KnownStage(BaseStage):
    """Stamp what services know on the messages of the user in the same turn, as metadata; the data ends here."""

    kind: StageKind = StageKind.ACCUMULATE
    on_interrupt: OnInterrupt | None = "fence"  # what it keeps are wholes, and what is known
    max_held: int | None = _MAX_TURN
    accepts: Accepts | None = (DataElement, MessageElement, TurnEnd)
    emits: Accepts | None = (MessageElement, TurnEnd)

    def __init__(self) -> None:
        super().__init__("known")

    async def process(
        self, input: ReceiveEnd[DataElement | MessageElement | TurnEnd], output: SendEnd[MessageElement | TurnEnd]
    ) -> None:
        """Run the stage."""
        known: dict[str, JsonValue] = {}
        held: list[MessageElement] = []
        async for element in input:
            if isinstance(element, DataElement):
                known[element.name] = element.value
            elif isinstance(element, MessageElement):
                check_turn_size(len(held) + 1, _MAX_TURN, self.name)
                held.append(element)
            else:
                await _send(held, known, output)
                await output.send(element)
                known, held = {}, []
        await _send(held, known, output)


async def _send(
    held: Iterable[MessageElement], known: Mapping[str, JsonValue], output: SendEnd[MessageElement | TurnEnd]
) -> None:
    for one in held:
        await output.send(one.with_metadata(**known) if known and one.message.role == "user" else one)


def _mapping(value: object) -> Mapping[str, JsonValue]:
    return cast("Mapping[str, JsonValue]", value) if isinstance(value, Mapping) else {}


def _texts(value: object) -> list[str]:
    """Return the texts of a list; of anything else none, so that a single text is not taken for a list of letters."""
    if not isinstance(value, list | tuple):
        return []
    return [one for one in cast("list[object]", value) if isinstance(one, str) and one]
