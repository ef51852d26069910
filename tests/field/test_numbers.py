"""Numbers of any size: every format has the same ones, and none fails at the end of a run."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pytest

pq = pytest.importorskip("pyarrow.parquet")

from tests.support.pages import answer, body_of, record  # noqa: E402 - after the check above

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.process import Command
    from tests.support.server import FaultServer

    Play = Callable[..., FaultServer]

FIELDS = {
    "score": "score",
    "progressPercent": "progress_percent",
    "rating": "rating",
    "purchasedPrice": "purchased_price",
}
GRADE_FIELDS = {
    "score": "score",
    "progressPercent": "progress_percent",
    "highestScore": "highest_score",
    "maxScore": "max_score",
    "duration": "duration",
}
ASKED = {"ALM_USER_ID": "31", "ALM_ACCESS_TOKEN": "an-access-token"}


def page_with(number: float) -> bytes:
    """Return a page whose every number is *number*."""
    grade = {"id": "course:1_11_7_0_31", "type": "learningObjectResourceGrade"}
    enrollment = record("course:1_11_31", **dict.fromkeys(FIELDS, number))
    enrollment["relationships"]["loResourceGrades"] = {"data": [grade]}
    included = [{**grade, "attributes": dict.fromkeys(GRADE_FIELDS, number)}]
    return body_of({"links": {}, "data": [enrollment], "included": included})


def read(kind: str, command: Command) -> dict[str, Any]:
    """Return the only record in the file of the format *kind*, its numbers as doubles."""
    path = command.folder / f"out.{kind}"
    if kind == "parquet":
        (row,) = pq.read_table(path).to_pylist()
    elif kind == "csv":
        (row,) = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
        row["resource_grades"] = json.loads(row["resource_grades"])
    else:
        (row,) = [json.loads(line) for line in path.read_text().strip("[]\n").splitlines()]
    numbers = {name: float(row[name]) for name in FIELDS.values()}
    (grade,) = row["resource_grades"]
    return {**numbers, "grade": {name: float(grade[name]) for name in GRADE_FIELDS.values()}}


@pytest.mark.parametrize(
    "number",
    [
        *(9007199254740993, 2**53, -(2**53) - 1, 2**63 - 1, 2**63, 2**64, -(2**64), 10**30),
        *(12345678901234567890.5, 1e300, 0.1, 0, -1, 5e-324),
    ],
)
def test_number__is_the_same_in_every_format(number: float, command: Command, play: Play) -> None:
    """A number of any size is the same double in every format, and in the document."""
    server = play(*[(answer(200, page_with(number)),)] * 5)
    variables = {**ASKED, "ALM_BASE_URL": server.url, "ALM_INCLUDE": "loResourceGrades"}
    expected = dict.fromkeys(FIELDS.values(), float(number))
    expected |= {"grade": dict.fromkeys(GRADE_FIELDS.values(), float(number))}  # type: ignore[dict-item]

    for kind in ("json", "ndjson", "csv", "parquet"):
        line = f"--output-file out.{kind}"
        if kind in ("csv", "parquet"):
            line += f" --columns {','.join([*FIELDS.values(), 'resource_grades'])}"
        assert (command(line, **variables).exit_code, read(kind, command)) == (0, expected)

    (enrollment,) = command(**variables).document["enrollments"]
    assert repr(enrollment["score"]) == repr(enrollment["resource_grades"][0]["score"])
    assert enrollment["score"] == float(number)


@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_number__that_is_none(kind: str, command: Command, play: Play) -> None:
    """A number that is larger than any double breaks the API's contract, in every format."""
    server = play((answer(200, page_with(10**400)),))

    finished = command(
        f"--format {kind} --output-file out.{kind}", **ASKED, ALM_BASE_URL=server.url
    )

    assert (finished.exit_code, server.order) == (76, "A")
    assert "a number that is too large to be one" in finished.error["message"]
