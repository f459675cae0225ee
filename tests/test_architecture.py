"""The rules of `docs/architecture.md` that no type checker sees.

The import contracts themselves are in `pyproject.toml` and run in `make lint`; here it is proven that they catch what they
are for. What a contract cannot say (calls, the way a name is imported, what an import loads) is checked here.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "streamflow"

KERNEL = {"errors", "elements", "channels", "observe", "stages", "graph", "runtime", "_faces", "_records"}
"""The rooms that `import streamflow` may load."""

BACKEND_MODULES = {"channels/_wait.py", "runtime/_backend.py"}
"""The two modules that know the event loops."""

TASK_STARTERS = {"create_task", "create_task_group", "ensure_future", "open_nursery", "spawn_system_task", "TaskGroup"}

MAY_START_TASKS = ("runtime/", "transports/", "testing/", "apps/", "cli/", "distributed/")
"""Below the runtime no stage starts a task by itself: it asks its `RunContext`, which makes the runtime know the task.
Transports have no stages: their tasks read a run from outside."""


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def absolute_imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the top-level name of each absolute import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.partition(".")[0]


def task_starts(tree: ast.Module) -> list[int]:
    """Return the lines that call something that starts tasks, by whatever path it is reached."""
    lines: list[int] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
            if called in TASK_STARTERS:
                lines.append(node.lineno)
    return lines


def python(code: str) -> object:
    """Run `code` in a new interpreter and return the JSON that it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# The contracts, proven by breaking them ------------------------------------------------------------------------------

ROOMS = [
    *(
        "errors",
        "elements",
        "channels",
        "observe",
        "wire",
        "stages",
        "providers",
        "middleware",
        "agents",
        "audio",
        "state",
    ),
    *("transports", "graph", "runtime", "apps", "distributed", "testing", "cli"),
]

BREAKS = [
    ("elements", "import anyio", "streamflow.elements._it -> anyio"),
    ("wire", "import anyio", "streamflow.wire._it -> anyio"),
    ("errors", "import asyncio", "streamflow.errors._it -> asyncio"),
    ("graph", "import trio", "streamflow.graph._it -> trio"),
    ("stages", "from ..runtime import _it as other", "streamflow.stages._it -> streamflow.runtime._it"),
    ("observe", "from ..channels import _it as other", "streamflow.observe._it -> streamflow.channels._it"),
    ("agents", "from ..audio import _it as other", "streamflow.agents._it -> streamflow.audio._it"),
    ("providers", "from ..graph import _it as other", "streamflow.providers._it -> streamflow.graph._it"),
    ("transports", "from ..runtime import _it as other", "streamflow.transports._it -> streamflow.runtime._it"),
    ("testing", "from ..cli import _it as other", "streamflow.testing._it -> streamflow.cli._it"),
]


def lint_imports(root: Path, broken: list[tuple[str, str, str]]) -> tuple[int, str]:
    """Run the project's contracts on a package of empty rooms, some with a forbidden import."""
    package = root / "streamflow"
    for room in ROOMS:
        (package / room).mkdir(parents=True)
        (package / room / "__init__.py").touch()
        (package / room / "_it.py").touch()
    (package / "__init__.py").touch()
    for room, line, _ in broken:
        with (package / room / "_it.py").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    # -P and the working directory: the rooms shadow the installed package, and only for this process.
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-logo", "--no-cache", "--config", str(ROOT / "pyproject.toml")],
        cwd=root,
        env={"PYTHONPATH": str(root), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_contracts_allow_a_package_of_all_rooms(tmp_path: Path) -> None:
    """Were they broken by empty rooms, the next test would prove nothing."""
    status, told = lint_imports(tmp_path, [])

    assert status == 0, told


def test_the_contracts_catch_every_kind_of_forbidden_import(tmp_path: Path) -> None:
    """`docs/architecture.md`: one break per rule, each named by the tool."""
    status, told = lint_imports(tmp_path, BREAKS)

    assert status != 0
    assert [expected for _, _, expected in BREAKS if expected not in told] == [], told


def test_a_room_that_has_no_row_is_refused(tmp_path: Path) -> None:
    """A new folder must take its place in the picture before it can be imported."""
    (tmp_path / "streamflow" / "helpers").mkdir(parents=True)
    (tmp_path / "streamflow" / "helpers" / "__init__.py").touch()

    status, told = lint_imports(tmp_path, [])

    assert status != 0
    assert "helpers" in told


# What contracts cannot say -------------------------------------------------------------------------------------------


def offenders(find: Callable[[Path], object]) -> dict[str, object]:
    """Return the modules in which `find` finds something, with what it found."""
    return {name_of(path): found for path in sources() if (found := find(path))}


def test_nobody_inside_imports_the_package_by_its_name() -> None:
    """Relative imports only: a copy under another name works, and no room can lean on the whole."""
    assert offenders(lambda path: [line for line, name in absolute_imports(parse(path)) if name == "streamflow"]) == {}


def root_imports(path: Path) -> list[int]:
    """Return the lines that read a name from the root package, other than a room of it."""
    depth = len(path.relative_to(PACKAGE).parts)
    return [
        node.lineno
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ImportFrom) and node.level == depth and node.module is None
        for alias in node.names
        if not (PACKAGE / alias.name).exists() and not (PACKAGE / f"{alias.name}.py").exists()
    ]


def test_the_kernel_and_the_features_never_import_the_root() -> None:
    """The root imports them: only what stands above the runtime may read a name, as its version, from it."""
    found = offenders(root_imports)

    assert [name for name in found if not name.startswith(("__main__", "apps/", "cli/", "distributed/"))] == []


def test_only_the_runtime_and_what_stands_above_it_starts_tasks() -> None:
    """`docs/semantics.md`: what a run started, it knows, cancels and waits for; `graph` starts nothing."""
    found = offenders(lambda path: task_starts(parse(path)))

    assert [name for name in found if not name.startswith(MAY_START_TASKS)] == []


def test_a_started_task_is_found_however_it_is_written() -> None:
    """The check above can fail."""
    code = "with anyio.create_task_group() as g: ...\nloop.create_task(x)\nwith TaskGroup(): ...\nrun.start_soon(x)"

    assert sorted(task_starts(ast.parse(code))) == [1, 2, 3]


def test_a_module_stays_small_enough_to_read() -> None:
    """One module is one idea: 80 to 350 lines, never more than 500."""
    assert offenders(lambda path: max(0, len(path.read_text(encoding="utf-8").splitlines()) - 500)) == {}


def optional_packages() -> set[str]:
    """Return the import names of what the extras bring."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [line for lines in project["optional-dependencies"].values() for line in lines]
    return {re.split(r"[^A-Za-z0-9_.-]", line)[0].replace("-", "_") for line in wanted} - {"streamflow_runtime"}


def test_an_optional_dependency_is_imported_by_one_module_only() -> None:
    """Its absence can then be one error that names the extra. trio is the event loop of those who run it."""
    users: defaultdict[str, set[str]] = defaultdict(set)
    for path in sources():
        for _, name in absolute_imports(parse(path)):
            if not name_of(path).startswith("testing/"):
                users[name].add(name_of(path))

    assert users["trio"] <= BACKEND_MODULES
    assert {name: found for name in optional_packages() - {"trio"} if len(found := users[name]) > 1} == {}


def test_importing_the_package_loads_the_kernel_and_no_feature() -> None:
    """A program that needs little starts fast: no feature, no trio, no pydantic, no extra."""
    loaded = python("import json, sys, streamflow; print(json.dumps(sorted(sys.modules)))")

    assert isinstance(loaded, list)
    rooms = {name.split(".")[1] for name in loaded if name.startswith("streamflow.")}
    assert rooms <= KERNEL
    assert {"pydantic", "trio", *optional_packages()} & {name.partition(".")[0] for name in loaded} == set()


def test_a_plain_run_loads_nothing_that_it_does_not_need() -> None:
    """A program that needs little starts fast: what looks on, records, draws and explains is loaded when it is asked for."""
    loaded = python("""
import json, sys
from streamflow import MapStage, PipelineBuilder, TextElement
pipeline = PipelineBuilder().chain(MapStage(lambda element: TextElement(element.text.upper()), name="loud")).build()
assert pipeline.execute_sync("x").text == "X"
print(json.dumps(sorted(sys.modules)))
""")
    late = {
        "graph": {"_dict", "_drawing", "_explain"},
        "observe": {"_events", "_metric_families", "_record_file", "_record_settings", "_trace_spans"},
        "runtime": {"_lag", "_registry", "_replay", "_run_meter", "_stats", "_supervision", "_tracing"},
        "stages": {"_budget", "_guardrails", "_json_guard", "_prompt", "_timing"},
    }

    assert isinstance(loaded, list)
    assert {f"streamflow.{room}.{name}" for room, names in late.items() for name in names} & set(loaded) == set()


def test_a_plain_run_makes_python_load_nothing_for_what_it_does_not_do() -> None:
    """What Python needs for a message, a rare route or settings in a file costs no program that has none of them."""
    rare = {"difflib", "hashlib", "pathlib", "random", "urllib.parse"}
    loaded = python(f"""
import json, sys
for name in {rare!r}:
    sys.modules.pop(name, None)  # whatever the environment has loaded before
from streamflow import MapStage, PipelineBuilder
assert PipelineBuilder().chain(MapStage(lambda element: element, name="same")).build().execute_sync("x").text == "x"
print(json.dumps(sorted({rare!r} & set(sys.modules))))
""")

    assert loaded == []


def test_the_help_of_the_command_waits_for_no_feature() -> None:
    """`cli/_main.py`: only the module of the command that is asked for is loaded."""
    loaded = python("""
import contextlib, io, json, sys
from streamflow.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    assert main(["--help"]) == 0 and main(["replay", "--help"]) == 0
print(json.dumps(sorted(sys.modules)))
""")

    assert isinstance(loaded, list)
    rooms = {name.split(".")[1] for name in loaded if name.startswith("streamflow.")}
    assert rooms <= KERNEL | {"cli"}
    assert "pydantic" not in loaded


def test_every_public_module_can_be_imported_without_the_extras() -> None:
    """What is missing is told by the class that needs it, with the extra's name, not by an import that fails."""
    modules = sorted(
        ".".join(("streamflow", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for path in sources()
        if not any(
            part.startswith("_") for part in path.relative_to(PACKAGE).with_suffix("").parts if part != "__init__"
        )
        and not name_of(path).startswith("testing/")
    )

    imported = python(f"""
import importlib, json, sys
for name in {sorted(optional_packages())!r}:
    sys.modules[name] = None
for name in {modules!r}:
    importlib.import_module(name)
print(json.dumps(sorted(name for name in sys.modules if name in {modules!r})))
""")

    assert imported == modules
