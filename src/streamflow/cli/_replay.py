"""`streamflow replay`: shows what was recorded, and plays it again against a pipeline.

Above: `_main`. Below: `runtime` (replay), `observe` (reading).
Rule: a recording is data from anywhere; it is shown as JSON, so that nothing in it steers the terminal. Code runs only where
`--against` names it.
"""

from __future__ import annotations

import datetime
import importlib
import inspect
import os
import sys
from typing import TYPE_CHECKING

import msgspec

from ..elements import encode
from ..errors import ConfigError, ElementError, RecordingError
from ..observe import DEFAULT_IGNORED, RULES, RecordedRun, read_recording
from ..runtime import Pipeline, PipelineBuilder, replay_sync

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from ..observe import RecordedElement, RecordedFile
    from ._screen import Screen

__all__ = ["HELP", "MORE", "add_options", "run_command"]

HELP = """\
Show what was recorded of runs, or play it again.

Without --against, one line for each element: when, where, what. With it, the recorded input is fed to a pipeline of yours, and
the first difference to what was recorded is shown."""

MORE = """\
exit codes:
  0  shown; or nothing is different
  1  something is different, or the pipeline could not be run
  2  wrong options, or a file that is no recording

examples:
  streamflow replay call.rec --at output --type text
  streamflow replay call.rec --from 2 --to 3.5 --json
  streamflow replay call.rec --against app:pipeline
  streamflow replay call.rec --against app:pipeline --speed 1 --ignore ids,times,usage"""

_DIFFERENT = 1
_LONGEST = 2000


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    command.add_argument("file", metavar="FILE", help="the recording; older files beside it (FILE.1, …) belong to it")
    command.add_argument("--run", metavar="ID", help="only this run")
    shown = command.add_argument_group("what is shown")
    shown.add_argument("--type", metavar="TAGS", type=_names, default=(), help="only these types, as in text,message")
    shown.add_argument("--at", metavar="POINTS", type=_names, default=(), help="only at these points, as in output")
    shown.add_argument(
        "--from", dest="since", metavar="S", type=float, default=0.0, help="from this second of a run on"
    )
    shown.add_argument("--to", dest="until", metavar="S", type=float, help="up to this second of a run")
    shown.add_argument("--text", metavar="TEXT", help="only what contains this, in whatever case")
    shown.add_argument("--json", action="store_true", help="one JSON object for each line")
    played = command.add_argument_group("playing it again")
    played.add_argument(
        "--against",
        metavar="MODULE:NAME",
        help="a pipeline, a builder, or a function that returns one (it may take the recorded run); imports that module",
    )
    played.add_argument("--speed", metavar="N", type=float, help="1: as fast as recorded; default: as fast as it goes")
    played.add_argument(
        "--ignore",
        metavar="RULES",
        type=_names,
        default=DEFAULT_IGNORED,
        help=f"what may differ: {', '.join(RULES)}; default {','.join(DEFAULT_IGNORED)}",
    )
    played.add_argument("--coalesce", action="store_true", help="compare texts, however they were cut")
    played.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio", help="event loop; default asyncio")


def run_command(given: argparse.Namespace, screen: Screen) -> int:
    """Show a recording, or play it again, and return the exit code.

    Raises:
        ConfigError: If an option is wrong, or the file is no recording.
        StreamflowError: If the pipeline could not be run.
    """
    try:
        file = read_recording(given.file)
        runs = [file.run(given.run)] if given.run is not None else file.runs
        if given.against is None:
            _show(file, runs, given, screen)
        else:
            made = _pipeline_named(given.against)
            found = [
                replay_sync(
                    one,
                    _made(made, one, given.against),
                    ignore=given.ignore,
                    coalesce=given.coalesce,
                    speed=given.speed,
                    backend=given.backend,
                )
                for one in runs
            ]
            for one in found:
                screen.line(str(one))
            if not found:
                raise RecordingError(given.file, "there is no run in it")
            return 0 if all(found) else _DIFFERENT
    except RecordingError as error:
        raise ConfigError("FILE", str(error)) from error
    finally:
        sys.path[:] = [one for one in sys.path if one != _HERE]
    return 0


_HERE = os.curdir


def _pipeline_named(name: str) -> object:
    """Return what a module calls so.

    Raises:
        ConfigError: If there is none.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise ConfigError("--against", f"{name!r:.80} names nothing; give module:name, as in app:pipeline")
    sys.path.insert(0, _HERE)
    try:
        found: object = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise ConfigError("--against", f"{name!r:.80} cannot be had: {type(error).__name__}: {error!s:.200}") from error
    return found


def _made(made: object, run: RecordedRun, name: str) -> Pipeline:
    if not isinstance(made, Pipeline | PipelineBuilder) and callable(made):
        takes_run = len(inspect.signature(made).parameters) > 0
        made = made(run) if takes_run else made()
    if isinstance(made, PipelineBuilder):
        made = made.build()
    if not isinstance(made, Pipeline):
        raise ConfigError("--against", f"{name!r:.80} is a {type(made).__name__}; give a pipeline, or what makes one")
    return made


def _show(file: RecordedFile, runs: Iterable[RecordedRun], given: argparse.Namespace, screen: Screen) -> None:
    wanted = {one.key: one for one in runs}
    if not given.json:
        for run in wanted.values():
            screen.line(_title(run))
    for key, one in file.keyed():
        if screen.is_gone:
            return
        line = _line(one, given) if key in wanted else None
        if line is not None:
            screen.line(line)
    if file.damage is not None:
        screen.error(f"this is as far as the recording can be read: {file.damage}")


def _title(run: RecordedRun) -> str:
    at = datetime.datetime.fromtimestamp(run.at_unix_s, datetime.UTC) if 0 <= run.at_unix_s < 1e11 else "?"
    ended = "its end is not recorded" if run.reason is None else f"{run.reason} after {run.duration_s:.3f} s"
    lost = f", {run.lost} elements were not recorded" if run.lost else ""
    return f"# {run.run_id}: {at:%Y-%m-%d %H:%M:%S} UTC, {ended}; at {', '.join(run.points)}{lost}"


def _line(one: RecordedElement, given: argparse.Namespace) -> str | None:
    """Return an element as a line; None if it is not wanted."""
    is_wanted = (
        (not given.type or one.type in given.type)
        and (not given.at or one.point in {point.replace(" -> ", " → ") for point in given.at})
        and one.at_s >= given.since
        and (given.until is None or one.at_s <= given.until)
    )
    if not is_wanted:
        return None
    element = _json_of(one)
    if given.text is not None and given.text.casefold() not in element.casefold():
        return None
    if given.json:
        facts = {
            "run_id": one.run_id,
            "point": one.point,
            "ordinal": one.ordinal,
            "order": one.order,
            "at_s": one.at_s,
            "type": one.type,
            "missing": one.missing,
            "element": msgspec.Raw(element.encode()) if one.element is not None else None,
        }
        return msgspec.json.encode(facts).decode()
    what = element if len(element) <= _LONGEST else f"{element[:_LONGEST]}…"
    return f"{one.run_id}  {one.at_s:9.3f} s  {one.point} #{one.ordinal}  {one.type}  {what}"


def _json_of(one: RecordedElement) -> str:
    if one.element is None:
        return f"({one.missing})"
    try:
        return encode(one.element).decode()
    except ElementError as error:  # a number that JSON does not have
        return msgspec.json.encode(f"cannot be shown as JSON: {error}").decode()


def _names(text: str) -> tuple[str, ...]:
    return tuple(one for one in (part.strip() for part in text.split(",")) if one)
