"""The environment of the peers: what a user of ours never installs, with the versions of the group `bench-peers`.

Above: `_children`, `peers`, `_cli`. Below: pip.

It stands in `benchmarks/.venv-peers`, beside the environment that runs the benchmarks, and knows our sources by path. A peer whose
packages are not in it is left out, by name.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tomllib
from pathlib import Path

__all__ = ["PEERS_ENVIRONMENT", "environment_python", "packages_beside", "packages_of", "set_up", "tool"]

PEERS_ENVIRONMENT = "peers"

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parent
_FOLDER = _HERE / ".venv-peers"
_STAMP = _FOLDER / "installed.json"
_TELL = """
import importlib.metadata, json
found = importlib.metadata.distributions()
print(json.dumps({one.name.lower().replace("_", "-"): one.version for one in found}))
"""


def environment_python(environment: str) -> str:
    """Return the Python of an environment; the unnamed one is this one."""
    return str(tool("python")) if environment == PEERS_ENVIRONMENT else sys.executable


def tool(name: str) -> Path:
    """Return where a program of the peers' environment is, or would be."""
    return _FOLDER / ("Scripts" if sys.platform == "win32" else "bin") / name


@functools.cache
def packages_of(environment: str) -> dict[str, str]:
    """Return the distributions of an environment and their versions; none where there is no such environment."""
    python = environment_python(environment)
    if not Path(python).exists():
        return {}
    told = subprocess.run([python, "-c", _TELL], capture_output=True, text=True, check=True, timeout=60).stdout
    found: dict[str, str] = json.loads(told)
    return found


def _group(name: str) -> list[str]:
    with (_ROOT / "pyproject.toml").open("rb") as file:
        group: list[str] = tomllib.load(file)["dependency-groups"][name]
    return group


def packages_beside() -> list[str]:
    """Return the distributions that are measured beside streamflow in this environment, installed or not."""
    return [
        *(one.partition("==")[0] for one in _group("bench")),
        "anthropic",
        "openai",
        "pydantic",
        "starlette",
        "uvicorn",
    ]


def set_up() -> list[str]:
    """Install what the group names, if it has changed; return what could not be installed, each with the reason."""
    wanted = _group("bench-peers")
    if _STAMP.is_file() and json.loads(_STAMP.read_text(encoding="utf-8"))["wanted"] == wanted:
        failed: list[str] = json.loads(_STAMP.read_text(encoding="utf-8"))["failed"]
        return failed
    print("installing the peers into benchmarks/.venv-peers", file=sys.stderr)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(_FOLDER)], check=True, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        return [f"all peers: no environment can be made here ({type(error).__name__})"]
    failed = [] if _install(wanted) else [one for one in wanted if not _install([one])]
    packages_of.cache_clear()
    failed = [f"{one}: pip cannot install it" for one in failed]
    _STAMP.write_text(json.dumps({"wanted": wanted, "failed": failed}), encoding="utf-8")
    return failed


def _install(requirements: list[str]) -> bool:
    pip = [str(tool("python")), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-input"]
    try:
        done = subprocess.run([*pip, *requirements], check=False, capture_output=True, timeout=900)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
