"""The answers as a picture: an SVG of bars and of goals, written by hand, because a plotting library is larger than all of this.

Above: `_cli`. Below: `_report`.

Left: what an element costs with each peer, on a logarithmic scale. Right: each goal's figure, where 1 is the goal itself and
everything left of the line is better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from ._report import Bar, Goal

__all__ = ["draw"]

ROW, TOP, MARGIN = 17, 64, 16
LABELS, SPAN, VALUES = 370, 300, 60
PANEL = LABELS + SPAN + VALUES
COLOURS = {"MISSED": "#c0392b", "met": "#2980b9", "stretch": "#1e8449", "ours": "#2980b9", "other": "#95a5a6"}
FONT = 'font-family="DejaVu Sans, Helvetica, Arial, sans-serif"'


def draw(bars: Sequence[Bar], bars_of: str, goals: Sequence[Goal], caption: str) -> str:
    """Return the picture as SVG."""
    rows = max(len(bars), len(goals), 1)
    panels = [
        *_bars(bars, bars_of, MARGIN),
        *_goals([goal for goal in goals if goal.limit], 2 * MARGIN + PANEL),
    ]
    width, height = 3 * MARGIN + 2 * PANEL, TOP + rows * ROW + 2 * MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" {FONT} font-size="11">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            _text(MARGIN, 20, caption, colour="#555"),
            *panels,
            "</svg>\n",
        ]
    )


def _text(
    x: float, y: float, words: str, *, anchor: str = "start", colour: str = "#222", weight: str = "normal"
) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}">{escape(words)}</text>'


def _decades(least: float, most: float) -> tuple[float, float]:
    """Return the powers of ten around two numbers."""
    return 10 ** math.floor(math.log10(least)), 10 ** math.ceil(math.log10(most) + 1e-9)


def _axis(left: float, least: float, most: float, rows: int) -> tuple[list[str], float]:
    """Return lines at the powers of ten, and how many pixels one of them takes."""
    count = round(math.log10(most / least))
    step = SPAN / max(count, 1)
    lines: list[str] = []
    for number in range(count + 1):
        x = left + number * step
        lines.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{TOP + rows * ROW}" stroke="#eee"/>')
        lines.append(_text(x, TOP - 10, f"{least * 10**number:g}", anchor="middle", colour="#888"))
    return lines, step


def _bars(bars: Sequence[Bar], unit: str, x: float) -> list[str]:
    if not bars:
        return []
    least, most = _decades(min(bar.value for bar in bars), max(bar.value for bar in bars))
    left = x + LABELS
    drawn, step = _axis(left, least, most, len(bars))
    drawn.append(_text(x, TOP - 28, f"{unit} per element, 3 stages (logarithmic; less is better)", weight="bold"))
    for row, bar in enumerate(bars):
        y = TOP + row * ROW
        long = max(math.log10(bar.value / least) * step, 1)
        colour = COLOURS["ours" if bar.ours else "other"]
        drawn.append(_text(left - 6, y + 11, bar.what, anchor="end", weight="bold" if bar.ours else "normal"))
        drawn.append(f'<rect x="{left:.1f}" y="{y + 2}" width="{long:.1f}" height="{ROW - 5}" fill="{colour}"/>')
        drawn.append(_text(left + long + 4, y + 11, f"{bar.value:,.3g}", colour="#555"))
    return drawn


def _distance(goal: Goal) -> float:
    """Return how far a figure is from its goal: 1 is the goal, less is better."""
    share = goal.value / goal.limit if goal.sense == "at most" else goal.limit / goal.value if goal.value else 10.0
    return min(max(share, 0.01), 10.0)


def _goals(goals: Sequence[Goal], x: float) -> list[str]:
    if not goals:
        return []
    least, most = _decades(min(map(_distance, goals)), max(*map(_distance, goals), 1.0))
    left = x + LABELS
    drawn, step = _axis(left, least, most, len(goals))
    drawn.append(_text(x, TOP - 28, "figure ÷ goal (logarithmic; left of the line is reached)", weight="bold"))
    line = left + math.log10(1 / least) * step
    drawn.append(f'<line x1="{line:.1f}" x2="{line:.1f}" y1="{TOP - 6}" y2="{TOP + len(goals) * ROW}" stroke="#222"/>')
    for row, goal in enumerate(goals):
        y = TOP + row * ROW
        at = left + math.log10(_distance(goal) / least) * step
        number = f"{goal.number}. " if goal.number else ""
        drawn.append(_text(left - 6, y + 11, (number + goal.what)[:66], anchor="end"))
        drawn.append(f'<circle cx="{at:.1f}" cy="{y + 7}" r="4" fill="{COLOURS[goal.verdict]}"/>')
        drawn.append(_text(left + SPAN + 6, y + 11, f"{goal.value:.3g}{goal.unit}", colour=COLOURS[goal.verdict]))
    return drawn
