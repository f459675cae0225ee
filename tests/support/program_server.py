"""A process that has imported the package, and forks for each program that it is told to run. Started by `programs`."""

import atexit
import functools
import gc
import json
import os
import runpy
import sys
import threading
import traceback

import anyio
import pytest  # noqa: F401

import streamflow.testing  # noqa: F401


def run(job: dict[str, object]) -> None:
    """Become the program: its end is the end of this process."""
    os.chdir(job["cwd"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    sys.argv = list(job["argv"])
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    if job["on_trio"]:
        anyio.run = functools.partial(anyio.run, backend="trio")
    if job["is_test"]:
        sys.argv[0:0] = ["pytest", "-q", "-p", "no:cacheprovider"]
        runpy.run_module("pytest", run_name="__main__")
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
    if job["on_trio"] and "trio" not in sys.modules:
        raise SystemExit("it did not run on trio")


def end(job: dict[str, object]) -> int:
    """Run the program and what it leaves to its end, and return its exit code. What was imported before is not taken apart."""
    code: object = 0
    try:
        run(job)
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:  # noqa: BLE001 - as the interpreter does it
        traceback.print_exc()
        code = 1
    if not isinstance(code, int):
        sys.stderr.write(f"{code}\n")
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    gc.collect()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def serve() -> None:
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os._exit(end(json.loads(line)))
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


serve()
