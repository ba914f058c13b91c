"""`bursar export`: write a book, or a span of its log, into one file that proves itself.

Invariant: a file is there whole or not at all, and none is written over unless that was asked for.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from ledger.cli.checkpoint import book_option, desk, json_option, signing_options
from ledger.cli.database import BadValue, database_option
from ledger.cli.progress import progress_bar

if TYPE_CHECKING:
    from ledger.services.bundle_export import ExportPlan


class Unchanged(click.ClickException):
    """There is nothing to write. A script that makes a backup every night goes on."""

    exit_code = 3


@click.command(name="export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@database_option
@book_option
@click.option(
    "--from",
    "first",
    type=click.IntRange(min=0),
    default=0,
    envvar="BURSAR_FROM",
    metavar="INDEX",
    help="The first record; left out: all.",
)
@click.option(
    "--to",
    "size",
    type=click.IntRange(min=1),
    default=None,
    envvar="BURSAR_TO",
    metavar="INDEX",
    help="The records before this one, so the size of the log; left out: the log as it is now, signed.",
)
@click.option(
    "--texts/--no-texts",
    default=True,
    show_default=True,
    help="With the free texts (intent, reason, evidence), or only their digests.",
)
@click.option(
    "--archive",
    "archives",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=None,
    envvar="BURSAR_ARCHIVE",
    metavar="DIRECTORY",
    help="The directory with the archives into which records were detached (bursar partitions).",
)
@click.option("--plain", is_flag=True, help="Do not compress: the same bytes whatever version of zlib there is.")
@click.option("--force", is_flag=True, help="Write over files that exist.")
@click.option(
    "--secrets",
    "secrets_file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    envvar="BURSAR_SECRETS",
    metavar="FILE",
    help="Also write what no bundle has into this file: the salt of texts, keys that sign. For your own backup only.",
)
@signing_options
@json_option
def command(
    file: Path,
    database_url: str,
    book: str | None,
    first: int,
    size: int | None,
    texts: bool,
    archives: Path | None,
    plain: bool,
    force: bool,
    secrets_file: Path | None,
    key_file: Path | None,
    origin: str,
    as_json: bool,
) -> None:
    """Write a book into one file, which others verify without this database, and which is a backup.

    The file is a tar, compressed with gzip: a manifest, every record as it is hashed, a line each, free texts apart
    from them, the policies, and a signed checkpoint over all of it. The same log gives the same file on any machine.
    Servers may keep running. Standard output is called "-".

    A span (--from) carries on where an earlier bundle ended: a full bundle and the spans behind it are a backup that
    grows. The status is 3, and nothing is written, when there is nothing new behind it.

    \b
    For example:
      bursar export acme.tar.gz --book acme
      bursar export acme-2.tar.gz --book acme --from 4711
      bursar export backup.tar.gz --secrets backup.secrets
    """
    from ledger.services.archive_files import ArchiveUnfit
    from ledger.services.archived_reader import ArchiveNeeded
    from ledger.services.bundle_archive import Compressed
    from ledger.services.bundle_export import NothingNew, OutsideBook, plan_export, write_bundle
    from ledger.services.secrets_file import packed_secrets

    if secrets_file is not None:
        _check_apart(file, secrets_file)
    for written in (file, secrets_file):
        if written is not None and str(written) != "-" and written.exists() and not force:
            raise BadValue(f"{written} exists already: choose another name, or write over it with --force")
    with desk(database_url, book, key_file, origin) as (made, chosen):
        try:
            plan = plan_export(made, chosen.book_id, first=first, size=size, texts=texts)
        except NothingNew as error:
            raise Unchanged(str(error)) from error
        except OutsideBook as error:
            raise BadValue(str(error)) from error
        with _target(file) as target, progress_bar("exporting") as tell:
            packed = None if plain else Compressed(target)
            try:
                digest = write_bundle(
                    made,
                    plan,
                    packed or target,
                    archives=archives,
                    progress=lambda done, total: tell(chosen.name, done, total) if tell is not None else None,
                )
            except (ArchiveNeeded, ArchiveUnfit) as error:
                raise BadValue(str(error)) from error
            if packed is not None:
                packed.finish()
        if secrets_file is not None:
            with _target(secrets_file) as target:
                target.write(packed_secrets(made.engine, plan.manifest.book))
    _tell(plan, digest, as_json=as_json, to_pipe="-" in (str(file), str(secrets_file)))


def _check_apart(file: Path, secrets_file: Path) -> None:
    """Secrets never go where the bundle goes, which is given to others. Raises BadValue."""
    if str(secrets_file) == "-" and str(file) == "-":
        raise BadValue("the bundle goes to standard output: name a file of its own for --secrets")
    if str(secrets_file) == "-" or str(file) == "-":
        return
    same = secrets_file.exists() and file.exists() and secrets_file.samefile(file)
    if same or secrets_file.resolve() == file.resolve():
        raise BadValue(
            f"{secrets_file} is where the bundle goes, which others may read: name another file for --secrets"
        )


@contextmanager
def _target(file: Path) -> Iterator[BinaryIO]:
    """A file under another name until it is whole and on disk; or standard output."""
    if str(file) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        # It has what agents were up to: for its owner only, until its owner says otherwise.
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        os.replace(part, file)
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _tell(plan: ExportPlan, digest: str, *, as_json: bool, to_pipe: bool) -> None:
    """What was written, on standard error where a file itself goes to standard output."""
    manifest = plan.manifest
    if as_json:
        said = {
            "book": manifest.book.name,
            "first": manifest.first,
            "size": manifest.size,
            "root": manifest.root.hex(),
            "texts": manifest.texts,
            "signed_size": plan.signed_size,
            "sha256": digest,
        }
        click.echo(json.dumps(said), err=to_pipe)
        return
    records = f"records {manifest.first} to {manifest.size - 1}"
    click.echo(
        f"{manifest.book.name}: {records}{'' if manifest.texts else ', without texts'}, root {manifest.root.hex()}",
        err=to_pipe,
    )
    click.echo(f"SHA-256 of the archive, not compressed: {digest}", err=to_pipe)
    if plan.signed_size == 0:
        click.echo(f"NOT signed: {plan.unsigned}.", err=True)
    elif plan.signed_size < manifest.size:
        rest = f"records from {plan.signed_size} on are not signed"
        click.echo(f"Signed up to a log of {plan.signed_size} records; {rest}: {plan.unsigned}.", err=True)
