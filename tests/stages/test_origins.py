"""Sources of the library: the clock, queues, files, programs; each as the head of a graph and as what `execute()` is given."""

from __future__ import annotations

import asyncio
import os
import pickle
import queue
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from streamflow import (
    ConfigError,
    DataElement,
    EndOfStream,
    PassthroughStage,
    PipelineBuilder,
    PipelineConfig,
    StageError,
    StageKind,
    StreamElement,
    StreamflowError,
    TextElement,
)
from streamflow.errors import BuildError, ElementError, LineError, ProcessError
from streamflow.stages import (
    FileLinesSource,
    IntervalSource,
    ProcessSource,
    QueueSource,
    TakeStage,
    as_stage,
)
from streamflow.stages._line_origins import _to_the_end
from streamflow.stages._origins import Origin
from streamflow.testing import CancelMode, Outcome, assert_all_stages_stopped, cancel_sweep

real_clock = pytest.mark.real_clock
in_both_forms = pytest.mark.parametrize("form", ["stage", "source"])
Form = Literal["stage", "source"]


def run_of(origin: Origin, form: Form, *behind: object, capacity: int = 16):
    """Return a run that is fed by a source of the library, in one of its two forms."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=capacity))
    if form == "stage":
        return builder.chain(origin, *behind).build().execute()
    return builder.chain(PassthroughStage(), *behind).build().execute(origin)


async def all_of(origin: Origin, form: Form, capacity: int = 16) -> list[StreamElement]:
    async with run_of(origin, form, capacity=capacity) as run:
        return [element async for element in run if not isinstance(element, EndOfStream)]


async def texts_of(origin: Origin, form: Form, capacity: int = 16) -> list[str]:
    return [one.text for one in await all_of(origin, form, capacity)]


async def failure_of(origin: Origin, form: Form) -> tuple[list[str], BaseException]:
    """Return the texts that a source gives, and what it fails with."""
    seen: list[str] = []
    with pytest.raises(StageError) as caught:
        async with run_of(origin, form) as run:
            async for element in run:
                seen += [element.text] if isinstance(element, TextElement) else []
    assert caught.value.stage == ("source" if form == "source" else origin.name)
    assert caught.value.__cause__ is not None
    return seen, caught.value.__cause__


async def eventually(is_so: Callable[[], bool]) -> None:
    """Check that something comes true within a moment, that of a thread or of the system; look in a thread, for it may block."""
    for _ in range(1000):
        if await anyio.to_thread.run_sync(is_so):
            return
        await anyio.sleep(0.005)
    raise AssertionError("it did not come true")


# The clock


@in_both_forms
async def test_an_interval_begins_at_once_and_does_not_drift(form: Form) -> None:
    """`IntervalSource`: the times are whole periods from the beginning, also where a period is no round number."""
    begun = anyio.current_time()
    got = []
    async with run_of(IntervalSource(0.1, count=100), form) as run:
        async for element in run:
            if isinstance(element, DataElement):
                got.append((anyio.current_time(), element))

    assert got == [(begun + number * 0.1, DataElement("interval", number)) for number in range(100)]


async def test_a_time_that_passed_meanwhile_is_left_out() -> None:
    """`IntervalSource`: behind a slow consumer there is no burst to catch up with; the next one comes at its own time."""
    begun = anyio.current_time()
    got = []
    async for element in IntervalSource(1, count=5):
        got.append((anyio.current_time() - begun, element.value))
        await anyio.sleep(2.5)

    assert got == [(0, 0), (3, 3), (6, 6), (9, 9), (12, 12)]


async def test_a_time_that_is_just_now_is_not_missed() -> None:
    """`IntervalSource`: a consumer that takes exactly one period gets every element."""
    got = []
    async for element in IntervalSource(0.5, count=4):
        got.append(element.value)
        await anyio.sleep(0.5)

    assert got == [0, 1, 2, 3]


async def test_an_interval_behind_full_edges_waits_and_goes_on_in_time() -> None:
    """`IntervalSource` — Flow.backpressures: what waits is one element; the edges hold what they hold."""
    got = []
    async with run_of(IntervalSource(1), "stage", capacity=2) as run:
        await anyio.sleep(10.5)  # 0 and 1 are in the edge, 2 waits for room
        begun = anyio.current_time() - 10.5
        async for element in run:
            got.append((anyio.current_time() - begun, element.value))
            if len(got) == 6:
                break

    assert got == [(10.5, 0), (10.5, 1), (10.5, 2), (11, 11), (12, 12), (13, 13)]


@in_both_forms
async def test_the_elements_of_an_interval_are_what_the_user_makes(form: Form) -> None:
    """`IntervalSource` — Args.make; and what it raises is the failure."""
    assert await texts_of(IntervalSource(5, count=3, make=lambda n: TextElement(str(n))), form) == ["0", "1", "2"]
    _, cause = await failure_of(IntervalSource(5, make=lambda n: TextElement(str(1 // (1 - n)))), form)
    assert isinstance(cause, ZeroDivisionError)


# Queues


class ListQueue:
    """A queue that gives what it was filled with, then waits for ever; it counts what was taken."""

    def __init__(self, *items: object) -> None:
        self.items = list(items)
        self.taken = 0

    async def get(self) -> object:
        await anyio.lowlevel.checkpoint()
        if self.taken == len(self.items):
            await anyio.sleep_forever()
        self.taken += 1
        return self.items[self.taken - 1]


@in_both_forms
@pytest.mark.parametrize("capacity", [1, 16])
async def test_a_queue_is_read_until_its_sentinel(form: Form, capacity: int) -> None:
    """`QueueSource`: elements as they are, strings as text; the sentinel is that very object, and nothing behind it is taken."""
    thing, end = DataElement("x"), TextElement("end")
    given = ListQueue("a", thing, TextElement("end"), end, "never")

    assert await all_of(QueueSource(given, sentinel=end), form, capacity) == [
        TextElement("a"),
        thing,
        TextElement("end"),
    ]
    assert given.taken == 4
    assert await all_of(QueueSource(ListQueue(None)), form, capacity) == []


@in_both_forms
async def test_what_is_no_element_is_told_with_the_way_out(form: Form) -> None:
    """`QueueSource` — Flow.fails: the value, the stage, and what ends the stream."""
    seen, cause = await failure_of(QueueSource(ListQueue("a", 5)), form)

    assert seen == ["a"]
    assert isinstance(cause, ElementError)
    assert str(cause) == (
        "stage 'queue': the queue gave 5 (int), which is no element; put elements into it, or text, and None as the end"
    )


async def test_nothing_is_taken_from_a_queue_that_there_is_no_room_for() -> None:
    """`QueueSource` — Flow.backpressures: what is in the edges, and one element, has left the queue, and no more."""
    given = ListQueue(*"abcdefgh")
    async with run_of(QueueSource(given), "stage", capacity=2) as run:
        await anyio.sleep(10)
        assert given.taken == 2 + 1
        assert (await anext(run)).text == "a"
    await assert_all_stages_stopped()


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
@in_both_forms
async def test_a_queue_of_asyncio_is_such_a_queue(form: Form, anyio_backend: object) -> None:
    """`QueueSource` — Args.queue: items that come later are waited for; a cancelled wait takes none."""
    given: asyncio.Queue[str | None] = asyncio.Queue()  # noqa: TID251 - what a user may bring
    async with run_of(QueueSource(given), form) as run:
        given.put_nowait("a")
        assert (await anext(run)).text == "a"
        await anyio.sleep(5)
    given.put_nowait("b")
    given.put_nowait(None)

    assert await texts_of(QueueSource(given), form) == ["b"]


@in_both_forms
@pytest.mark.parametrize("name", ["ShutDown", "QueueShutDown"])
async def test_a_queue_that_has_been_shut_down_is_at_its_end(form: Form, name: str) -> None:
    """`QueueSource` — Flow.completes: what Python 3.13 calls so is the end; any other exception is a failure."""

    class Shut(ListQueue):
        async def get(self) -> object:
            if self.taken == len(self.items):
                raise type(name, (Exception,), {})
            return await super().get()

    assert await texts_of(QueueSource(Shut("a")), form) == ["a"]
    name = "OtherError"
    seen, cause = await failure_of(QueueSource(Shut("a")), form)
    assert (seen, type(cause).__name__) == (["a"], "OtherError")


@real_clock
@pytest.mark.slow
@in_both_forms
@pytest.mark.parametrize("make", [queue.Queue, queue.LifoQueue, queue.SimpleQueue])
async def test_a_blocking_queue_is_read_in_a_thread(form: Form, make: Callable[[], queue.Queue[str | None]]) -> None:
    """`QueueSource`: the event loop goes on meanwhile; a queue that stays empty for a while is asked again."""
    given = make()
    seen: list[str] = []
    async with run_of(QueueSource(given), form) as run:
        for item in ("a", "b", None):
            with anyio.fail_after(5):
                await anyio.sleep(0.12)  # longer than the thread waits at a time
                given.put(item)
                element = await anext(run)
            seen += [element.text] if isinstance(element, TextElement) else []

    assert seen == ["a", "b"]


@real_clock
@pytest.mark.slow
@in_both_forms
async def test_a_blocking_queue_does_not_hold_the_run_that_ends(form: Form) -> None:
    """`QueueSource` — Flow.cancels: at once; and soon after nobody waits in the queue who would take an item from others."""
    given: queue.Queue[str] = queue.Queue()
    with anyio.fail_after(5):
        async with run_of(QueueSource(given), form) as run:
            given.put("a")
            assert (await anext(run)).text == "a"
        await assert_all_stages_stopped()
        await anyio.sleep(0.25)  # 0.1 s are promised
        given.put("b")
        await anyio.sleep(0.1)

    assert given.qsize() == 1


@real_clock
@in_both_forms
async def test_a_thread_that_is_stuck_in_a_queue_is_left_behind(form: Form) -> None:
    """`QueueSource` — Flow.cancels: at once, even if the queue does not keep to the `timeout` that it is given."""
    asked, release = threading.Event(), threading.Event()

    class Stuck:
        def get(self, block: bool = True, timeout: float | None = None) -> object:
            asked.set()
            release.wait(20)
            raise queue.Empty

    try:
        async with run_of(QueueSource(Stuck()), form) as run:
            await eventually(asked.is_set)
        assert run.zombies == ()
    finally:
        release.set()


# Files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of some lines, the last without an end."""
    path = tmp_path / "lines.txt"
    path.write_bytes("a\nbä\r\n\nlast".encode())
    return path


def open_here() -> list[str]:
    """Return the paths of all that this process has open."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue
    return found


async def assert_closed(path: Path) -> None:
    """Check that a file has been closed, or is within a moment, by the thread that was reading it."""
    await eventually(lambda: str(path) not in open_here())


@real_clock
@in_both_forms
@pytest.mark.parametrize("capacity", [1, 16])
async def test_the_lines_of_a_file_leave_in_order(file: Path, form: Form, capacity: int) -> None:
    """`FileLinesSource`: without their ends; with `keep_ends` the texts joined are the file. It can be read again and again."""
    origin = FileLinesSource(file)

    for _ in range(2):
        assert await texts_of(origin, form, capacity) == ["a", "bä", "", "last"]
    assert await texts_of(FileLinesSource(str(file), keep_ends=True), form, capacity) == ["a\n", "bä\r\n", "\n", "last"]
    assert await texts_of(FileLinesSource("/dev/null"), form, capacity) == []
    await assert_closed(file)


@real_clock
async def test_a_large_file_is_read_in_pieces(tmp_path: Path) -> None:
    """`FileLinesSource`: lines that lie across pieces are whole; a consumer that has enough leaves the rest unread."""
    path, numbers = anyio.Path(tmp_path / "large.txt"), range(30_000)
    await path.write_text("".join(f"{number} äöü\n" for number in numbers))

    got = [one.text async for one in FileLinesSource(path)]
    async with run_of(FileLinesSource(path), "stage", TakeStage(3)) as run:
        first = [one.text async for one in run if isinstance(one, TextElement)]

    assert got == [f"{number} äöü" for number in numbers]
    assert first == got[:3]
    await assert_closed(Path(path))


@real_clock
@in_both_forms
async def test_a_file_is_closed_whichever_way_its_run_ends(file: Path, form: Form) -> None:
    """`FileLinesSource` — Flow.cancels: a consumer that leaves, a line that is wrong, a stage that fails."""
    async with run_of(FileLinesSource(file), form, capacity=1) as run:
        await anext(run)
    await assert_closed(file)

    seen, cause = await failure_of(FileLinesSource(file, encoding="ascii"), form)
    assert seen == ["a"]
    assert isinstance(cause, LineError)
    assert cause.origin == str(file)
    await assert_closed(file)

    seen, cause = await failure_of(FileLinesSource(file, max_line_bytes=3), form)
    assert (seen, str(cause)) == (["a", "bä", ""], f"line 4 of {str(file)!r} is longer than max_line_bytes=3; {HINT}")
    await assert_closed(file)

    def fail(element: TextElement) -> TextElement:
        raise ZeroDivisionError

    with pytest.raises(StageError, match="ZeroDivisionError"):
        async with run_of(FileLinesSource(file), form, fail) as run:
            async for _ in run:
                pass
    await assert_closed(file)


HINT = "raise it, or end lines more often"


@real_clock
@in_both_forms
async def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, form: Form) -> None:
    """`FileLinesSource` — Flow.fails: with what the system says."""
    _, cause = await failure_of(FileLinesSource(tmp_path / "gone.txt"), form)
    assert isinstance(cause, FileNotFoundError)
    assert cause.filename == str(tmp_path / "gone.txt")
    _, cause = await failure_of(FileLinesSource(tmp_path), form)
    assert isinstance(cause, IsADirectoryError)


@real_clock
@in_both_forms
async def test_a_file_that_grows_is_followed(tmp_path: Path, form: Form) -> None:
    """`FileLinesSource` — Args.follow: what is appended comes too, a line when its end has come; the run ends when it is left."""
    path = anyio.Path(tmp_path / "log.txt")
    await path.write_text("a\nb")

    async def append(text: str) -> None:
        async with await path.open("a") as log:
            await log.write(text)

    with anyio.fail_after(10):
        async with run_of(FileLinesSource(path, follow=True, poll_s=0.01), form) as run:
            assert (await anext(run)).text == "a"
            await append("c\n")
            assert (await anext(run)).text == "bc"
            await append("d\ne\n")
            assert [(await anext(run)).text, (await anext(run)).text] == ["d", "e"]
        await assert_closed(Path(path))


@real_clock
@pytest.mark.slow
@in_both_forms
@pytest.mark.parametrize("how", ["scope", "native", "timeout"])
async def test_a_file_can_be_cancelled_at_any_moment(file: Path, form: Form, how: CancelMode) -> None:
    """semantics 5.5: also while a thread opens, reads or closes it; native cancellation gets through the shield around threads."""

    async def scenario() -> list[str]:
        return await texts_of(FileLinesSource(file), form, 1)

    async def check(outcome: Outcome[list[str]]) -> None:
        assert outcome.cancelled or outcome.value == ["a", "bä", "", "last"]
        await assert_closed(file)

    report = await cancel_sweep(scenario, how=how, check=check)
    assert report.skipped or report.completed


async def test_a_thread_that_is_still_reading_closes_the_file_itself(tmp_path: Path) -> None:
    """`FileLinesSource` — Flow.cancels: neither waits for the thread nor pulls the file away from under it."""
    from streamflow.stages._line_origins import _File

    path = anyio.Path(tmp_path / "slow.txt")
    await path.write_text("x")
    reading, go_on = threading.Event(), threading.Event()

    class Slow(_File):
        def _read(self) -> bytes:
            reading.set()
            go_on.wait(5)
            return super()._read()

    slow = Slow(str(path))

    def work() -> tuple[bytes, list[str]]:
        thread = threading.Thread(target=slow.read)
        thread.start()
        reading.wait(5)
        slow.close()  # does not wait
        go_on.set()
        thread.join(5)
        return slow.read(), open_here()

    again, still_open = await anyio.to_thread.run_sync(work)
    assert again == b""
    assert str(path) not in still_open


# Programs


def sh(script: str, **options) -> ProcessSource:
    return ProcessSource(["/bin/sh", "-c", script], **options)


def is_alive(pid: str) -> bool:
    """Say whether a process is there and no zombie. Who reaps the children of a child is not for us to say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def assert_gone(*pids: str) -> None:
    """Check that processes have ended and been reaped, or are within a moment."""
    await eventually(lambda: not any(map(os.path.exists, (f"/proc/{pid}" for pid in pids))))


@pytest.mark.usefixtures("no_gc")
@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_cancellation_that_waits_for_clean_up_is_not_kept_by_its_own_traceback() -> None:
    """semantics 5.1: a run whose program was being ended when it was cancelled is not kept alive by that."""
    kept: list[weakref.ref[object]] = []

    class Mine:
        pass

    async def clean_up() -> None:
        await anyio.sleep(1)

    async def end() -> None:
        mine = Mine()
        kept.append(weakref.ref(mine))
        await _to_the_end(clean_up)

    task = asyncio.create_task(end())
    await anyio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    await anyio.lowlevel.checkpoint()

    assert kept[0]() is None


@real_clock
@in_both_forms
@pytest.mark.parametrize("capacity", [1, 16])
async def test_the_lines_of_a_program_leave_in_order(form: Form, capacity: int) -> None:
    """`ProcessSource`: the lines of its standard output, the last one also without an end; each run starts it anew."""
    origin = sh("echo a; echo quietly >&2; printf 'b\\r\\n\\nlast'")

    for _ in range(2):
        assert await texts_of(origin, form, capacity) == ["a", "b", "", "last"]
    assert await texts_of(sh("echo a; printf b", keep_ends=True), form, capacity) == ["a\n", "b"]
    assert await texts_of(sh("exit 0"), form, capacity) == []


@real_clock
async def test_the_arguments_are_given_as_they_are_and_no_shell_reads_them(tmp_path: Path) -> None:
    """`ProcessSource` — Args: each argument is one; where it runs, its environment, and an empty standard input."""
    program = [
        sys.executable,
        "-c",
        "import os, sys; print(sys.argv[1:], os.getcwd(), os.environ['X'], repr(sys.stdin.read()))",
    ]

    (line,) = await texts_of(ProcessSource([*program, "$HOME; *", "a b"], cwd=tmp_path, env={"X": "y"}), "stage")

    assert line == f"{['$HOME; *', 'a b']} {tmp_path} y ''"


@pytest.mark.slow
def test_a_program_reads_nothing_of_what_is_meant_for_this_one() -> None:
    """`ProcessSource`: its standard input is empty, and not the terminal of who runs the pipeline."""
    program = (
        "from streamflow import PipelineBuilder; from streamflow.stages import ProcessSource; "
        "print(PipelineBuilder().chain(ProcessSource(['cat'])).build().execute_sync().elements)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=b"secret\n", capture_output=True, timeout=50, check=True
    )

    assert done.stdout == b"()\n"


@real_clock
@in_both_forms
async def test_a_program_that_fails_is_named_with_what_it_said(form: Form) -> None:
    """`ProcessSource` — Flow.fails: behind its last line; the tail of its standard error is bounded."""
    seen, cause = await failure_of(sh("echo a; echo no such thing >&2; echo really >&2; exit 3"), form)
    assert seen == ["a"]
    assert isinstance(cause, ProcessError)
    assert (cause.program, cause.status, cause.stderr) == ("/bin/sh", 3, "no such thing\nreally")
    assert str(cause) == "program '/bin/sh' ended with exit status 3; it said: no such thing / really"

    _, cause = await failure_of(sh("i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1"), form)
    assert isinstance(cause, ProcessError)
    assert len(cause.stderr) <= 4096
    assert cause.stderr.endswith("line 2998\nline 2999")
    assert len(str(cause)) < 600

    _, cause = await failure_of(sh("kill -KILL $$"), form)
    assert str(cause) == "program '/bin/sh' was ended by signal 9; it did not say why"


@real_clock
@in_both_forms
async def test_an_exit_status_can_be_nothing_to_worry_about(form: Form) -> None:
    """`ProcessSource` — Args.check: as for `grep`, which ends with 1 when it finds nothing."""
    assert await texts_of(sh("echo a; exit 1", check=False), form) == ["a"]


@real_clock
@in_both_forms
async def test_a_program_that_cannot_be_started_is_named(form: Form) -> None:
    """`ProcessSource` — Flow.fails: with what the system says; nothing is left open."""
    before = await anyio.to_thread.run_sync(open_here)
    _, cause = await failure_of(ProcessSource(["/no/such/program"]), form)

    assert isinstance(cause, FileNotFoundError)
    assert "/no/such/program" in str(cause)
    await eventually(lambda: len(open_here()) <= len(before))


@real_clock
async def test_a_program_that_talks_a_lot_on_the_other_pipe_is_not_stopped_by_that() -> None:
    """`ProcessSource`: its standard error is read all the time, also while nobody asks for a line."""
    flood = "head -c 3000000 /dev/zero >&2"

    assert await texts_of(sh(f"{flood}; echo a; {flood}; echo b; {flood}"), "stage") == ["a", "b"]
    async with run_of(sh(f"echo a; {flood}; echo b; sleep 100"), "stage") as run:
        assert (await anext(run)).text == "a"
        assert (await anext(run)).text == "b"


@real_clock
@pytest.mark.slow
@in_both_forms
async def test_a_slow_consumer_stops_the_program(form: Form) -> None:
    """`ProcessSource` — Flow.backpressures: an endless program waits when its pipe is full, and is gone when it is left."""
    async with run_of(sh("echo $$; exec yes"), form, capacity=1) as run:
        pid = (await anext(run)).text
        assert [(await anext(run)).text for _ in range(1000)] == ["y"] * 1000

    await assert_gone(pid)


@real_clock
@in_both_forms
async def test_a_program_is_killed_with_its_children_and_reaped(form: Form) -> None:
    """`ProcessSource` — Flow.cancels: no process is left, and no zombie, when the consumer leaves."""
    with anyio.fail_after(10):
        async with run_of(sh("echo $$; sleep 100 & echo $!; trap '' TERM INT; wait; sleep 100"), form) as run:
            pids = (await anext(run)).text, (await anext(run)).text
        await assert_gone(pids[0])
        await eventually(lambda: not is_alive(pids[1]))


@real_clock
@in_both_forms
async def test_a_program_is_killed_when_a_line_or_a_stage_fails(form: Form) -> None:
    """`ProcessSource`: whichever way its run ends; the first failure is the one that is told."""

    def fail(element: TextElement) -> TextElement:
        pids.append(element.text)
        raise ZeroDivisionError

    pids: list[str] = []
    with pytest.raises(StageError, match="ZeroDivisionError"):
        async with run_of(sh("echo $$; sleep 100"), form, fail) as run:
            async for _ in run:
                pass

    seen, cause = await failure_of(sh("echo $$; printf '\\377\\n'; sleep 100"), form)
    assert isinstance(cause, LineError)
    await assert_gone(*pids, *seen)

    seen, cause = await failure_of(sh("echo $$; cat /dev/zero", max_line_bytes=100_000), form)
    assert str(cause) == f"line 2 of '/bin/sh' is longer than max_line_bytes=100000; {HINT}"
    await assert_gone(*seen)


@real_clock
async def test_a_program_that_closes_its_output_first_is_waited_for() -> None:
    """`ProcessSource` — Flow.completes: when it has closed its output and ended; its status counts."""
    seen, cause = await failure_of(sh("echo a; exec >&-; sleep 0.05; exit 7"), "stage")

    assert seen == ["a"]
    assert isinstance(cause, ProcessError)
    assert cause.status == 7


@real_clock
@pytest.mark.slow
@in_both_forms
@pytest.mark.parametrize("how", ["scope", "native", "timeout"])
async def test_a_program_can_be_cancelled_at_any_moment(form: Form, how: CancelMode, tmp_path: Path) -> None:
    """semantics 5.5: also while it is being started, killed or reaped: no process and no zombie is left behind."""
    log = anyio.Path(tmp_path / "pids")
    await log.touch()
    script = f"echo $$ >> {log}; echo a; echo b >&2; sleep 0.01; echo c"

    async def scenario() -> list[str]:
        return await texts_of(sh(script), form, 1)

    async def check(outcome: Outcome[list[str]]) -> None:
        assert outcome.cancelled or outcome.value == ["a", "c"]
        await assert_gone(*(await log.read_text()).split())

    report = await cancel_sweep(scenario, how=how, check=check)
    assert report.skipped or report.completed


def test_a_process_error_survives_pickle_and_is_one_of_ours() -> None:
    """styleguide 3: errors cross process borders, and `StreamflowError` catches them all."""
    error = ProcessError("ls", 2, "no such file")
    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), vars(copy), str(copy)) == (ProcessError, vars(error), str(error))
    assert isinstance(error, StreamflowError)


# All of them


ORIGINS: list[Callable[[], Origin]] = [
    lambda: IntervalSource(5),
    lambda: QueueSource(ListQueue("a")),
    lambda: FileLinesSource("/dev/null"),
    lambda: ProcessSource(["/bin/true"]),
]


@pytest.mark.parametrize("make", ORIGINS, ids=["interval", "queue", "file_lines", "process"])
def test_each_is_a_stage_that_generates(make: Callable[[], Origin]) -> None:
    """semantics 3.5: it stands at the head of a graph, takes no source, and cannot stand behind another stage."""
    pipeline = PipelineBuilder().chain(make()).build()

    assert as_stage(make()).kind is StageKind.GENERATE
    assert not pipeline.takes_source
    with pytest.raises(BuildError):
        PipelineBuilder().chain(PassthroughStage(), make()).build()


@pytest.mark.parametrize(
    ("make", "args", "options", "field"),
    [
        (IntervalSource, (0,), {}, "period_s"),
        (IntervalSource, (1,), {"count": 0}, "count"),
        (FileLinesSource, (5,), {}, "path"),
        (FileLinesSource, ("",), {}, "path"),
        (FileLinesSource, ("x",), {"poll_s": 0}, "poll_s"),
        (FileLinesSource, ("x",), {"encoding": "utf-16"}, "encoding"),
        (FileLinesSource, ("x",), {"max_line_bytes": 0}, "max_line_bytes"),
        (ProcessSource, ("ls -l",), {}, "args"),
        (ProcessSource, ([],), {}, "args"),
        (ProcessSource, (["ls", 5],), {}, "args[1]"),
        (ProcessSource, (["ls"],), {"errors": "loudly"}, "errors"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_named_at_once(make: Callable[..., object], args, options, field: str) -> None:
    """styleguide 3: wrong arguments fail in the constructor, with the stage and a way out."""
    with pytest.raises(ConfigError, match=r"stage '\w+': .*(give|convert) ") as caught:
        make(*args, **options)

    assert caught.value.field == field


@pytest.mark.parametrize("wrong", [None, 5, [], queue.Queue, ListQueue])
def test_what_is_no_queue_is_refused(wrong: object) -> None:
    """`QueueSource` — Raises: at once, and a class is not taken for one of its objects."""
    with pytest.raises(BuildError, match=r"has no get.*give an asyncio\.Queue"):
        QueueSource(wrong)


def test_what_makes_no_elements_is_refused() -> None:
    """`IntervalSource` — Raises: at once."""
    with pytest.raises(BuildError, match="make=5 is no function"):
        IntervalSource(1, make=5)
