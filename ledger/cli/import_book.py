"""`bursar import`: put the book of a bundle into a database, once it is proved.

Invariant: status 0 only when the whole book is there; after any other, nothing of it is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ledger.cli.checkpoint import json_option
from ledger.cli.database import BadValue, database_option, errors_in_one_line, require_directory, sqlite_file
from ledger.cli.progress import progress_bar
from ledger.cli.verify_bundle import (
    plain_differences,
    plain_signings,
    print_notes,
    trusted_keys,
    unreadable_bundles,
    verifier_keys_option,
)

if TYPE_CHECKING:
    from ledger.storage.secret_rows import StoredSecrets


@click.command(name="import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@database_option
@verifier_keys_option
@click.option(
    "--secrets",
    "secrets_file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    envvar="BURSAR_SECRETS",
    metavar="FILE",
    help="The book's secrets, as 'bursar export --secrets' wrote them.",
)
@json_option
def command(
    files: tuple[Path, ...], database_url: str, keys: tuple[str, ...], secrets_file: Path | None, as_json: bool
) -> None:
    """Make a book out of a bundle, in a database that has not got it: on SQLite or on PostgreSQL.

    The bundle, or a full one and the spans behind it in order, is verified first, as by 'bursar verify --bundle'. Then
    the records and everything that follows from them are written in one transaction: the same root, the same balances.
    An empty database gets its tables. What no bundle has is named: secrets, deliveries, keys that sign.

    The status is 1 when the bundle is not right or the book cannot be written, 2 when the bundle cannot be read; then
    nothing was written.

    \b
    For example:
      bursar import acme.tar.gz --database-url sqlite:///restored.db
      bursar import acme.tar.gz acme-2.tar.gz --database-url postgresql://bursar@db/bursar
    """
    from ledger.services.bundle_import import Imported, ImportRefused, check_free, import_bundles
    from ledger.storage.migrate import current_and_head, upgrade

    if any(str(file) == "-" for file in files):
        raise BadValue("a bundle is read twice, to prove it and to write it: give it as a file, and not as a pipe")
    trusted, secrets = trusted_keys(keys), None if secrets_file is None else _secrets(secrets_file)
    with unreadable_bundles(), errors_in_one_line(), progress_bar("verifying") as progress:
        try:
            require_directory(database_url)
            file = sqlite_file(database_url)
            if file is None or file.exists():
                revision, head = current_and_head(database_url)
                # Older tables are changed, and looked into, only once the bundles are proved.
                if revision == head:
                    check_free(database_url, files)
            done = import_bundles(
                files,
                database_url,
                trusted,
                progress=progress,
                prepare=lambda: upgrade(database_url),
                secrets=secrets,
            )
        except ImportRefused as error:
            raise click.ClickException(str(error)) from error
    report = done.report
    if not isinstance(done, Imported):
        if as_json:
            click.echo(json.dumps({"imported": False, "differences": plain_differences(report.report)}))
            sys.exit(1)
        click.echo(f"{report.report.name}: NOT imported, because the bundle is not right:")
        for difference in report.report.differences:
            click.echo(f"  {difference.sentence()}")
        sys.exit(1)
    if as_json:
        said = {
            "imported": True,
            "book": report.report.name,
            "records": report.report.records,
            "root": report.report.root,
            "signed": plain_signings(report),
            "lacks": list(done.lacks),
        }
        click.echo(json.dumps(said))
        return
    click.echo(f"{report.report.name}: imported {report.report.records} records, root {report.report.root}")
    print_notes(report)
    if done.lacks:
        click.echo("Not in a bundle, and so not here:")
    for lack in done.lacks:
        click.echo(f"  - {lack}.")


def _secrets(file: Path) -> tuple[int, StoredSecrets]:
    from ledger.services.secrets_file import SecretsInvalid, read_secrets

    try:
        return read_secrets(file.read_bytes())
    except OSError as error:
        raise BadValue(f"{file} cannot be read: {error.strerror}") from error
    except SecretsInvalid as error:
        raise BadValue(f"{file} has not the secrets of a book: {error}") from error
