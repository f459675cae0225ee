"""What runs share: opened once, closed by whoever ends the pipeline, in the task that opened it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Callable

import anyio
import pytest

from streamflow import Pipeline, PipelineBuilder, Resource, RunContext, StageError, TextElement, current_run, stage
from streamflow.errors import ConfigError, RunStateError, StageDefinitionError
from streamflow.testing import assert_no_tasks_left, tasks_alive


class Book:
    """Writes down what is opened and closed."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.fail: set[str] = set()

    def resource(self, name: str) -> Resource[str]:
        @contextlib.asynccontextmanager
        async def open_it() -> AsyncIterator[str]:
            await anyio.sleep(1)
            if name in self.fail:
                raise OSError(f"{name} is down")
            self.lines.append(f"open {name}")
            async with anyio.create_task_group() as tasks:  # must be left by the task that entered it
                tasks.start_soon(anyio.sleep_forever)
                try:
                    yield f"<{name}>"
                finally:
                    tasks.cancel_scope.cancel()
                    self.lines.append(f"close {name}")

        return Resource(open_it, name=name)


def asking(*resources: Resource[str], declared: bool = True) -> Pipeline:
    """A pipeline whose stage puts what it shares behind each text."""

    @stage(resources=resources if declared else ())
    async def ask(stream: AsyncIterator[TextElement], run: RunContext[object]) -> AsyncIterator[TextElement]:
        async for element in stream:
            shared = [await run.resource(one) for one in resources]
            yield TextElement(" ".join([element.text, *shared]))

    return PipelineBuilder().chain(ask).build()


async def test_a_resource_is_opened_once_for_all_runs_and_closed_by_the_block() -> None:
    """semantics 3.4: `async with pipeline:` opens what stages declare."""
    book = Book()
    async with asking(book.resource("a"), book.resource("b")) as pipeline:
        assert book.lines == ["open a", "open b"]
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(pipeline.run, "x")
        assert (await pipeline.run("y")).text == "y <a> <b>"

    assert book.lines == ["open a", "open b", "close b", "close a"]


async def test_a_resource_is_opened_at_first_use_once_however_many_ask_at_a_time() -> None:
    """semantics 3.4: at first use, without a block; `shutdown()` closes it."""
    book = Book()
    pipeline = asking(book.resource("a"), declared=False)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(pipeline.run, "x")
    assert book.lines == ["open a"]
    await pipeline.shutdown()

    assert book.lines == ["open a", "close a"]


async def test_an_opening_that_fails_closes_those_before_it_and_can_be_tried_again() -> None:
    """issue: also after a failed open."""
    book = Book()
    pipeline = asking(book.resource("a"), book.resource("b"))
    book.fail = {"b"}

    with pytest.raises(OSError, match="b is down") as caught:
        async with pipeline:
            raise AssertionError

    assert caught.value.__notes__ == ["while the resource 'b' was being opened"]
    assert book.lines == ["open a", "close a"]
    book.fail.clear()
    async with pipeline:
        assert (await pipeline.run("x")).text == "x <a> <b>"
    assert book.lines[2:] == ["open a", "open b", "close b", "close a"]


async def test_an_opening_that_fails_inside_a_run_fails_the_stage_that_asked() -> None:
    """semantics 5.6: the stage's own error, with the resource in a note; the next run tries again."""
    book = Book()
    pipeline = asking(book.resource("a"), declared=False)
    book.fail = {"a"}

    with pytest.raises(StageError, match="a is down") as caught:
        await pipeline.run("x")

    assert isinstance(caught.value.__cause__, OSError)
    book.fail.clear()
    assert (await pipeline.run("x")).text == "x <a>"
    await pipeline.shutdown()
    assert book.lines == ["open a", "close a"]


async def test_who_is_cancelled_while_a_resource_opens_takes_it_from_nobody_else() -> None:
    """semantics 5.1: one run that is left does not spoil what all share."""
    book = Book()
    pipeline = asking(book.resource("a"), declared=False)

    async with pipeline.execute("x"):
        await anyio.sleep(0.5)  # it is being opened
    assert (await pipeline.run("y")).text == "y <a>"

    await pipeline.shutdown()
    assert book.lines == ["open a", "close a"]


async def test_the_run_that_asks_first_does_not_lend_its_context_variables() -> None:
    """semantics 5.1: what all share sees nothing of one run."""
    seen: list[str] = []

    @contextlib.contextmanager
    def open_it():
        with contextlib.suppress(RunStateError):
            seen.append(current_run().run_id)
        yield "it"

    shared = Resource(open_it)

    @stage
    async def ask(element: TextElement) -> TextElement:
        return TextElement(await current_run().resource(shared))

    pipeline = PipelineBuilder().chain(ask).build()
    assert (await pipeline.run("x")).text == "it"
    await pipeline.shutdown()

    assert seen == []


async def test_what_a_closing_raises_reaches_who_shuts_down_and_the_rest_is_closed() -> None:
    """semantics 3.4: nothing is swallowed."""
    book = Book()

    @contextlib.contextmanager
    def bad():
        yield "bad"
        raise OSError("cannot close")

    with pytest.raises(OSError, match="cannot close"):
        async with asking(book.resource("a"), Resource(bad), book.resource("c")):
            pass

    assert book.lines == ["open a", "open c", "close c", "close a"]


async def test_no_task_is_left_once_the_pipeline_is_shut_down() -> None:
    """semantics 5.5: the task that keeps the resources ends with them."""
    before = tasks_alive()

    async with asking(Book().resource("a")) as pipeline:
        await pipeline.run("x")

    await assert_no_tasks_left(before)


async def test_a_resource_is_refused_after_the_shutdown() -> None:
    """semantics 5.8: no new runs, and nothing is opened again."""
    pipeline = asking(Book().resource("a"))
    await pipeline.shutdown()

    with pytest.raises(RunStateError, match="has been shut down"):
        await pipeline.run("x")
    with pytest.raises(RunStateError, match="shut down"):
        await pipeline.__aenter__()


def in_new_loop(pipeline: Pipeline, backend: str, results: list[str]) -> Callable[[], None]:
    def work() -> None:
        results.append(pipeline.execute_sync("x", backend=backend).text)

    return work


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_blocking_call_closes_what_it_opened(backend) -> None:
    """semantics 5.2: its event loop ends with it."""
    lines: list[str] = []

    @contextlib.contextmanager
    def open_it():
        lines.append("open")
        yield "it"
        lines.append("close")

    pipeline = asking(Resource(open_it))

    assert [pipeline.execute_sync("x", backend=backend).text for _ in range(2)] == ["x it", "x it"]
    with pipeline.stream_sync("y", backend=backend) as stream:
        assert next(stream) == TextElement("y it")

    assert lines == ["open", "close"] * 3


def test_threads_with_event_loops_of_their_own_have_resources_of_their_own() -> None:
    """semantics 3.4: a client belongs to the loop that opened it."""
    opened: list[int] = []

    @contextlib.asynccontextmanager
    async def open_it():
        opened.append(1)
        yield "it"

    pipeline = asking(Resource(open_it))
    results: list[str] = []
    threads = [threading.Thread(target=in_new_loop(pipeline, backend, results)) for backend in ("asyncio", "trio")]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert results == ["x it", "x it"]
    assert len(opened) == 2


@pytest.mark.parametrize("given", [None, 5, "client"])
def test_what_cannot_be_opened_is_refused_at_once(given) -> None:
    """how we work 5: the field, what was wrong, and the way out."""
    with pytest.raises(ConfigError, match=r"open: .*context manager"):
        Resource(given)


def test_an_async_function_is_no_context_manager() -> None:
    """how we work 5: a common mistake has its own way out."""

    async def open_client():
        raise AssertionError

    with pytest.raises(ConfigError, match="asynccontextmanager"):
        Resource(open_client)


def test_a_stage_that_declares_something_else_as_a_resource_is_refused() -> None:
    """how we work 5."""
    with pytest.raises(StageDefinitionError, match="resources"):

        @stage(resources=("client",))
        async def ask(element: TextElement) -> TextElement:
            return element


async def test_an_opener_that_returns_no_context_manager_fails_clearly() -> None:
    """how we work 5: names the resource and what it gave."""
    pipeline = asking(Resource(lambda: "client", name="client"))  # type: ignore[arg-type,return-value]

    with pytest.raises(ConfigError, match=r"client.*no context manager"):
        async with pipeline:
            raise AssertionError
