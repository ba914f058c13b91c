"""`bursar prove` and `bursar verify-proof`: one small file that shows what is on record, and checking it anywhere.

Invariant: `verify-proof` opens the file and nothing else; its status is 0 only for a proof that is good, 1 for one that
is not, 2 where nothing could be checked.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bursar import Refused, Remote, remote
from ledger.cli.checkpoint import book_option, desk, signing_options
from ledger.cli.database import BadValue, database_option, plain

if TYPE_CHECKING:
    from ledger.services.proof_files import Proved

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
@click.option(
    "--url",
    default=None,
    envvar="BURSAR_URL",
    metavar="URL",
    help="Ask this server instead of a database; where both are in the environment, the server is asked.",
)
@click.option(
    "--api-key",
    default=None,
    envvar=["BURSAR_API_KEY", "BURSAR_KEY"],
    metavar="KEY",
    help="With --url, the key to ask with; an agent's proves what is its own.",
)
@click.pass_context
def prove(
    context: click.Context,
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
    typed = [context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in ("database_url", "url")]
    if all(typed):
        raise BadValue("name a database or a server, and not both: --database-url and --url exclude each other")
    if url is not None and not typed[0]:
        if api_key is None:
            raise BadValue("give the key to ask the server with, as BURSAR_API_KEY or --api-key")
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
    from ledger.services.proving_records import NotCovered, line_of, prove_records, record_at, records_of_authorization

    try:
        with made.engine.connect() as connection:
            if "authorization" in asked:
                subject = records_of_authorization(connection, book_id, asked["authorization"])
            else:
                subject = record_at(connection, book_id, asked["index"])
                subject = line_of(subject, asked["position"]) if "position" in asked else subject
    except OutsideLog as error:
        raise click.ClickException(str(error)) from error
    made.checkpointer.tiler.extend_to_end(book_id)
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
    metavar="VKEY[@SIZE]",
    help="A verifier key that you trust, as you got it from the operator or a witness; may be given several times. "
    "Behind one that was replaced, or leaked, stands the size of the largest log that it signs.",
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
    from ledger.core.notes import NoteInvalid, parse_trusted_keys
    from ledger.services.proof_files import FileInvalid, check_file

    try:
        trusted, ended = parse_trusted_keys(keys)
    except NoteInvalid as error:
        raise BadValue(str(error)) from error
    written = _read(file)
    try:
        proved = check_file(written, trusted, ended)
    except FileInvalid as error:
        if as_json:
            click.echo(json.dumps({"verified": False, "reason": str(error)}))
        else:
            click.echo(f"NOT proved: {error}", err=True)
        sys.exit(1)
    click.echo(json.dumps(_as_json(proved)) if as_json else _as_text(proved))


def _read(file: Path) -> bytes:
    """The file, or what comes in, as far as a proof can be long. Raises BadValue."""
    from ledger.services.proof_files import FILE_BYTES_MAX

    try:
        if str(file) == "-":
            return sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
        with file.open("rb") as opened:
            return opened.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise BadValue(f"{file} cannot be read: {error.strerror}") from error


def _as_json(proved: Proved) -> dict[str, Any]:
    checkpoint, about = proved.checkpoint, proved.about
    left_out = None if about.left_out is None else dict(zip(("after", "before"), about.left_out, strict=True))
    return {
        "verified": True,
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "keys": [key.text() for key in proved.signers],
        "authorization": about.authorization,
        "left_out": left_out,
        "position": about.position,
        "transfer": about.transfer,
        "records": [record.body for record in proved.records],
    }


def _as_text(proved: Proved) -> str:
    checkpoint, about = proved.checkpoint, proved.about
    signers = ", ".join(f"{key.name}+{key.id.hex()}" for key in proved.signers)
    lines = [f"Proved: in the log of {checkpoint.origin} with {checkpoint.size} records, signed by {signers}:"]
    for record in proved.records:
        lines.append(f"  {_line(record.body)}")
        if about.left_out is not None and record.index == about.left_out[0]:
            lines.append("  LEFT OUT: one record or more of the same authorization, from here to the next")
    if about.transfer is not None:
        debit, credit, atoms, currency = map(plain, about.transfer)
        lines.append(f"  transfer {about.position}: {atoms} atoms of {currency}, debit {debit}, credit {credit}")
    if about.authorization is not None:
        last = proved.records[-1].index
        lines.append(f"What was recorded of {about.authorization} after record {last}, if anything, no file can tell.")
    return "\n".join(lines)


def _line(body: dict[str, Any]) -> str:
    subject = body.get("authorization") or body.get("agent") or body.get("budget") or ""
    amount = ""
    if {"amount", "currency"} <= set(body):
        amount = f"  {plain(body['amount'])} atoms of {plain(body['currency'])}"
    moment, kind = plain(body["time"]), plain(body["kind"])
    return f"record {body['index']}  {moment}  {kind}  {plain(subject)}{amount}".rstrip()
