"""What the books of the year must say, written by hand.

``year_calls.py`` has what happens every month, and ``year_story.py`` what is odd.

Every month the crawler spends 40 and 10, the reader 30, triage 20, the replier 15 and 10 euros, which are 11.00 dollars
until June and 12.50 from July; the writer spends 50 euros, and ads 22 dollars, which are 20.00 euros and then 17.60.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

QUARTERS: Final = ("2026-Q1", "2026-Q2", "2026-Q3", "2026-Q4")
ENDS: Final = ("2026-03-31", "2026-06-30", "2026-09-30", "2026-12-31")

ACCOUNTS: Final = """
assets:bank                 USD   4408.00  4010.80  3384.60  2439.80
assets:bank                 EUR   1856.00  1640.00  1430.00  1708.00
assets:prepaid:anthropic    USD    168.00    33.00   198.00    63.00
equity:exchange             USD     33.00    66.00   100.75   739.25
equity:exchange             EUR    -30.00   -60.00   -87.80  -610.60
equity:opening              USD  -4900.00 -4900.00 -4900.00 -4900.00
equity:opening              EUR  -2000.00 -2000.00 -2000.00 -2000.00
expenses:inference          USD    361.00   699.00  1044.25  1393.75
expenses:inference          EUR    210.00   420.00   622.80   830.60
expenses:search             USD     30.00    66.00   102.00   139.00
expenses:data               USD     60.00    60.00    60.00    60.00
expenses:tax                USD     52.40    99.60   148.60   198.60
expenses:tax                EUR     36.00    72.00   107.00   144.00
expenses:credits            USD      0.00    -5.00    -5.00    -5.00
payables:openai             USD   -122.40   -98.40   -97.20   -98.40
payables:mistral            EUR    -72.00   -72.00   -72.00   -72.00
payables:serp               USD    -90.00   -31.00   -36.00   -30.00
authority                   USD  -5000.00 -5000.00 -5000.00 -5000.00
authority                   EUR   -240.00  -450.00  -655.20  -863.00
budgets:company:available   USD   4442.00  4060.00  3676.25  3284.75
budgets:research:available  USD     73.00    71.00    65.00    70.00
budgets:research:spent      USD    293.00   537.00   782.00  1022.00
budgets:support:available   USD     34.00    44.00    52.50    43.50
budgets:support:held        USD      0.00     0.00     0.00     9.00
budgets:support:spent       USD    158.00   288.00   424.25   570.75
budgets:growth:available    EUR     30.00    30.00    32.40    32.40
budgets:growth:spent        EUR    210.00   420.00   622.80   830.60
"""
"""Every account at the end of each quarter, debits less credits. In words, to the end of the year:

- The bank began with 5000.00. It paid 100.00 that were owed before, twice 300.00 for credit with anthropic, 1093.20
  of openai's invoices of January to November, 157.00 of serp's of three quarters (90 + 31 + 36), and 610.00 for
  euros. In euros it began with 2000.00, paid 792.00 of mistral's invoices of eleven months (nine of 72, one of 66, one
  of 78), and bought 500.00.
- Of the credit of 600.00 twelve times 45.00 were used, and 3.00 came back.
- Inference in dollars: six times 116.00 (40 + 30 + 20 + 15 + 11) and six times 117.50; less 4.00 and 3.00 of February,
  20.00 more in March and 18.00 less in April, when the mistyped price was mended; 8.00 more in May (calls of 2 and 5, a
  charge of 3, less 2 for what was never billed, less 2 and plus 2 for the two calls that cost otherwise); less 6.25
  in August, 1.00 in September, 7.00 that were search in October; 4.00 more in November.
- In euros: six times 70.00 and six times 67.60, and 5.00 more in November.
- Search: twelve times 10.00, less 2.00, and 8.00, 6.00 and 7.00 more. Data: 60.00; the 70.00 of June were reversed.
- Tax is 20 percent of what openai (993.00) and mistral (720.00 euros) billed. Serp took 5.00 off.
- Owed are the invoices of December, and serp's last quarter.
- The exchange account has what the others lack: 12 times 22.00 dollars of ads into euros, less 141.00 (66.00 and 75.00)
  of the replier's calls in euros, 6.25 back, and 610.00 for the 500 euros.
- Research and support get their money from the company, and give back what a month leaves: all of it, or what is above
  20.00. So the company has its 5000.00 less what both spent and have left. Research has 150.00 a month and spends 80.00
  of it; in March 3.00 of February came back after it had renewed, in June 1.00 net of May was given back, and in
  September 6.00 went and 1.00 came. Support has 80.00 and what it kept, and spends 46.00 or 47.50.
"""

SPEND: Final = """
spend    inference  EUR   70.00  70.00  70.00  70.00  70.00  70.00  67.60  67.60  67.60  67.60  72.60  67.60
spend    tax        EUR   12.00  12.00  12.00  12.00  12.00  12.00  12.00  11.00  12.00  12.00  13.00  12.00
spend    credits    USD    0.00   0.00   0.00   0.00   0.00  -5.00   0.00   0.00   0.00   0.00   0.00   0.00
spend    data       USD    0.00  60.00   0.00   0.00   0.00  70.00   0.00   0.00   0.00   0.00   0.00   0.00
spend    inference  USD  116.00 116.00 136.00 116.00 126.00 116.00 117.50 117.50 117.50 117.50 121.50 117.50
spend    search     USD   10.00  10.00  10.00  10.00  10.00  18.00  10.00  10.00  16.00  10.00  10.00  10.00
spend    tax        USD   16.40  15.60  20.40  12.80  18.00  16.40  16.40  16.40  16.20  16.40  17.20  16.40
credits  data       USD    0.00   0.00   0.00   0.00   0.00 -70.00   0.00   0.00   0.00   0.00   0.00   0.00
credits  inference  USD    0.00  -7.00   0.00 -18.00  -2.00   0.00   0.00  -6.25  -1.00  -7.00   0.00   0.00
credits  search     USD    0.00   0.00   0.00  -2.00   0.00   0.00   0.00   0.00   0.00   7.00   0.00   0.00
"""
"""The income statement, month by month. What was mended counts for the month that was open when it was: the price of
March in April; the search of 20 August, 6.00, and the credit of 25 August, 1.00, in September; but the 8.00 that were
found when June was opened again in June."""

PAYABLES: Final = """
anthropic  USD   0.00   0.00   0.00   0.00  0.00  63.00
mistral    EUR  72.00  72.00   0.00   0.00  0.00   0.00
openai     USD  98.40  98.40   0.00   0.00  0.00   0.00
serp       USD  30.00  10.00  10.00  10.00  0.00   0.00
"""
"""Owed at the end of the year, by age: in the last 30 days, 60, 90, longer ago; and credit. Serp is owed 10.00 of each
of the last three months: its invoice comes on 2 January."""

TEAMS: Final = """
(none)    EUR   144.00
growth    EUR   830.60
(none)    USD   196.60
research  USD  1019.00
support   USD   570.75
"""
"""Chargeback of the year. Nobody's are the taxes, 198.60 and 144.00 euros, less the 5.00 that serp took off, and the
3.00 that openai billed and nobody asked for; which is why research has 3.00 less than its budget spent."""

OUTCOMES: Final = """
v1  USD  6  3  156.00  26.00         52.00
v2  USD  6  5  158.75  26.458333333  31.75
"""
"""Prompt, runs, successes, what they spent, what a run and what a success cost. A run costs 15.00 and 11.00, from July
on 12.50; of July's, which finance says failed, 6.25 came back."""

STATEMENTS: Final = """
book               USD   503.40   919.60  1349.85  1786.35
book               EUR   246.00   492.00   729.80   974.60
team:research      USD   293.00   534.00   779.00  1019.00
team:support       USD   158.00   288.00   424.25   570.75
team:growth        EUR   210.00   420.00   622.80   830.60
agent:replier      USD    78.00   156.00   232.25   314.75
budget:company     USD  4442.00  4060.00  3676.25  3284.75
budget:research    USD    73.00    71.00    65.00    70.00
budget:support     USD    34.00    44.00    52.50    52.50
budget:growth      EUR    30.00    30.00    32.40    32.40
payee:openai       USD   122.40    98.40    97.20    98.40
payee:mistral      EUR    72.00    72.00    72.00    72.00
payee:serp         USD    90.00    31.00    36.00    30.00
payee:anthropic    USD  -168.00   -33.00  -198.00   -63.00
"""
"""What statements close with at the end of each quarter. Of the book, teams and agents: what was spent so far; of
budgets what may be spent, what is held among it; of payees what is owed, less credit."""


def table(text: str, words: int) -> list[tuple[str, ...]]:
    """The rows of a table: so many words, and then figures as they are written."""
    rows = [tuple(line.split()) for line in text.strip().splitlines()]
    assert all(len(row) > words for row in rows)
    return rows


def figures(text: str, at: int) -> dict[tuple[str, str], Decimal]:
    """(name, currency) to the figure of the quarter ``at``, without zeros."""
    return {(row[0], row[1]): Decimal(row[2 + at]) for row in table(text, 2) if Decimal(row[2 + at])}
