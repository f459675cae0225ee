"""A chat that streams: each word is printed as it arrives, and the session remembers what was said. Offline, by rules."""

import anyio

from streamflow.apps import ChatSession, chat_pipeline
from streamflow.providers import ModelRequest, Rule, ScriptedProvider


def recall(request: ModelRequest) -> str:
    """What the prompt stage brought along: the system message, the history, the question."""
    said = [message.text for message in request.messages if message.role == "user"]
    return f"You began with: {said[0]}"


MODEL = ScriptedProvider(
    [
        Rule(r"my name is (?P<name>\w+)", "Nice to meet you, {name}."),
        Rule("how did i begin", recall),
    ],
    default="Tell me more about that.",
)


async def main():
    session = ChatSession(chat_pipeline(MODEL, system="You are brief."))
    for said in ("My name is Ada", "I build engines", "How did I begin?"):
        print(f"you> {said}")
        print("bot> ", end="")
        async with session.reply(said) as reply:
            async for text in reply.text():
                print(text, end="", flush=True)
        print()
    print(f"{len(session.history)} messages in the history")


if __name__ == "__main__":
    anyio.run(main)
