"""Packages of npm for tests: installed once, outside the repository, in the versions that a `package.json` pins."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

INSTALL_S = 120
RUN_S = 40


@functools.cache
def installed_scripts(folder: Path) -> Path:
    """Return a copy of a folder of scripts with its packages; skips where there is no Node, or no registry."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed; install Node 20 or newer")
    asked = (folder / "package.json").read_bytes()
    place = Path(sys.prefix) / "npm-packages" / hashlib.sha256(asked).hexdigest()[:16]
    place.mkdir(parents=True, exist_ok=True)
    for script in folder.iterdir():
        shutil.copy(script, place / script.name)
    if not (place / "installed").exists():
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"]
        try:
            done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip("the registry of npm does not answer")
        if done.returncode:
            pytest.skip(f"npm cannot install the packages: {done.stderr[-300:]}")
        (place / "installed").touch()
    return place


def run_script(place: Path, script: str, *arguments: str, input: object = None) -> Any:
    """Return what a script prints as JSON."""
    done = subprocess.run(
        ["node", script, *arguments],
        cwd=place,
        input=None if input is None else json.dumps(input),
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)
