"""Mistakes that a type checker must find. `tests/typing/test_rejected.py` compares each `# rejected:` with what mypy says."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from streamflow import BaseStage, Pipeline, PipelineConfig, Resource, RunContext

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PipelineConfig(buffer=16)  # rejected: call-arg
PipelineConfig(timeout_s="60")  # rejected: arg-type
PipelineConfig(priority="yes")  # rejected: arg-type
PipelineConfig(max_concurrent_runs=1.5)  # rejected: arg-type
PipelineConfig().with_channel_buffer_size("32")  # rejected: arg-type
PipelineConfig().with_execution_timeout("60 s")  # rejected: arg-type
PipelineConfig().with_priority_queue(2.0)  # rejected: arg-type
PipelineConfig.from_env({"STREAMFLOW_BUFFER_SIZE": "1"})  # rejected: arg-type
PipelineConfig.from_env("APP_", {})  # rejected: call-arg
PipelineConfig.from_toml(b"pyproject.toml")  # rejected: arg-type
PipelineConfig().buffer_size = 2  # rejected: misc


class Client:
    """What runs share."""


async def connect() -> Client:
    """Return no context manager."""
    return Client()


@asynccontextmanager
async def open_client() -> AsyncIterator[Client]:
    """Open it."""
    yield Client()


CLIENT = Resource(open_client)
Resource(connect)  # rejected: arg-type
Resource(Client())  # rejected: arg-type
Resource(open_client())  # rejected: arg-type
Resource(open_client, "client")  # rejected: call-arg


class Sharing(BaseStage):
    """Lists what is no resource."""

    resources = (open_client,)  # rejected: assignment


async def use(run: RunContext[object], pipeline: Pipeline) -> str:
    """Take a client for something else."""
    await run.resource(open_client)  # rejected: arg-type
    await pipeline.shutdown("5")  # rejected: arg-type
    pipeline.as_stage()  # rejected: call-arg
    Pipeline.from_dict("{}", {})  # rejected: arg-type
    return await run.resource(CLIENT)  # rejected: arg-type
