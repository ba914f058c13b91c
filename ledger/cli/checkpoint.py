"""`bursar checkpoint`: sign the log as it is now, and see and rotate the keys that sign, as the owner of the database.

Invariant: a private key leaves in the file that was asked for and nowhere else; which key signs is on record.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ledger.cli.database import BadValue, BookLine, chosen_book, database_option, errors_in_one_line, require_file

if TYPE_CHECKING:
    from ledger.services.ed25519 import SigningPair
    from ledger.services.owner_checkpoints import Desk

Function = TypeVar("Function", bound=Callable[..., Any])
book_option = click.option(
    "--book", default=None, metavar="NAME", help="Name of the book; may be left out where there is only one."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")


def signing_options(function: Function) -> Function:
    """The options that name a key which is not kept in the database."""
    with_file = click.option(
        "--key-file",
        type=click.Path(path_type=Path, dir_okay=False),
        default=None,
        envvar="BURSAR_CHECKPOINT_KEY_FILE",
        help="The key that signs, PKCS#8 PEM, where the server has it in a file; left out: the one in the database.",
    )
    with_origin = click.option(
        "--origin",
        default="",
        envvar="BURSAR_CHECKPOINT_ORIGIN",
        metavar="TEXT",
        help="What the origin begins with, such as ledger.example.com; counts with a book's first key only.",
    )
    return with_origin(with_file(function))


def pair_of(key_file: Path | None) -> SigningPair | None:
    """The key in the file, or in the environment as BURSAR_CHECKPOINT_KEY, or None. Raises BadValue."""
    from ledger.services.ed25519 import KeyUnusable, read_pair

    try:
        return read_pair(file=key_file, text=None if key_file else os.environ.get("BURSAR_CHECKPOINT_KEY"))
    except KeyUnusable as error:
        raise BadValue(str(error)) from error


@contextmanager
def desk(database_url: str, book: str | None, key_file: Path | None, origin: str) -> Iterator[tuple[Desk, BookLine]]:
    """What signs, and the book; errors as sentences."""
    from ledger.core.notes import is_key_name
    from ledger.core.signing_key import ORIGIN_PREFIX_MAX
    from ledger.services.checkpoints import CheckpointSettings
    from ledger.services.owner_checkpoints import owner_desk

    if origin and not (is_key_name(origin) and len(origin) <= ORIGIN_PREFIX_MAX):
        raise BadValue(f"--origin is printable ASCII without space and plus, of at most {ORIGIN_PREFIX_MAX} characters")
    pair = pair_of(key_file)
    with errors_in_one_line():
        require_file(database_url)
        chosen = chosen_book(database_url, book)
        with owner_desk(database_url, CheckpointSettings(origin=origin, pair=pair)) as made:
            yield made, chosen


@click.group(name="checkpoint", invoke_without_command=True)
@database_option
@book_option
@signing_options
@json_option
@click.pass_context
def command(
    context: click.Context, database_url: str, book: str | None, key_file: Path | None, origin: str, as_json: bool
) -> None:
    """Sign the log as it is now, and print the signed note.

    The note names the book's log, its size and its Merkle root, in the form of C2SP checkpoints. Keep it somewhere that
    whoever runs the server cannot change: with it, every record up to now is fixed for good. While nothing happens in
    the book, it is the same note again.

    \b
    For example:
      bursar checkpoint --database-url sqlite:///bursar.db > checkpoint.txt
      bursar checkpoint keys list
    """
    if context.invoked_subcommand is not None:
        return
    with desk(database_url, book, key_file, origin) as (made, chosen):
        made.checkpointer.tiler.extend_to_end(chosen.book_id)
        stored = made.checkpointer.make(chosen.book_id)
    if as_json:
        click.echo(
            json.dumps({"book": chosen.name, "size": stored.size, "root": stored.root.hex(), "note": stored.note})
        )
    else:
        click.echo(stored.note, nl=False)


@command.group(name="keys")
def keys() -> None:
    """See, make and rotate the keys that sign checkpoints.

    \b
    For example:
      bursar checkpoint keys list
      bursar checkpoint keys rotate
      bursar checkpoint keys make --out signing.pem
      bursar checkpoint keys rotate --key-file signing.pem
    """


@keys.command(name="list")
@database_option
@book_option
@json_option
def list_verb(database_url: str, book: str | None, as_json: bool) -> None:
    """List every key that ever signed, as verifier keys."""
    from ledger.core.moment import moment_text
    from ledger.core.signing_key import current_key
    from ledger.storage.checkpoint_rows import keys as keys_of

    with desk(database_url, book, None, "") as (made, chosen), made.engine.connect() as connection:
        found = keys_of(connection, chosen.book_id)
    current = current_key(found)
    lines = [
        {
            "id": key.id,
            "verifier_key": key.verifier().text(),
            "current": key is current,
            "since_record": key.created_index,
            "created_at": moment_text(key.created_at),
        }
        for key in found
    ]
    for line in lines:
        if as_json:
            click.echo(json.dumps(line))
        else:
            state = "signs now" if line["current"] else "signed before"
            click.echo(f"{line['verifier_key']}  {state}  since record {line['since_record']}")
    if not lines and not as_json:
        click.echo("No key signs yet: one is made with the first checkpoint.")


@keys.command(name="rotate")
@database_option
@book_option
@signing_options
@json_option
def rotate(database_url: str, book: str | None, key_file: Path | None, origin: str, as_json: bool) -> None:
    """Make another key sign: a new one, or the one in --key-file.

    It is written to the book's log. What was signed before stays good. A server that was started with the file of the
    key that signed until now signs nothing more: start it with the new file.
    """
    with desk(database_url, book, key_file, origin) as (made, chosen):
        key = made.checkpointer.rotate(chosen.book_id)
        text = key.verifier().text()
        if key_file is None:
            # The old key, which is here too, then vouches for the new one.
            made.checkpointer.make(chosen.book_id)
    if as_json:
        click.echo(
            json.dumps({"book": chosen.name, "key": key.id, "verifier_key": text, "log_index": key.created_index})
        )
    else:
        click.echo(f"In book {chosen.name}, {text} signs from record {key.created_index} on.")


@keys.command(name="make")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to make.")
def make(out: Path) -> None:
    """Make a private key in a file of its own, which only its owner can read: for a server, or for a witness."""
    from ledger.services.ed25519 import SigningPair
    from ledger.services.sources import Sources

    pair = SigningPair.from_seed(Sources().random_bytes(32))
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise BadValue(f"{out} exists already and is not written over") from error
    except OSError as error:
        raise BadValue(f"{out} cannot be made: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(pair.to_pem())
    click.echo(f"Made {out}. Keep a copy: without it nothing can be signed with this key again.")
