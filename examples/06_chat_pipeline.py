"""router → llm: a route for each message, a system prompt for each route, and any client that has `chat(…)`."""

from typing import Protocol

import anyio

from streamflow import Message, MessageElement, Pipeline, PipelineBuilder
from streamflow.stages import MapStage, RouteRule, RouteStage

SYSTEM_PROMPTS = {
    "support": "You are a support agent.",
    "sales": "You are a sales assistant.",
    "general": "You are a helpful assistant.",
}

INPUTS = ["Hello, how are you?", "I need help with my account", "I want to buy a subscription"]


class LLMClient(Protocol):
    """What the pipeline needs: a mock, or a client of a real service."""

    async def chat(self, messages: list[dict[str, str]], model: str, temperature: float, max_tokens: int) -> str: ...


class MockLLMClient:
    """Answers without a model."""

    async def chat(self, messages: list[dict[str, str]], model: str, temperature: float, max_tokens: int) -> str:
        user_message = next(message["content"] for message in reversed(messages) if message["role"] == "user")
        return f"I received your message: '{user_message}'. How can I help you further?"


def create_chat_pipeline(client: LLMClient) -> Pipeline:
    """The router stamps `route` on the message; the llm chooses its prompt by it, and hands it on with the answer."""

    async def llm(element: MessageElement) -> MessageElement:
        route = str(element.metadata["route"])
        answer = await client.chat(
            messages=[
                {"role": "system", "content": SYSTEM_PROMPTS[route]},
                {"role": "user", "content": element.message.text},
            ],
            model="mock-model",
            temperature=0.7,
            max_tokens=1024,
        )
        return MessageElement(Message("assistant", answer), metadata=element.metadata)

    router = RouteStage([RouteRule("support", ["help"]), RouteRule("sales", ["buy"])], name="router")
    return PipelineBuilder().chain(router, MapStage(llm)).build()


async def main():
    pipeline = create_chat_pipeline(MockLLMClient())
    for number, text in enumerate(INPUTS):
        if number:
            print()
        result = await pipeline.run(text)
        print(f"Input: {text}")
        print(f"Route: {result.elements[-1].metadata['route']}")
        print(f"Response: {result.response}")


if __name__ == "__main__":
    anyio.run(main)
