"""A run as it goes, in the terminal: a table of its stages that is drawn anew; plain lines where there is no terminal.

Above: users. Below: `_run` (figures are asked for, never told), rich.
"""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

import anyio

from ..errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from ._run import Run
    from ._stats import RunStats, StageStats

__all__ = ["live_table", "stats_lines"]

_COLUMNS: Final = ("stage", "in", "out", "out/s", "busy", "blocked", "idle", "waiting", "errors")
_BAR: Final = 20


@asynccontextmanager
async def live_table(
    run: Run, *, refresh_s: float = 0.5, total: int | None = None, file: TextIO | None = None
) -> AsyncGenerator[None, None]:
    """Show what a run does while the block is inside: a table of its stages, and a progress bar if it is known how much comes.

    ```python
    async with pipeline.execute(texts) as run, live_table(run):
        async for element in run:
            ...
    ```

    On a terminal the table is drawn anew every `refresh_s`; elsewhere a line is written as often. Columns of time need
    `PipelineConfig(metrics=True)`.

    Args:
        run: A run that has been started.
        refresh_s: How long a picture stays, in seconds.
        total: How many elements the source gives; None: as many as its `len()` says, if it has one and the run is measured.
        file: Where it is shown; default `sys.stderr`.

    Cancellation: the last picture stays.

    Raises:
        ConfigError: If `refresh_s` is not positive, or `total` is negative.
        MissingExtraError: If it is shown on a terminal and rich is not installed.
        RunStateError: If the run has not been started.
    """
    if not refresh_s > 0:
        raise ConfigError("refresh_s", f"a positive number of seconds was expected, got {refresh_s!r:.80}")
    if total is not None and total < 0:
        raise ConfigError("total", f"a count from 0 up was expected, got {total!r:.80}")
    stream = sys.stderr if file is None else file
    screen: _Lines | _Screen = _Screen(stream) if stream.isatty() else _Lines(stream)
    known = run.source_length if total is None else total
    screen.show(run.stats(), known)
    failure: Exception | None = None
    with screen:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_draw, screen, run, known, refresh_s)
                try:
                    yield
                except Exception as error:  # noqa: BLE001 - raised below, where no task group makes a group of it
                    failure = error
                tasks.cancel_scope.cancel()
        finally:
            screen.show(run.stats(), known)
    try:
        if failure is not None:
            raise failure
    finally:
        del failure


async def _draw(screen: _Lines | _Screen, run: Run, total: int | None, refresh_s: float) -> None:
    while True:
        await anyio.sleep(refresh_s)
        screen.show(run.stats(), total)


def stats_lines(stats: RunStats, total: int | None = None) -> Iterator[str]:
    """Yield the figures of a run as lines: one for the run, one for each stage.

    Args:
        stats: The figures.
        total: How many elements the source gives, if that is known.
    """
    yield _headline(stats, total)
    rows = [_COLUMNS, *(_row(stats, one) for one in stats.stages.values())]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_COLUMNS))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        yield "  ".join(cells).rstrip()


def _headline(stats: RunStats, total: int | None) -> str:
    given = _given(stats)
    progress = f" of {total} ({min(given / total, 1.0):.0%})" if total else ""
    found = stats.bottleneck
    limit = "" if found is None or found.kind == "none" else f"; {found.why}"
    return f"{stats.run_id}: {stats.duration_s:.1f} s, {given}{progress} elements in{limit}"


def _given(stats: RunStats) -> int:
    return sum(edge.counts.received for name, edge in stats.edges.items() if name.startswith("source → "))


def _row(stats: RunStats, stage: StageStats) -> tuple[str, ...]:
    shares = ("", "", "")
    if stage.times is not None and stage.times.life_s > 0:
        its = stage.times
        shares = cast(
            "tuple[str, str, str]", tuple(f"{one / its.life_s:.0%}" for one in (its.busy_s, its.blocked_s, its.idle_s))
        )
    rate = f"{stage.sent / stats.duration_s:.1f}" if stats.duration_s > 0 else ""
    waiting = sum(edge.counts.buffered for name, edge in stats.edges.items() if _reader(name) == stage.name)
    return (stage.name, str(stage.received), str(stage.sent), rate, *shares, str(waiting), str(stage.errors))


def _reader(edge: str) -> str:
    return edge.partition(" → ")[2].partition(":")[0]


class _Lines:
    """Writes a line for each picture."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __enter__(self) -> None:
        """Do nothing: lines need no beginning."""

    def __exit__(self, *_error: object) -> None:
        """Do nothing: lines need no end."""

    def show(self, stats: RunStats, total: int | None) -> None:
        """Write the line of the run, and at its end all."""
        print(_headline(stats, total), file=self._stream, flush=True)


class _Screen:
    """Draws a table over the one before."""

    def __init__(self, stream: TextIO) -> None:
        try:
            from rich.console import Console  # noqa: PLC0415 - an extra
            from rich.live import Live  # noqa: PLC0415
        except ImportError as error:
            raise MissingExtraError("rich", "terminal") from error
        self._live: Any = Live(console=Console(file=stream), auto_refresh=False)

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(self, *_error: object) -> None:
        self._live.stop()

    def show(self, stats: RunStats, total: int | None) -> None:
        """Draw the table."""
        from rich.console import Group  # noqa: PLC0415
        from rich.progress_bar import ProgressBar  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(*_COLUMNS)
        for column in table.columns[1:]:
            column.justify = "right"
        for one in stats.stages.values():
            table.add_row(*map(Text, _row(stats, one)))
        parts: list[Any] = [Text(_headline(stats, total)), table]
        if total:
            parts.insert(1, ProgressBar(total=total, completed=min(_given(stats), total), width=_BAR))
        self._live.update(Group(*parts), refresh=True)
