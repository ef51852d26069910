"""What differs between two records of one enrollment, whatever the formats of their files."""

from __future__ import annotations

import contextlib
from itertools import starmap
from typing import TYPE_CHECKING, Any

from connector.clock import parse_moment

if TYPE_CHECKING:
    from collections.abc import Collection

Record = dict[str, Any]
_GRADES, _GRADE_IDS = "resource_grades", "resource_grade_ids"
# Flat texts that some formats make of the grades.
_OF_GRADES = (_GRADE_IDS, "module_names")
# Typed formats hold moments, text formats the server's own text of them.
_DATES = (
    "date_enrolled",
    "date_started",
    "date_completed",
    "date_success",
    "completion_deadline",
    "last_access_date",
)
# CSV has one empty cell for all of these.
_EMPTY: tuple[Any, ...] = (None, "", [])


def changed_fields(before: Record, after: Record, ignored: Collection[str]) -> list[str]:
    """Return the fields that both records have and that differ, except *ignored*."""
    if (_GRADES in before) != (_GRADES in after):
        # One of the files has only the grades' ids.
        before, after = _with_grade_ids(before), _with_grade_ids(after)
    elif _GRADES in after:
        ignored = {*ignored, *_OF_GRADES}
    return [
        name
        for name, value in after.items()
        if name in before and name not in ignored and not _is_same(name, before[name], value)
    ]


def is_completion(before: Record | None, after: Record) -> bool:
    """Return whether the date of completion has appeared; a record without the field has none."""
    if after.get("date_completed") in _EMPTY:
        return False
    return before is None or before.get("date_completed", "unknown") in _EMPTY


def _with_grade_ids(record: Record) -> Record:
    if _GRADES not in record:
        return record
    return {**record, _GRADE_IDS: list(map(_id_of, record[_GRADES] or []))}


def _is_same(name: str, before: Any, after: Any) -> bool:  # noqa: ANN401 - any JSON values
    if before == after:
        return True
    if name in _DATES:
        return _is_same_moment(str(before or ""), str(after or ""))
    if before in _EMPTY or after in _EMPTY:
        return before in _EMPTY and after in _EMPTY
    if name == _GRADES:
        return _are_same_grades(before, after)
    if name == _GRADE_IDS:
        return sorted(_split(before)) == sorted(_split(after))
    return _is_same_number(before, after)


def _is_same_number(before: Any, after: Any) -> bool:  # noqa: ANN401 - any JSON values
    if {type(before), type(after)} == {int, float}:
        # Parquet has doubles, JSON may have a whole number of more digits.
        with contextlib.suppress(OverflowError):
            return float(before) == float(after)
    return False


def _split(ids: str | list[str]) -> list[str]:
    return ids.split() if isinstance(ids, str) else ids


def _is_same_moment(before: str, after: str) -> bool:
    moments = [parse_moment(text) for text in (before, after)]
    if moments == [None, None]:
        # A text that is no date is null in typed formats.
        return not (before and after)
    return moments[0] == moments[1]


def _are_same_grades(before: list[Record], after: list[Record]) -> bool:
    """Compare the grades by id: their order says nothing."""
    if len(before) != len(after):
        return False
    pairs = zip(*(sorted(grades, key=_id_of) for grades in (before, after)), strict=True)
    return not any(starmap(_differ, pairs))


def _differ(before: Record, after: Record) -> bool:
    return bool(changed_fields(before, after, ()))


def _id_of(grade: Record) -> str:
    return str(grade.get("id"))
