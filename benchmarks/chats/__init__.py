"""The programs of the question `chats`: a model's server, a server per contender, a generator of load; each a process of its own.

Above: `bench_chats`. Below: `streamflow` and its peers, each imported by its own contender.

A file `_app_<contender>.py` has `make_app(model_url)`, which returns an ASGI application with `POST /chat` and `POST /agent`. Both
take `{"message": …}` and stream the words of the answer as server-sent events. Every contender is written as its own documentation
shows it, with one client that is opened once, and waits in its tool for as long as the others.
"""

from __future__ import annotations

from typing import Final

__all__ = ["CONTENDERS", "FIRST_S", "GAP_S", "TOOL_S", "WORDS"]

CONTENDERS: Final = {
    "no model": (),
    "openai": ("openai",),
    "langchain": ("langchain", "langchain_openai"),
    "pydantic-ai": ("pydantic_ai", "openai"),
    "streamflow": ("httpx2",),
}
"""Each one, and the modules that it needs. `no model` waits as long as a model and says the words itself: what the server costs."""

FIRST_S, GAP_S, TOOL_S = 0.010, 0.010, 0.010
"""Until the first chunk of an answer, between two chunks, and inside the tool."""

WORDS: Final = tuple(f" word{place:02}" for place in range(11))
"""What an answer says: a first chunk, and ten more."""
