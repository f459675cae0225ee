"""`streamflow replay`: what was recorded, line by line; and the first difference, with exit code 1."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from streamflow import DataElement, PipelineBuilder, TextElement, TurnEnd, stage
from streamflow.cli import main
from streamflow.observe import Recording, read_recording

APP = """
from streamflow import MapStage, PipelineBuilder, TextElement

def upper(element):
    return TextElement(element.text.upper())

builder = PipelineBuilder().chain(MapStage(upper, name="up", accepts=TextElement))
pipeline = builder.build()

def changed(run):
    return PipelineBuilder().chain(MapStage(lambda element: element, name="up", accepts=TextElement))

def made():
    return pipeline

number = 3
"""


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    @stage(name="up", accepts=TextElement)
    async def up(stream):
        async for element in stream:
            yield TextElement(element.text.upper())

    path = tmp_path / "a.rec"
    source = [TextElement("hello"), TurnEnd(), TextElement("\x1b[2Jtwo\nlines"), DataElement("n", 1)]
    pipeline = PipelineBuilder().chain(up).build()
    pipeline.execute_sync(source, record=path)
    (tmp_path / "recorded_app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "recorded_app", raising=False)
    return path


def lines_of(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> list[str]:
    assert main(["replay", *argv]) == code
    return capsys.readouterr().out.splitlines()


def test_it_shows_each_element_with_its_time_and_place(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """semantics 24.28: a title for each run; nothing that was recorded steers the terminal."""
    title, *lines = lines_of(capsys, str(recording))

    assert title.startswith(f"# {read_recording(recording).run().run_id}: 20")
    assert title.endswith("; at input, output")
    assert "UTC, done after 0." in title
    assert len(lines) == 8
    assert lines[0].endswith('s  input #0  text  {"v":1,"type":"text","text":"hello"}')
    assert any(line.endswith('output #2  text  {"v":1,"type":"text","text":"\\u001b[2JTWO\\nLINES"}') for line in lines)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["--type", "text"], 4),
        (["--type", "turn_end,data"], 4),
        (["--at", "output"], 4),
        (["--at", "output", "--type", "text", "--text", "HELLO"], 1),
        (["--text", "hello"], 2),
        (["--from", "1000"], 0),
        (["--to", "-1"], 0),
        (["--run", "{run}"], 8),
    ],
)
def test_it_filters(options: list[str], count: int, recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """semantics 24.28: by type, place, time, text and run."""
    run = read_recording(recording).run().run_id
    assert len(lines_of(capsys, str(recording), *(one.format(run=run) for one in options))) == count + 1


def test_it_gives_json_lines(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """semantics 24.28: for other programs."""
    found = [json.loads(line) for line in lines_of(capsys, str(recording), "--json")]

    assert len(found) == 8
    assert found[0]["element"] == {"v": 1, "type": "text", "text": "hello"}
    assert {key: found[0][key] for key in ("point", "ordinal", "order", "type", "missing")} == {
        "point": "input",
        "ordinal": 0,
        "order": 0,
        "type": "text",
        "missing": "",
    }


@pytest.mark.parametrize("name", ["pipeline", "builder", "made"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_plays_against_a_pipeline(
    name: str, backend: str, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """semantics 24.28: a pipeline, a builder, a function; exit code 0 if nothing differs."""
    options = ["--against", f"recorded_app:{name}", "--backend", backend, "--speed", "100"]
    assert "no difference; compared: 4 at output" in lines_of(capsys, str(recording), *options)[0]


def test_a_difference_is_shown_with_exit_code_1(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """semantics 24.28: where, what was expected, what came; rules and coalescing as options."""
    lines = lines_of(capsys, str(recording), "--against", "recorded_app:changed", "--ignore", "ids", code=1)

    assert lines[0].endswith("first difference at output, element #0, $.text")
    assert lines[1:3] == [
        '  expected: {"type":"text","text":"HELLO"}',
        '       got: {"type":"text","text":"hello"}',
    ]
    assert lines_of(capsys, str(recording), "--against", "recorded_app:pipeline", "--coalesce")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["none.rec"], "none.rec: cannot be read: No such file or directory"),
        (["recorded_app.py"], "is no recording"),
        (["a.rec", "--run", "x"], "there is no run 'x'"),
        (["a.rec", "--against", "recorded_app"], "give module:name, as in app:pipeline"),
        (["a.rec", "--against", "no_such_app:pipeline"], "ModuleNotFoundError: No module named 'no_such_app'"),
        (["a.rec", "--against", "recorded_app:number"], "is a int; give a pipeline, or what makes one"),
        (["a.rec", "--against", "recorded_app:pipeline", "--ignore", "colour"], "there are 'ids', 'times'"),
        (["a.rec", "--against", "recorded_app:pipeline", "--speed", "0"], "a number above 0"),
    ],
)
def test_what_is_wrong_is_one_line_with_exit_code_2(
    options: list[str], told: str, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad input: so that 1 means a difference and nothing else."""
    path = list(sys.path)
    assert main(["replay", *options]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert sys.path == path


def test_a_file_that_is_cut_is_shown_up_to_there(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """semantics 24.21: and that it is cut is said, as is what was not recorded."""
    whole = recording.read_bytes()
    recording.write_bytes(whole[:-30])

    assert main(["replay", str(recording)]) == 0
    shown = capsys.readouterr()
    assert "its end is not recorded" in shown.out
    assert "this is as far as the recording can be read" in shown.err


def test_what_is_missing_is_shown_as_that(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """semantics 24.23: with the reason."""
    pipeline = PipelineBuilder().chain(stage_of_nothing()).build()
    pipeline.execute_sync("a", record=Recording(path="b.rec", redact=lambda one: None))

    assert lines_of(capsys, "b.rec")[1].endswith("input #0  text  (redacted)")
    assert json.loads(lines_of(capsys, "b.rec", "--json")[0])["element"] is None


def stage_of_nothing():
    @stage
    async def nothing(stream):
        async for element in stream:
            yield element

    return nothing
