"""What does a streamed token cost from the server's bytes to the element, beside the vendors' own clients?

A server in memory sends each token as an event in a chunk of its own. The vendors' clients make their event objects, ours makes
elements, and the consumer counts texts. Opening the call is in the figure; there are enough tokens for it not to matter.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from ._cli import main
from ._harness import Case, Results, Sample, Scale, Stopwatch, has_backend, run_on
from ._report import Goal, Report, Table, number, times

__all__ = ["ROUNDS", "cases", "measure", "report"]

ROUNDS = (2, 3)

WIRES = ("chat", "responses", "anthropic")
SDK, OURS, ADAPTED = "sdk", "streamflow", "streamflow over sdk"
BASELINE = f"{SDK} / chat / asyncio"
GOAL = 15 / 176  # μs that a token may cost, where the openai client takes about 176 μs for it


def cases(scale: Scale) -> list[Case]:
    """Return each wire with the vendor's client, with our provider, and with our provider over that client."""
    options = {"tokens": scale.size(3_000, 2_000)}
    return [
        Case(f"{peer} / {wire} / {backend}", peer, backend, {**options, "wire": wire})
        for backend in (("asyncio",) if scale.quick else ("asyncio", "trio"))
        if has_backend(backend)
        for wire in WIRES
        for peer in (SDK, OURS, ADAPTED)
    ]


def _events(wire: str, tokens: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Return what a server says before, for each token, and after, in the form of its documentation."""
    if wire == "chat":

        def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
            head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return {**head, "system_fingerprint": "fp_1", "choices": [choice], "usage": None, **more}

        usage = {"prompt_tokens": 9, "completion_tokens": tokens, "total_tokens": tokens + 9}
        return (
            [chunk({"role": "assistant", "content": "", "refusal": None})],
            [chunk({"content": f" tok{n % 1000}"}) for n in range(tokens)],
            [chunk({}, "stop"), chunk({}) | {"choices": [], "usage": usage}],
        )
    if wire == "responses":
        at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        response = {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "model": "m",
            "output": [],
            "tools": [],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "status": "in_progress",
        }
        delta = "response.output_text.delta"
        return (
            [{"type": "response.created", "sequence_number": 0, "response": response}],
            [
                {"type": delta, "sequence_number": n, **at, "delta": f" tok{n % 1000}", "logprobs": []}
                for n in range(tokens)
            ],
            [{"type": "response.completed", "sequence_number": tokens, "response": response | {"status": "completed"}}],
        )
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    usage = {"input_tokens": 9, "output_tokens": 1}
    text = {"type": "content_block_delta", "index": 0}
    return (
        [
            {
                "type": "message_start",
                "message": {**message, "stop_reason": None, "stop_sequence": None, "usage": usage},
            },
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        ],
        [{**text, "delta": {"type": "text_delta", "text": f" tok{n % 1000}"}} for n in range(tokens)],
        [
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": tokens},
            },
            {"type": "message_stop"},
        ],
    )


def _chunks(wire: str, tokens: int) -> list[bytes]:
    """Return the same as the bytes of a response, an event in each chunk."""
    chunks: list[bytes] = []
    for event in [one for part in _events(wire, tokens) for one in part]:
        head = f"event: {event['type']}\n" if "type" in event else ""
        chunks.append(f"{head}data: {json.dumps(event)}\n\n".encode())
    return [*chunks, b"data: [DONE]\n\n"] if wire == "chat" else chunks


def _http_client(chunks: list[bytes]) -> Any:
    import httpx2

    class Body(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk

    class Server(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            head = {"content-type": "text/event-stream"}
            return httpx2.Response(200, headers=head, stream=Body(), request=request)

    return httpx2.AsyncClient(transport=Server())


def _sdk_client(wire: str, http: Any) -> Any:
    if wire == "anthropic":
        import anthropic

        return anthropic.AsyncAnthropic(api_key="k", base_url="http://model.test", http_client=http)
    import openai

    return openai.AsyncOpenAI(api_key="k", base_url="http://model.test/v1", http_client=http)


def _sdk_program(wire: str, client: Any) -> Callable[[], Awaitable[int]]:
    said: Any = [{"role": "user", "content": "Hi"}]

    async def chat() -> int:
        stream = await client.chat.completions.create(model="m", messages=said, stream=True)
        return sum([1 async for chunk in stream if chunk.choices and chunk.choices[0].delta.content])

    async def responses() -> int:
        stream = await client.responses.create(model="m", input=said, stream=True)
        return sum([1 async for event in stream if event.type == "response.output_text.delta" and event.delta])

    async def anthropic() -> int:
        stream = await client.messages.create(model="m", max_tokens=9, messages=said, stream=True)
        return sum([1 async for event in stream if event.type == "content_block_delta" and event.delta.text])

    return {"chat": chat, "responses": responses, "anthropic": anthropic}[wire]


def _our_program(wire: str, http: Any, *, over_sdk: bool) -> Callable[[], Awaitable[int]]:
    from streamflow.elements import Message, TextElement
    from streamflow.providers import (
        AnthropicClientProvider,
        AnthropicProvider,
        ModelRequest,
        OpenAIClientProvider,
        OpenAIProvider,
    )

    provider: Any
    if wire == "anthropic":
        sdk = _sdk_client(wire, http) if over_sdk else None
        provider = AnthropicClientProvider(sdk) if sdk else AnthropicProvider("http://model.test", client=http)
    elif over_sdk:
        provider = OpenAIClientProvider(_sdk_client(wire, http), api=wire)
    else:
        provider = OpenAIProvider("http://model.test/v1", api=wire, client=http)
    request = ModelRequest(messages=(Message("user", "Hi"),), model="m")

    async def program() -> int:
        return sum([1 async for element in provider.stream(request) if isinstance(element, TextElement)])

    return program


def measure(case: Case) -> Sample:
    """Read one answer, after a short one to warm up."""
    wire, tokens = case.options["wire"], case.options["tokens"]

    def program(count: int) -> Callable[[], Awaitable[int]]:
        http = _http_client(_chunks(wire, count))
        if case.peer == SDK:
            return _sdk_program(wire, _sdk_client(wire, http))
        return _our_program(wire, http, over_sdk=case.peer == ADAPTED)

    warm, measured = program(max(tokens // 20, 1)), program(tokens)

    async def run() -> Sample:
        await warm()
        with Stopwatch() as watch:
            arrived = await measured()
        if arrived != tokens:
            message = f"{case.label}: {arrived} of {tokens} tokens arrived"
            raise RuntimeError(message)
        return watch.per(tokens)

    return run_on(case.backend, run)


def report(results: Results) -> Report:
    """Compare with the vendor's client of the same wire, and with openai's chat completions, round by round."""
    rows = [
        (
            f"{case.peer}, {case.options['wire']}",
            case.backend,
            number(results.best(label, "cpu_us")),
            number(results.median(label, "cpu_us")),
            times(results.ratio(label, f"{SDK} / {case.options['wire']} / {case.backend}", "cpu_us")),
            times(results.ratio(label, BASELINE, "cpu_us")),
        )
        for label, case in results.cases.items()
    ]
    title = "μs per streamed token (ratios of CPU time: median over paired rounds)"
    header = ("who, wire", "loop", "CPU min", "median", "÷ sdk, same wire", "÷ openai chat, asyncio")
    goals = [
        Goal(f"{label} ÷ openai's client, chat completions", results.ratio(label, BASELINE, "cpu_us"), GOAL)
        for label, case in results.cases.items()
        if case.peer != SDK
    ]
    return Report([Table(title, header, rows)], goals)


if __name__ == "__main__":
    sys.exit(main(["provider", *sys.argv[1:]]))
