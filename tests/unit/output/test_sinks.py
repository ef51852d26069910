"""Where users' records go: a signal tears nobody, what failed says where the others are, and standard output is in order."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from connector.alm.completeness import Completeness, Status
from connector.errors import (
    AuthenticationError,
    ConnectorError,
    InterruptedRun,
    PartialError,
    TemporaryError,
)
from connector.output.document import Totals, UserResult
from connector.output.sinks import Sink, open_sink
from connector.redact import Redactor
from connector.settings import load_inputs
from tests.unit.formats.made import enrollment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

PROVED = Completeness(Status.PROVED, (), 1)
BUSY = TemporaryError("ALM failed.", hint="Run again.")


class Striking(Redactor):
    """Knows no secret; sends this process a signal when the journal's line of a user is to be written, his records being there."""

    def clean_document(self, text: str) -> str:
        """Return *text*."""
        if text.startswith('{"user_id":"31"'):
            signal.raise_signal(signal.SIGTERM)
        return text


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Let SIGTERM raise as the command has it raise."""

    def interrupt(number: int, _: FrameType | None) -> None:
        raise InterruptedRun(number)

    before = signal.signal(signal.SIGTERM, interrupt)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def open_file(tmp_path: Path) -> Callable[..., Sink]:
    """Return what opens the sink of an output file."""

    def open_it(redactor: Redactor | None = None, **inputs: Any) -> Sink:
        given = {
            "user_id": "31",
            "base_url": "sandbox",
            "format": "ndjson",
            "output_file": str(tmp_path / "out"),
            **inputs,
        }
        return open_sink(
            load_inputs(given, {}, Redactor(), secrets_dir=tmp_path)[0],
            redactor or Redactor(),
            None,
        )

    return open_it


def result(
    sink: Sink, user_id: str, error: ConnectorError | None = None, count: int = 1
) -> UserResult:
    """Return the result of a user with *count* records, as the job collects it."""
    chunk: Any = sink.collect()
    chunk.add([enrollment(user_id, number) for number in range(count)])
    return UserResult(user_id, (), PROVED, error, chunk)


def take(sink: Sink, totals: Totals, *results: UserResult) -> None:
    """Let the sink take results, and add them up."""
    for place, one in enumerate(results):
        sink.take(place, one, totals)
        totals.add(one.user_id, one.completeness, one.error)


def close(
    sink: Sink, totals: Totals, error: ConnectorError | None, *, is_forgiven: bool = False
) -> dict[str, Any]:
    """Close the sink and return the document."""
    return sink.close(totals, error, requested=3, requests=3, is_forgiven=is_forgiven)


@pytest.mark.usefixtures("interrupts")
def test_file__a_signal_while_a_user_is_written(
    open_file: Callable[..., Sink], tmp_path: Path
) -> None:
    """A signal that comes between a user's records and the journal's word of them strikes when both are there and counted."""
    sink, totals = open_file(Striking()), Totals(is_of_many=True)
    list(sink.prepare())

    take(sink, totals, result(sink, "7"))
    with pytest.raises(InterruptedRun):
        take(sink, totals, result(sink, "31"))
    document = close(sink, totals, InterruptedRun(signal.SIGTERM))

    assert [
        json.loads(line)["user_id"]
        for line in (tmp_path / "out").read_text(encoding="utf-8").splitlines()
    ] == ["7", "31"]
    assert document["enrollment_count"] == 2
    assert [entry["user_id"] for entry in open_file(resume=True).prepare()] == ["7", "31"]


@pytest.mark.parametrize(
    ("error", "is_forgiven"),
    [
        (None, False),
        (PartialError("1 failed.", hint="The others were read."), False),
        (BUSY, True),
        (InterruptedRun(2), False),
    ],
    ids=["success", "partial", "forgiven", "signal"],
)
def test_file__in_place(
    error: ConnectorError | None, is_forgiven: bool, open_file: Callable[..., Sink], tmp_path: Path
) -> None:
    """Success, the failure of some, what is forgiven and a signal give the file its name."""
    sink, totals = open_file(), Totals(is_of_many=True)
    list(sink.prepare())

    take(sink, totals, result(sink, "31"), result(sink, "32", BUSY))
    document = close(sink, totals, error, is_forgiven=is_forgiven)

    assert document["output_file"] == str(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.users"]


def test_file__a_failure_of_all_leaves_what_was_read(
    open_file: Callable[..., Sink], tmp_path: Path
) -> None:
    """Where the run fails as a whole, its error tells where those who were read are kept."""
    sink, totals = open_file(), Totals(is_of_many=True)
    list(sink.prepare())
    error = AuthenticationError("ALM refuses the token.", hint="Get another one.")

    take(sink, totals, result(sink, "31"))
    document = close(sink, totals, error)

    assert (
        error.hint
        == f"Get another one. 1 users that were read are kept in {tmp_path / 'out'}.part: run again with resume."
    )
    assert (document["output_file"], document["enrollment_count"], document["enrollment_ids"]) == (
        None,
        0,
        [],
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.part", "out.users"]


def test_file__a_failure_of_all_that_were_left(
    open_file: Callable[..., Sink], tmp_path: Path
) -> None:
    """Where the others are in the whole file of an earlier run, that is where they are told to be."""
    first = open_file()
    list(first.prepare())
    totals = Totals(is_of_many=True)
    take(first, totals, result(first, "31"))
    close(first, totals, None)
    sink, later = open_file(resume=True), Totals(is_of_many=True)
    for entry in sink.prepare():
        later.resume(entry)
    later.read += 1
    error = AuthenticationError("ALM refuses the token.", hint="Get another one.")

    close(sink, later, error)

    assert (
        error.hint
        == f"Get another one. 1 users that were read are kept in {tmp_path / 'out'}: run again with resume."
    )
    assert len(list(open_file(resume=True).prepare())) == 1


def test_file__nobody_was_read(open_file: Callable[..., Sink], tmp_path: Path) -> None:
    """Where nobody was read nothing is left, and the error says no more than itself; a signal is no exception."""
    hints: list[str] = []
    for error in (AuthenticationError("No.", hint="Get another."), InterruptedRun(2)):
        sink, totals = open_file(), Totals(is_of_many=True)
        list(sink.prepare())
        take(sink, totals, result(sink, "31", BUSY))
        close(sink, totals, error)
        hints.append(error.hint)

    assert hints == ["Get another.", "Nothing was half-written; run it again."]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("allow_incomplete", "count"), [(True, 2), (False, 1)])
def test_file__what_there_is_of_who_failed(
    allow_incomplete: bool, count: int, open_file: Callable[..., Sink], tmp_path: Path
) -> None:
    """Records of a user who failed are in the file only where an incomplete answer is allowed, and counted then."""
    sink, totals = open_file(allow_incomplete=allow_incomplete), Totals(is_of_many=True)
    list(sink.prepare())

    take(sink, totals, result(sink, "31"), result(sink, "32", BUSY))
    document = close(sink, totals, None)

    assert (document["enrollment_count"], len((tmp_path / "out").read_bytes().splitlines())) == (
        count,
        count,
    )


@pytest.mark.parametrize(
    ("name", "counts", "lines"),
    [
        ("ndjson", (1, 0, 2), 3),
        ("csv", (0, 0), 1),
        ("csv", (2, 1), 4),
        ("table", (1, 1), 4),
        ("ndjson", (0,), 0),
    ],
)
def test_stream__users_as_they_finish(
    name: str, counts: tuple[int, ...], lines: int, tmp_path: Path
) -> None:
    """Headings come first and once, though nobody has records; then each user's records when he is whole."""
    written: list[bytes] = []
    inputs = load_inputs(
        {"user_id": "31", "base_url": "sandbox", "format": name},
        {},
        Redactor(),
        secrets_dir=tmp_path,
    )[0]
    sink, totals = open_sink(inputs, Redactor(), written.append), Totals(is_of_many=True)

    take(
        sink,
        totals,
        *[result(sink, str(user_id), count=count) for user_id, count in enumerate(counts)],
    )
    before_the_end = len(b"".join(written).splitlines())
    document = close(sink, totals, None)

    assert len(b"".join(written).splitlines()) == lines
    assert before_the_end == (lines if sum(counts) else 0)
    assert (document["enrollment_count"], document["output_file"]) == (sum(counts), None)


@pytest.mark.parametrize("name", ["ndjson", "csv", "table", "parquet"])
def test_stream__nothing_of_a_run_that_came_to_nothing(name: str, tmp_path: Path) -> None:
    """Where nobody was read, nothing is written, no headings either."""
    written: list[bytes] = []
    inputs = load_inputs(
        {"user_id": "31", "base_url": "sandbox", "format": name},
        {},
        Redactor(),
        secrets_dir=tmp_path,
    )[0]
    sink, totals = open_sink(inputs, Redactor(), written.append), Totals(is_of_many=False)

    take(sink, totals, result(sink, "31", BUSY))
    document = close(sink, totals, BUSY)

    assert (written, document["enrollment_count"]) == ([], 0)
