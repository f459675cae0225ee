"""The answers as a picture: an SVG of dots, written by hand, because a plotting library is larger than all of this.

Above: `_cli`. Below: `_goals`, for the names of what goals are about; `_report`.

Left: what each peer costs, a dot on a logarithmic scale, with a line where `asyncio.Queue` is. Right: how far each figure is from
its goal; left of the line is better, whichever way the figure counts. Shapes say what colours say, so it can be printed in black.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from html import escape

from ._goals import SUBJECTS
from ._report import Goal, Report

__all__ = ["draw"]

ROW, TOP, MARGIN = 17, 84, 24
NAMES, SPAN, COST, RATIO = 192, 320, 66, 60
TEXTS, WITHIN, FIGURE, LIMIT = 420, 280, 76, 76
LEFT, RIGHT = NAMES + SPAN + COST + RATIO, TEXTS + WITHIN + FIGURE + LIMIT
FARTHEST = 4.0
"""Right: what is farther from its goal, either way, is drawn as an arrow at the rim."""
INK, SOFT, FAINT, OURS = "#222", "#777", "#e4e4e4", "#0b5394"
DASHED = f'{SOFT} stroke-dasharray="3 3"'
COLOURS = {"MISSED": "#b3261e", "met": "#0b5394", "stretch": "#1b7a3d"}
MEANINGS = {"stretch": "more than was asked", "met": "reached", "MISSED": "missed"}
FONT = 'font-family="DejaVu Sans, Helvetica, Arial, sans-serif"'


def draw(reports: Sequence[Report], goals: Sequence[Goal], caption: str) -> str:
    """Return the picture as SVG: the bars of all reports, and the goals that have a number, or all if none has."""
    shown = [goal for goal in goals if goal.number and goal.limit] or [goal for goal in goals if goal.limit]
    left, rows = _costs([report for report in reports if report.bars])
    right, more = _goals(shown)
    width = 3 * MARGIN + LEFT + RIGHT
    height = TOP + max(rows, more, 1) * ROW + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" {FONT} font-size="11">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            f'<g font-size="16">{_text(MARGIN, 30, "streamflow beside its peers, and its goals", weight="bold")}</g>',
            _text(MARGIN, 48, caption, colour=SOFT),
            *left,
            *right,
            *_legend(TOP + (more - 1) * ROW + MARGIN / 2),
            "</svg>\n",
        ]
    )


def _text(x: float, y: float, words: str, *, anchor: str = "start", colour: str = INK, weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}">{escape(words)}</text>'


def _line(x: float, y: float, to_x: float, to_y: float, style: str = FAINT) -> str:
    """Return a line; a style is a colour, and perhaps more attributes."""
    colour, _, more = style.partition(" ")
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{colour}" {more}/>'


def _costs(reports: Sequence[Report]) -> tuple[list[str], int]:
    """Return one panel under the other, and how many rows they take."""
    drawn: list[str] = []
    row = 0
    for report in reports:
        drawn += _panel(report, TOP + row * ROW)
        row += len(report.bars) + 4
    return drawn, row - 2  # nothing is below the last one


def _panel(report: Report, top: float) -> list[str]:
    bars = sorted(report.bars, key=lambda bar: bar.value)
    x, bottom = MARGIN + NAMES, top + len(bars) * ROW
    least = 10 ** math.floor(math.log10(min(bar.value for bar in bars)))
    most = 10 ** math.ceil(math.log10(max(bar.value for bar in bars)) + 1e-9)
    decades = round(math.log10(most / least))

    def at(value: float) -> float:
        return x + math.log10(value / least) / decades * SPAN

    drawn = [_text(MARGIN, top - 12, report.bars_of, weight="bold")]
    for power in range(decades + 1):
        place = at(least * 10**power)
        drawn += [
            _line(place, top, place, bottom),
            _text(place, bottom + 13, f"{least * 10**power:,g}", anchor="middle", colour=SOFT),
        ]
    base = next((bar.value for bar in bars if bar.ratio == 1), None)
    if base is not None:
        drawn.append(_line(at(base), top, at(base), bottom, DASHED))
        head = "dashed: asyncio.Queue; ÷ it"
        drawn.append(_text(x + SPAN + COST + RATIO, top - 12, head, anchor="end", colour=SOFT))
    for row, bar in enumerate(bars):
        y, colour = top + row * ROW + ROW / 2, OURS if bar.ours else INK
        weight, fill = ("bold", OURS) if bar.ours else ("normal", "white")
        drawn += [
            _text(x - 8, y + 4, bar.what, anchor="end", colour=colour, weight=weight),
            _line(x, y, at(bar.value), y, "#bbb" if not bar.ours else OURS),
            f'<circle cx="{at(bar.value):.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{colour}"/>',
            _text(x + SPAN + COST, y + 4, _digits(bar.value), anchor="end", colour=colour, weight=weight),
        ]
        if not math.isnan(bar.ratio):
            ratio = f"{bar.ratio:.3g}×"
            drawn.append(_text(x + SPAN + COST + RATIO, y + 4, ratio, anchor="end", colour=colour, weight=weight))
    return drawn


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _distance(goal: Goal) -> float:
    """Return how far a figure is from its goal: 1 is the goal, less is better."""
    if goal.sense == "at most":
        return goal.value / goal.limit
    return goal.limit / goal.value if goal.value else math.inf


def _goals(goals: Sequence[Goal]) -> tuple[list[str], int]:
    """Return the goals by what they are about, and how many rows they take."""
    if not goals:
        return [], 0
    groups = [(number, list(some)) for number, some in itertools.groupby(goals, lambda goal: goal.number)]
    rows = len(goals) + len(groups)
    x, top, bottom = 2 * MARGIN + LEFT + TEXTS, TOP, TOP + rows * ROW
    drawn = [_text(2 * MARGIN + LEFT, top - 12, "Figure ÷ goal; left of the line is reached", weight="bold")]
    for tick in (1 / FARTHEST, 0.5, 1.0, 2.0, FARTHEST):
        drawn.append(_line(_within(x, tick), top, _within(x, tick), bottom, INK if tick == 1 else FAINT))
        drawn.append(_text(_within(x, tick), bottom + 13, f"{tick:g}", anchor="middle", colour=SOFT))
    for column, name in ((FIGURE, "measured"), (FIGURE + LIMIT, "goal")):
        drawn.append(_text(x + WITHIN + column, top - 12, name, anchor="end", colour=SOFT))
    y = top + ROW / 2
    for number, some in groups:
        head = f"{number}. {SUBJECTS[number]}" if number else "goals of single questions"
        drawn.append(_text(2 * MARGIN + LEFT, y + 4, head, weight="bold"))
        for goal in some:
            y += ROW
            drawn += _goal_row(goal, x, y)
        y += ROW
    return drawn, rows + 3


def _within(x: float, distance: float) -> float:
    """Return the place of a distance on the right scale, which ends at `FARTHEST` either way."""
    held = min(max(distance, 1 / FARTHEST), FARTHEST)
    return x + (math.log(held * FARTHEST) / math.log(FARTHEST**2)) * WITHIN


def _goal_row(goal: Goal, x: float, y: float) -> list[str]:
    distance, colour = _distance(goal), COLOURS[goal.verdict]
    at, line = _within(x, distance), _within(x, 1)
    if distance > FARTHEST:
        mark = _shape(at, y, colour, "0,-4.5 7,0 0,4.5")
    elif distance < 1 / FARTHEST:
        mark = _shape(at, y, colour, "0,-4.5 -7,0 0,4.5")
    else:
        mark = _MARKS[goal.verdict](at, y)
    sign = "≤" if goal.sense == "at most" else "≥"
    return [
        _text(x - 10, y + 4, goal.what, anchor="end"),
        _line(line, y, at, y, colour),
        mark,
        _text(x + WITHIN + FIGURE, y + 4, goal.figure, anchor="end", colour=colour, weight="bold"),
        _text(x + WITHIN + FIGURE + LIMIT, y + 4, f"{sign} {goal.limit:,g}{goal.unit}", anchor="end", colour=SOFT),
    ]


def _shape(x: float, y: float, colour: str, points: str, fill: str = "") -> str:
    return (
        f'<polygon transform="translate({x:.1f} {y:.1f})" points="{points}" fill="{fill or colour}" stroke="{colour}"/>'
    )


_MARKS: dict[str, Callable[[float, float], str]] = {
    "stretch": lambda x, y: _shape(x, y, COLOURS["stretch"], "0,-5.5 5.5,0 0,5.5 -5.5,0"),
    "met": lambda x, y: f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLOURS["met"]}" stroke="{COLOURS["met"]}"/>',
    "MISSED": lambda x, y: _shape(x, y, COLOURS["MISSED"], "-4,-4 4,-4 4,4 -4,4", "white"),
}


def _legend(y: float) -> list[str]:
    x = 2.0 * MARGIN + LEFT
    drawn: list[str] = []
    for verdict, mark in _MARKS.items():
        drawn += [mark(x + 5, y - 4), _text(x + 16, y, MEANINGS[verdict], colour=COLOURS[verdict])]
        x += 150
    return [*drawn, _text(x, y, f"arrow: beyond {FARTHEST:g}×", colour=SOFT)]
