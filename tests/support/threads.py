"""Worker threads on virtual time: trio's clock jumps while they work, which asyncio's does not; here it waits for them too."""

import math
import sys

import anyio.to_thread


def hold_the_clock(monkeypatch):
    """Let the mock clock of trio stand still while somebody waits for a worker thread."""
    run_sync = anyio.to_thread.run_sync
    waiting = []

    async def holding(*args, **options):
        clock = _mock_clock()
        if clock is None:
            return await run_sync(*args, **options)
        waiting.append(args)
        clock.autojump_threshold = math.inf
        try:
            return await run_sync(*args, **options)
        finally:
            waiting.pop()
            if not waiting:
                clock.autojump_threshold = 0

    monkeypatch.setattr(anyio.to_thread, "run_sync", holding)


def _mock_clock():
    trio = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_task():
        return None
    clock = trio.lowlevel.current_clock()
    return clock if hasattr(clock, "autojump_threshold") else None
