"""A book out of bundles: proved first, then put into a database in one transaction.

Owns ``import_bundles``. Invariants: nothing is written before every record was followed and found right; what is
written are the records and the rows that the fold made of them, so an imported book cannot differ from its log; a
process that dies meanwhile leaves no part of a book.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger.core import changeset
from ledger.core.book import Head
from ledger.core.bundle import BundleInvalid, chunks
from ledger.core.changeset import TableSpec, row_of
from ledger.core.notes import VerifierKey, parse_checkpoint, parse_note
from ledger.core.webhook import Webhook
from ledger.services.bundle_reading import open_bundle
from ledger.services.bundle_verify import BundlePass, BundleReport, passing
from ledger.services.errors import ServiceError
from ledger.services.sources import Sources
from ledger.services.verify_projections import COMPARED
from ledger.storage.book_loader import BookLoader, loading
from ledger.storage.engine import create_engine
from ledger.storage.errors import Refused
from ledger.storage.queries_bundle import book_taking
from ledger.storage.secret_rows import StoredSecrets
from ledger.storage.tables import book_secrets
from ledger.storage.tables_proofs import checkpoints, signing_secrets
from ledger.storage.tables_webhooks import watch_cursors, webhook_secrets


class ImportRefused(ServiceError):
    """The book is not imported, and nothing was written. The message says why."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What was done: the report of the proof, and sentences on what no bundle has and is therefore not there."""

    report: BundleReport
    lacks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NotProved:
    """Nothing was written, because the bundles are not right."""

    report: BundleReport


def check_free(database_url: str, paths: Sequence[Path]) -> None:
    """Refuse a book that is in the migrated database already. Raises ImportRefused, BundleInvalid, StorageError."""
    with open_bundle(paths[0]) as bundle:
        book = bundle.manifest.book
    engine = create_engine(database_url, pool_size=1)
    try:
        with engine.connect() as connection:
            there = book_taking(connection, book)
    finally:
        engine.dispose()
    if there is not None:
        same = "this book" if there.book_id == book.book_id else f"another book of the name {book.name}"
        raise ImportRefused(
            f"{same} is in the database already, and a book is never written over: import into another database"
        )


def import_bundles(
    paths: Sequence[Path],
    database_url: str,
    trusted: Sequence[VerifierKey] = (),
    *,
    differences_max: int = 10,
    progress: Callable[[str, int, int], None] | None = None,
    prepare: Callable[[], None] = lambda: None,
    secrets: tuple[int, StoredSecrets] | None = None,
    sources: Sources | None = None,
) -> Imported | NotProved:
    """Prove the bundles, which follow one another from the first record on, and put their book into a database.

    ``prepare`` is called once they are proved, and makes the database's tables; ``secrets`` are the book's, with its
    id, as ``read_secrets`` gives them. Raises BundleInvalid, ImportRefused and other ServiceError, StorageError, upon
    which nothing is in the database.
    """
    own = sources or Sources()
    with open_bundle(paths[0]) as bundle:
        first, book = bundle.manifest.first, bundle.manifest.book
    if secrets is not None and secrets[0] != book.book_id:
        raise ImportRefused(f"the secrets are of another book than {book.name}: give the file that was written with it")
    if first:
        raise ImportRefused(
            f"the bundle begins with record {first}: a book is imported from its first record on, so give the bundles "
            "of the records before it too, in order"
        )
    with passing(paths, trusted, differences_max=differences_max, progress=progress, keep_transfers=True) as (
        made,
        report,
    ):
        if not report.verified:
            return NotProved(report)
        prepare()
        check_free(database_url, paths)
        try:
            with loading(database_url, size=made.log.position) as loader:
                _write(loader, made, paths, own, None if secrets is None else secrets[1])
                loader.commit()
        except Refused as error:
            raise ImportRefused(f"the database refuses a row, so nothing was written: {error}") from error
        return Imported(report, tuple(_lacking(made, None if secrets is None else secrets[1])))


def _write(
    loader: BookLoader, made: BundlePass, paths: Sequence[Path], sources: Sources, secrets: StoredSecrets | None
) -> None:
    log, fold = made.log, made.log.fold
    book_id, now = fold.book_id, sources.now_us()
    frontier = log.frontier
    head = Head(
        book_id, frontier.size, frontier.root(), frontier.to_bytes(), fold.recorded_at, fold.account_count, fold.frozen
    )
    loader.insert(changeset.HEADS.name, changeset.HEADS.columns, [row_of(head)])
    loader.insert(changeset.BOOKS.name, changeset.BOOKS.columns, [row_of(fold.book)])
    text_secret = sources.random_bytes(32) if secrets is None else secrets.text
    _put(loader, book_secrets.name, {"book_id": book_id, "text_secret": text_secret})
    if secrets is not None:
        for table, kept in ((signing_secrets, secrets.signing), (webhook_secrets, secrets.webhooks)):
            for one in kept:
                _put(loader, table.name, {"book_id": book_id, **one._asdict()})
    made.scratch.write()
    for path, digest in zip(paths, made.digests, strict=True):
        _write_log(loader, made, path, digest)
    for page in made.kept.transfers():
        _insert(loader, changeset.TRANSFERS, book_id, page)
    for spec in COMPARED:
        for page in made.scratch.pages(spec):
            _insert(loader, spec, book_id, page)
    # A bundle does not say when a checkpoint was made: not before its last record, whatever this machine's clock says.
    created_at = max(now, fold.recorded_at)
    for size, note in made.checkpoints.items():
        row = {"size": size, "root": parse_checkpoint(parse_note(note).text).root, "note": note}
        _put(loader, checkpoints.name, {"book_id": book_id, **row, "created_at": created_at})
    if _webhooks(made):
        # What happened before the import was told by whoever had the book then.
        row = {"book_id": book_id, "next_index": frontier.size, "holder": "", "held_until": 0, "swept_at": now}
        _put(loader, watch_cursors.name, row)


def _write_log(loader: BookLoader, made: BundlePass, path: Path, digest: str) -> None:
    """Read a bundle once more; it must be the one that was proved. A text that a later record redacts stays out."""
    book_id = made.log.fold.book_id
    with open_bundle(path) as bundle:
        for start, stop in chunks(bundle.manifest.first, bundle.manifest.size):
            page = bundle.log_page(start, stop)
            texts = [row for row in page.texts if made.scratch.row(changeset.REDACTIONS, (row[0], row[1])) is None]
            _insert(loader, changeset.LOG_RECORDS, book_id, page.records)
            _insert(loader, changeset.TEXTS, book_id, texts)
        for _ in bundle.policies():
            pass
        bundle.finish()
        if bundle.digest != digest:
            raise BundleInvalid("it was changed while it was imported; nothing was written")


def _insert(loader: BookLoader, spec: TableSpec, book_id: int, rows: Sequence[Sequence[Any]]) -> None:
    if rows:
        loader.insert(spec.name, spec.columns, [(book_id, *row) for row in rows])


def _put(loader: BookLoader, table: str, row: dict[str, Any]) -> None:
    loader.insert(table, tuple(row), [tuple(row.values())])


def _webhooks(made: BundlePass, secrets: StoredSecrets | None = None) -> list[str]:
    """The ids of endpoints that are told of events and whose secret is not at hand."""
    there = {one.id for one in secrets.webhooks} if secrets is not None else set()
    endpoints = (
        Webhook(made.log.fold.book_id, *row) for page in made.scratch.pages(changeset.WEBHOOKS) for row in page
    )
    return [one.id for one in endpoints if one.removed_at is None and one.secret not in there]


def _lacking(made: BundlePass, secrets: StoredSecrets | None) -> list[str]:
    """What was beside the log and is in no bundle, and what to do about it."""
    lacks: list[str] = []
    key, webhooks = made.log.fold.signing_key, _webhooks(made, secrets)
    if secrets is None:
        lacks.append(
            "the secret that salts free texts: a request with a text that is repeated from before the export is "
            "refused as idempotency_mismatch, and never carried out twice"
        )
    if key is not None:
        if secrets is None or key.public_key.hex() not in {one.id for one in secrets.signing}:
            lacks.append(
                f"the private half of signing key {key.id}: start the server with its file, or make another key sign "
                "with 'bursar checkpoint keys rotate'"
            )
        lacks.append("earlier checkpoints and what witnesses signed: those who hold them still can prove them")
    if webhooks:
        lacks.append(
            f"the secrets of {len(webhooks)} webhook endpoint{'' if len(webhooks) == 1 else 's'}: give each a new one "
            f"({', '.join(webhooks[:5])}{', …' if len(webhooks) > 5 else ''})"
        )
    if _webhooks(made):
        lacks.append("deliveries to webhook endpoints: what happened before the export is not told again")
    if made.log.texts_missing:
        lacks.append(
            f"{made.log.texts_missing} free texts; their digests are in the log, which stays provable without them: "
            "verify this database with --without-texts"
        )
    if made.texts_unproved:
        lacks.append(
            f"the proof that {made.texts_unproved} of these were redacted: only whoever wrote the bundle says so, and "
            "a span with the records behind its end would prove it"
        )
    for signing in made.signings:
        if signing.size is not None and signing.size > made.log.position:
            lacks.append(
                f"the records from {made.log.position} to {signing.size - 1}, which were signed: if this book goes on, "
                "it is another history than the signed one, and witnesses will say so"
            )
    return lacks
