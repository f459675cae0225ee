"""A chat with a route and a system prompt for each message, around your own client: as it is, enriched, and when it fails."""

from typing import Any

import anyio

from streamflow import Event
from streamflow.apps import ChatSession, chat_pipeline, enriched_chat_pipeline
from streamflow.stages import RouteRule

SYSTEM = {
    "support": "You are a support agent.",
    "sales": "You are a sales assistant.",
    "general": "You are a helpful assistant.",
}
RULES = [RouteRule("support", ["help"]), RouteRule("sales", ["buy"])]


class MockLLMClient:
    """Answers without a model; "openai:gpt-5-mini" in its place, or a client of OpenAI's or Anthropic's SDK, asks one."""

    system = ""

    async def chat(self, messages: list[dict[str, str]], model: str, temperature: float, max_tokens: int) -> str:
        self.system = messages[0]["content"]
        if "secret" in messages[-1]["content"]:
            raise PermissionError("the key sk-123 may not do that")
        return f"I received your message: '{messages[-1]['content']}'. How can I help you further?"


async def profile(said: Any) -> dict[str, Any]:
    return {"display_name": "Ada", "goals": ["learn Python", "ship", "rest", "travel"]}


async def memory(said: Any) -> dict[str, Any]:
    await anyio.sleep(60)  # too slow: the answer goes on without it
    return {"recent_topics": ["tea"]}


async def main():
    client = MockLLMClient()
    routes = {text: route for route, text in SYSTEM.items()}
    pipeline = chat_pipeline(client, system=SYSTEM, rules=RULES, model="mock-model")
    for text in ["Hello, how are you?", "I need help with my account", "I want to buy a subscription"]:
        result = await pipeline.run(text)
        print(f"Input: {text}")
        print(f"Route: {routes[client.system]}")
        print(f"Response: {result.response}")
        print()

    print("-- with a history, tokens as events, and the record of the answer")

    def listen(event: Event) -> None:
        if event.name == "chat.token":
            print(event.name, dict(event.data))

    session = ChatSession(chat_pipeline("mock", chat_events="token", max_tokens=3, listeners=[listen]))
    async with session.reply("Can you explain more?") as reply:
        response = await reply.response()
    print(response.content, "|", response.provider, response.output_tokens, response.finish_reason)

    print("-- a failure as data")
    async with ChatSession(chat_pipeline(client)).reply("Tell me a secret") as reply:
        response = await reply.response(errors="record")
    print(response.error, "|", response.error_type)

    print("-- enriched")
    enriched = enriched_chat_pipeline(client, profile=profile, memory=memory, enrich_timeout_s=0.05)
    result = await enriched.run("What now?")
    print(client.system)
    print([error.message for error in result.errors])


if __name__ == "__main__":
    anyio.run(main)
