"""``bursar serve``: checks that the database is ready, then serves with one process or several.

Owns the command. Invariants: every setting is a flag made from the settings' model; exactly one line goes to standard
output, once requests are answered; the process ends with 0 after SIGTERM.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

import click
from pydantic import ValidationError

from api.settings import Settings, flags

READY = "bursar serving on {url} ({database}, {workers})"


class ServeRefused(click.ClickException):
    """Why the server does not start."""


def settings_of(given: dict[str, Any]) -> Settings:
    """The settings from flags, then the environment, then defaults. Raises ServeRefused."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "--" + "-".join(str(part).replace("_", "-") for part in first["loc"]) if first["loc"] else "settings"
        raise ServeRefused(f"{name}: {first['msg'].removeprefix('Value error, ')}") from error


def check_database(settings: Settings) -> str:
    """The kind of database, once it is reachable, has this version's tables and at least one book. Raises
    ServeRefused with the command that helps."""
    # SQLAlchemy and Alembic take half a second to import, which `bursar serve --help` need not wait for.
    from ledger.storage import migrate
    from ledger.storage.engine import create_engine, parse_url
    from ledger.storage.errors import StorageError
    from ledger.storage.queries_log import list_books

    try:
        url = parse_url(settings.database_url)
        shown = url.render_as_string(hide_password=True)
        if url.drivername == "sqlite" and not os.path.exists(str(url.database)):
            raise ServeRefused(f"there is no database at {shown}; make a book first: bursar init --help")
        engine = create_engine(settings.database_url, pool_size=1)
        try:
            if not migrate.is_current(engine):
                raise ServeRefused(
                    f"the tables of {shown} are not those of this version; bring them up to date: bursar migrate --help"
                )
            with engine.connect() as connection:
                if not list_books(connection):
                    raise ServeRefused(f"there is no book in {shown} yet; make one first: bursar init --help")
        finally:
            engine.dispose()
    except StorageError as error:
        raise ServeRefused(f"the database cannot be used: {error}") from error
    return "sqlite" if url.drivername == "sqlite" else "postgresql"


def check_gateway(settings: Settings) -> None:
    """Read what the gateway is told by files and the environment. Raises ServeRefused with what to change."""
    if not settings.gateway:
        return
    from gateway.config import GatewayInvalid, load_config
    from gateway.exporting import TelemetryInvalid, insist
    from gateway.pricing import load_overrides
    from ledger.services.policies.document_errors import PolicyFileError

    try:
        config = load_config(settings.gateway_file)
        if config.prices is not None:
            load_overrides(config.prices)
        insist(settings.gateway_telemetry, os.environ)
    except (GatewayInvalid, PolicyFileError) as error:
        raise ServeRefused(str(error)) from error
    except TelemetryInvalid as error:
        raise ServeRefused(f"--gateway-telemetry: {error}") from error
    except OSError as error:
        raise ServeRefused(f"{config.prices} cannot be read: {error.strerror}") from error


def check_signing_key(settings: Settings) -> None:
    """Look at the key that the settings name, so that a wrong one is told here and not with the first checkpoint.
    Raises ServeRefused."""
    if settings.checkpoint_key is None and settings.checkpoint_key_file is None:
        return
    from api.context import signing_pair
    from ledger.services.ed25519 import KeyUnusable

    try:
        signing_pair(settings)
    except KeyUnusable as error:
        raise ServeRefused(str(error)) from error


def warn_of_rights(settings: Settings) -> None:
    """Log why the database's role could change history, where it could: the server works, and proves less."""
    from api import logs
    from ledger.storage.engine import create_engine
    from ledger.storage.errors import StorageError
    from ledger.storage.rights import excess

    engine = create_engine(settings.database_url, pool_size=1)
    try:
        with engine.connect() as connection:
            found = excess(connection)
    except StorageError as error:
        raise ServeRefused(f"the database cannot be used: {error}") from error
    finally:
        engine.dispose()
    if found:
        logs.configure(level=settings.log_level, log_format=settings.log_format)
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        logs.SERVER.warning("%s%s; give the server a role of its own: docs/security.md", found[0], more)


def bind(settings: Settings) -> socket.socket:
    """The listening socket. Raises ServeRefused."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise ServeRefused(f"cannot listen on {settings.host} port {settings.port}: {error.strerror}") from error
    listener.listen(2048)
    listener.set_inheritable(True)
    return listener


def ready_line(settings: Settings, listener: socket.socket, database: str) -> str:
    """The line that says where requests are answered."""
    scheme = "https" if settings.tls_cert_file is not None else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    workers = "1 worker" if settings.workers == 1 else f"{settings.workers} workers"
    url = f"{scheme}://{host}:{listener.getsockname()[1]}"
    return READY.format(url=url, database=database, workers=workers)


@click.pass_context
def _serve(context: click.Context, /, **given: Any) -> None:
    settings = settings_of(given)
    database = check_database(settings)
    check_gateway(settings)
    check_signing_key(settings)
    warn_of_rights(settings)
    listener = bind(settings)
    line = ready_line(settings, listener, database)
    if settings.workers == 1:
        from api.worker import run

        status = run(settings, listener, on_ready=lambda: click.echo(line))
    else:
        from api.supervisor import Supervisor

        status = Supervisor(settings, listener, on_ready=lambda: click.echo(line)).run()
    sys.stdout.flush()
    context.exit(status)


command = click.Command(
    "serve",
    callback=_serve,
    params=flags(),
    help=(
        "Serve the HTTP API: agents ask here before they spend.\n\n"
        "The database must hold a book (bursar init makes one). One line is printed when requests are answered; "
        "logs go to standard error. SIGTERM stops accepting, finishes what is queued, and ends with status 0.\n\n"
        "\b\n"
        "  bursar serve --database-url sqlite:///bursar.db\n"
        "  bursar serve --database-url postgresql://bursar@db/bursar --workers 4 --host 0.0.0.0"
    ),
)
