"""`bursar witness`: watch a book's checkpoints from elsewhere, and shout when they are not of one growing log.

Invariant: the status is 0 only when what was seen extends what was seen before; 1 when it does not; 2 when nothing
could be learned, so that no script takes an outage for a fork or a fork for an outage.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bursar import CannotAsk, Refused, Remote, remote
from ledger.cli.database import BadValue, plain

if TYPE_CHECKING:
    from ledger.services.ed25519 import SigningPair
    from ledger.services.witness_state import WitnessState
    from ledger.services.witnessing import Alarm

_EVERY = re.compile(r"([1-9][0-9]{0,5})(s|m|h)?")
_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600}
ALARM_SECONDS_MAX = 60


class _Server:
    """A Bursar server as ``services.witnessing`` asks it."""

    def __init__(self, server: Remote) -> None:
        self._server = server

    def get(self, path: str, **query: str | int | bool) -> Any:
        """The JSON of an answer. Raises Refusal where the server says that there is no such thing, else CannotAsk."""
        from ledger.services.witnessing import Refusal

        try:
            return self._server.get(path, **query)
        except Refused as refused:
            if refused.code == "not_found":
                raise Refusal(refused.message) from refused
            raise CannotAsk(f"the server refuses: {refused.message}") from refused


class _WatchFirst(click.Group):
    """`bursar witness URL` is `bursar witness watch URL`."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """Put ``watch`` first where no verb is named."""
        if arguments and arguments[0] not in self.commands and arguments[0] not in ("--help", "-h"):
            arguments = ["watch", *arguments]
        return super().parse_args(context, arguments)


@click.group(name="witness", cls=_WatchFirst)
def command() -> None:
    """Watch a book's checkpoints from elsewhere: bursar witness URL --state FILE.

    Each look fetches the newest checkpoint, checks its signature, has it proved to extend the one seen last, and keeps
    it. A log that was forked, set back or signed by somebody else ends with status 1 and the evidence in the state
    file. Run it where whoever runs the server has no say. `bursar witness watch --help` lists the options.

    \b
    For example:
      bursar witness https://ledger.example.com --state acme.witness --once
      bursar witness https://ledger.example.com --state acme.witness --every 60s --cosign-key witness.pem
      bursar witness compare acme.witness other.witness
      bursar witness alarms acme.witness --acknowledge >> alarms.jsonl
    """


@command.command(name="watch")
@click.argument("url")
@click.option(
    "--state", "state_file", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE",
    help="Where what was seen is kept; one file for each book.",
)  # fmt: skip
@click.option(
    "--api-key", required=True, envvar=["BURSAR_API_KEY", "BURSAR_KEY"], metavar="KEY",
    help="A key of the book, of any role; an auditor's or an admin's where cosignatures are sent back.",
)  # fmt: skip
@click.option(
    "--key", "trusted", multiple=True, metavar="VKEY[@SIZE]",
    help="A verifier key to trust; left out, the one that the server names at the first look. Behind one that leaked "
    "stands the size of the largest log that it may have signed.",
)  # fmt: skip
@click.option("--once", is_flag=True, help="Look once and end. This is the default.")
@click.option("--every", default=None, metavar="TIME", help="Look again and again, such as every 60s or 5m.")
@click.option(
    "--cosign-key", type=click.Path(path_type=Path, dir_okay=False), default=None, metavar="FILE",
    help="Sign what was seen with this key (Ed25519, PKCS#8 PEM), and send the signature back.",
)  # fmt: skip
@click.option(
    "--cosign-name", default="witness", show_default=True, metavar="NAME", help="The witness's name in its signatures."
)
@click.option("--print", "printed", is_flag=True, help="Print the cosigned note instead of sending it back.")
@click.option(
    "--on-alarm",
    default=None,
    metavar="COMMAND",
    help="Run this command on an alarm, with the alarm as JSON on its input.",
)
def watch(
    url: str,
    state_file: Path,
    api_key: str,
    trusted: tuple[str, ...],
    once: bool,
    every: str | None,
    cosign_key: Path | None,
    cosign_name: str,
    printed: bool,
    on_alarm: str | None,
) -> None:
    """Look at the newest checkpoint, once or again and again."""
    if once and every is not None:
        raise BadValue("--once and --every exclude each other")
    pause = _seconds(every) if every is not None else None
    pair = _pair(cosign_key, cosign_name)
    with remote(url, api_key) as server:
        while True:
            try:
                _look(server, state_file, trusted, pair, cosign_name, printed=printed, on_alarm=on_alarm)
            except CannotAsk as error:
                if pause is None:
                    raise
                click.echo(f"cannot look: {error.message}", err=True)
            if pause is None:
                return
            time.sleep(pause)


def _look(
    server: Remote,
    state_file: Path,
    trusted: tuple[str, ...],
    pair: SigningPair | None,
    name: str,
    *,
    printed: bool,
    on_alarm: str | None,
) -> None:
    from ledger.services.witness_state import StateBusy, WitnessState, locked
    from ledger.services.witnessing import Alarm, Refusal, Witness

    try:
        with locked(state_file):
            state = _state(state_file) or WitnessState()
            _trust(state, trusted)
            witness = Witness(_Server(server), state)
            try:
                if not state.keys:
                    click.echo(f"trusting at first sight: {witness.trust_first().text()}", err=True)
                checkpoint, learned = witness.look()
            except Alarm as alarm:
                # It must be heard whatever becomes of the file.
                _shout(alarm, on_alarm)
                try:
                    _keep(state_file, state)
                except CannotAsk as error:
                    click.echo(f"{error.message}; the evidence: {json.dumps(alarm.content())}", err=True)
                sys.exit(1)
            _keep(state_file, state)
    except StateBusy as error:
        raise CannotAsk(str(error)) from error
    except Refusal as error:
        raise CannotAsk(f"there is nothing to see yet: {error}") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CannotAsk(
            f"the server answers as no Bursar server does: {type(error).__name__}: {plain(str(error))}"
        ) from error
    for key in learned:
        click.echo(f"the signing key was rotated, on record: now trusting {key.text()}", err=True)
    click.echo(f"ok: {checkpoint.origin}  {checkpoint.size} records  root {checkpoint.root.hex()}", err=printed)
    if state.alarms:
        click.echo(
            f"{len(state.alarms)} alarms are kept in {state_file}: bursar witness alarms {state_file} shows them",
            err=True,
        )
    if pair is not None:
        _cosign(server, pair, name, state.note, printed=printed)


def _keep(state_file: Path, state: WitnessState) -> None:
    """Write the state. Raises CannotAsk: without it, the next look would not know of this one."""
    from ledger.services.witness_state import write_state

    try:
        write_state(state_file, state)
    except OSError as error:
        raise CannotAsk(f"{state_file} cannot be written: {error.strerror}") from error


def _cosign(server: Remote, pair: SigningPair, name: str, note: str, *, printed: bool) -> None:
    from ledger.services.witnessing import cosign

    cosigned, key = cosign(pair, name, note)
    if printed:
        click.echo(cosigned, nl=False)
        return
    try:
        server.post("/v1/checkpoints/cosignatures", {"key": key, "note": cosigned})
    except Refused as refused:
        raise CannotAsk(f"the server does not take the cosignature: {refused.message}") from refused


def _shout(alarm: Alarm, on_alarm: str | None) -> None:
    click.echo(f"ALARM {alarm.kind}: {plain(str(alarm))}", err=True)
    if on_alarm is None:
        return
    told = json.dumps(alarm.content()).encode()
    try:
        subprocess.run(shlex.split(on_alarm), input=told, check=True, timeout=ALARM_SECONDS_MAX)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        click.echo(f"the command for alarms failed: {error}", err=True)


@command.command(name="alarms")
@click.argument("state_file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--acknowledge", is_flag=True, help="Take them out of the file, now that they are printed.")
def alarms_verb(state_file: Path, acknowledge: bool) -> None:
    """Print the alarms that are kept in a state file, with their evidence: a line of JSON each."""
    from ledger.services.witness_state import StateBusy, locked

    try:
        with locked(state_file):
            state = _state(state_file)
            if state is None:
                raise BadValue(f"there is no file {state_file}")
            for alarm in state.alarms:
                click.echo(json.dumps(alarm))
            if acknowledge and state.alarms:
                state.alarms = []
                _keep(state_file, state)
    except StateBusy as error:
        raise CannotAsk(str(error)) from error


@command.command(name="compare")
@click.argument("first", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("second", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--url", default=None, envvar="BURSAR_URL", metavar="URL", help="Server to ask for a proof, if need be.")
@click.option(
    "--api-key", default=None, envvar=["BURSAR_API_KEY", "BURSAR_KEY"], metavar="KEY", help="A key of the book."
)
def compare_verb(first: Path, second: Path, url: str | None, api_key: str | None) -> None:
    """Tell whether two witnesses of a book saw one log: status 0 for one, 1 for two, 2 where it cannot be told."""
    from ledger.services.witnessing import compare

    states = [_state(path) for path in (first, second)]
    if None in states:
        raise BadValue(f"there is no file {first if states[0] is None else second}")
    one, other = (state for state in states if state is not None)
    try:
        if url is not None and api_key is not None:
            with remote(url, api_key) as server:
                found = compare(one, other, _Server(server))
        else:
            found = compare(one, other)
    except LookupError as error:
        raise BadValue(str(error.args[0])) from error
    if found is not None:
        click.echo(found, err=True)
        sys.exit(1)
    click.echo("one log: what one witness saw extends what the other saw")


def _state(path: Path) -> WitnessState | None:
    from ledger.services.witness_state import StateUnusable, read_state

    try:
        return read_state(path)
    except StateUnusable as error:
        raise BadValue(str(error)) from error


def _trust(state: WitnessState, trusted: tuple[str, ...]) -> None:
    from ledger.core.notes import ED25519, NoteInvalid, parse_trusted_keys

    try:
        keys, ended = parse_trusted_keys(trusted)
    except NoteInvalid as error:
        raise BadValue(str(error)) from error
    if any(key.algorithm != ED25519 for key in keys):
        raise BadValue("--key names a witness's key; a log's own key is meant")
    state.keys += [key for key in keys if key not in state.keys]
    for key, size in ended.items():
        state.end(key, size)
    try:
        state.checkpoint  # noqa: B018
    except NoteInvalid as error:
        raise BadValue(
            f"what was seen last is not to be trusted then: {error}. Keep the state file, which is the evidence, and "
            "begin with a new one"
        ) from error


def _pair(file: Path | None, name: str) -> SigningPair | None:
    from ledger.core.notes import is_key_name
    from ledger.services.ed25519 import KeyUnusable, read_pair

    if not is_key_name(name):
        raise BadValue("--cosign-name is printable ASCII without space and plus")
    try:
        return read_pair(file=file, text=None)
    except KeyUnusable as error:
        raise BadValue(str(error)) from error


def _seconds(text: str) -> int:
    found = _EVERY.fullmatch(text)
    if found is None:
        raise BadValue(f"{text} is no time to wait; write 60s, 5m or 1h")
    return int(found[1]) * _SECONDS[found[2]]
