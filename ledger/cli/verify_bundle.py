"""What `bursar verify --bundle` and `bursar import` say about bundles.

Invariant: what could not be shown is said beside what was; a bundle that cannot be read ends with status 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ledger.cli.database import BadValue
from ledger.cli.progress import progress_bar

if TYPE_CHECKING:
    from ledger.core.notes import VerifierKey
    from ledger.services.bundle_verify import BundleReport
    from ledger.services.verify_against import Claim, Consistency
    from ledger.services.verify_findings import BookReport

Function = TypeVar("Function", bound=Callable[..., Any])


def verifier_keys_option(function: Function) -> Function:
    """Add ``--key`` to a command: keys that are trusted."""
    # Not BURSAR_KEY, which is the key that a server is asked with.
    option = click.option(
        "--key",
        "keys",
        multiple=True,
        envvar="BURSAR_VERIFIER_KEY",
        metavar="VKEY",
        help="Trust this verifier key, and not the keys on record.",
    )
    return option(function)


def trusted_keys(keys: Sequence[str]) -> list[VerifierKey]:
    """The verifier keys that were given. Raises BadValue."""
    from ledger.core.notes import NoteInvalid, parse_verifier_key

    try:
        return [parse_verifier_key(key) for key in keys]
    except NoteInvalid as error:
        raise BadValue(str(error)) from error


@contextmanager
def unreadable_bundles() -> Iterator[None]:
    """A bundle that cannot be read is a sentence, and status 2."""
    from ledger.core.bundle import BundleInvalid

    try:
        yield
    except BundleInvalid as error:
        raise BadValue(str(error)) from error


def verified_bundles(
    bundles: Sequence[Path],
    trusted: Sequence[VerifierKey],
    limit: int,
    *,
    against: Sequence[Claim] = (),
    proofs: Sequence[Consistency] = (),
) -> BundleReport:
    """Verify bundles that follow one another. Raises BadValue."""
    from ledger.services.bundle_verify import verify_bundles
    from ledger.services.verify_against import ClaimUnusable

    with unreadable_bundles(), progress_bar("verifying") as progress:
        try:
            return verify_bundles(
                bundles, trusted, differences_max=limit, progress=progress, against=against, proofs=proofs
            )
        except ClaimUnusable as error:
            raise BadValue(str(error)) from error


def plain_differences(report: BookReport) -> list[dict[str, Any]]:
    """What is wrong, for JSON."""
    return [
        {key: value for key, value in difference._asdict().items() if value not in ("", None)}
        for difference in report.differences
    ]


def plain_signings(report: BundleReport) -> list[dict[str, Any]]:
    """The checkpoints, for JSON."""
    return [
        {"size": one.size, "keys": [key.text() for key in one.signers], "trusted": one.trusted}
        for one in report.signings
        if one.size is not None
    ]


def print_notes(report: BundleReport) -> None:
    """Who signed, and what was not shown."""
    name = report.report.name
    for one in report.signings:
        if one.size is not None and one.signers:
            signers = ", ".join(f"{key.name}+{key.id.hex()}" for key in one.signers)
            click.echo(f"{name}: a log of {one.size} records is signed by {signers}")
    if not report.texts:
        click.echo(f"{name}: it was exported without free texts; their digests are in the records")
    for note in report.notes:
        click.echo(f"{name}: {note}.")
