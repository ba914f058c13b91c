"""Statements as workbooks: typed cells, formulas that come to the statement's figures, no text that is a formula."""

from __future__ import annotations

import io
import re
import zipfile
from datetime import datetime
from decimal import Decimal
from typing import Any

import openpyxl
import orjson
import pytest

from ledger.core.statement import Scope, Statement
from ledger.services.pages.neutral import FORMULA_STARTS
from ledger.services.pages.paper import A4, LETTER
from ledger.services.pages.sheets import amount_format, cell, is_exact, number
from ledger.services.statements import xlsx_form
from ledger.services.statements.json_form import write_json
from ledger.services.statements.making import StatementRefused
from ledger.services.statements.xlsx_form import COLUMNS, write_xlsx
from tests.support.made_statement import MANY, ODD, made
from tests.support.spreadsheet import Calculated

BOOKS = {
    "one currency": made(40),
    "many currencies": made(80, currencies=(*MANY, "TOKENS"), holds=14),
    "zero lines": made(0, holds=0, checkpoint=False),
    "one line": made(1, holds=1),
    "an account": made(20, scope=Scope("account", "expenses:inference")),
}
SHEETS = ["Statement", "Subtotals", "Lines", "Held"]
AT = {title: at for at, (title, _) in enumerate(COLUMNS)}


def opened(statement: Statement, *, calculated: bool = False) -> Any:
    """The workbook, with its formulas or with the values that stand beside them."""
    data = b"".join(write_xlsx(statement))
    return openpyxl.load_workbook(io.BytesIO(data), data_only=calculated)


def rows(sheet: Any) -> list[list[Any]]:
    """The values of all cells."""
    return [[each.value for each in row] for row in sheet.iter_rows()]


def exactly(value: Any) -> Decimal:
    """A cell's number, as a person reads it."""
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(str(value))


@pytest.mark.parametrize("name", BOOKS)
def test_formulas_come_to_what_stands_beside_them(name: str) -> None:
    """Calculated anew from the cells alone: balances, subtotals, and no difference."""
    statement = BOOKS[name]
    formulas, values = opened(statement), opened(statement, calculated=True)
    calculated, looked_at = Calculated(formulas), 0
    for title in SHEETS:
        for row in formulas[title].iter_rows():
            for each in row:
                if each.data_type == "f":
                    shown = values[title][each.coordinate].value
                    assert calculated.value(title, each.coordinate) == exactly(shown), (title, each.coordinate)
                    looked_at += 1
    lines = len(list(statement.read_lines()))
    assert looked_at >= lines + 2 * len(statement.currencies)


@pytest.mark.parametrize("name", BOOKS)
def test_a_workbook_says_what_json_says(name: str) -> None:
    """Line by line, subtotal by subtotal, balance by balance."""
    statement = BOOKS[name]
    said = orjson.loads(b"".join(write_json(statement)))
    book = opened(statement, calculated=True)
    assert book.sheetnames == SHEETS
    lines = rows(book["Lines"])
    assert lines[0] == [title for title, _ in COLUMNS]
    for row, line in zip(lines[1:], said["lines"], strict=True):
        for title, member in (("Spent", "cost"), ("Amount", "amount"), ("Balance", "balance")):
            assert exactly(row[AT[title]]) == Decimal(line[member]["amount"]), (title, line)
        assert row[AT["Currency"]] == line["amount"]["currency"]
        assert (row[AT["Authorization"]], row[AT["Record"]]) == (line["authorization"], line["log_index"])
        assert row[AT["Day"]] == datetime.fromisoformat(line["day"])
        if line["corrects"] is not None:
            assert row[AT["Corrects day"]] == datetime.fromisoformat(line["corrects"]["day"])
            assert exactly(row[AT["Corrects amount"]]) == Decimal(line["corrects"]["cost"]["amount"])
        if line["meant_for"] is not None:
            assert row[AT["Meant for (UTC)"]] == datetime.fromisoformat(line["meant_for"]).replace(tzinfo=None)
    first = {row[0]: row for row in rows(book["Statement"])}
    for member, column in (("opening", 1), ("closing", 3), ("closing", 4), ("held", 6)):
        for balance in said[member]:
            assert exactly(first[balance["currency"]][column]) == Decimal(balance["amount"])
    assert all(first[currency][5] == 0 for currency in statement.currencies)
    subtotals = [row for row in rows(book["Subtotals"]) if row[2] and row[2] != "Currency"]
    wanted = [each for name in ("movements", "by_payee", "by_category", "by_agent") for each in said["totals"][name]]
    assert [(row[1], row[2], exactly(row[3])) for row in subtotals] == [
        (each["lines"], each["amount"]["currency"], Decimal(each["amount"]["amount"])) for each in wanted
    ]
    held = rows(book["Held"])[1:]
    assert [exactly(row[12]) for row in held] == [Decimal(hold["held"]["amount"]) for hold in said["holds"]]


@pytest.mark.parametrize("text", [*ODD, *(f"{start}1+1" for start in FORMULA_STARTS)])
def test_no_text_of_a_user_is_a_formula_or_markup(text: str) -> None:
    """It is a string, and what could be a formula elsewhere stands behind an apostrophe, as in CSV."""
    book = opened(made(4, resources=[text], holds=2))
    kept = text.replace("\ufffe", "\ufffd").replace("\r", "\n")
    for sheet, column in ((book["Lines"], AT["Resource"]), (book["Held"], 8)):
        for row in list(sheet.iter_rows())[1:]:
            found = row[column]
            assert found.data_type in ("s", "inlineStr"), found.data_type
            # What would stand for a character of its own is written so that it does not.
            assert found.value.removeprefix("'").replace("_x000D_", "\n").replace("_x005F_", "_") == kept
            assert not found.value.startswith(FORMULA_STARTS)
    formulas = [each.value for sheet in book for row in sheet.iter_rows() for each in row if each.data_type == "f"]
    assert formulas
    assert all(re.fullmatch(r"=ROUND\(.*,\d\)", formula) for formula in formulas)


def test_cells_are_typed_and_the_head_stays() -> None:
    book = opened(made(10))
    sheet = book["Lines"]
    second = {title: sheet.cell(2, at + 1) for title, at in AT.items()}
    assert [second[title].is_date for title in ("Day", "Counts for (UTC)", "Recorded (UTC)")] == [True] * 3
    assert second["Amount"].data_type == "n"
    assert second["Amount"].number_format == "#,##0.00??"
    assert sheet.freeze_panes == "A2"
    assert sheet.auto_filter.ref == "A1:AC11"
    assert sheet.print_title_rows == "$1:$1"
    assert sheet.column_dimensions["E"].width > 30


def test_both_papers() -> None:
    for paper, size in ((A4, "9"), (LETTER, "1")):
        book = openpyxl.load_workbook(io.BytesIO(b"".join(write_xlsx(made(1), paper))))
        assert {str(sheet.page_setup.paperSize) for sheet in book} == {size}


def test_what_a_spreadsheet_cannot_hold_is_a_text_and_says_so() -> None:
    """Nothing is rounded: more than 15 digits are a text. Formulas of that currency would be wrong, so it has none."""
    statement = made(12, atoms_max=4 * 10**17, places=9, holds=0)
    said = orjson.loads(b"".join(write_json(statement)))
    book = opened(statement)
    lines = rows(book["Lines"])[1:]
    for row, line in zip(lines, said["lines"], strict=True):
        assert exactly(row[AT["Balance"]]) == Decimal(line["balance"]["amount"])
        assert exactly(row[AT["Amount"]]) == Decimal(line["amount"]["amount"])
    assert [row for row in lines if isinstance(row[AT["Balance"]], str)]
    assert not [each for sheet in book for row in sheet.iter_rows() for each in row if each.data_type == "f"]
    assert [row[0] for row in rows(book["Statement"]) if str(row[0]).startswith("USD: without formulas")]


@pytest.mark.parametrize(
    ("atoms", "digits", "exact"),
    [
        (10**15 - 1, 0, True), (10**15 + 1, 0, False), (10**18, 0, True), (1_234_567_890_000_000, 9, True),
        (-(10**6 + 1) * 10**9 - 1, 9, False), (1, 9, True), (0, 9, True), (2**63 - 1, 6, False),
    ],
)  # fmt: skip
def test_which_amounts_a_spreadsheet_holds(atoms: int, digits: int, exact: bool) -> None:
    """A double that was written with 15 digits reads as the same 15 digits."""
    assert is_exact(atoms) is exact
    if exact:
        assert Decimal(f"{number(atoms, digits):.15g}") == Decimal(atoms).scaleb(-digits)


@pytest.mark.parametrize(
    ("digits", "places", "shown"),
    [(9, 2, "#,##0.00"), (9, 4, "#,##0.00??"), (9, 0, "#,##0.00"), (0, 0, "#,##0"), (1, 1, "#,##0.0")],
)
def test_how_amounts_are_shown(digits: int, places: int, shown: str) -> None:
    assert amount_format(digits, places) == shown


def test_names_of_cells() -> None:
    assert [cell(0, column) for column in (0, 25, 26, 701, 702)] == ["$A$1", "$Z$1", "$AA$1", "$ZZ$1", "$AAA$1"]


def test_the_same_statement_is_the_same_bytes() -> None:
    """With the date of the log's last record, and none of the machine's."""
    first, again = b"".join(write_xlsx(made(12))), b"".join(write_xlsx(made(12)))
    assert first == again
    assert first != b"".join(write_xlsx(made(12), LETTER))
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert {item.date_time[0] for item in archive.infolist()} == {1980}
        assert b"2026-12-20T" in archive.read("docProps/core.xml")


def test_what_is_too_long_for_a_sheet_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx_form, "LINES_MAX", 11)
    with pytest.raises(StatementRefused, match=r"at most 11 lines.*has 12; ask for csv") as refused:
        next(write_xlsx(made(12)))
    assert refused.value.field == "format"
