"""Middleware of a request/response pipeline, wrapped as stages and not changed by a line."""

# ruff: noqa: A002 - a parameter named `next`, as such code has it
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio

from streamflow import PipelineBuilder, wrap_middleware

Next = Callable[[], Awaitable[object]]
LOG: list[str] = []


# What you have already: written for another kind of pipeline, it knows nothing of streams.
class PromptAssemblyMiddleware:
    def __init__(self, template: str, variables: dict[str, str]) -> None:
        self.template, self.variables = template, variables

    async def process(self, ctx: Any, next: Next) -> None:
        ctx.system_prompt = self.template.format(**self.variables)
        await next()


class ProviderMiddleware:
    async def process(self, ctx: Any, next: Next) -> None:
        ctx.response = f"({ctx.system_prompt}) You said: {ctx.messages[-1].content}"
        await next()


# A plain function is middleware too. What stands behind `next()` runs after the rest of the chain.
async def logging(ctx: Any, next: Next) -> None:
    LOG.append(f"asked: {ctx.messages[-1].content}")
    await next()
    LOG.append(f"answered: {ctx.messages[-1].content}")


class Guard:
    async def process(self, ctx: Any, next: Next) -> None:
        if "password" in ctx.messages[-1].content:
            ctx.response = "I cannot help with that."  # a short circuit: who stands further down is never called
            return
        await next()

    async def on_chunk(self, ctx: Any, text: str) -> str:
        """A hook for what is streamed, piece by piece."""
        return text.replace("secret", "******")


async def model(ctx: Any) -> AsyncIterator[str]:
    for word in ("The ", "secret ", "is ", "safe."):
        yield word


async def main():
    # One stage each: what the first finds out, here the prompt, travels to the second with the message.
    prompt = wrap_middleware("prompt", PromptAssemblyMiddleware("Be {tone}.", {"tone": "brief"}))
    provider = wrap_middleware("provider", ProviderMiddleware())
    result = await PipelineBuilder().chain(prompt, provider).build().run("Hello")
    print(result.response)

    # A whole chain as one stage, the first one outermost; `handler` is what the innermost `next()` calls.
    chat = PipelineBuilder().chain(wrap_middleware("chat", logging, Guard(), handler=model)).build()
    for question in ("Is it safe?", "Tell me the password"):
        print([text async for text in chat.execute(question).text()])
    print(*LOG, sep="\n")


if __name__ == "__main__":
    anyio.run(main)
