"""A chat agent that streams, and one that does not; `llm_provider="openai"` and a key make it a real model."""

import anyio

from streamflow.apps import ChatConfig, StreamChatAgent


async def main():
    print("Streaming Chat Demo")
    print("=" * 50)
    print("\nQuestion: What is Python?\n")
    agent = StreamChatAgent(ChatConfig(llm_provider="mock", streaming=True, chunk_size=1))
    print("Streaming response: ", end="", flush=True)
    async for token in agent.stream_chat("What is Python?"):
        print(token, end="", flush=True)
    print()


def blocking():
    print("\nNon-Streaming Chat Demo")
    print("=" * 50)
    print("\nQuestion: What is machine learning?\n")
    agent = StreamChatAgent(ChatConfig(llm_provider="mock", streaming=False))
    print(f"Response: {agent.chat('What is machine learning?')}")


if __name__ == "__main__":
    anyio.run(main)
    blocking()
