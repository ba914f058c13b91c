"""The command: `python -m bench.fake_provider`. Prints one line when it listens, and serves until it is stopped."""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

import uvloop

from bench.fake_provider.connection import Connection
from bench.fake_provider.directives import UnknownDirective
from bench.fake_provider.routes import Routes
from bench.fake_provider.server import FakeProvider, Options


async def serve(fake: FakeProvider, *, host: str, port: int, port_file: Path | None) -> None:
    """Listen until SIGTERM or SIGINT. The ready line, and the file where one is named, say the port."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    routes = Routes(fake)
    server = await loop.create_server(lambda: Connection(routes), host, port, backlog=4096)
    listening = server.sockets[0].getsockname()[1]
    if port_file is not None:
        # Whoever waits for the file must not read half of it.
        partial = port_file.with_name(port_file.name + ".partial")
        partial.write_text(f"{listening}\n")
        partial.rename(port_file)
    print(f"fake provider ready on http://{host}:{listening}", flush=True)
    await stopped.wait()
    server.close()
    fake.bill.close()


def read_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(prog="python -m bench.fake_provider", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--port-file", type=Path, help="write the port here when it listens")
    parser.add_argument("--bill", type=Path, help="also append each line of the bill to this file, as JSON")
    parser.add_argument("--key", action="append", default=[], help="a key that may call (none: any that starts sk-)")
    parser.add_argument(
        "--price", action="append", default=[], metavar="MODEL=IN,OUT", help="USD for a million tokens; * is any model"
    )
    parser.add_argument("--default", default="", metavar="DIRECTIVES", help='for every call, e.g. "out=100 ttfb=20"')
    parser.add_argument("--seed", type=int, default=0, help="of the faults that come by chance")
    parser.add_argument("--keep", type=int, default=100, help="how many requests /_fake/seen remembers")
    parser.add_argument("--core", type=int, help="run on this processor only")
    return parser.parse_args(arguments)


def main() -> None:
    """Read the options, then serve. Exits with 2 where an option is not understood."""
    given = read_arguments(sys.argv[1:])
    if given.core is not None:
        os.sched_setaffinity(0, {given.core})
    options = Options(
        keys=tuple(given.key),
        defaults=given.default,
        prices=tuple(given.price),
        bill=given.bill,
        seed=given.seed,
        keep=given.keep,
    )
    try:
        fake = FakeProvider(options)
    except (UnknownDirective, ValueError, OSError) as error:
        print(f"fake provider: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    uvloop.run(serve(fake, host=given.host, port=given.port, port_file=given.port_file))


if __name__ == "__main__":
    main()
