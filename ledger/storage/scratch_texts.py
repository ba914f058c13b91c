"""What a verification notes of free texts, beside the rows that it makes anew: those that were not there.

Owns two tables of the scratch database. Invariant: whether a text is gone for a reason is only said once the rows of
``redactions`` are written, because a redaction may stand far behind the record that had the text.
"""

import sqlite3
from collections.abc import Iterable
from typing import Any, Final

TABLES: Final = (
    "absent_texts (log_index, field, told DEFAULT 0, PRIMARY KEY (log_index, field)) WITHOUT ROWID",
    "unmade_fingerprints (log_index INTEGER PRIMARY KEY, gone)",
)


class ScratchTexts:
    """Texts whose digest the log has and that were not there when it was read, and fingerprints that could not be made
    again. The scratch database has a table ``redactions``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        for table in TABLES:
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table}")

    def absent(self, keys: Iterable[tuple[int, str]]) -> None:
        """Keep the (log index, field) of texts that are not there."""
        self._connection.executemany("INSERT OR IGNORE INTO absent_texts VALUES (?, ?, 0)", keys)

    def tell_again(self) -> None:
        """Tell of those again that were told of before."""
        self._connection.execute("UPDATE absent_texts SET told = 0 WHERE told")

    def unexplained(self, count: int) -> list[tuple[int, str, bool]]:
        """At most ``count`` (log index, field, absent) of texts that are absent, that no written redaction names and
        that were not told of (True), or that one names and that were not absent (False), in no order."""
        rows = self._connection.execute(
            "SELECT a.log_index, a.field, 1 FROM absent_texts a LEFT JOIN redactions r"
            " ON r.log_index = a.log_index AND r.field = a.field WHERE r.field IS NULL AND NOT a.told"
            " UNION ALL SELECT r.log_index, r.field, 0 FROM redactions r LEFT JOIN absent_texts a"
            " ON a.log_index = r.log_index AND a.field = r.field WHERE a.field IS NULL LIMIT ?",
            (count,),
        )
        return [(index, field, bool(absent)) for index, field, absent in rows]

    def told_of(self, index: int, field: str) -> None:
        """A text was looked at: do not name it again."""
        self._connection.execute("INSERT OR REPLACE INTO absent_texts VALUES (?, ?, 1)", (index, field))

    def count(self) -> tuple[int, int]:
        """How many texts are absent that a written redaction names, and how many others."""
        joined = "absent_texts a LEFT JOIN redactions r ON r.log_index = a.log_index AND r.field = a.field"
        redacted, others = (
            self._connection.execute(f"SELECT count(*) FROM {joined} WHERE r.field IS {one} NULL").fetchone()[0]
            for one in ("NOT", "")
        )
        return redacted, others

    # Fingerprints, by the index of the record that has them.

    def unmade(self, index: int, *, gone: bool) -> None:
        """Keep one that could not be made again; ``gone`` says that the words lack which it was made of."""
        self._connection.execute("INSERT INTO unmade_fingerprints VALUES (?, ?)", (index, gone))

    def _joined(self, columns: str, condition: str) -> list[Any]:
        return self._connection.execute(
            f"SELECT {columns} FROM unmade_fingerprints u LEFT JOIN redactions r"
            f" ON u.gone AND r.log_index = u.log_index AND r.field = 'intent' WHERE {condition}"
        ).fetchall()

    def any_unexplained(self) -> bool:
        """Whether of any fingerprint the words lack that no written redaction names."""
        return bool(self._joined("1", "u.gone AND r.field IS NULL LIMIT 1"))

    def count_unmade(self) -> tuple[int, int]:
        """How many fingerprints there are whose words a written redaction names, and how many others."""
        named, others = (self._joined("count(*)", f"r.field IS {one} NULL")[0][0] for one in ("NOT", ""))
        return named, others

    def redacted_indexes(self, count: int) -> list[int]:
        """The first ``count`` indexes of fingerprints whose words a written redaction names."""
        return [row[0] for row in self._joined("u.log_index", f"r.field IS NOT NULL ORDER BY 1 LIMIT {count}")]
