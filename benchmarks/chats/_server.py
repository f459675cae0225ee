"""A contender behind uvicorn: `python -m benchmarks.chats._server <contender> <address of the model>`; prints its port.

Above: `bench_chats` starts it. Below: the contender's file.
`GET /cost` tells what the process has taken so far.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import socket
import sys
import threading
import time
from typing import Any

import uvicorn

from .._memory import peak_kib, resident_kib

__all__: list[str] = []


def _with_cost(app: Any) -> Any:
    async def served(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/cost":
            await app(scope, receive, send)
            return
        gc.collect()
        told = {"cpu_s": time.process_time(), "rss_kib": resident_kib(), "peak_kib": peak_kib()}
        body = json.dumps(told).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    return served


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    contender, model_url = sys.argv[1:]
    module = importlib.import_module(f"{__package__}._app_{contender.replace(' ', '_').replace('-', '_')}")
    application = _with_cost(module.make_app(model_url))
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(4096)  # so that whoever reads the port can connect
    threading.Thread(target=_end_with_parent, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    logging.disable(logging.INFO)
    settings = uvicorn.Config(application, log_level="error", access_log=False, backlog=4096, lifespan="on")
    uvicorn.Server(settings).run(sockets=[listener])
