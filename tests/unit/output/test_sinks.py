"""Sinks: records go into the document, into a file or to standard output as users finish."""

from __future__ import annotations

import errno
import json
import tempfile
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from connector.errors import (
    AuthenticationError,
    ConnectorError,
    DeadlineError,
    InterruptedRun,
    OutputError,
    PartialError,
    TemporaryError,
    error_as_dict,
)
from connector.formats.csv import Csv
from connector.formats.lines import Ndjson
from connector.output.document import Delivery
from connector.output.results import RunTotals, UserResult
from connector.output.sinks import Sink, open_sink
from connector.redact import Redactor
from tests.support.clock import VirtualClock
from tests.support.inputs import inputs_of
from tests.support.pages import ANSWERED_AT
from tests.support.records import VERIFIED, enrollment, enrollments

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BUSY = TemporaryError("ALM failed.", hint="Run again.")
PARTIAL = PartialError("1 failed.", hint="The others were read.")
REFUSED = AuthenticationError("ALM refuses the token.", hint="Get another one.")
NOTHING = Delivery([], [], 0, None)


@pytest.fixture
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which temporary files are made; it does not exist."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


def open_it(write: Callable[[bytes], None] | None = None, **inputs: Any) -> Sink[Any]:
    """Return the sink of a run with *inputs*."""
    return open_sink(inputs_of(**inputs), Redactor(), VirtualClock(), write)


def result(
    sink: Sink[Any], user_id: str, *, error: ConnectorError | None = None, count: int = 1
) -> UserResult[Any]:
    """Return the result of a user with *count* records, collected for *sink*."""
    records = sink.new_records()
    records.add(enrollments(count, user_id))
    return UserResult(user_id, records, VERIFIED, error, ANSWERED_AT)


def take(sink: Sink[Any], *results: UserResult[Any]) -> RunTotals:
    """Let *sink* take *results* and return the totals, as a run does."""
    totals = RunTotals(is_of_many=True)
    for entry in sink.prepare():
        totals.add_from_journal(entry)
        totals.add_kept()
    for place, part in enumerate(results):
        if part.error is None:
            sink.open()
        totals.add_result(place, part, sink.take(place, part))
    totals.end(requested=3, requests=3)
    return totals


def names_in(folder: Path) -> list[str]:
    """Return the names of the files in *folder*."""
    return sorted(path.name for path in folder.iterdir())


def test_open_sink__by_format_and_output_file(tmp_path: Path) -> None:
    """Records stay in the document for JSON, and if there is no other output to write them to."""
    written: list[bytes] = []
    path = str(tmp_path / "x")
    names = [
        type(open_it(written.append)).__name__,
        type(open_it(format="csv")).__name__,
        type(open_it(written.append, format="csv")).__name__,
        type(open_it(written.append, format="csv", output_file=path)).__name__,
    ]

    assert names == ["_DocumentSink", "_DocumentSink", "_StreamSink", "_FileSink"]


def test_document__users_in_the_order_of_the_request() -> None:
    """Records follow the order of the request, whoever finishes first; equal ids stay."""
    sink = open_it()
    totals = RunTotals(is_of_many=True)
    for place, user_id in ((1, "32"), (0, "31"), (2, "31")):
        part = result(sink, user_id, count=2)
        totals.add_result(place, part, sink.take(place, part))

    delivery = sink.close(totals, None, is_forgiven=False)

    records = [*enrollments(2, "31"), *enrollments(2, "32"), *enrollments(2, "31")]
    assert delivery == Delivery(
        [record.id for record in records],
        [record.resource_grades[0].id for record in records],
        6,
        [record.as_dict() for record in records],
    )


@pytest.mark.parametrize(
    ("allow_incomplete", "error", "users"),
    [
        (False, None, ["31"]),
        (False, PARTIAL, ["31"]),
        (False, BUSY, []),
        (False, InterruptedRun(2), []),
        (True, BUSY, ["31", "32"]),
        (True, InterruptedRun(2), ["31", "32"]),
    ],
)
def test_document__of_a_run_that_failed(
    *, allow_incomplete: bool, error: ConnectorError | None, users: list[str]
) -> None:
    """A failed run delivers nothing, a partial one complete users, ``allow_incomplete`` all."""
    sink = open_it(allow_incomplete=allow_incomplete)
    totals = take(sink, result(sink, "31"), result(sink, "32", error=BUSY))

    delivery = sink.close(totals, error, is_forgiven=False)

    assert [record["user_id"] for record in delivery.enrollments or ()] == users
    assert delivery.enrollment_count == len(users)


def test_document__has_no_earlier_run() -> None:
    """A document starts empty, and keeps nothing that was abandoned."""
    sink = open_it()
    totals = take(sink, result(sink, "31"))

    sink.abandon()

    assert (sink.has("31"), sink.is_durable, tuple(sink.prepare())) == (False, False, ())
    assert sink.close(totals, None, is_forgiven=False).enrollments == []


@pytest.mark.parametrize(
    ("error", "is_forgiven"),
    [(None, False), (PARTIAL, False), (BUSY, True)],
    ids=["success", "partial", "forgiven"],
)
def test_file__gets_its_name(
    *, error: ConnectorError | None, is_forgiven: bool, tmp_path: Path
) -> None:
    """A run that succeeded, failed in part or is forgiven writes the file and returns its path."""
    path = tmp_path / "out"
    sink = open_it(format="ndjson", output_file=path)
    totals = take(sink, result(sink, "31"), result(sink, "32", error=BUSY))

    delivery = sink.close(totals, error, is_forgiven=is_forgiven)

    ids = ["course:0_2_31"], ["course:0_2_7_0_31"]
    assert delivery == Delivery(*ids, 1, output_file=str(path))
    assert path.read_text("utf-8") == Ndjson().rows(enrollments(1, "31"))
    assert (names_in(tmp_path), sink.is_durable) == (["out", "out.users"], True)


@pytest.mark.parametrize("error", [REFUSED, InterruptedRun(2)], ids=["failure", "signal"])
def test_file__stays_as_it_was(error: ConnectorError, tmp_path: Path) -> None:
    """A run that failed or was interrupted keeps its users next to the file, for ``resume``."""
    path = tmp_path / "out"
    path.write_text("earlier", "utf-8")
    sink = open_it(format="ndjson", output_file=path)
    totals = take(sink, result(sink, "31"), result(sink, "32"))

    delivery = sink.close(totals, error, is_forgiven=False)

    assert delivery == Delivery(
        [],
        [],
        0,
        hint=f" 2 users are kept in {path}.part: run again with `resume`.",
    )
    assert path.read_text("utf-8") == "earlier"
    assert names_in(tmp_path) == ["out", "out.part", "out.users"]
    resumed = open_it(format="ndjson", output_file=path, resume=True)
    assert [entry["user_id"] for entry in resumed.prepare()] == ["31", "32"]
    assert (resumed.has("32"), resumed.has("33")) == (True, False)
    resumed.abandon()


def test_file__of_an_earlier_run_has_all_that_was_read(tmp_path: Path) -> None:
    """If every user that was read is in the file of an earlier run, the hint names that file."""
    path = tmp_path / "out"
    first = open_it(format="ndjson", output_file=path)
    first.close(take(first, result(first, "31")), None, is_forgiven=False)
    second = open_it(format="ndjson", output_file=path, resume=True)

    delivery = second.close(take(second), REFUSED, is_forgiven=False)

    assert delivery.hint == f" 1 user is kept in {path}: run again with `resume`."


def test_file__keeps_users_who_were_not_counted(tmp_path: Path) -> None:
    """The hint counts all users that the file has, asked for by this run or not."""
    path = tmp_path / "out"
    first = open_it(format="ndjson", output_file=path)
    results = [result(first, user) for user in ("31", "32", "33")]
    first.close(take(first, *results), None, is_forgiven=False)
    second = open_it(format="ndjson", output_file=path, resume=True)
    totals = RunTotals(is_of_many=True)
    for entry in second.prepare():
        totals.add_from_journal(entry)

    before = second.kept(totals)
    totals.add_kept()
    second.open()
    part = result(second, "34")
    totals.add_result(1, part, second.take(1, part))
    delivery = second.close(totals, REFUSED, is_forgiven=False)

    assert before == f" 3 users are kept in {path}: run again with `resume`."
    assert delivery.hint == f" 4 users are kept in {path}.part: run again with `resume`."


def test_file__if_no_user_was_read(tmp_path: Path) -> None:
    """If no user was read there is no file, and nothing to resume."""
    for error in (REFUSED, InterruptedRun(2)):
        sink = open_it(format="ndjson", output_file=tmp_path / "out")
        totals = take(sink, result(sink, "31", error=BUSY))

        assert sink.close(totals, error, is_forgiven=False) == NOTHING
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(("allow_incomplete", "count"), [(True, 3), (False, 1)])
def test_file__partial_records(*, allow_incomplete: bool, count: int, tmp_path: Path) -> None:
    """Records of a failed user are in the file only if an incomplete result is allowed."""
    path = tmp_path / "out"
    sink = open_it(format="ndjson", output_file=path, allow_incomplete=allow_incomplete)
    results = [
        replace(result(sink, "31"), user_email="ada@example.com"),
        result(sink, "32", error=BUSY, count=2),
        replace(result(sink, "33", error=BUSY, count=0), user_email="ben@example.com"),
    ]
    totals = take(sink, *results)

    delivery = sink.close(totals, PARTIAL, is_forgiven=allow_incomplete)

    lines = path.read_bytes().splitlines()
    assert (delivery.enrollment_count, totals.delivered, len(lines)) == (count, count, count)
    assert [b"".join(part.records.pieces()) for part in results] == [b""] * 3
    entries = list(map(json.loads, (tmp_path / "out.users").read_bytes().splitlines()))
    assert entries[1]["user_email"] == "ada@example.com"
    assert entries[2:-1] == [
        {"user_id": "32", "error": error_as_dict(BUSY)},
        {"user_id": "33", "user_email": "ben@example.com", "error": error_as_dict(BUSY)},
    ]


@pytest.mark.parametrize("allow_incomplete", [False, True])
def test_file__user_who_was_out_of_time(*, allow_incomplete: bool, tmp_path: Path) -> None:
    """A user whom the deadline cut short has not failed: the journal has no entry."""
    path = tmp_path / "out"
    sink = open_it(format="ndjson", output_file=path, allow_incomplete=allow_incomplete)
    late = DeadlineError("The deadline has passed.", hint="Run again.")
    totals = take(sink, result(sink, "31"), result(sink, "32", error=late, count=2))

    sink.close(totals, late, is_forgiven=True)

    entries = list(map(json.loads, (tmp_path / "out.users").read_bytes().splitlines()))
    assert [entry.get("user_id") for entry in entries] == [None, "31", None]
    assert (entries[-1]["requested"], entries[-1]["missing"]) == (3, 2)
    assert len(path.read_bytes().splitlines()) == (3 if allow_incomplete else 1)


@pytest.mark.parametrize("name", ["ndjson", "parquet"])
def test_file__opens_before_it_takes(name: str, tmp_path: Path) -> None:
    """A finished file is made to grow before a user is taken: that may take long."""
    path = tmp_path / "out"
    first = open_it(format=name, output_file=path)
    first.close(take(first, result(first, "31")), None, is_forgiven=False)
    sink = open_it(format=name, output_file=path, resume=True)
    tuple(sink.prepare())

    before = names_in(tmp_path)
    sink.open()
    after = names_in(tmp_path)
    sink.abandon()

    assert (before, after) == (["out", "out.users"], ["out", "out.part", "out.users"])


def test_file__resumes_from_the_moments_of_the_earlier_run(tmp_path: Path) -> None:
    """A run that resumes another one at a later time reads from the same relative moments."""
    values: dict[str, Any] = {"format": "ndjson", "output_file": tmp_path / "out", "since": "7d"}
    begun = replace(inputs_of(**values), since=datetime(2024, 1, 1, tzinfo=UTC))
    first = open_sink(begun, Redactor(), VirtualClock(), None)
    take(first, result(first, "31"))
    first.abandon()
    later = inputs_of(**values, resume=True)
    sink = open_sink(later, Redactor(), VirtualClock(), None)

    tuple(sink.prepare())
    resumed = sink.resumed(later)
    sink.abandon()

    assert resumed == replace(later, since=begun.since)


def test_file__has_the_inputs_that_must_not_change(tmp_path: Path) -> None:
    """The journal holds every input that decides which records a file has."""
    path = tmp_path / "out"
    sink = open_it(
        format="csv",
        output_file=path,
        lo_types="jobAid",
        sort="-dateEnrolled",
        state="active",
        include="learner",
        names=True,
        locale="de-DE",
        columns="id,lo_name",
        max_enrollments=5,
        since="7d",
        completed_since="2024-01-01",
        user_id="31,32",
        shard="1/1",
    )
    sink.close(take(sink, result(sink, "31")), None, is_forgiven=False)

    first = json.loads((tmp_path / "out.users").read_bytes().splitlines()[0])
    ago = datetime.now(UTC) - datetime.fromisoformat(first.pop("moments")["since"])
    assert timedelta(days=7) <= ago < timedelta(days=8)
    assert first == {
        "alm_enrollments": 2,
        "format": "csv",
        "lo_types": ["jobAid"],
        "sort": "-dateEnrolled",
        "state": "active",
        "include": ["learner"],
        "query": [],
        "names": True,
        "locale": "de-DE",
        "columns": ["id", "lo_name"],
        "max_enrollments": 5,
        "since": "7d",
        "completed_since": "2024-01-01T00:00:00+00:00",
        "base_url": "sandbox",
        "shard": "1/1",
        "end": len(b"id,lo_name\r\n"),
        "crc32": zlib.crc32(b"id,lo_name\r\n"),
    }


@pytest.mark.parametrize(
    ("name", "counts", "lines"),
    [
        ("ndjson", (1, 0, 2), 3),
        ("ndjson", (0,), 0),
        ("csv", (0, 0), 1),
        ("csv", (2, 1), 4),
        ("table", (1, 1), 4),
    ],
)
def test_stream__users_as_they_finish(name: str, counts: tuple[int, ...], lines: int) -> None:
    """Headings come first and once, with or without records; each user's rows when it is read."""
    written: list[bytes] = []
    sink = open_it(written.append, format=name)
    results = [result(sink, str(user), count=count) for user, count in enumerate(counts)]

    totals = take(sink, *results)
    lines_before_the_end = len(b"".join(written).splitlines())
    delivery = sink.close(totals, None, is_forgiven=False)

    assert lines_before_the_end == (sum(counts) > 0) * lines
    assert len(b"".join(written).splitlines()) == lines
    assert (delivery.enrollment_count, delivery.output_file) == (sum(counts), None)
    assert delivery.enrollments is None
    # The memory of a user's records is released when they are written.
    assert [b"".join(part.records.pieces()) for part in results] == [b""] * len(counts)


@pytest.mark.parametrize("name", ["ndjson", "csv", "table", "parquet"])
def test_stream__of_a_run_without_records(name: str) -> None:
    """If nothing was read, nothing is written, not even headings."""
    written: list[bytes] = []
    sink = open_it(written.append, format=name)
    totals = take(sink, result(sink, "31", error=BUSY))

    assert sink.close(totals, BUSY, is_forgiven=False) == NOTHING
    assert (written, sink.has("31"), sink.is_durable) == ([], False, False)


@pytest.mark.parametrize(
    ("error", "is_forgiven", "users"),
    [(BUSY, False, []), (PARTIAL, False, ["31"]), (BUSY, True, ["31", "32"])],
)
def test_stream__of_a_run_that_failed(
    *, error: ConnectorError, is_forgiven: bool, users: list[str]
) -> None:
    """What was written is ended properly; the document counts it unless the run failed."""
    written: list[bytes] = []
    sink = open_it(written.append, format="csv", allow_incomplete=is_forgiven)
    totals = take(sink, result(sink, "31"), result(sink, "32", error=BUSY))

    delivery = sink.close(totals, error, is_forgiven=is_forgiven)

    rows = [Csv().begin] + [Csv().rows(enrollments(1, user)) for user in users or ["31"]]
    assert b"".join(written).decode() == "".join(rows)
    assert delivery.enrollment_ids == [f"course:0_2_{user}" for user in users]
    assert delivery.enrollment_count == len(users)


def test_stream__parquet(
    temporary_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Parquet is written at the end from a private temporary folder, which is removed."""
    temporary_folder.mkdir()
    written: list[bytes] = []
    sink = open_it(written.append, format="parquet")
    (folder,) = temporary_folder.iterdir()
    mode = folder.stat().st_mode & 0o777
    broken = result(sink, "32", count=0)
    broken.records.add([enrollment("32", date_started="soon")])

    totals = take(sink, result(sink, "31", count=2), broken)
    before_the_end = list(written)
    sink.close(totals, None, is_forgiven=False)

    assert (before_the_end, mode, names_in(temporary_folder)) == ([], 0o700, [])
    (tmp_path / "x").write_bytes(b"".join(written))
    assert pq.read_table(tmp_path / "x").column("user_id").to_pylist() == ["31", "31", "32"]
    assert caplog.messages == ["null in standard output instead of a date: 1 value"]


@pytest.mark.parametrize("error", [REFUSED, InterruptedRun(15)], ids=["failure", "signal"])
def test_stream__parquet_of_a_run_that_failed(
    error: ConnectorError, temporary_folder: Path
) -> None:
    """A run that failed writes no Parquet file: converting it would delay the end."""
    temporary_folder.mkdir()
    written: list[bytes] = []
    sink = open_it(written.append, format="parquet")
    totals = take(sink, result(sink, "31"))

    assert sink.close(totals, error, is_forgiven=False) == NOTHING
    assert (written, names_in(temporary_folder)) == ([], [])


def test_stream__abandoned(temporary_folder: Path) -> None:
    """A run that ends in another way leaves no temporary file and writes nothing more."""
    temporary_folder.mkdir()
    written: list[bytes] = []
    sink = open_it(written.append, format="parquet")
    take(sink, result(sink, "31"))

    sink.abandon()
    sink.abandon()

    assert (names_in(temporary_folder), written) == ([], [])


def test_stream__columns() -> None:
    """Standard output gets the columns that were asked for, in their order."""
    written: list[bytes] = []
    sink = open_it(written.append, format="csv", columns="user_id,id")

    sink.close(take(sink, result(sink, "31")), None, is_forgiven=False)

    assert b"".join(written).splitlines() == [b"user_id,id", b"31,course:0_2_31"]


@pytest.mark.usefixtures("temporary_folder")
def test_stream__without_a_temporary_folder() -> None:
    """If temporary files cannot be written, the run ends with 73 and a hint."""
    with pytest.raises(OutputError) as caught:
        open_it(print, format="parquet")

    assert str(caught.value) == (
        "Records for standard output cannot be written to a temporary file:"
        " No such file or directory. Free space in that folder, or set `output_file`."
    )


@pytest.mark.parametrize(
    ("refusal", "raised"), [(errno.ENOSPC, OutputError), (errno.EPIPE, BrokenPipeError)]
)
def test_stream__that_cannot_be_written(refusal: int, raised: type[Exception]) -> None:
    """A full disk is an OutputError; a reader that closed the pipe, as `| head` does, is not."""

    def write(_: bytes) -> None:
        raise OSError(refusal, "refused")

    sink = open_it(write, format="ndjson")

    with pytest.raises(raised):
        take(sink, result(sink, "31"))
