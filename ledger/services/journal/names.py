"""Names of accounts and currencies as plain-text accounting programs take them, and back.

Owns the two mappings to beancount, which takes neither lower-case beginnings nor points and underscores, and the
escaping of texts. Invariants: each mapping can be undone, so no two accounts of ours become one of theirs; what stands
for a character that a program refuses is a character that our names never have.
"""

import re
from typing import Final

from ledger.core.account import AUTHORITY_NAME
from ledger.core.money import currency_digits

ROOTS: Final = {
    "expenses": "Expenses",
    "payables": "Liabilities:Payables",
    "assets": "Assets",
    "equity": "Equity",
    "income": "Income",
    "budgets": "Equity:BudgetAuthority",
}
"""What our names begin with, and what beancount's do: it has five roots, and control accounts stand below Equity. No
name of ours becomes ``BudgetAuthority``, because within a name only the letters of ``_ESCAPES`` are capital."""
AUTHORITY: Final = f"{ROOTS['budgets']}:AllBudgets"
"""``authority``: what all budgets were given, less what came back."""
UNIT_PREFIX: Final = "UNIT."
"""Before units that are not money, so that a unit called usd is not taken for dollars."""
_UNIT_END: Final = "'E"
"""Behind a unit that ends with a character at which no commodity may end."""
_ESCAPES: Final = {".": "D", "_": "U"}
_MEANT: Final = {letter: character for character, letter in _ESCAPES.items()}


_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9._-]*", re.ASCII)


def beancount_account(name: str) -> str:
    """``payables:serp.api`` as beancount takes it: ``Liabilities:Payables:SerpDapi``.

    Each part begins with a capital letter; D stands for a point and U for an underscore. Raises KeyError for a name
    that no account may bear.
    """
    if name == AUTHORITY_NAME:
        return AUTHORITY
    head, *parts = name.split(":")
    return ":".join((ROOTS[head], *map(_component, parts)))


def account_of_beancount(name: str) -> str:
    """The account behind a name that ``beancount_account`` made. Raises ValueError for any other."""
    if name == AUTHORITY:
        return AUTHORITY_NAME
    for head, root in sorted(ROOTS.items(), key=lambda item: -len(item[1])):
        if name.startswith(f"{root}:"):
            return ":".join((head, *map(_part, name.removeprefix(f"{root}:").split(":"))))
    raise ValueError(f'"{name}" is no account of a journal')


def _component(part: str) -> str:
    rest = "".join(_ESCAPES.get(letter, letter) for letter in part[1:])
    return part[:1].upper() + rest


def _part(component: str) -> str:
    rest = "".join(_MEANT.get(letter, letter) for letter in component[1:])
    part = component[:1].lower() + rest
    if _SLUG.fullmatch(part) is None or _component(part) != component:
        raise ValueError(f'"{component}" is no part of an account of a journal')
    return part


def beancount_commodity(currency: str) -> str:
    """A currency's code as it is; a unit such as ``tokens`` as ``UNIT.TOKENS``."""
    if currency_digits(currency) is not None:
        return currency
    return f"{UNIT_PREFIX}{currency.upper()}{_UNIT_END if currency[-1] in '._-' else ''}"


def currency_of_beancount(commodity: str) -> str:
    """The currency or unit behind a commodity that ``beancount_commodity`` made."""
    if not commodity.startswith(UNIT_PREFIX):
        return commodity
    return commodity.removeprefix(UNIT_PREFIX).removesuffix(_UNIT_END).lower()


def hledger_commodity(currency: str) -> str:
    """A currency's code as it is; a unit in quotes, within which hledger takes any name."""
    return currency if currency_digits(currency) is not None else f'"{currency}"'


_TAG_REFUSES: Final = re.compile(r"[%,\[\]\x00-\x1f\x7f-\x9f\u2028\u2029]|^\s|\s$")
_WORDS_REFUSE: Final = re.compile(r"[%;|=\x00-\x1f\x7f-\x9f\u2028\u2029]|^[\s(*!]|\s$|  +")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_QUOTED: Final = {"\\": "\\\\", '"': '\\"'}


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())


def hledger_value(text: str) -> str:
    """A text as the value of a tag, which ends at a comma or at the end of the line: what cannot stand there is
    written as in a URL, ``%2C`` for a comma, and so is the percent sign itself."""
    return _TAG_REFUSES.sub(_percent, text)


def hledger_words(text: str) -> str:
    """A text in a description, where a semicolon begins a comment and a bar ends the payee; as ``hledger_value``."""
    return _WORDS_REFUSE.sub(_percent, text)


def beancount_text(text: str) -> str:
    """A text in quotes, on one line: control characters, which few texts have, are written as in a URL."""
    plain = _CONTROLS.sub(_percent, text)
    return '"' + "".join(_QUOTED.get(letter, letter) for letter in plain) + '"'
