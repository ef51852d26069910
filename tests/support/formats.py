"""Finished files of enrollments in any format, made as a run makes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from connector.formats import make_format
from connector.formats.interface import Report, value_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from connector.alm.records import Enrollment

REPORT = Report(
    name="x",
    source="sandbox",
    finished_at=datetime(2024, 1, 31, 12, tzinfo=UTC),
    status="verified",
    reasons=(),
    requested=1,
    read=1,
    failed=(),
)


def finished(
    folder: Path,
    name: str,
    served: Sequence[Enrollment],
    columns: Sequence[str] = (),
    report: Report = REPORT,
) -> Path:
    """Return the file of *served* in the format *name*, in *folder*."""
    written_as = make_format(name, columns)
    path, growing = folder / f"x.{name}", folder / f"x.{name}.part"
    text = written_as.begin + written_as.rows(served) + written_as.end
    growing.write_bytes(text.encode(errors="backslashreplace"))
    written_as.finish(growing, folder / f"x.{name}.part.new", report).replace(path)
    return path


def values_of(served: Sequence[Enrollment], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the values of *columns* in each of *served*."""
    records = [enrollment.as_dict() for enrollment in served]
    return [{column: value_of(record, column) for column in columns} for record in records]
