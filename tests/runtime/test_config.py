"""`PipelineConfig` refuses wrong values at once and names the field, wherever they come from."""

from __future__ import annotations

import datetime
import json
import math
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import ConfigError, PipelineBuilder, PipelineConfig

LIMITS = [
    "timeout_s",
    "first_element_timeout_s",
    "idle_timeout_s",
    "backpressure_timeout_s",
    "stall_report_s",
    "lag_warning_s",
]
SWITCHES = ["priority", "fuse", "metrics", "tracing"]

OTHER = PipelineConfig(
    buffer_size=32,
    priority=True,
    fuse=False,
    timeout_s=60.0,
    first_element_timeout_s=5.0,
    idle_timeout_s=2.5,
    backpressure_timeout_s=1.5,
    stall_report_s=30.0,
    lag_warning_s=0.25,
    on_deadlock="grow",
    deadlock_grow_limit=99,
    shutdown_timeout_s=3.0,
    max_concurrent_runs=4,
    metrics=True,
    tracing=True,
    event_buffer=7,
    record="runs/{run_id}.rec",
)
"""A value of each field that is not its default."""

VALUES = msgspec.structs.asdict(OTHER)


def toml_file(folder: Path, text: str | bytes) -> Path:
    path = folder / "app.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# Values from code -----------------------------------------------------------------------------------------------------


def test_every_field_is_among_the_values_of_these_tests():
    """A new field is tested below from its first day."""
    assert set(VALUES) == set(PipelineConfig.__struct_fields__)
    assert [name for name, value in VALUES.items() if value == getattr(PipelineConfig(), name)] == []


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "16", None])
def test_a_buffer_holds_at_least_one_element(value):
    """Bad input: capacity 0 or negative, or no integer."""
    with pytest.raises(ConfigError, match="buffer_size: an edge holds at least 1 element, got ") as caught:
        PipelineConfig(buffer_size=value)
    assert caught.value.field == "buffer_size"


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "16", None])
def test_a_listeners_queue_holds_at_least_one_event(value):
    """Bad input: a bound that is none."""
    with pytest.raises(ConfigError, match="event_buffer: a listener's queue holds at least 1 event, got ") as caught:
        PipelineConfig(event_buffer=value)
    assert caught.value.field == "event_buffer"


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "16"])
def test_a_pipeline_runs_at_least_once_at_a_time(value):
    """Bad input: a limit under which nothing could run; None is no limit."""
    with pytest.raises(ConfigError, match="a whole number from 1 up, or None for none, got ") as caught:
        PipelineConfig(max_concurrent_runs=value)
    assert caught.value.field == "max_concurrent_runs"


@pytest.mark.parametrize("field", SWITCHES)
@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_a_switch_is_a_bool(field: str, value):
    """Bad input: what is merely true or false, as the text 'false' is true."""
    with pytest.raises(ConfigError, match=f"{field}: a switch is True or False, got ") as caught:
        PipelineConfig(**{field: value})
    assert caught.value.field == field


@pytest.mark.parametrize("field", [*LIMITS, "shutdown_timeout_s"])
@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, "5", True])
def test_a_limit_is_a_positive_number_of_seconds(field: str, value):
    """Bad input: a limit that is none."""
    with pytest.raises(ConfigError) as caught:
        PipelineConfig(**{field: value})
    assert caught.value.field == field


def test_a_shutdown_needs_a_deadline():
    """5.5: waiting without end is no shutdown."""
    with pytest.raises(ConfigError, match="shutdown_timeout_s"):
        PipelineConfig(shutdown_timeout_s=None)  # type: ignore[arg-type]


def test_lanes_need_a_place_each():
    """2.7: with priority an edge has at least one place for each lane."""
    with pytest.raises(ConfigError, match=r"buffer_size: with priority an edge needs .*: 4 or more, got 3"):
        PipelineConfig(buffer_size=3, priority=True)
    assert PipelineConfig(buffer_size=4, priority=True).priority


@pytest.mark.parametrize("field", VALUES)
def test_an_error_repeats_no_long_value(field: str):
    """Bad input: a megabyte in a setting is no megabyte in the log."""
    with pytest.raises(ConfigError) as caught:
        PipelineConfig(**{field: "x" * 1_000_000})
    assert "x" * 79 in str(caught.value)
    assert "x" * 80 not in str(caught.value)


def test_replace_makes_a_checked_copy():
    """R5: settings are immutable; a copy is checked like the original."""
    config = PipelineConfig(timeout_s=3)
    assert config.replace(buffer_size=2) == PipelineConfig(buffer_size=2, timeout_s=3)
    assert config.replace(**VALUES) == OTHER
    assert config.buffer_size == 16
    with pytest.raises(ConfigError, match="buffer_size"):
        config.replace(buffer_size=0)
    with pytest.raises(ConfigError, match=r"sizes: no such setting; there are buffer_size, "):
        config.replace(sizes=3)
    with pytest.raises(ConfigError, match=r"bufer_size: no such setting; did you mean buffer_size\?"):
        config.replace(bufer_size=3)
    with pytest.raises(AttributeError):
        config.buffer_size = 3  # type: ignore[misc]


def test_the_names_of_the_seed_change_one_field_each():
    """R5: `with_…` returns a changed copy, so calls can be strung together."""
    config = PipelineConfig(event_buffer=3)

    assert config.with_channel_buffer_size(8) == config.replace(buffer_size=8)
    assert config.with_priority_queue() == config.replace(priority=True)
    assert config.with_execution_timeout(1.5) == config.replace(timeout_s=1.5)
    assert config.with_execution_timeout(datetime.timedelta(days=1, minutes=2)) == config.replace(timeout_s=86520.0)
    assert config.with_metrics() == config.replace(metrics=True)
    assert config.with_tracing() == config.replace(tracing=True)
    on = config.with_priority_queue().with_metrics().with_tracing().with_execution_timeout(3)
    assert on == config.replace(priority=True, metrics=True, tracing=True, timeout_s=3)
    off = on.with_priority_queue(enabled=False).with_metrics(False).with_tracing(False).with_execution_timeout(None)
    assert off == config == PipelineConfig(event_buffer=3)


def test_the_names_of_the_seed_check_what_they_are_given():
    """R5: an error names the field that is meant."""
    for wrong, field in (
        (lambda: PipelineConfig().with_channel_buffer_size(0), "buffer_size"),
        (lambda: PipelineConfig().with_execution_timeout(datetime.timedelta(0)), "timeout_s"),
        (lambda: PipelineConfig().with_metrics("off"), "metrics"),  # type: ignore[arg-type]
        (lambda: PipelineConfig().with_channel_buffer_size(2).with_priority_queue(), "buffer_size"),
    ):
        with pytest.raises(ConfigError) as caught:
            wrong()
        assert caught.value.field == field


def test_a_builder_takes_settings_and_listeners_of_the_right_kind():
    """Bad input: what is no configuration, and what cannot be called."""
    with pytest.raises(ConfigError, match=r"config: a PipelineConfig was expected, got \{'buffer_size': 3\}"):
        PipelineBuilder({"buffer_size": 3})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="listener: a function or an async function of one event was expected"):
        PipelineBuilder().on_event(None)  # type: ignore[arg-type]


# Values from the environment ------------------------------------------------------------------------------------------


def test_every_field_has_a_variable():
    """R5: the prefix and the field's name in capitals."""
    environ = {f"STREAMFLOW_{name.upper()}": str(value) for name, value in VALUES.items()}

    assert PipelineConfig.from_env(environ={**environ, "PATH": "/bin"}) == OTHER
    assert PipelineConfig.from_env(environ={}) == PipelineConfig()


def test_the_environment_of_the_process_is_read_by_default(monkeypatch: pytest.MonkeyPatch):
    """`from_env`: no argument is needed; another program's prefix neither disturbs nor is disturbed."""
    monkeypatch.setenv("STREAMFLOW_BUFFER_SIZE", " 32 ")
    monkeypatch.setenv("STREAMFLOW_DEBUG", "1")
    monkeypatch.setenv("CHAT_TIMEOUT_S", "5")

    assert PipelineConfig.from_env() == PipelineConfig(buffer_size=32)
    assert PipelineConfig.from_env("CHAT_") == PipelineConfig(timeout_s=5)


@pytest.mark.parametrize("text", ["none", "None", "NONE", "", "  "])
def test_none_and_nothing_are_none_where_that_is_allowed(text: str):
    """`from_env`: a limit can be taken away; what needs a value says so."""
    for field in (*LIMITS, "max_concurrent_runs"):
        assert getattr(PipelineConfig.from_env(environ={f"STREAMFLOW_{field.upper()}": text}), field) is None
    for field in ("buffer_size", "event_buffer", "shutdown_timeout_s", *SWITCHES):
        with pytest.raises(ConfigError, match=f"{field}: .* was expected, got '{text.strip()}'"):
            PipelineConfig.from_env(environ={f"STREAMFLOW_{field.upper()}": text})


@pytest.mark.parametrize(
    ("text", "switch"),
    [("true", True), ("YES", True), ("on", True), ("1", True), ("false", False), ("no", False), ("0", False)],
)
def test_a_switch_has_the_usual_words(text: str, switch: bool):
    """`from_env`: as its docstring lists them."""
    assert PipelineConfig.from_env(environ={"STREAMFLOW_METRICS": text}).metrics is switch


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("BUFFER_SIZE", "many", "buffer_size: a whole number was expected, got 'many'"),
        ("BUFFER_SIZE", "1.5", "buffer_size: a whole number was expected, got '1.5'"),
        ("BUFFER_SIZE", "0", "buffer_size: an edge holds at least 1 element, got 0; the default is 16"),
        ("TIMEOUT_S", "5s", "timeout_s: a number or 'none' was expected, got '5s'"),
        ("TIMEOUT_S", "inf", "timeout_s: a limit is a positive number of seconds, or None for none, got inf"),
        ("MAX_CONCURRENT_RUNS", "x", "max_concurrent_runs: a whole number or 'none' was expected, got 'x'"),
        ("METRICS", "maybe", "metrics: true or false was expected, got 'maybe'"),
    ],
)
def test_a_wrong_variable_is_named_with_its_field_and_value(name: str, text: str, told: str):
    """R5: whoever deploys sees which variable to mend; nothing of the loader's parts shows through."""
    with pytest.raises(ConfigError) as caught:
        PipelineConfig.from_env(environ={f"STREAMFLOW_{name}": text})

    assert str(caught.value) == f"{told} (environment variable STREAMFLOW_{name})"
    assert caught.value.field == name.lower()
    assert caught.value.__suppress_context__


def test_a_long_value_of_a_variable_is_not_repeated():
    """Bad input: 80 characters of it are told, however long it is."""
    with pytest.raises(ConfigError) as caught:
        PipelineConfig.from_env(environ={"STREAMFLOW_BUFFER_SIZE": "9" * 100_000})
    assert "9" * 79 in str(caught.value)
    assert "9" * 80 not in str(caught.value)


def test_settings_that_do_not_fit_together_name_where_they_come_from():
    """R5: also what is wrong only in combination."""
    with pytest.raises(ConfigError, match=r"got 2 \(environment variable STREAMFLOW_BUFFER_SIZE\)"):
        PipelineConfig.from_env(environ={"STREAMFLOW_PRIORITY": "yes", "STREAMFLOW_BUFFER_SIZE": "2"})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("STREAMFLOW_BUFER_SIZE", "did you mean STREAMFLOW_BUFFER_SIZE?"),
        ("STREAMFLOW_timeout_s", "did you mean STREAMFLOW_TIMEOUT_S?"),
        ("STREAMFLOW_COLOUR", "there are STREAMFLOW_BUFFER_SIZE, "),
        ("STREAMFLOW_", "there are STREAMFLOW_BUFFER_SIZE, "),
    ],
)
def test_an_unknown_variable_is_an_error_that_suggests_the_near_one(name: str, hint: str):
    """R5: a misspelt setting is not silently the default."""
    with pytest.raises(ConfigError) as caught:
        PipelineConfig.from_env(environ={name: "3"})
    assert caught.value.field == name
    assert hint in str(caught.value)


@pytest.mark.parametrize("prefix", ["", None, 3])
def test_a_prefix_is_a_text(prefix):
    """Bad input: without one, every variable of the machine would be a wrong setting."""
    with pytest.raises(ConfigError, match="prefix: a text such as 'STREAMFLOW_' was expected"):
        PipelineConfig.from_env(prefix)


# Values from a file ---------------------------------------------------------------------------------------------------


def test_every_field_has_a_key(tmp_path: Path):
    """R5: the field's name; also in a table of another file, with a byte order mark as some editors leave it."""
    lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in VALUES.items())

    assert PipelineConfig.from_toml(toml_file(tmp_path, f"\ufeff[streamflow]\n{lines}")) == OTHER
    path = toml_file(tmp_path, f"[tool.other]\nx = 1\n[tool.streamflow]\n{lines}")
    assert PipelineConfig.from_toml(str(path), table="tool.streamflow") == OTHER
    assert PipelineConfig.from_toml(toml_file(tmp_path, "[streamflow]")) == PipelineConfig()


def test_a_file_says_none_in_quotes(tmp_path: Path):
    """`from_toml`: TOML has no word for it."""
    path = toml_file(tmp_path, '[streamflow]\ntimeout_s = "none"\nmax_concurrent_runs = ""')

    assert PipelineConfig.from_toml(path) == PipelineConfig()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("buffer_size = true", "a whole number was expected, got True"),
        ("buffer_size = 16.0", "a whole number was expected, got 16.0"),
        ("buffer_size = '32'", "a whole number was expected, got '32'"),
        ("buffer_size = 0", "an edge holds at least 1 element, got 0; the default is 16"),
        ("timeout_s = '5'", "a number or 'none' was expected, got '5'"),
        ("timeout_s = nan", "a limit is a positive number of seconds, or None for none, got nan"),
        ("timeout_s = 07:32:00", "a number or 'none' was expected, got datetime.time(7, 32)"),
        ("timeout_s = {minutes = 2}", "a number or 'none' was expected, got {'minutes': 2}"),
        ("metrics = 1", "true or false was expected, got 1"),
        ("shutdown_timeout_s = 'none'", "a number was expected, got 'none'"),
    ],
)
def test_a_wrong_key_is_named_with_its_value_and_file(tmp_path: Path, line: str, told: str):
    """R5: a file has types, so nothing is guessed; the error names field, value, file and key."""
    path = toml_file(tmp_path, f"[a.b]\n{line}")
    field = line.partition(" ")[0]

    with pytest.raises(ConfigError) as caught:
        PipelineConfig.from_toml(path, table="a.b")

    assert str(caught.value) == f"{field}: {told} ({path}, key a.b.{field})"


def test_an_unknown_key_is_an_error_that_suggests_the_near_one(tmp_path: Path):
    """R5: a misspelt setting is not silently the default."""
    path = toml_file(tmp_path, "[streamflow]\nbuffersize = 3")

    with pytest.raises(ConfigError) as caught:
        PipelineConfig.from_toml(path)
    assert str(caught.value) == (f"buffersize: no such setting; did you mean buffer_size? ({path}, table [streamflow])")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no table [streamflow]; it has none"),
        ("[tool.ruff]\n[flow]", "has no table [streamflow]; its tables are [tool], [tool.ruff], [flow]"),
        ("\n".join(f"[t{n}]" for n in range(99)), "[t8], [t9], …"),
        ("streamflow = 3", "'streamflow' is no table in "),
        ("[[streamflow]]\nbuffer_size = 3", "'streamflow' is no table in "),
        (f"[{'a.' * 5000}b]", "its tables are [a], [a.a], [a.a.a]"),
    ],
)
def test_a_missing_table_is_an_error_that_names_those_that_exist(tmp_path: Path, text: str, told: str):
    """R5: settings that are not found are not silently the defaults."""
    with pytest.raises(ConfigError, match="table: ") as caught:
        PipelineConfig.from_toml(toml_file(tmp_path, text))
    assert told in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[streamflow]\nbuffer_size = ", "is no TOML: Invalid value (at end of document)"),
        (b"[streamflow]\nbuffer_size = 1\nbuffer_size = 2\n", "is no TOML: Cannot overwrite a value (at line 3"),
        (b"[streamflow]\nname = '\xff'", "is not UTF-8, from byte 21 on"),
        (b"a = " + b"[" * 50_000, "is nested too deeply"),
        (b"#" * 1_000_001, "has more than 1000000 bytes"),
    ],
)
def test_what_is_no_file_of_settings_is_told_clearly(tmp_path: Path, content: bytes, told: str):
    """Bad input: broken, not text, hostile, far too large."""
    path = toml_file(tmp_path, content)

    with pytest.raises(ConfigError) as caught:
        PipelineConfig.from_toml(path)
    assert str(caught.value).startswith(f"path: {path} {told}")


def test_a_file_of_a_megabyte_is_still_read(tmp_path: Path):
    """`from_toml`: the bound is where the docstring says."""
    text = "[streamflow]\nbuffer_size = 3\n"

    path = toml_file(tmp_path, text + "#" * (1_000_000 - len(text)))
    assert PipelineConfig.from_toml(path).buffer_size == 3


def test_a_file_that_is_not_there_is_the_systems_own_error(tmp_path: Path):
    """`from_toml`: code that falls back to defaults catches what `open()` raises; what is no path is told at once."""
    with pytest.raises(FileNotFoundError):
        PipelineConfig.from_toml(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="path: the path of a TOML file was expected, got 3"):
        PipelineConfig.from_toml(3)  # type: ignore[arg-type]


# All ways -------------------------------------------------------------------------------------------------------------

SECONDS = st.floats(1e-3, 1e9)
CONFIGS = st.builds(
    PipelineConfig,
    buffer_size=st.integers(4, 10**9),
    max_concurrent_runs=st.none() | st.integers(1, 10**9),
    event_buffer=st.integers(1, 10**9),
    record=st.none() | st.sampled_from(["a.rec", "é {run_id}"]),
    on_deadlock=st.sampled_from(["error", "grow"]),
    deadlock_grow_limit=st.integers(1, 10**9),
    shutdown_timeout_s=SECONDS,
    **{name: st.none() | SECONDS for name in LIMITS},
    **{name: st.booleans() for name in SWITCHES},
)


@pytest.mark.slow
@given(config=CONFIGS)
def test_all_ways_to_the_same_settings_are_equal(tmp_path_factory: pytest.TempPathFactory, config: PipelineConfig):
    """R5: one check and one conversion, whether settings come from code, environment or a file."""
    values = msgspec.structs.asdict(config)
    words = {name: "none" if value is None else str(value).lower() for name, value in values.items()}
    lines = [f"{name} = {repr(text) if values[name] in (None, text) else text}" for name, text in words.items()]
    path = toml_file(tmp_path_factory.getbasetemp(), "\n".join(["[streamflow]", *lines]))

    assert PipelineConfig.from_env(
        environ={f"X_{name.upper()}": text for name, text in words.items()}, prefix="X_"
    ) == (config)
    assert PipelineConfig.from_toml(path) == config


@given(field=st.sampled_from(sorted(VALUES)), text=st.text(st.characters(exclude_characters="\0")))
def test_whatever_a_variable_holds_it_is_a_setting_or_an_error_that_names_it(field: str, text: str):
    """R5: no text gets past the checks, and none raises anything else."""
    name = f"STREAMFLOW_{field.upper()}"
    config, wrong = None, None
    try:
        config = PipelineConfig.from_env(environ={name: text})
    except ConfigError as error:
        wrong = error

    if wrong is not None:
        assert wrong.field == field
        assert str(wrong).endswith(f"(environment variable {name})")
    else:
        assert PipelineConfig(**{field: getattr(config, field)}) == config


@pytest.mark.slow
def test_what_loading_needs_is_imported_when_something_is_loaded():
    """`docs/architecture.md`: `import streamflow` loads neither pydantic nor tomllib, and reading the environment no tomllib."""
    code = (
        "import sys; sys.modules.pop('tomllib', None)  # which the measuring of coverage has loaded\n"
        "import streamflow as s; s.PipelineConfig(); print('pydantic' in sys.modules, 'tomllib' in sys.modules)\n"
        "s.PipelineConfig.from_env(environ={'STREAMFLOW_METRICS': '1'})\n"
        "print('pydantic' in sys.modules, 'tomllib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True)

    assert done.stdout.split() == ["False", "False", "True", "False"]
