"""Reading the tables of a Markdown page, so that a test can run what the page says."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def cells_of(line: str) -> list[str]:
    """The cells of one line of a table, without code marks."""
    return [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]


def tables_of(text: str) -> list[list[dict[str, str]]]:
    """Every table of a page, as rows from column name to cell."""
    tables: list[list[dict[str, str]]] = []
    heading: list[str] | None = None
    lines = text.splitlines()
    for position, line in enumerate(lines):
        if not line.startswith("|"):
            heading = None
        elif heading is None:
            heading = cells_of(line)
            tables.append([])
        elif set(line) - set("|- :"):
            row = cells_of(line)
            assert len(row) == len(heading), f"line {position + 1} has {len(row)} cells: {line}"
            tables[-1].append(dict(zip(heading, row, strict=True)))
    return tables


def table_under(page: str, first_column: str) -> list[dict[str, str]]:
    """The one table of ``docs/<page>`` whose first column has this name."""
    found = [
        table
        for table in tables_of((ROOT / "docs" / page).read_text(encoding="utf-8"))
        if table and next(iter(table[0])) == first_column
    ]
    assert len(found) == 1, f"{len(found)} tables of {page} begin with {first_column}"
    return found[0]
