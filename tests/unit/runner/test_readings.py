"""Readings of one user, repeated: rows that ALM hides, repeats, and what is kept of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import pytest

from connector.alm.completeness import Completeness, Status
from connector.alm.protocol import Page
from connector.errors import ConnectorError, ProtocolError, TemporaryError, UserNotFoundError
from connector.output.results import UserResult
from connector.runner.one_user import HiddenRows, read_address, read_user
from connector.settings.users import Users
from tests.support.inputs import inputs_of
from tests.support.pages import count_cursor
from tests.support.recorded import RecordingSink

if TYPE_CHECKING:
    from connector.alm.client import Client
    from connector.alm.protocol import PageRequest
    from connector.output.sinks import Sink
    from tests.support.recorded import Records

BUSY = TemporaryError("ALM failed.", hint="Run again.")
ONE, TWO, THREE = (f"course:{number}_2_31" for number in (1, 2, 3))
HIDDEN = "jobAid:9_-1_31"
ALIKE = "ALM counts 1 row that it does not return (jobAid 1), in two complete readings"
# A page: the ids that it serves, and those that the cursor of its next link counts, if it has one.
Step = tuple[Sequence[str], Sequence[str] | None] | ConnectorError
HIDING: tuple[Step, ...] = (([ONE, TWO], [ONE, TWO, HIDDEN]), ([THREE], None))
HONEST: tuple[Step, ...] = (([ONE, TWO], [ONE, TWO]), ([THREE], None))
REPEATING: tuple[Step, ...] = (([ONE, TWO], [ONE, TWO]), ([TWO, THREE], None))


class ScriptedClient:
    """Answers each request with the next step, and look-ups with a user or an error."""

    def __init__(self, *script: Step, user: str | ConnectorError = "31") -> None:
        self._script = iter(script)
        self._user = user
        self.requests = 0
        self.answered_at = None

    def fetch(self, request: PageRequest) -> Page:
        """Return the next page."""
        self.requests += 1
        step = next(self._script)
        if isinstance(step, ConnectorError):
            raise step
        ids, counted = step
        resources: list[dict[str, Any]] = [{"id": one, "type": "enrollment"} for one in ids]
        link = None if counted is None else f"?page[cursor]={count_cursor(counted)}"
        return Page("31", request.cursor, resources, [], link, "r-1")

    def find_user(self, _: str) -> str:
        """Return the user of any address."""
        if isinstance(self._user, ConnectorError):
            raise self._user
        return self._user

    def redacted(self, error: ConnectorError) -> ConnectorError:
        """Return *error*, marked as redacted."""
        return error.replaced(message=f"redacted: {error.message}")


def read(
    client: ScriptedClient, hidden_rows: HiddenRows | None = None, **inputs: Any
) -> tuple[list[str], UserResult[Records]]:
    """Return the ids that were read of user 31, and the result; all other records are closed."""
    sink = RecordingSink()
    result = read_user(
        "31",
        inputs_of(lo_types="all", **inputs),
        cast("Client", client),
        cast("Sink[Records]", sink),
        hidden_rows=hidden_rows,
    )
    assert [records.is_closed for records in sink.made] == [
        records is not result.records for records in sink.made
    ]
    return [record.id for record in result.records.enrollments], result


def test_read_user__hidden_row() -> None:
    """A row that ALM counts and never serves is a property of the account, seen twice."""
    client = ScriptedClient(*HIDING * 2)

    ids, result = read(client)

    assert (ids, result.error, client.requests) == ([ONE, TWO, THREE], None, 4)
    assert result.completeness == Completeness(Status.CONSISTENT, (ALIKE,), 2)


def test_read_user__counts_that_were_wrong_once() -> None:
    """Counts that agree in the second reading are the proof."""
    ids, result = read(ScriptedClient(*HIDING, *HONEST))

    assert (ids, result.completeness) == ([ONE, TWO, THREE], Completeness(Status.VERIFIED, (), 2))


def test_read_user__hidden_row_and_a_repeat() -> None:
    """A reading with repeats neither confirms a surplus nor is forgotten by it."""
    _, result = read(ScriptedClient(*HIDING, *REPEATING, *HIDING))

    assert result.completeness == Completeness(Status.CONSISTENT, (ALIKE,), 2)


@pytest.mark.parametrize(
    "second",
    [
        pytest.param((([ONE, TWO], [ONE, TWO, "course:9_9_31"]), ([THREE], None)), id="type"),
        pytest.param((([ONE, TWO], [ONE, TWO, HIDDEN, HIDDEN]), ([THREE], None)), id="amount"),
    ],
)
def test_read_user__surplus_that_changes(second: tuple[Step, ...]) -> None:
    """A surplus that changes from reading to reading is inconsistent, and all read is kept."""
    client = ScriptedClient(*HIDING, *second, *HIDING)

    ids, result = read(client)

    assert (ids, client.requests) == ([ONE, TWO, THREE], 6)
    assert result.completeness.status is Status.INCONSISTENT
    assert isinstance(result.error, ProtocolError)
    assert (
        "contradict themselves in each of 3 readings: page 1: ALM counts 3" in result.error.message
    )


def test_read_user__same_surplus_without_a_record() -> None:
    """Of two readings with one surplus, the later one must not lack what the earlier one had."""
    without_two: tuple[Step, ...] = (([ONE], [ONE, HIDDEN]), ([THREE], None))
    client = ScriptedClient(*HIDING, *without_two, *HIDING)

    ids, result = read(client)

    assert (ids, client.requests) == ([ONE, TWO, THREE], 6)
    assert result.completeness == Completeness(Status.CONSISTENT, (ALIKE,), 2)


def test_read_user__hidden_rows_of_others() -> None:
    """Once three users have shown it, a surplus is no reason to read twice; a repeat is one."""
    hidden_rows = HiddenRows()
    for _ in range(3):
        client = ScriptedClient(*HIDING * 2)
        read(client, hidden_rows)
        assert client.requests == 4

    client = ScriptedClient(*HIDING)
    ids, result = read(client, hidden_rows)
    _, repeated = read(ScriptedClient(*REPEATING, *HONEST), hidden_rows)

    assert (ids, client.requests) == ([ONE, TWO, THREE], 2)
    reason = ALIKE.replace("in two complete readings", "as for other users of this run")
    assert result.completeness == Completeness(Status.CONSISTENT, (reason,), 2)
    assert repeated.completeness == Completeness(Status.VERIFIED, (), 2)


def test_read_user__keeps_the_largest_reading() -> None:
    """Of contradictory readings the one with the most records is kept, the last of equals."""
    short: tuple[Step, ...] = (([ONE, TWO], [ONE, TWO]), ([TWO], None))

    ids, result = read(ScriptedClient(*short, *REPEATING, *short))

    assert ids == [ONE, TWO, THREE]
    assert (result.completeness.status, result.completeness.pages) == (Status.INCONSISTENT, 2)


def test_read_user__fails_in_a_later_reading() -> None:
    """If a later reading fails, what an earlier one read is kept, with the error."""
    client = ScriptedClient(*REPEATING, ([ONE, TWO], [ONE, TWO]), BUSY)

    ids, result = read(client)

    assert (ids, client.requests) == ([ONE, TWO, THREE], 4)
    assert str(result.error) == "redacted: ALM failed. Run again."
    assert result.completeness == Completeness(
        Status.INCONSISTENT,
        (f'page 2: enrollment "{TWO}" came twice', "redacted: ALM failed."),
        2,
    )


def test_read_user__repeats_and_fails() -> None:
    """A reading that contradicts itself and then fails is not repeated."""
    client = ScriptedClient(*REPEATING[:1], ([TWO], [ONE, TWO, THREE]), BUSY)

    ids, result = read(client)

    assert (ids, client.requests) == ([ONE, TWO], 3)
    assert result.completeness.status is Status.INCONSISTENT
    assert str(result.error) == "redacted: ALM failed. Run again."


def test_read_user__reads_on_after_a_repeat() -> None:
    """A repeat does not end a reading: the pages after it belong to what was read."""
    reading: tuple[Step, ...] = (
        ([ONE], [ONE]),
        ([ONE, TWO], [ONE, TWO]),
        ([THREE], None),
    )

    ids, _ = read(ScriptedClient(*reading * 3))

    assert ids == [ONE, TWO, THREE]


def test_read_user__ends_with_a_repeated_cursor() -> None:
    """Pages without end are read until a cursor comes again."""
    reading: tuple[Step, ...] = (([ONE], [ONE]), ([TWO], [ONE, TWO]), ([THREE], [ONE, TWO]))
    client = ScriptedClient(*reading * 3)

    ids, _ = read(client)

    assert (ids, client.requests) == ([ONE, TWO, THREE], 9)


def test_read_user__cut_short_with_a_surplus() -> None:
    """A reading that max_enrollments cuts short is not repeated for a surplus."""
    client = ScriptedClient(*HIDING)

    ids, result = read(client, max_enrollments=1)

    assert (ids, client.requests) == ([ONE], 1)
    assert result.completeness.status is Status.INCOMPLETE


def test_read_user__twice_on_one_page() -> None:
    """A record that a page lists twice, byte for byte, is kept once and mentioned."""
    counted = ([ONE, ONE, TWO], [ONE, ONE, TWO])

    ids, result = read(ScriptedClient(counted, ([THREE, THREE, THREE], None)))

    remark = f'enrollments that came twice on one page, and are kept once: 3, the first: "{ONE}"'
    assert ids == [ONE, TWO, THREE]
    assert result.completeness == Completeness(Status.VERIFIED, (remark,), 2)


def look_up(
    client: ScriptedClient, users: Users | None = None, hidden_rows: HiddenRows | None = None
) -> tuple[RecordingSink, UserResult[Records]]:
    """Return the result of the user who has an address, and the sink."""
    sink = RecordingSink()
    result = read_address(
        "ada@x",
        inputs_of(lo_types="all"),
        cast("Client", client),
        cast("Sink[Records]", sink),
        users or Users(["ada@x"]),
        hidden_rows or HiddenRows(),
    )
    return sink, result


def test_read_address__found() -> None:
    """The user of an address is read, and named by the address in every record."""
    _, result = look_up(ScriptedClient(*HONEST))

    assert (result.user_id, result.user_email, result.name) == ("31", "ada@x", "31 (ada@x)")
    assert [record.user_email for record in result.records.enrollments] == ["ada@x"] * 3


def test_read_address__not_found() -> None:
    """An address that leads to nobody is a failure without an id, and nothing is read."""
    client = ScriptedClient(user=UserNotFoundError("Nobody.", hint="Look."))

    _, result = look_up(client)

    assert (result.user_id, result.name, client.requests) == (None, "ada@x", 0)
    assert str(result.error) == "redacted: Nobody. Look."
    assert result.completeness == Completeness(Status.INCOMPLETE, ("redacted: Nobody.",), 0)


@pytest.mark.parametrize(
    ("user_id", "listed", "is_repeat", "is_kept"),
    [("31", "31", True, False), ("7", "8", False, True), ("7", "7", True, False)],
)
def test_read_address__of_a_known_user(
    user_id: str, listed: str, *, is_repeat: bool, is_kept: bool
) -> None:
    """A user whom the list or the file has already is not read by the address."""
    client = ScriptedClient(user=user_id)
    users = Users([listed, "ada@x"])
    assert list(users.ids) == [listed, "ada@x"]

    sink, result = look_up(client, users)

    nothing = Completeness(Status.VERIFIED, (), 0)
    assert client.requests == 0
    assert result == UserResult(
        user_id,
        cast("Any", sink.made[0]),
        nothing,
        user_email="ada@x",
        is_repeat=is_repeat,
        is_kept=is_kept,
    )


def test_read_address__hidden_rows_of_others() -> None:
    """What other users have shown of hidden rows holds for the user of an address, too."""
    hidden_rows = HiddenRows()
    for _ in range(3):
        read(ScriptedClient(*HIDING * 2), hidden_rows)
    client = ScriptedClient(*HIDING)

    look_up(client, hidden_rows=hidden_rows)

    assert client.requests == 2
