"""What was spent as rows of FOCUS 1.4, the FinOps Open Cost and Usage Specification: dataset Cost and Usage.

Owns the columns and what fills them; ``focus_form`` and ``focus_parquet`` write them down. Invariants: ``BilledCost``
adds up to what a statement of the book says was spent, in each currency; a unit that is not money is in no row, because
FOCUS bills in currencies; what a ledger does not know is null and never guessed.

Source: FOCUS 1.4, Cost and Usage; "Correction Handling" for the periods of corrections.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import orjson

from ledger.core.book import book_code
from ledger.core.moment import SECOND
from ledger.core.money import currency_digits
from ledger.core.spend_line import CORRECTIONS, INVOICE, INVOICE_KINDS, SPEND_KINDS
from ledger.core.windows import MONTH, calendar_bounds
from ledger.services.journal.inference_form import INFERENCE, is_cost, is_count
from ledger.services.journal.making import Journal
from ledger.services.journal.reading import CostLine

TEXT: Final = "text"
AMOUNT: Final = "amount"
COUNT: Final = "count"
MOMENT: Final = "moment"
WHOLE: Final = "whole"
COLUMNS: Final = {
    "BilledCost": AMOUNT, "BillingAccountId": TEXT, "BillingAccountName": TEXT, "BillingAccountType": TEXT,
    "BillingCurrency": TEXT, "BillingPeriodEnd": MOMENT, "BillingPeriodStart": MOMENT, "ChargeCategory": TEXT,
    "ChargeClass": TEXT, "ChargeDescription": TEXT, "ChargeFrequency": TEXT, "ChargePeriodEnd": MOMENT,
    "ChargePeriodStart": MOMENT, "ConsumedQuantity": COUNT, "ConsumedUnit": TEXT, "ContractedCost": AMOUNT,
    "EffectiveCost": AMOUNT, "HostProviderName": TEXT, "InvoiceId": TEXT, "InvoiceIssuerName": TEXT, "ListCost": AMOUNT,
    "PricingQuantity": COUNT, "PricingUnit": TEXT, "ResourceId": TEXT, "ResourceName": TEXT, "ResourceType": TEXT,
    "ServiceCategory": TEXT, "ServiceName": TEXT, "ServiceProviderName": TEXT, "ServiceSubcategory": TEXT,
    "SkuId": TEXT, "SkuMeter": TEXT, "SubAccountId": TEXT, "SubAccountName": TEXT, "SubAccountType": TEXT,
    "Tags": TEXT, "x_Agent": TEXT, "x_Authorization": TEXT, "x_Category": TEXT, "x_CorrectsLogIndex": WHOLE,
    "x_EffectiveAt": MOMENT, "x_Flags": TEXT, "x_InputTokens": COUNT, "x_Kind": TEXT, "x_LogIndex": WHOLE,
    "x_OutputTokens": COUNT, "x_Position": WHOLE, "x_RecordedAt": MOMENT, "x_ResponseId": TEXT, "x_Run": TEXT,
}  # fmt: skip
"""Column to sort of value: text, an amount in atoms of the row's currency, a count, a moment in microseconds, or a
whole number."""
USAGE: Final = "Usage"
CREDIT: Final = "Credit"
ADJUSTMENT: Final = "Adjustment"
TAX: Final = "Tax"
TAX_CATEGORIES: Final = ("tax", "vat")
"""Categories of ours that are taxes, and whatever begins with one of them and a point or a hyphen."""
TOKENS: Final = "Tokens"
PURCHASES: Final = "Purchases"
"""The unit of what says no quantity: an authorization that was settled is one purchase."""
OWN_TAGS: Final = "bursar/"
"""Before tags that we set, so that they are told from labels."""


class FocusRow(NamedTuple):
    """``digits`` are those of the row's currency; ``values`` stand in the order of ``COLUMNS``, None for null."""

    digits: int
    values: tuple[Any, ...]


def focus_rows(journal: Journal) -> Iterator[FocusRow]:
    """The rows of an export, in the order of the log. Raises JournalBroken."""
    months = Months(journal.book.timezone)
    for told in journal.costs():
        line = told.line
        digits = currency_digits(line.currency)
        if digits is not None and is_cost(line):
            cells = _cells(journal, told, months)
            yield FocusRow(digits, tuple(cells.get(name) for name in COLUMNS))


class Months:
    """The month, in a time zone, that each moment is in; neighbours share theirs."""

    def __init__(self, timezone: str) -> None:
        self._timezone = timezone
        self._bounds = (0, 0)

    def of(self, moment: int) -> tuple[int, int]:
        """When it begins, and when the next one does, in microseconds."""
        if not self._bounds[0] <= moment < self._bounds[1]:
            self._bounds = calendar_bounds(MONTH, timezone=self._timezone, now=moment)
        return self._bounds


def _cells(journal: Journal, told: CostLine, months: Months) -> dict[str, Any]:
    line, book = told.line, journal.book
    category, corrected = _category(told), told.corrected
    month = months.of(line.effective_at)
    # A correction is billed in its own period, and charged for that of what it corrects; so is what came too late.
    charged_at = line.effective_at if line.meant_for is None else line.meant_for
    charged_at = charged_at if corrected is None else corrected.effective_at
    is_earlier = charged_at < month[0]
    charged_at -= charged_at % SECOND
    payee = line.payee or book.name
    return {
        "BilledCost": line.amount,
        "BillingAccountId": book_code(book.book_id),
        "BillingAccountName": book.name,
        "BillingAccountType": "Book",
        "BillingCurrency": line.currency,
        "BillingPeriodEnd": month[1],
        "BillingPeriodStart": month[0],
        "ChargeCategory": category,
        "ChargeClass": "Correction" if is_earlier else None,
        "ChargeDescription": " ".join(word for word in (line.kind, line.category, line.resource) if word),
        "ChargeFrequency": "Usage-Based" if category == USAGE else "One-Time",
        "ChargePeriodEnd": charged_at + SECOND,
        "ChargePeriodStart": charged_at,
        "ContractedCost": line.amount,
        "EffectiveCost": line.amount,
        "InvoiceId": told.invoice or None,
        "InvoiceIssuerName": payee,
        "ListCost": line.amount,
        "ServiceName": f"{payee} {line.category}" if line.category else payee,
        "ServiceProviderName": payee,
        "SubAccountId": line.budget,
        "SubAccountName": line.budget,
        "SubAccountType": "Budget" if line.budget else None,
        "Tags": _tags(told),
        **_quantities(told, category),
        **_service(told),
        **_extras(told),
    }


def _category(told: CostLine) -> str:
    line = told.line
    if line.kind in INVOICE_KINDS:
        # What an invoice adds to expenses itself are taxes, what it takes off are credits; a void one gives both back.
        return TAX if (line.amount > 0) == (line.kind == INVOICE) else CREDIT
    if line.category and line.category.partition("-")[0].partition(".")[0] in TAX_CATEGORIES:
        return TAX
    if line.kind in SPEND_KINDS:
        return USAGE
    return CREDIT if line.amount < 0 and line.corrects is None else ADJUSTMENT


def _quantities(told: CostLine, category: str) -> dict[str, Any]:
    """What was used: tokens where they were metered, else one purchase; a correction uses nothing anew."""
    line = told.line
    if category != USAGE or line.kind in CORRECTIONS:
        return {}
    counts = [int(told.metering[name]) for name in _TOKENS if is_count(told.metering.get(name, ""))]
    quantity, unit = (sum(counts), TOKENS) if counts else (1, PURCHASES)
    return {
        "ConsumedQuantity": quantity,
        "ConsumedUnit": unit,
        "PricingQuantity": quantity,
        "PricingUnit": unit,
        "SkuId": f"{line.payee}/{line.resource or line.category}",
        "SkuMeter": unit,
    }


_TOKENS: Final = ("input_tokens", "output_tokens")


def _service(told: CostLine) -> dict[str, Any]:
    line = told.line
    is_ai = line.category == INFERENCE or any(name in told.metering for name in _TOKENS)
    found: dict[str, Any] = {
        "ServiceCategory": "AI and Machine Learning" if is_ai else "Other",
        "ServiceSubcategory": "Generative AI" if is_ai else "Other (Other)",
    }
    if line.resource:
        found |= {"ResourceId": line.resource, "ResourceName": line.resource, "ResourceType": line.category}
    return found


def _tags(told: CostLine) -> str | None:
    line = told.line
    own = {"agent": line.agent, "run": line.run, "budget": line.budget, "category": line.category}
    tags = dict(told.labels) | {f"{OWN_TAGS}{name}": value for name, value in own.items() if value}
    return orjson.dumps(tags, option=orjson.OPT_SORT_KEYS).decode() if tags else None


def _extras(told: CostLine) -> dict[str, Any]:
    line = told.line
    tokens = [int(told.metering[name]) if is_count(told.metering.get(name, "")) else None for name in _TOKENS]
    return {
        "x_Agent": line.agent,
        "x_Authorization": line.authorization_id,
        "x_Category": line.category,
        "x_CorrectsLogIndex": line.corrects,
        "x_EffectiveAt": line.effective_at,
        "x_Flags": " ".join(told.flags) or None,
        "x_InputTokens": tokens[0],
        "x_Kind": line.kind,
        "x_LogIndex": line.log_index,
        "x_OutputTokens": tokens[1],
        "x_Position": line.position,
        "x_RecordedAt": line.recorded_at,
        "x_ResponseId": told.metering.get("response_id"),
        "x_Run": line.run,
    }
