"""Bar charts as SVG: upright bars over time, and lying bars by name.

Owns their drawing, in integers, so that the same amounts give the same bytes; the same picture stands in HTML and in a
PDF. Invariants: every bar begins at zero; what is below zero points the other way; every text is escaped; the chart
says in words what it shows (``title``), for whoever cannot see it.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from ledger.services.pages.letters import shortened

INK: Final = "#1f4e79"
BELOW: Final = "#9c3d1a"
LINE: Final = "#b8c0c8"
TEXT: Final = "#3c4650"
_QUOTES: Final = {'"': "&quot;", "'": "&#39;"}
_LETTERS_MAX: Final = 26


class Bar(NamedTuple):
    """One bar: what stands at its foot (may be empty), how long it is (atoms), and its amount as text."""

    name: str
    atoms: int
    shown: str


def upright(title: str, bars: Sequence[Bar], *, font: str, scale: str) -> str:
    """Bars over time, 720 wide and 160 high. ``scale`` says in text how high the bars are."""
    width, left, right, above, high = 720, 8, 712, 16, 124
    most, least = max(0, *(bar.atoms for bar in bars)), min(0, *(bar.atoms for bar in bars))
    span = (most - least) or 1
    zero = above + high * most // span
    step = (right - left) * 100 // max(1, len(bars))
    thick = max(100, min(step * 7 // 10, 4_000))
    parts = [_text(left, 11, scale, font, anchor="start"), _rule(left, right, above)]
    for at, bar in enumerate(bars):
        middle = left * 100 + step * at + step // 2
        length = high * 100 * abs(bar.atoms) // span
        y = zero * 100 if bar.atoms < 0 else zero * 100 - length
        parts.append(
            f'<rect x="{_hundredths(middle - thick // 2)}" y="{_hundredths(y)}" width="{_hundredths(thick)}" '
            f'height="{_hundredths(length)}" fill="{BELOW if bar.atoms < 0 else INK}"/>'
        )
        if bar.name:
            parts.append(_text(middle // 100, above + high + 15, bar.name, font, anchor="middle"))
    parts.append(_rule(left, right, zero, TEXT))
    if least < 0:
        parts.append(_rule(left, right, above + high))
    return _svg(title, width, 160, parts)


def lying(title: str, bars: Sequence[Bar], *, font: str) -> str:
    """Bars by name, 720 wide and 20 high each, with the amount at the end of each."""
    row, left, right = 20, 190, 590
    most, least = max(0, *(bar.atoms for bar in bars)), min(0, *(bar.atoms for bar in bars))
    span = (most - least) or 1
    zero = left * 100 + (right - left) * 100 * -least // span
    parts = []
    for at, bar in enumerate(bars):
        y = at * row
        length = (right - left) * 100 * abs(bar.atoms) // span
        x = zero - length if bar.atoms < 0 else zero
        end = max(zero, x + length) // 100 + 6
        parts.append(_text(left - 8, y + 14, shortened(bar.name, _LETTERS_MAX), font, anchor="end"))
        parts.append(
            f'<rect x="{_hundredths(x)}" y="{y + 4}" width="{_hundredths(length)}" height="{row - 8}" '
            f'fill="{BELOW if bar.atoms < 0 else INK}"/>'
        )
        parts.append(_text(end, y + 14, bar.shown, font, anchor="start"))
    parts.append(f'<rect x="{_hundredths(zero)}" y="0" width="0.6" height="{row * len(bars)}" fill="{TEXT}"/>')
    return _svg(title, 720, row * len(bars) + 4, parts)


def _svg(title: str, width: int, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(title, _QUOTES)}"><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )


def _text(x: int, y: int, text: str, font: str, *, anchor: str) -> str:
    return (
        f'<text x="{x}" y="{y}" font-family="{escape(font, _QUOTES)}" font-size="11" fill="{TEXT}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )


def _rule(left: int, right: int, y: int, colour: str = LINE) -> str:
    return f'<rect x="{left}" y="{y}" width="{right - left}" height="0.6" fill="{colour}"/>'


def _hundredths(number: int) -> str:
    whole, rest = divmod(number, 100)
    return f"{whole}.{rest:02d}" if rest else str(whole)
