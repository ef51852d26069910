"""One page for people (Jinja2): self-contained, without any request. The growing file is NDJSON."""

from __future__ import annotations

import base64
import hashlib
import heapq
import json
import pkgutil
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from connector.clock import format_moment, parse_utc
from connector.formats.interface import BOOLEANS, DATES, NUMBERS, value_of
from connector.formats.kinds import fold_rare
from connector.formats.lines import ConvertedLines
from connector.settings import is_named
from connector.text import one_line, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from connector.formats.interface import Report

#: What a page lists at most; it says what it leaves out.
MAX_ROWS = 5_000
MAX_OVERDUE = 50
MAX_FAILED = 100
MAX_REASONS = 20
MAX_MONTHS = 12
MAX_KINDS = 8
MAX_CELL_CHARACTERS = 200
MAX_LABEL_CHARACTERS = 40
# States in which nobody can be late.
_FINAL_STATES = ("COMPLETED", "REJECTED")
_HEADINGS = {
    "user_id": "learner",
    "user_name": "learner",
    "lo_id": "learning object",
    "lo_name": "learning object",
    "lo_type": "type",
    "progress_percent": "progress %",
    "has_passed": "passed",
    "date_enrolled": "enrolled",
    "date_completed": "completed",
    "completion_deadline": "deadline",
}
_FILTERED = ("lo_type", "state")
_COLUMNS = (
    *("lo_type", "state", "progress_percent", "has_passed", "score"),
    *("date_enrolled", "date_completed", "completion_deadline"),
)


class Html(ConvertedLines):
    """Grows as NDJSON; finishing makes the page. Its records cannot be read back."""

    is_readable = False

    @classmethod
    def default_columns(cls, related: Iterable[str]) -> tuple[str, ...]:
        """Return the columns of the page's table: names, or ids without names."""
        related = tuple(related)
        learner = "user_name" if is_named("user_name", related) else "user_id"
        learning_object = "lo_name" if is_named("lo_name", related) else "lo_id"
        return (learner, learning_object, *_COLUMNS)

    def finish(self, growing: Path, scratch: Path, report: Report) -> Path:
        """Return *scratch*, the page about the records of *growing*."""
        page = _Page(self.columns, report)
        with growing.open("rb") as lines:
            for line in lines:
                page.add(json.loads(line))
        with scratch.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(page.render())
        return scratch

    def read(self, path: Path) -> Iterator[dict[str, Any]]:
        """Raise ValueError: a page lists only some of its records."""
        raise ValueError(path)


class _Page:
    """Counts every record, and keeps those that the page lists."""

    def __init__(self, columns: tuple[str, ...], report: Report) -> None:
        self._columns = columns
        self._report = report
        self._rows: list[list[str]] = []
        self._kinds: Counter[tuple[str, str]] = Counter()
        self._months: Counter[str] = Counter()
        # The latest deadline first, so that it leaves when there are too many.
        self._overdue: list[tuple[float, int, dict[str, Any]]] = []
        self._overdue_count = 0
        self._order = count()

    def add(self, record: dict[str, Any]) -> None:
        """Count *record*."""
        self._kinds[_label(record.get("lo_type")), _label(record.get("state"))] += 1
        if completed := parse_utc(record.get("date_completed") or ""):
            self._months[f"{completed:%Y-%m}"] += 1
        deadline = parse_utc(record.get("completion_deadline") or "")
        if deadline and self._is_overdue(record, deadline):
            self._overdue_count += 1
            entry = (-deadline.timestamp(), next(self._order), record)
            if len(self._overdue) < MAX_OVERDUE:
                heapq.heappush(self._overdue, entry)
            else:
                heapq.heappushpop(self._overdue, entry)
        if len(self._rows) < MAX_ROWS:
            self._rows.append([_cell(column, value_of(record, column)) for column in self._columns])

    def _is_overdue(self, record: Mapping[str, Any], deadline: datetime) -> bool:
        is_open = not record.get("date_completed") and record.get("state") not in _FINAL_STATES
        return is_open and deadline < self._report.finished_at

    def render(self) -> Iterator[str]:
        """Yield the page."""
        report = self._report
        kinds, types, states = fold_rare(self._kinds, MAX_KINDS)
        months = sorted(self._months.items(), reverse=True)
        style, script = (_asset(name) for name in ("page.css", "page.js"))
        overdue = sorted(self._overdue, key=lambda entry: (-entry[0], entry[1]))
        pieces: Iterator[str] = _template().generate(
            style=style,
            style_hash=_hash(style),
            script=script,
            script_hash=_hash(script),
            report=report,
            is_complete=report.status in ("verified", "consistent"),
            moment=format_moment(report.finished_at),
            reasons=[_shown(reason) for reason in report.reasons[:MAX_REASONS]],
            failed=report.failed[:MAX_FAILED],
            total=self._kinds.total(),
            kinds=kinds,
            types=list(types.items()),
            states=list(states.items()),
            months=months[:MAX_MONTHS],
            earlier=sum(number for _, number in months[MAX_MONTHS:]),
            most=max(states.values(), default=1),
            most_of_a_type=max(types.values(), default=1),
            most_a_month=max(dict(months[:MAX_MONTHS]).values(), default=1),
            overdue=[record for _, _, record in overdue],
            overdue_count=self._overdue_count,
            columns=self._columns,
            kind_of={**dict.fromkeys(NUMBERS, "number"), **dict.fromkeys(DATES, "date")},
            rows=self._rows,
            filters=[(name, self._choices(name)) for name in _FILTERED if name in self._columns],
        )
        return pieces

    def _choices(self, column: str) -> list[str]:
        position = self._columns.index(column)
        return sorted({row[position] for row in self._rows} - {""})


def _template() -> Any:  # noqa: ANN401 - Jinja2's own
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.filters |= {
        "cell": _shown,
        "line": one_line,
        "heading": lambda column: _HEADINGS.get(column, column.replace("_", " ")),
        "learner": lambda record: _shown(record.get("user_name") or record.get("user_id")),
        "short": _short_date,
        "title": lambda record: _shown(record.get("lo_name") or record.get("lo_id")),
    }
    return environment.from_string(_asset("page.html"))


def _asset(name: str) -> Markup:
    text = (pkgutil.get_data("connector.formats", f"page/{name}") or b"").decode()
    return Markup(text)  # noqa: S704 - this package's own file


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"sha256-{digest}"


def _cell(column: str, value: Any) -> str:  # noqa: ANN401 - the column's own type
    if value is None:
        return ""
    if column in BOOLEANS:
        return "yes" if value else "no"
    if column in DATES:
        return _short_date(value)
    return _shown(to_json(value) if isinstance(value, list | dict) else value)


def _short_date(text: str) -> str:
    moment = parse_utc(text)
    return f"{moment:%Y-%m-%d %H:%M}" if moment else _shown(text)


def _shown(value: object, max_characters: int = MAX_CELL_CHARACTERS) -> str:
    text = "" if value is None else one_line(str(value))
    if len(text) > max_characters:
        text = f"{text[: max_characters - 1]}…"
    return text


def _label(value: object) -> str:
    return _shown("unknown" if value is None else value, MAX_LABEL_CHARACTERS)
