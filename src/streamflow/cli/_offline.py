"""The offline provider of the chat: what it knows, and the conversation that is shown when nobody says anything.

Above: `_connect`, `_chat`. Below: `providers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..providers import Rule, ScriptedProvider, ScriptTurn, TextStep, ToolCallStep, When

if TYPE_CHECKING:
    from ..providers import ModelRequest

__all__ = ["BUNDLED", "offline_provider"]

BUNDLED = (
    "Hello!",
    "What are you?",
    "What is backpressure?",
    "What is 12 * (3 + 4)?",
    "What did I say first?",
    "Thanks, goodbye!",
)
"""The bundled conversation: what the user says in it."""

_DEFAULT = (
    'I have no rule for "{text}". I am the offline provider: ask me what I am, what backpressure is, what time it is, '
    "what 6 * 7 is, or how to connect a real model."
)


def _first_said(request: ModelRequest) -> str:
    """Answer out of the history, which the prompt stage brought along."""
    said = [message.text for message in request.messages if message.role == "user"]
    if len(said) < 2:
        return "This is the first thing that you have said."
    return f'As far as I can see back, you began with: "{said[0]}"'


_RULES = (
    Rule(r"\bwhat did i (say|ask)|\bremember\b", _first_said),
    Rule(
        r"\b(connect|real model|openai|base.url)",
        "Give me an OpenAI-compatible server: streamflow chat --base-url http://localhost:11434/v1 --model llama3.2. "
        "The environment variables OPENAI_BASE_URL, OPENAI_MODEL and OPENAI_API_KEY do the same.",
    ),
    Rule(
        r"help|support|issue",
        "I am sorry that something is in your way. Tell me what you did, what you expected and what happened instead.",
    ),
    Rule(r"buy|purchase|price", "streamflow is free, under the MIT licence."),
    Rule(
        r"\bback.?pressure\b",
        "Backpressure is a slow reader slowing down a fast writer. Every edge between two stages holds a fixed number "
        "of elements. When it is full, the stage before it waits, and so does the one before that, "
        "back to the source. So nothing is lost, and memory stays flat.",
    ),
    Rule(
        r"\b(what|who) are you\b|\byour name\b",
        "I am a scripted provider inside a streamflow pipeline: load → agent → save. Each stage is a task of its "
        "own, and each word that you see has come through the same channels that a real model's would.",
    ),
    Rule(
        r"\b(stream|token)",
        "The answer is sent while it is being made: each fragment is an element that leaves the pipeline at once, "
        "and the whole message follows at its end, for whoever stores it.",
    ),
    Rule(r"\bmy name is (?P<name>[\w-]+)", "Nice to meet you, {name}."),
    Rule(r"\b(bye|goodbye|see you)\b", "Goodbye! It was a pleasure."),
    Rule(r"\bthank", "You are welcome."),
    Rule(
        r"\b(hi|hello|hey|good (morning|afternoon|evening))\b",
        "Hello! I answer by rules, without a model. Ask me what I am, or what backpressure is.",
    ),
)


class _Offered(When, frozen=True, kw_only=True):
    """As `When`, of requests that offer a tool."""

    tool: str

    def matches(self, request: ModelRequest, call: int) -> bool:
        """Return whether the request is meant."""
        return When.matches(self, request, call) and any(one.name == self.tool for one in request.tools)


# With bounds: these are looked for in texts of any length.
_SUM = r"(?P<sum>[-+]?[(\d][-+*/%.()\d ]{0,80}[-+*/%][-+*/%.()\d ]{0,80}[)\d])"

# The answers to results come first: in both rounds the last text of the user is the same.
_TURNS = (
    ScriptTurn([TextStep("The calculator says: {result.calculator}")], when=When(tool_result="calculator"), times=None),
    ScriptTurn([TextStep("The clock says: {result.time}")], when=When(tool_result="time"), times=None),
    ScriptTurn([TextStep("I have counted: {result.count_words}")], when=When(tool_result="count_words"), times=None),
    *(
        ScriptTurn(
            [TextStep("Let me see."), ToolCallStep(name, args)],
            when=_Offered(text=expression, tool=name, tool_result=False),
            times=None,
        )
        for expression, name, args in (
            (r"count the words(?: of| in)?:? +(?P<words>.+)", "count_words", {"text": "{words}"}),
            (_SUM, "calculator", {"expression": "{sum}"}),
            (r"\bwhat (?:time|day)\b|\btime is it\b", "time", dict[str, str]()),
        )
    ),
)


def offline_provider(delay_s: float) -> ScriptedProvider:
    """Return the provider that needs no model. It calls the bundled tools where they are offered to it.

    Args:
        delay_s: Pause before each word, in seconds.
    """
    return ScriptedProvider(_RULES, turns=_TURNS, default=_DEFAULT, delay_s=delay_s, name="offline")
