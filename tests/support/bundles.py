"""Bundles for tests: written from a database into a file, and taken apart.

Invariant: everything goes through what users go through; a test that wants a damaged bundle changes the bytes.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

from ledger.core.bundle import END, header_of, padding
from ledger.services.bundle_export import ExportPlan, plan_export, write_bundle
from ledger.services.checkpoints import CheckpointSettings
from ledger.services.owner_checkpoints import owner_desk
from ledger.services.sources import Sources
from ledger.services.verify import verify_books
from ledger.storage.engine import create_engine
from ledger.storage.queries_log import list_books


def only_book(database_url: str) -> int:
    """The id of the one book of a database."""
    engine = create_engine(database_url, pool_size=1)
    with engine.connect() as connection:
        (book,) = list_books(connection)
    engine.dispose()
    return book.book_id


def exported(database_url: str, *, sources: Sources | None = None, **options: Any) -> tuple[bytes, ExportPlan]:
    """The archive of the one book of a database, not compressed, and what it was planned to have."""
    target = io.BytesIO()
    with owner_desk(database_url, CheckpointSettings(), sources=sources) as desk:
        plan = plan_export(desk, only_book(database_url), **options)
        write_bundle(desk, plan, target)
    return target.getvalue(), plan


def write(folder: Path, name: str, archive: bytes) -> Path:
    """A file with an archive in it."""
    file = folder / name
    file.write_bytes(archive)
    return file


def members(archive: bytes) -> dict[str, bytes]:
    """Name to content, as any program that reads tar sees it."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        found = {}
        for member in opened:
            file = opened.extractfile(member)
            assert file is not None
            found[member.name] = file.read()
        return found


def archive_of(contents: dict[str, bytes]) -> bytes:
    """An archive with these members, whatever they are, in the form that ours have."""
    parts = []
    for name, content in contents.items():
        parts += [header_of(name, len(content)), content, bytes(padding(len(content)))]
    return b"".join([*parts, END])


def prove(database_url: str, *, without_texts: bool = False) -> Any:
    """The report on the one book of a database, which must be right."""
    (report,) = verify_books(database_url, without_texts=without_texts)
    assert report.verified, [difference.sentence() for difference in report.differences]
    return report
