"""Redis and PostgreSQL servers for tests: real ones, on free ports of the loopback, in folders of their own.

They are installed when they are not there and this is a machine where one may (root, with apt). PostgreSQL refuses to run as root,
so there it runs as the user `postgres`, who is made if need be. A server dies with the tests that have started it.
"""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

START_S = 30.0


class Server:
    """A server process that can be killed and started again over the same data."""

    def __init__(self, command: list[str], port: int, folder: Path, user: str | None, answers: Callable[[int], bool]):
        self.command, self.port, self.folder, self.user, self._answers = command, port, folder, user, answers
        self.process: subprocess.Popen[bytes] | None = None
        atexit.register(self.remove)

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, user=self.user
            )
        end = time.monotonic() + START_S
        while not self._answers(self.port):
            if self.process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"{self.command[0]} did not start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)  # noqa: TID251 - outside of any event loop

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None
            for left in self.folder.glob("**/postmaster.pid"):
                left.unlink()

    def freeze(self) -> None:
        assert self.process is not None
        for pid in [self.process.pid, *children_of(self.process.pid)]:
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        for pid in [*children_of(self.process.pid), self.process.pid]:
            os.kill(pid, signal.SIGCONT)

    def restart(self) -> None:
        self.kill()
        self.start()

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def installed(program: str, package: str) -> str:
    """Return the path of a program, installing its package if there is none."""
    for attempt in (1, 2):
        found = shutil.which(program) or next(iter(sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))), None)
        if found is not None:
            return str(found)
        if attempt == 2 or os.getuid() != 0 or shutil.which("apt-get") is None:
            break
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", package]):
            subprocess.run(command, env=environment, capture_output=True, timeout=300, check=False)
    pytest.skip(f"{program} is not installed, and cannot be installed here; install {package}")


@functools.cache
def redis_server(password: str = "") -> Server:
    """Return a running Redis that writes each commit to its disk before it answers."""
    program, port = installed("redis-server", "redis-server"), free_port()
    folder = Path(tempfile.mkdtemp(prefix="streamflow-redis-"))
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]
    command += ["--appendfsync", "always", "--dir", str(folder)]
    if password:
        command += ["--requirepass", password]
    server = Server(command, port, folder, None, redis_answers)
    server.start()
    return server


def redis_answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(100)[:5] in {b"+PONG", b"-NOAU"}
    except OSError:
        return False


def redis_url(server: Server) -> str:
    return f"redis://127.0.0.1:{server.port}"


@functools.cache
def postgres_server() -> Server:
    """Return a running PostgreSQL whose role `app` needs the password `the-secret`."""
    initdb, program = installed("initdb", "postgresql"), installed("postgres", "postgresql")
    port, folder = free_port(), Path(tempfile.mkdtemp(prefix="streamflow-postgres-"))
    user = None
    if os.getuid() == 0:
        user = "postgres"
        try:
            pwd.getpwnam(user)
        except KeyError:
            subprocess.run(["useradd", "--system", user], check=True)
        shutil.chown(folder, user)
    (folder / "password").write_text("the-secret")
    (folder / "password").chmod(0o644)
    data = folder / "data"
    subprocess.run(
        [
            initdb,
            "-D",
            data,
            "-U",
            "app",
            "-A",
            "scram-sha-256",
            f"--pwfile={folder / 'password'}",
            "--no-sync",
            "-E",
            "UTF8",
        ],
        user=user,
        cwd=folder,
        check=True,
        capture_output=True,
    )
    command = [program, "-D", str(data), "-p", str(port), "-k", str(folder), "-h", "127.0.0.1"]
    server = Server(command, port, folder, user, postgres_answers)
    server.start()
    return server


def postgres_answers(port: int) -> bool:
    import psycopg

    try:
        with psycopg.connect(postgres_url(port), connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


def postgres_url(server: Server | int, database: str = "postgres") -> str:
    port = server.port if isinstance(server, Server) else server
    return f"postgresql://app:the-secret@127.0.0.1:{port}/{database}"
