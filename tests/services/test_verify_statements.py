"""The statements of closings made again for `verify`: a closing with the digests of other statements is named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from bursar.command import bursar
from ledger.core.command_closing import ApproveReopening, RequestReopening
from ledger.core.outcome import Status
from ledger.services.verify import verify_books
from ledger.services.verify_findings import BookReport
from ledger.services.verify_statements import with_statements
from ledger.storage import queries_log
from ledger.storage.migrate import upgrade
from tests.services.test_closing import NOVEMBER, OCTOBER, Office
from tests.support.closing_months import checks

OTHER = (("book", "0" * 64), ("budget:research", "1" * 64), ("payee:serp", "2" * 64))


@pytest.fixture
def office(database_url: str) -> Iterator[Office]:
    """On either database, on the first of December."""
    upgrade(database_url)
    made = Office(database_url)
    made.clock.now = NOVEMBER + 31 * 24 * 3600 * 10**6
    yield made
    made.close()


def verified(office: Office, **fields: Any) -> BookReport:
    """What verify says of the book, its statements included."""
    reports = list(verify_books(office.url, book="acme"))
    assert reports[0].verified, "a forger who does everything right but the statements"
    (report,) = with_statements(office.url, reports, **({"differences_max": 10} | fields))
    return report


def forged(office: Office, month: str = "2026-10") -> int:
    """A closing with digests of statements that nobody could make; its record is right in everything else."""
    with office.engine.connect() as connection:
        head = queries_log.head(connection, office.book_id)
    assert head is not None
    (outcome,) = office.decide(
        office.closing(month, size=head.size, root=head.root, statements=OTHER, checks=checks(), accept={})
    )
    assert outcome.status is Status.DONE, outcome
    return outcome.log_index


def opened_again(office: Office, month: str = "2026-10") -> None:
    """By two persons."""
    for kind, caller in ((RequestReopening, office.fay), (ApproveReopening, office.gus)):
        (outcome,) = office.decide(office.command(kind, caller, period=month, reason="an invoice came"))
        assert outcome.status is Status.DONE, outcome


def test_honest_closings_are_verified_also_once_they_were_opened_again(office: Office) -> None:
    """And once more was backdated into the month: each stands on its own size."""
    assert office.close_month().status is Status.DONE
    opened_again(office)
    office.charged("3", OCTOBER)
    assert office.close_month().status is Status.DONE
    assert office.close_month("2026-11").status is Status.DONE
    assert verified(office).verified


def test_a_closing_with_other_digests_is_named_also_once_its_month_was_opened_again(office: Office) -> None:
    """Which `verify` by itself finds right, because everything else of it is."""
    first = forged(office)
    opened_again(office)
    assert office.close_month().status is Status.DONE
    second = forged(office, "2026-11")
    report = verified(office)
    assert [one.log_index for one in report.differences] == [first, second]
    assert report.differences[0].what == (
        "the statements of 2026-10 are not those that it has the digests of: book, budget:research, payee:serp"
    )
    assert not report.verified
    few = verified(office, differences_max=1)
    assert ([one.log_index for one in few.differences], few.complete) == ([first], False)


def test_the_command_says_so(office: Office) -> None:
    """With its status, and only where it is asked."""
    index = forged(office)
    run = CliRunner().invoke
    assert run(bursar, ["verify", "--database-url", office.url, "--book", "acme"]).exit_code == 0
    told = run(bursar, ["verify", "--database-url", office.url, "--book", "acme", "--statements"])
    assert told.exit_code == 1
    assert f"record {index} column body: the statements of 2026-10 are not those" in told.stdout
    wrong = run(bursar, ["verify", "--database-url", office.url, "--statements", "--leaves-only"])
    assert (wrong.exit_code, "leave out --statements" in wrong.stderr) == (2, True)
