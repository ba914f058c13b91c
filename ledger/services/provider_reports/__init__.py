"""Reading what a provider says was spent: one module for each format, and the registry of them all.

Invariants: amounts are exact decimals, never binary fractions; whatever cannot be read stops the reading with its place
and what is wrong, so that nothing is compared with half a report; nothing is counted twice.
"""

from ledger.services.provider_reports.registry import FORMATS as FORMATS
from ledger.services.provider_reports.registry import Report as Report
from ledger.services.provider_reports.registry import read_reports as read_reports
from ledger.services.provider_reports.values import ReportError as ReportError
