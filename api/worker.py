"""A worker process: makes the app and serves it on a socket that is already bound.

Owns what one process does from its start to its exit status. Invariant: a worker that was spawned ends when the pipe
from its parent closes, whether the parent asked for it or died.

    python -m api.worker LISTENER_FD PARENT_FD READY_FD      with the settings as JSON on standard input
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import sys
from collections.abc import Callable
from typing import Final

from api import logs
from api.app import make_app
from api.server import Server, server_config, watch_parent
from api.settings import Settings

COLLECTOR_THRESHOLDS: Final = (50_000, 20, 50)
"""Requests make many small objects and few cycles: looking for cycles after every 700 takes a tenth of the time."""


def run(
    settings: Settings,
    listener: socket.socket,
    *,
    on_ready: Callable[[], None],
    parent_descriptor: int | None = None,
) -> int:
    """Serve until told to stop. Returns the exit status."""
    logs.configure(level=settings.log_level, log_format=settings.log_format)
    app = make_app(settings)
    config = server_config(app.edge, app.context)

    def ready() -> None:
        # What start-up made lives as long as the process: the collector need not walk it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECTOR_THRESHOLDS)
        on_ready()

    server = Server(config, app.context, ready)

    async def serve() -> None:
        watching = None
        if parent_descriptor is not None:
            watching = asyncio.create_task(watch_parent(parent_descriptor, server))
        try:
            await server.serve(sockets=[listener])
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(serve())
    return 0 if server.started else 1


def main() -> None:
    """Run as a spawned worker."""
    listener_descriptor, parent_descriptor, ready_descriptor = (int(text) for text in sys.argv[1:4])
    settings = Settings.model_validate_json(sys.stdin.read())
    listener = socket.socket(fileno=listener_descriptor)

    def say_ready() -> None:
        with contextlib.suppress(OSError):
            os.write(ready_descriptor, b"+")
        os.close(ready_descriptor)

    status = run(settings, listener, on_ready=say_ready, parent_descriptor=parent_descriptor)
    sys.exit(status)


if __name__ == "__main__":
    main()
