"""The invariants of a book as named checks that return what is wrong as values, and never raise for it.

Owns ``Difference``, the one shape of everything that can be found wrong with a book. Each check takes streams of rows,
so that a book of any length is checked in bounded memory; tests, the naive model and ``bursar verify`` share them.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from ledger.core.account import BUDGETARY, EXPENSE, ROLE_AVAILABLE, ROLE_HELD, ROLE_SPENT, Account, held_name
from ledger.core.money import currency_digits

SORTS_NET_TO_ZERO: Final = "sorts_net_to_zero"
HELD_EQUALS_OPEN_HOLDS: Final = "held_equals_open_holds"
OVERDRAFTS_EXPLAINED: Final = "overdrafts_explained"
SPENT_EQUALS_EXPENSE: Final = "spent_equals_expense"
BALANCES_FOLD_TRANSFERS: Final = "balances_fold_transfers"
SETTLED_IS_FINAL: Final = "settled_is_final"
INDEXES_WITHOUT_GAP: Final = "indexes_without_gap"
TIMES_NEVER_RUN_BACKWARDS: Final = "times_never_run_backwards"
ENTRIES_FOLLOW_RULES: Final = "entries_follow_rules"
NAMES: Final = (
    SORTS_NET_TO_ZERO,
    HELD_EQUALS_OPEN_HOLDS,
    OVERDRAFTS_EXPLAINED,
    SPENT_EQUALS_EXPENSE,
    BALANCES_FOLD_TRANSFERS,
    SETTLED_IS_FINAL,
    INDEXES_WITHOUT_GAP,
    TIMES_NEVER_RUN_BACKWARDS,
    ENTRIES_FOLLOW_RULES,
)
"""Every invariant of the design, by name; the last says that transfers and states are those the record's kind makes."""

_EXPLAINING_FLAGS: Final = frozenset(("overrun", "late", "unauthorized"))
_EXPLAINING_KINDS: Final = ("settlement", "charge")


class Difference(NamedTuple):
    """One thing that is wrong: in which table, at which log index or key, in which column, and how.

    ``check`` is the invariant's name, or empty where a stored value is not the one that the log gives.
    """

    table: str
    what: str
    log_index: int | None = None
    key: str = ""
    column: str = ""
    expected: str = ""
    found: str = ""
    check: str = ""

    def sentence(self) -> str:
        """One line for people."""
        place = self.table
        if self.log_index is not None:
            place += f" record {self.log_index}"
        if self.key:
            place += f" ({self.key})"
        if self.column:
            place += f" column {self.column}"
        said = f"{place}: {self.what}"
        if self.expected or self.found:
            said += f"; expected {self.expected or 'nothing'}, found {self.found or 'nothing'}"
        return f"{said} [{self.check}]" if self.check else said


def shown(value: Any) -> str:
    """A stored value as a difference shows it: bytes as hex, text in quotes, and no more of it than a line holds."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        text = bytes(value).hex()
    elif isinstance(value, str):
        text = f'"{value}"'
    else:
        text = str(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


def explains_overdraft(body: Mapping[str, Any]) -> bool:
    """Whether a record may take an available balance below zero: real spend above or after a hold, or
    without one, when it was settled or when its price was corrected."""
    spent = body.get("kind") in _EXPLAINING_KINDS or (body.get("kind") == "adjustment" and "reprice" in body)
    return spent and not _EXPLAINING_FLAGS.isdisjoint(body.get("flags", ()))


def sorts_net_to_zero(accounts: Iterable[Account]) -> list[Difference]:
    """Per currency, budgetary accounts net to zero, and so do real ones."""
    nets: dict[tuple[str, str], int] = {}
    for account in accounts:
        sort = "authority" if account.kind == BUDGETARY else "money"
        nets[account.currency, sort] = nets.get((account.currency, sort), 0) + account.balance
    return [
        Difference(
            "accounts",
            f"{sort} in {currency} does not net to zero",
            expected="0",
            found=str(net),
            check=SORTS_NET_TO_ZERO,
        )
        for (currency, sort), net in sorted(nets.items())
        if net
    ]


def held_equals_open_holds(accounts: Iterable[Account], holds: Iterable[tuple[str, str, int]]) -> list[Difference]:
    """Each budget's held account equals the sum of what its open holds still hold.

    ``holds`` are (budget, currency, atoms held) of authorizations, in any order; those that hold nothing may be
    left out.
    """
    expected: dict[tuple[str, str], int] = {}
    for budget, currency, held in holds:
        holding = (held_name(budget), currency)
        expected[holding] = expected.get(holding, 0) + held
    found: list[Difference] = []
    for account in accounts:
        if account.role != ROLE_HELD:
            continue
        total = expected.pop((account.name, account.currency), 0)
        if total != account.balance:
            found.append(_unbalanced(account.name, account.currency, total, account.balance, HELD_EQUALS_OPEN_HOLDS))
    found.extend(
        _unbalanced(name, currency, total, 0, HELD_EQUALS_OPEN_HOLDS)
        for (name, currency), total in sorted(expected.items())
        if total
    )
    return found


def overdrafts_explained(accounts: Iterable[Account], body_at: Callable[[int], Mapping[str, Any]]) -> list[Difference]:
    """No available balance is negative unless the record that its ``overdrawn_index`` names explains it.

    ``body_at`` gives the body of the record at a log index, empty where there is none.
    """
    found = []
    for account in accounts:
        if account.role != ROLE_AVAILABLE or account.balance >= 0:
            continue
        index = account.overdrawn_index
        if index is None or not explains_overdraft(body_at(index)):
            what = "the available balance is below zero and no overrun, late or unauthorized record explains it"
            found.append(
                Difference(
                    "accounts", what, index, f"{account.name} {account.currency}", "balance", "0 or more",
                    str(account.balance), OVERDRAFTS_EXPLAINED,
                )
            )  # fmt: skip
    return found


def spent_equals_expense(accounts: Iterable[Account], adjusted: Mapping[str, tuple[int, int]]) -> list[Difference]:
    """Per currency that is money, what budgets spent equals expenses, but for adjustments.

    ``adjusted`` maps a currency to what adjustments added to (spent, expenses), in atoms.
    """
    spent: dict[str, int] = {}
    expense: dict[str, int] = {}
    for account in accounts:
        if account.role == ROLE_SPENT:
            spent[account.currency] = spent.get(account.currency, 0) + account.balance
        elif account.kind == EXPENSE:
            expense[account.currency] = expense.get(account.currency, 0) + account.balance
    found = []
    for currency in sorted(spent.keys() | expense.keys()):
        if currency_digits(currency) is None:
            continue
        to_spent, to_expense = adjusted.get(currency, (0, 0))
        unadjusted_spent = spent.get(currency, 0) - to_spent
        unadjusted_expense = expense.get(currency, 0) - to_expense
        if unadjusted_spent != unadjusted_expense:
            what = f"spent and expenses in {currency} differ beyond what adjustments say"
            found.append(
                Difference(
                    "accounts", what, expected=str(unadjusted_expense), found=str(unadjusted_spent),
                    check=SPENT_EQUALS_EXPENSE,
                )
            )  # fmt: skip
    return found


def balances_fold_transfers(
    accounts: Iterable[Account], transfers: Iterable[tuple[int, int, int, int, int, int, int]]
) -> list[Difference]:
    """Each balance equals the fold of its account's transfers, and each transfer's stored balances agree.

    ``transfers`` are (log index, position, debit number, credit number, atoms, debit balance, credit balance) in the
    order of the log. Memory grows with the number of accounts.
    """
    found: list[Difference] = []
    balances: dict[int, int] = {}
    for index, position, debit, credit, atoms, debit_balance, credit_balance in transfers:
        for account, change, column, stored in (
            (debit, atoms, "debit_balance", debit_balance),
            (credit, -atoms, "credit_balance", credit_balance),
        ):
            balance = balances[account] = balances.get(account, 0) + change
            if balance != stored:
                found.append(
                    Difference(
                        "transfers", "the balance stored is not the sum of what was posted", index,
                        f"position={position}", column, str(balance), str(stored), BALANCES_FOLD_TRANSFERS,
                    )
                )  # fmt: skip
    for row in accounts:
        balance = balances.get(row.account_no, 0)
        if row.balance != balance:
            found.append(_unbalanced(row.name, row.currency, balance, row.balance, BALANCES_FOLD_TRANSFERS))
    return found


def record_follows(*, index: int, recorded_at: int, next_index: int, last_recorded_at: int) -> list[Difference]:
    """A record stands at ``next_index`` and not earlier (microseconds) than the one before it."""
    found = []
    if index < next_index:
        what = "there is another record of this index"
        found.append(Difference("log_records", what, index, check=INDEXES_WITHOUT_GAP))
    elif index != next_index:
        missing = f"{next_index}" if index == next_index + 1 else f"{next_index} to {index - 1}"
        found.append(Difference("log_records", f"missing: {missing}", next_index, check=INDEXES_WITHOUT_GAP))
    if recorded_at < last_recorded_at:
        found.append(
            Difference(
                "log_records", "the time runs backwards", index, "", "recorded_at", f"{last_recorded_at} or later",
                str(recorded_at), TIMES_NEVER_RUN_BACKWARDS,
            )
        )  # fmt: skip
    return found


def _unbalanced(name: str, currency: str, expected: int, found: int, check: str) -> Difference:
    what = (
        "the held account is not the sum of what open holds still hold"
        if check == HELD_EQUALS_OPEN_HOLDS
        else "the balance is not the sum of what was posted"
    )
    return Difference("accounts", what, None, f"{name} {currency}", "balance", str(expected), str(found), check)
