"""`bursar prove` and `bursar verify-proof`: one small file that shows what is on record, and checking it anywhere.

Invariant: `verify-proof` opens the file and nothing else; its status is 0 only for a proof that is good, 1 for one that
is not, 2 where nothing could be checked.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import click

from bursar import Refused, Remote, remote
from ledger.cli.checkpoint import book_option, desk, signing_options
from ledger.cli.database import BadValue, database_option

_AUTHORIZATION = re.compile(r"(?:auth|chg)_[0-9a-z]{26}")
_LINE = re.compile(r"([0-9]{1,16})(?::([0-9]{1,6}))?")


def _asked(what: str) -> dict[str, Any]:
    line = _LINE.fullmatch(what)
    if _AUTHORIZATION.fullmatch(what):
        return {"authorization": what}
    if line is None:
        raise BadValue(f"{what} is no id of an authorization, no index of a record, and no INDEX:POSITION of a line")
    return {"index": int(line[1])} | ({"position": int(line[2])} if line[2] is not None else {})


@click.command(name="prove")
@click.argument("what", metavar="AUTHORIZATION|INDEX[:POSITION]")
@database_option
@book_option
@signing_options
@click.option("--url", default=None, envvar="BURSAR_URL", metavar="URL", help="Ask this server instead of a database.")
@click.option(
    "--key",
    "api_key",
    default=None,
    envvar=["BURSAR_API_KEY", "BURSAR_KEY"],
    metavar="KEY",
    help="With --url, the key to ask with; an agent's proves what is its own.",
)
def prove(
    what: str,
    database_url: str,
    book: str | None,
    key_file: Path | None,
    origin: str,
    url: str | None,
    api_key: str | None,
) -> None:
    """Print proof of an authorization, or of one record or statement line: a file that anybody can check.

    The file has the records, their proofs of inclusion, and a signed checkpoint that covers them; a checkpoint is made
    where none does.

    \b
    For example:
      bursar prove auth_01k... > proof.json
      bursar prove 1234:0 > proof.json
      bursar verify-proof proof.json --key "bursar/acme-0123abcd+1f2e3d4c+AQ..."
    """
    asked = _asked(what)
    if url is not None:
        if api_key is None:
            raise BadValue("give the key to ask the server with, as BURSAR_API_KEY or --key")
        with remote(url, api_key) as server:
            content = _from_server(server, asked)
    else:
        with desk(database_url, book, key_file, origin) as (made, chosen):
            content = _from_database(made, chosen.book_id, asked)
    click.echo(json.dumps(content, indent=1))


def _from_server(server: Remote, asked: dict[str, Any]) -> Any:
    try:
        return server.get("/v1/proofs/record", **asked)
    except Refused as refused:
        if refused.code != "wrong_state":
            raise
        # Not covered yet. Whoever may have a checkpoint made does; an agent is told when to ask again.
        try:
            server.post("/v1/checkpoints", {})
        except Refused:
            raise refused from None
    return server.get("/v1/proofs/record", **asked)


def _from_database(made: Any, book_id: int, asked: dict[str, Any]) -> Any:
    from ledger.services.proving import OutsideLog
    from ledger.services.proving_records import NotCovered, prove_records, record_at, records_of_authorization

    try:
        with made.engine.connect() as connection:
            if "authorization" in asked:
                subject = records_of_authorization(connection, book_id, asked["authorization"])
            else:
                subject = record_at(connection, book_id, asked["index"], asked.get("position"))
    except OutsideLog as error:
        raise click.ClickException(str(error)) from error
    try:
        return prove_records(made.engine, made.checkpointer.prover, book_id, subject)
    except NotCovered:
        made.checkpointer.make(book_id)
        return prove_records(made.engine, made.checkpointer.prover, book_id, subject)


@click.command(name="verify-proof")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option(
    "--key",
    "keys",
    required=True,
    multiple=True,
    metavar="VKEY",
    help="A verifier key that you trust, as you got it from the operator or a witness; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def verify_proof(file: Path, keys: tuple[str, ...], as_json: bool) -> None:
    """Check a proof file against keys that you trust, with no server and no database.

    The status is 0 when every record in it is in the signed log, 1 when anything is wrong, 2 when the file or a key
    could not be read.

    \b
    For example:
      bursar verify-proof proof.json --key "bursar/acme-0123abcd+1f2e3d4c+AQ..."
    """
    from ledger.core.notes import NoteInvalid, parse_verifier_key
    from ledger.services.proof_files import FileInvalid, check_file

    try:
        trusted = [parse_verifier_key(key) for key in keys]
    except NoteInvalid as error:
        raise BadValue(str(error)) from error
    try:
        written = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise BadValue(f"{file} cannot be read: {error.strerror}") from error
    try:
        proved = check_file(written, trusted)
    except FileInvalid as error:
        if as_json:
            click.echo(json.dumps({"verified": False, "reason": str(error)}))
        else:
            click.echo(f"NOT proved: {error}", err=True)
        sys.exit(1)
    checkpoint = proved.checkpoint
    if as_json:
        shown = {
            "verified": True,
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": checkpoint.root.hex(),
            "keys": [key.text() for key in proved.signers],
            "position": proved.position,
            "records": [record.body for record in proved.records],
        }
        click.echo(json.dumps(shown))
        return
    signers = ", ".join(f"{key.name}+{key.id.hex()}" for key in proved.signers)
    click.echo(f"Proved: in the log of {checkpoint.origin} with {checkpoint.size} records, signed by {signers}:")
    for record in proved.records:
        click.echo(f"  {_line(record.body)}")


def _line(body: dict[str, Any]) -> str:
    subject = body.get("authorization") or body.get("agent") or body.get("budget") or ""
    amount = f"  {body['amount']} atoms of {body['currency']}" if {"amount", "currency"} <= set(body) else ""
    return f"record {body['index']}  {body['time']}  {body['kind']}  {subject}{amount}".rstrip()
