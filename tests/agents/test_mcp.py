"""Tools of a real MCP server, which is started as a process of its own."""

import builtins
import sys
from pathlib import Path

import pytest
from agent_kit import ASK, calling, check, results, saying, script

from streamflow.agents import AgentStage, Tools, open_mcp_tools
from streamflow.errors import ConfigError, MissingExtraError, ProgramError
from streamflow.testing import run_stage

SERVER = [sys.executable, str(Path(__file__).parents[1] / "support" / "mcp_server.py")]

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.real_clock]


async def test_tools_of_a_server_are_tools_like_others(monkeypatch):
    """semantics 20.13: schema, results, failures, limits of time; one result for each call."""
    monkeypatch.setenv("STREAMFLOW_TEST_SECRET", "hunter2")
    calls = [
        ("add", {"a": 1, "b": 2}, "1"),
        ("say_hello", {"name": "Ada"}, "2"),
        ("broken", {}, "3"),
        ("add", {"a": "x"}, "4"),
        ("slow", {}, "5"),
        ("environment", {}, "6"),
    ]
    async with open_mcp_tools(SERVER) as tools:
        provider = script(calling(*calls), saying("Done."))
        got = await run_stage(AgentStage(provider, Tools(tools, timeout_s=2.0)), ASK)

    assert [one[1] for one in results(got)] == ["ok", "ok", "error", "error", "timeout", "ok"]
    assert [results(got)[n][2] for n in (0, 1, 5)] == ["3", "Hello, Ada!", "none"]
    assert provider.requests[0].tools[0].parameters["required"] == ["a", "b"]
    check(got)


async def test_what_is_wrong_with_a_server_is_a_clear_error():
    """semantics 20.13: a command that is not there, one that is no server, a tool that it does not have."""
    with pytest.raises(ProgramError, match="nowhere"):
        async with open_mcp_tools(["nowhere-at-all"]):
            pass
    with pytest.raises(ProgramError):
        async with open_mcp_tools([sys.executable, "-c", "print('hello')"], start_timeout_s=3):
            pass
    with pytest.raises(ConfigError, match="no tool 'nothing'"):
        async with open_mcp_tools(SERVER, only=["nothing"]):
            pass
    with pytest.raises(ConfigError):
        async with open_mcp_tools([]):
            pass
    async with open_mcp_tools(SERVER, only=["add"], prefix="maths_") as tools:
        assert [one.name for one in tools] == ["maths_add"]


async def test_the_extra_that_is_missing_is_named(monkeypatch):
    """semantics 20.13: without `mcp` the error says how to install it."""
    whole = builtins.__import__

    def without(name, *args, **options):
        if name == "mcp":
            raise ImportError(name)
        return whole(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match="mcp"):
        async with open_mcp_tools(SERVER):
            pass
