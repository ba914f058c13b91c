"""`bursar reconcile`: compare what a provider says was spent with the ledger, and book what is accepted.

Owns the verb: what it asks for, and in which order. Invariants: nothing is booked and nothing is put on record before
it was shown and agreed to; what is put on record is compared again after what was booked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click

from bursar import Remote, remote, remote_options
from ledger.cli.reconcile.booking import DEFAULT_CATEGORY, Booked, send
from ledger.cli.reconcile.names import read_names
from ledger.cli.reconcile.showing import as_csv, as_text, plain
from ledger.cli.reconcile.sides import Question, compared, our_lines
from ledger.core.moment import moment_text
from ledger.core.money import MoneyError, currency_digits, format_atoms, parse_atoms
from ledger.core.period import FORMS, parse_period
from ledger.core.reconciliation import BOOKED_MAX, OPEN_KINDS, TOLERATED
from ledger.core.reconciling_booking import Booking, Target, Unbooked, about, bookings_of
from ledger.core.reconciling_found import CODE_LENGTH, Comparison, Difference, Place
from ledger.core.reconciling_lines import TheirLine, Tolerance, day_of
from ledger.services.provider_reports import FORMATS, Report, ReportError, read_reports
from ledger.services.provider_reports.mapped_csv import read_mapping

ALL = "all"
INVOICE = "invoice"
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class CannotReconcile(click.ClickException):
    """Something that was given cannot be worked with; nothing was changed."""

    exit_code = 2


@click.command(name="reconcile")
@remote_options
@click.option(
    "--report", "reports", multiple=True, metavar="FORMAT=FILE",
    help=f"What the provider says; may be given several times. Formats: {', '.join(FORMATS)}.",
)  # fmt: skip
@click.option("--total", default=None, metavar="AMOUNT", help="The total of an invoice, in place of a report.")
@click.option("--period", required=True, metavar="PERIOD", help=f"Days of UTC: {FORMS}.")
@click.option("--payee", default=None, metavar="NAME", help="Whose figures; left out, what the format says.")
@click.option("--currency", default="USD", show_default=True, metavar="CODE", help="Of the amounts.")
@click.option("--mapping", default=None, type=_FILE, metavar="FILE", help="Which column of a CSV is what (YAML).")
@click.option("--names", "names_file", default=None, type=_FILE, metavar="FILE", help="Whose keys those are (YAML).")
@click.option("--by-day", is_flag=True, help="Compare days only, whatever the model.")
@click.option("--tolerance", default="0", show_default=True, metavar="AMOUNT", help="A line may differ by so much,")
@click.option("--tolerance-percent", default="0", show_default=True, metavar="PERCENT", help="or by so much of it.")
@click.option("--total-tolerance", default=None, metavar="AMOUNT", help="All that is tolerated, together, likewise.")
@click.option("--total-tolerance-percent", default=None, metavar="PERCENT", help="The same, in percent of the total.")
@click.option(
    "--accept", "accepted", multiple=True, metavar="WHAT",
    help="Book what differs: all, a kind such as missing_here, or one line by its name; may be given several times.",
)  # fmt: skip
@click.option("--budget", default=None, metavar="NAME", help="Where charges go that the names say nothing of.")
@click.option("--category", default=DEFAULT_CATEGORY, show_default=True, metavar="NAME", help="Of such charges.")
@click.option("--record", is_flag=True, help="Put the comparison on record.")
@click.option("--accept-rest", default=None, metavar="REASON", help="Put it on record, and accept what is left open.")
@click.option("--reason", default=None, metavar="TEXT", help="Why, for each charge and reprice; left out, what it is.")
@click.option("--format", "form", type=click.Choice(["text", "csv", "json"]), default="text", show_default=True)
@click.option("--dry-run", is_flag=True, help="Show what would be booked, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before it is done.")
def command(url: str, key: str, **options: Any) -> None:
    """Compare what a provider says was spent with the ledger, and book what is accepted.

    Reads the provider's own reports as its API returns them, or a CSV, or the total of an invoice; lists what differs
    and why. With --accept, spend that the ledger has not is charged and calls that cost otherwise are repriced, each
    for its own day; run again, it books nothing twice, and of a report that has grown only the increase. With --record
    the comparison is put on record, which closing a month asks for. Charging needs a key of finance.

    The status is 0 when nothing is left open or what is was accepted, 1 when something is left open, 2 when it cannot
    be compared.

    \b
    For example:
      bursar reconcile --report openai-costs=november.json --period 2026-11
      bursar reconcile --report openai-costs=costs.json --report openai-usage=usage.json --period 2026-11
      bursar reconcile --report csv=bill.csv --mapping bill.yaml --payee serp --period 2026-11 \\
          --accept missing_here --budget research --accept-rest "their rounding"
      bursar reconcile --total 1234.56 --payee openai --period 2026-11 --record
    """
    work = _prepared(options)
    with remote(url, key) as server:
        _Run(server, work, options).run()


@dataclass(frozen=True, slots=True)
class _Work:
    question: Question
    report: Report | None
    source: str


def _prepared(options: dict[str, Any]) -> _Work:
    """Everything that is read before a server is asked. Raises CannotReconcile, click.UsageError."""
    if bool(options["reports"]) == (options["total"] is not None):
        raise click.UsageError("give --report, or --total in its place")
    digits = currency_digits(options["currency"])
    if digits is None:
        raise CannotReconcile(f"{options['currency']} is no currency; write its ISO 4217 code, such as USD")
    named = [_named(text) for text in options["reports"]]
    if options["mapping"] is not None and not any(form == "csv" for form, _ in named):
        raise click.UsageError("--mapping says which column is what of --report csv=FILE")
    try:
        period = parse_period(options["period"], "UTC")
        names = read_names(options["names_file"])
        mapping = read_mapping(options["mapping"]) if options["mapping"] is not None else None
        report = read_reports(named, currency=options["currency"], digits=digits, mapping=mapping) if named else None
        total = _atoms(options["total"], digits, "--total") if options["total"] is not None else None
        tolerance = _tolerance(options, digits)
    except (ReportError, ValueError) as error:
        raise CannotReconcile(str(error)) from error
    payees = {FORMATS[form].payee for form, _ in named} - {None}
    payee = options["payee"] or (payees.pop() if len(payees) == 1 else None)
    if payee is None:
        raise click.UsageError("say whose figures these are, with --payee")
    question = Question(
        payee, options["currency"], digits, period, tolerance, names, options["by_day"], total
    )  # fmt: skip
    return _Work(question, report, report.source if report is not None else INVOICE)


def _named(text: str) -> tuple[str, Path]:
    form, equals, file = text.partition("=")
    if not equals or form not in FORMATS or not file:
        raise click.UsageError(f'"{text}" names no report; write FORMAT=FILE, with one of {", ".join(FORMATS)}')
    return form, Path(file)


def _atoms(text: str, digits: int, name: str) -> int:
    try:
        return parse_atoms(text, digits)
    except MoneyError as error:
        raise ValueError(f"{name}: {error}") from error


def _percent(text: str, name: str) -> tuple[int, int]:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or not 0 <= value <= 100 or abs(value.as_tuple().exponent) > 9:  # type: ignore[arg-type]
        raise ValueError(f"{name}: {text} is no percentage from 0 to 100")
    return value.as_integer_ratio()


def _tolerance(options: dict[str, Any], digits: int) -> Tolerance:
    total, percent = options["total_tolerance"], options["total_tolerance_percent"]
    made = Tolerance(
        _atoms(options["tolerance"], digits, "--tolerance"),
        _percent(options["tolerance_percent"], "--tolerance-percent"),
        None if total is None else _atoms(total, digits, "--total-tolerance"),
        None if percent is None else _percent(percent, "--total-tolerance-percent"),
    )
    if min(made.atoms, made.total_atoms or 0) < 0:
        raise ValueError("a tolerance is not below zero")
    return made


class _Run:
    """One run of the verb."""

    def __init__(self, server: Remote, work: _Work, options: dict[str, Any]) -> None:
        self.server = server
        self.question = work.question
        self.report = work.report
        self.source = work.source
        self.options = options
        self.size, self.found = 0, Comparison()
        self.booked = Booked()

    def run(self) -> None:
        """Compare, show, book, compare again, record."""
        self.compare()
        bookings, unbooked = self._wanted()
        to_record = bool(self.options["record"] or self.options["accept_rest"])
        if to_record and not self.found.billed:
            raise CannotReconcile("what only counts cannot be put on record: add a report that bills, or --total")
        if self.options["dry_run"] or not (bookings or to_record):
            self.show(bookings, unbooked)
            self._end(accepted=False)
            return
        if not self.options["yes"]:
            click.echo(as_text(self.found, self.question, self.source, self.size), err=True)
            click.confirm(_asked(bookings, to_record), abort=True, err=True)
        if bookings:
            self.booked = send(
                self.server, bookings, self.question, category=self.options["category"], reason=self.options["reason"]
            )
            self.compare()
        recorded = self._record() if to_record and not self.booked.refused else None
        self.show([], unbooked, recorded)
        self._end(accepted=recorded is not None and recorded["accepted"])

    def compare(self) -> None:
        """Compare as of now."""
        self.size, ours = our_lines(self.server, self.question)
        self.found = compared(self.report, ours, self.question)

    def _wanted(self) -> tuple[list[Booking], list[Unbooked]]:
        """What is to be booked of what was chosen, and what of it cannot be."""
        wanted = self.options["accepted"]
        codes = {one.code for one in self.found.differences}
        for word in wanted:
            if word not in (ALL, *OPEN_KINDS, TOLERATED) and word not in codes and len(word) != CODE_LENGTH:
                raise click.UsageError(
                    f"--accept {word}: there is no such kind and no such line; write all, one of "
                    f"{', '.join(OPEN_KINDS)}, or the name of a line"
                )
            if word in codes or word in (ALL, *OPEN_KINDS, TOLERATED):
                continue
            click.echo(f"--accept {word}: nothing that differs has this name any more", err=True)
        if wanted and not self.found.billed:
            raise CannotReconcile("what only counts cannot be booked: add a report that bills")
        chosen = [
            one
            for one in self.found.differences
            if one.kind in wanted or one.code in wanted or (ALL in wanted and not one.tolerated)
        ]
        if self.question.total is not None:
            last = day_of(self.question.period.ends_at - 1)
            chosen = [_of_total(one, last) for one in chosen]
        return bookings_of(chosen, self._target)

    def _target(self, place: Place) -> Target | None:
        known = self.question.names.keys.get(place.key)
        if known is not None and known.budget:
            return known
        if self.options["budget"] is None:
            return None
        return Target(self.options["budget"], known.agent if known is not None else "", "")

    def _record(self) -> dict[str, Any]:
        """Put the comparison on record."""
        question, found = self.question, self.found

        def money(atoms: int) -> dict[str, str]:
            return {"amount": format_atoms(atoms, question.digits), "currency": question.currency}

        said: dict[str, Any] = self.server.post(
            "/v1/reconciliations",
            {
                "payee": question.payee,
                "source": self.source,
                "starts_at": moment_text(question.period.starts_at),
                "ends_at": moment_text(question.period.ends_at),
                "provider_total": money(found.their_total),
                "lines": found.lines,
                "matched": found.matched,
                "differences": [
                    {"kind": one.kind, "count": one.count, "amount": money(one.amount)} for one in found.by_kind()
                ],
                "files": self.report.files[:100] if self.report is not None else [],
                "at_size": self.size,
                "booked": sorted(set(self.booked.done))[:BOOKED_MAX],
                "accept": True if self.options["accept_rest"] else None,
                "reason": self.options["accept_rest"],
            },
        )
        return said

    def show(self, bookings: list[Booking], unbooked: list[Unbooked], recorded: dict[str, Any] | None = None) -> None:
        """Print the comparison as it is now, and what became of it."""
        question = self.question
        if self.options["form"] == "csv":
            click.echo(as_csv(self.found, question), nl=False)
            return
        files = self.report.files if self.report is not None else []
        if self.options["form"] == "json":
            said = plain(self.found, question, self.source, self.size, files)
            said["booked"] = self.booked.done
            said["pending"] = [reference for reference, _ in self.booked.pending]
            said["refused"] = [{"line": one.difference.code, "why": why} for one, why in self.booked.refused]
            said["not_booked"] = [{"line": one.difference.code, "why": one.why} for one in unbooked]
            said["would_book"] = [_booking_said(one, question) for one in bookings]
            said["reconciliation"] = recorded
            click.echo(json.dumps(said, indent=2))
            return
        click.echo(as_text(self.found, question, self.source, self.size), nl=False)
        for booking in bookings:
            click.echo(f"  would book   {_booking_text(booking, question)}")
        for one in unbooked:
            click.echo(f"  not booked   {one.difference.code}  {one.why}")
        for reference, booking in self.booked.pending:
            click.echo(f"  waits for a second person   {reference}  {_booking_text(booking, question)}")
        for booking, why in self.booked.refused:
            click.echo(f"  refused      {_booking_text(booking, question)}  {why}", err=True)
        if self.booked.done:
            click.echo(f"  booked       {len(self.booked.done)} charges and reprices")
        if recorded is not None:
            state = "accepted" if recorded["accepted"] else "with differences left open"
            click.echo(f"  on record    {recorded['id']}, {state}")

    def _end(self, *, accepted: bool) -> None:
        if self.booked.refused or (not accepted and any(not one.tolerated for one in self.found.differences)):
            raise SystemExit(1)


def _of_total(one: Difference, last_day: int) -> Difference:
    """More on an invoice than all calls cost is spend that the ledger has not; it belongs to no call, and counts for
    the last day of the period."""
    if one.amount < 0:
        return one
    line = TheirLine("the total of the invoice", last_day, one.amount)
    return Difference("missing_here", one.place, one.amount, one.theirs, one.ours, (line,))


def _asked(bookings: list[Booking], to_record: bool) -> str:
    parts = [f"Book {len(bookings)} charges and reprices"] if bookings else []
    parts += ["put the comparison on record" if parts else "Put the comparison on record"] if to_record else []
    return f"{' and '.join(parts)}?"


def _booking_said(one: Booking, question: Question) -> dict[str, Any]:
    return {
        "line": one.difference.code,
        "what": "charge" if one.target is not None else "reprice",
        "amount": format_atoms(one.amount, question.digits),
        "budget": one.target.budget if one.target is not None else None,
        "authorization": one.authorization or None,
    }


def _booking_text(one: Booking, question: Question) -> str:
    amount = f"{format_atoms(one.amount, question.digits)} {question.currency}"
    if one.target is not None:
        return f"{one.difference.code}  charge {amount} to {one.target.budget}: {about(one.difference)}"
    return f"{one.difference.code}  reprice {one.authorization} by {amount}"
