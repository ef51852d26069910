"""All users: what their failures add up to, early stops, signals, and what a caller can add."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import random
import re
import signal
import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from connector import signals
from connector.alm.auth import TokenSource
from connector.alm.rate_limit import Quota, RateLimiter
from connector.clock import Deadline, SystemClock
from connector.errors import (
    AuthenticationError,
    ConnectorError,
    DeadlineError,
    InterruptedRun,
    LateRetryError,
    PartialError,
    PermissionDeniedError,
    ProtocolError,
    TemporaryError,
    UnreachableError,
    UntrustedHostError,
    UsageError,
    UserNotFoundError,
)
from connector.output.results import RunTotals, UserResult
from connector.redact import Redactor
from connector.runner import Outcome, Progress, RunHooks, execute
from connector.runner.all_users import (
    MAX_DENIED_USERS,
    Failures,
    PendingUsers,
    _late_last,
    check_deadline,
    within_deadline,
)
from connector.runner.connection import Account
from connector.sandbox import ACCESS_TOKEN, Settings
from connector.sandbox.faults import parse_faults
from connector.sandbox.server import SandboxServer
from connector.settings import load_given
from tests.support.clock import VirtualClock
from tests.support.errors import facts
from tests.support.inputs import inputs_of
from tests.support.records import VERIFIED

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import TextIO

    from connector.clock import Clock

DOCUMENTED = "20941371"


def run(
    clock: Clock, redactor: Redactor | None = None, *, stdin: TextIO | None = None, **inputs: Any
) -> Outcome:
    """Return the outcome of a run with *inputs* on the embedded sandbox."""
    redactor = redactor or Redactor()
    loaded, credentials = load_given({"base_url": "sandbox", **inputs}, redactor)
    return execute(loaded, credentials, redactor, clock=clock, stdin=stdin or io.StringIO())


def run_with_faults(*faults: str, clock: Clock, **inputs: Any) -> tuple[Outcome, int]:
    """Return the outcome of a run on a sandbox with *faults*, and how many requests it got."""
    with SandboxServer(Settings(rate_per_minute=0, faults=parse_faults(faults))) as server:
        values = {"base_url": server.url, "access_token": ACCESS_TOKEN, **inputs}
        return run(clock, **values), len(server.requests)


def test_execute__all_users_failed_alike(clock: Clock) -> None:
    """If no user could be read, the run fails with the error of the users, and names them."""
    outcome = run(clock, user_id="4041 4042 4043 4044")

    assert type(outcome.error) is UserNotFoundError
    assert outcome.error.message == (
        "None of the 4 users could be read: 4041 (exit code 67), 4042 (exit code 67),"
        " 4043 (exit code 67) and 1 more."
    )
    assert outcome.document["error"]["message"] == outcome.error.message
    assert outcome.document["users"]["read"] == 0


def test_execute__one_user_failed(clock: Clock) -> None:
    """If the only user failed, the run fails with that user's own error."""
    outcome = run(clock, user_id="4041")

    assert type(outcome.error) is UserNotFoundError
    assert outcome.document["users"]["failed"][0]["error"] == outcome.document["error"]


def test_execute__all_users_failed_and_one_may_pass(clock: Clock) -> None:
    """If one of the failures is temporary, so is the run's: another run can succeed."""
    outcome, _ = run_with_faults("user=7:503x*", clock=clock, user_id="4041,7")

    assert type(outcome.error) is TemporaryError
    assert outcome.error.message == (
        "None of the 2 users could be read: 4041 (exit code 67), 7 (exit code 75)."
    )
    assert outcome.error.retry_at is not None


def test_execute__some_users_failed(clock: Clock) -> None:
    """If other users were read, the run fails in part, and can be repeated at ``retry_at``."""
    outcome, _ = run_with_faults("user=7:503x*", clock=clock, user_id="8,7")

    assert type(outcome.error) is PartialError
    assert outcome.error.message == "1 of 2 users could not be read: 7 (exit code 75)."
    document = outcome.document
    assert document["users"]["failed"][0]["error"]["retry_at"] == document["error"]["retry_at"]
    assert (outcome.totals.read, document["complete"]) == (1, False)


def failed(user_id: str, error: ConnectorError | None) -> UserResult[Any]:
    """Return the result of a user who failed with *error*, or was read without one."""
    records: Any = None
    return UserResult(user_id, records, VERIFIED, error)


def added(*errors: ConnectorError | None, order: Iterable[int] = ()) -> tuple[Failures, list[bool]]:
    """Return failures to which *errors* of users 1000, 1001 … were added in this *order*.

    Also return for each whether it ended the run.
    """
    failures = Failures()
    places = list(order) or range(len(errors))
    are_last = [failures.add(place, failed(str(1000 + place), errors[place])) for place in places]
    return failures, are_last


@pytest.mark.parametrize("kind", [None, DeadlineError, AuthenticationError])
def test_late_last__not_reached_if_the_deadline_ends_the_run(
    kind: type[ConnectorError] | None,
) -> None:
    """Users with a retry behind the deadline come last; the deadline itself is their error then."""
    late, busy = LateRetryError("late", hint="h"), TemporaryError("busy", hint="h")
    results = [failed(str(place), error) for place, error in enumerate((late, None, late, busy))]
    failures = Failures()
    failures.ending = kind("ended", hint="h") if kind else None

    ordered = list(_late_last(enumerate(results), failures))

    assert [(place, result.name) for place, result in ordered] == [
        *((1, "1"), (3, "3"), (0, "0"), (2, "2"))
    ]
    last = failures.ending if kind is DeadlineError else late
    assert [result.error for _, result in ordered] == [None, busy, last, last]


LATE = LateRetryError("late", hint="h", retry_at=datetime(2024, 1, 1, 2, tzinfo=UTC))
ENDED = DeadlineError("ended", hint="h", retry_at=datetime(2024, 1, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("late", "read", "is_later"),
    [
        (LATE, 0, True),
        (LATE, 1, False),
        (LATE.replaced(retry_at=ENDED.retry_at), 0, False),
        (TemporaryError("m", hint="h", retry_at=LATE.retry_at), 0, False),
    ],
)
def test_failures__moment_that_alm_names_behind_the_deadline(
    *, late: ConnectorError, read: int, is_later: bool
) -> None:
    """If nobody could be read until the deadline, the next run waits as long as ALM says."""
    failures, _ = added(late, ENDED)

    error = failures.error(totals_of(3, read=read))

    assert type(error) is DeadlineError
    assert error.retry_at == (LATE if is_later else ENDED).retry_at
    assert error.hint == (
        "ALM asks to run again after 2024-01-01 02:00:00 UTC." if is_later else "h"
    )


def totals_of(requested: int, *, read: int = 0) -> RunTotals:
    """Return the totals of a run in which *read* of the *requested* users were read."""
    totals = RunTotals()
    for _ in range(read):
        totals.add_kept()
    totals.end(requested=requested, requests=1)
    return totals


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_failures__retry_at_is_the_latest(order: tuple[int, ...]) -> None:
    """A run whose failures may pass can be repeated when the last of them has passed."""
    moments = [datetime(2024, 1, 1, second=second, tzinfo=UTC) for second in (1, 2, 3)]
    errors = [TemporaryError("m", hint="h", retry_at=moment) for moment in moments]
    failures, _ = added(*errors, order=order)

    for totals in (totals_of(3), totals_of(4, read=1)):
        error_of_run = failures.error(totals)
        assert error_of_run is not None
        assert error_of_run.retry_at == moments[-1]


OF_USERS: list[ConnectorError] = [
    TemporaryError("of 75", hint="h75"),
    PermissionDeniedError("of 77", hint="h77"),
    UsageError("of 64", hint="h64"),
    ProtocolError("of 76", hint="h76"),
    UserNotFoundError("of 67", hint="h67"),
]


@pytest.mark.parametrize("count", range(2, 6))
def test_failures__code_in_every_order_of_finishing(count: int) -> None:
    """What may pass decides, else 77, 64, 76, 67 in this order; never the order of finishing."""
    for errors in itertools.combinations(OF_USERS, count):
        for places in itertools.permutations(errors):
            results = set()
            for order in itertools.permutations(range(count)):
                failures, are_last = added(*places, order=order)
                results.add(str(failures.error(totals_of(count))))
                assert not any(are_last)

            first = min(errors, key=OF_USERS.index)
            (text,) = results
            assert text.startswith(f"None of the {count} users could be read: 1000 (exit code ")
            assert text.endswith(f" {first.hint}")


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_failures__some_were_read(order: tuple[int, ...]) -> None:
    """If other users were read, those who failed are listed by place, and the code is 65."""
    failures, _ = added(OF_USERS[4], None, OF_USERS[1], order=order)

    error = failures.error(totals_of(3, read=1))

    assert type(error) is PartialError
    assert error.message == (
        "2 of 3 users could not be read: 1000 (exit code 67), 1002 (exit code 77)."
    )


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (DeadlineError("m", hint="h"), True),
        (UnreachableError("m", hint="h"), True),
        (UntrustedHostError("m", hint="h"), True),
        (AuthenticationError("m", hint="h"), True),
        (PermissionDeniedError("m", hint="h"), False),
        (UsageError("m", hint="h"), False),
        (UserNotFoundError("m", hint="h"), False),
        (TemporaryError("m", hint="h"), False),
        (ProtocolError("m", hint="h"), False),
        (None, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_failures__that_end_the_run(*, error: ConnectorError | None, ends: bool) -> None:
    """What every other user would meet ends the run with its error; one user's failure does not."""
    failures, are_last = added(None, error)

    assert are_last == [False, ends]
    assert (failures.error(totals_of(3, read=1)) is error) == (ends or error is None)
    # Whoever comes after the end is not worked on either.
    assert failures.add(2, failed("1002", OF_USERS[4])) is ends


DENIED = [
    PermissionDeniedError(f"The token may not read user {1000 + place}.", hint="h")
    for place in range(MAX_DENIED_USERS + 5)
]


@pytest.mark.parametrize("seed", range(20))
def test_failures__all_of_the_first_users_are_denied(seed: int) -> None:
    """If the token may read none of the first 20 users, the run ends, whoever finishes first."""
    order = list(range(MAX_DENIED_USERS))
    # Others finish in between: those behind the first 20 do not count.
    order[seed:seed] = range(MAX_DENIED_USERS, MAX_DENIED_USERS + seed % 5)
    random.Random(seed).shuffle(order)  # noqa: S311 - an order, no secret
    failures, are_last = added(*DENIED, order=order)

    assert are_last.index(True) == max(order.index(place) for place in range(MAX_DENIED_USERS))
    error = failures.error(totals_of(99))
    assert type(error) is PermissionDeniedError
    assert error.message == (
        "The token may not read user 1000; the same is true for all of the first 20 users."
    )


@pytest.mark.parametrize("other", [None, OF_USERS[4], OF_USERS[0]])
def test_failures__not_all_of_the_first_users_are_denied(other: ConnectorError | None) -> None:
    """If one of the first 20 users meets anything else, the run goes on to its end."""
    errors: list[ConnectorError | None] = [*DENIED]
    errors[7] = other

    _, are_last = added(*errors)

    assert not any(are_last)


def refused(user_id: str, message: str = "invalid include") -> UsageError:
    """Return the error of a request that ALM refuses for this user."""
    text = f'ALM refuses the request for user {user_id} (400: "{message}").'
    return UsageError(text, hint="Check include.")


@pytest.mark.parametrize("users", [("4", "5"), ("40", "1"), ("31", "7")])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_failures__request_refused_for_the_first_users(
    users: tuple[str, str], order: tuple[int, ...]
) -> None:
    """If ALM refuses the request with one text for the first two users, the run ends with 64."""
    failures = Failures()
    results = [failed(user, refused(user, f"no {user} here")) for user in users]
    results.append(failed("9", OF_USERS[4]))

    are_last = [failures.add(place, results[place]) for place in order]

    assert are_last.index(True) == max(order.index(0), order.index(1))
    assert str(failures.error(totals_of(9))) == str(results[0].error)


@pytest.mark.parametrize(
    "errors",
    [
        [refused("1000"), refused("1001", "another text")],
        [refused("1000"), None, refused("1002")],
        [None, refused("1001"), refused("1002")],
        [refused("1000"), OF_USERS[4], refused("1002")],
    ],
)
def test_failures__request_refused_for_one_user(errors: list[ConnectorError | None]) -> None:
    """A request that ALM refuses for one user among others is this user's failure only."""
    _, are_last = added(*errors)

    assert not any(are_last)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_execute__a_refused_token_ends_the_run(concurrency: int, clock: Clock) -> None:
    """A token that ALM refuses for one user would be refused for all: no other is requested."""
    users = ",".join(map(str, range(1000, 1100)))

    outcome, requests = run_with_faults(
        "*:401x*", clock=clock, user_id=users, concurrency=concurrency
    )

    assert type(outcome.error) is AuthenticationError
    assert requests < 100


def test_execute__a_denied_user_does_not_end_the_run(clock: Clock) -> None:
    """A user that the token may not read does not keep the others from being read."""
    outcome = run(clock, user_id=f"4031,{DOCUMENTED}", concurrency=1)

    assert type(outcome.error) is PartialError
    assert outcome.document["enrollment_count"] == 3


def test_execute__nothing_is_sent_after_the_end(clock: Clock) -> None:
    """When the run has ended, threads that still read for it send nothing more."""
    faults = parse_faults(["user=1:401x*"])
    with SandboxServer(Settings(rate_per_minute=0, faults=faults), latency_seconds=0.02) as server:
        outcome = run(
            clock,
            base_url=server.url,
            access_token=ACCESS_TOKEN,
            user_id=[1, *range(1000, 1100)],
            page_limit=1,
            lo_types="all",
            concurrency=8,
        )
        requests_at_the_end = len(server.requests)
        threading.Event().wait(0.3)

        reasons = outcome.document["completeness"]["reasons"]
        assert reasons[-1] == "100 of 101 users were not reached"
        assert len(server.requests) <= requests_at_the_end + 8


def test_execute__an_empty_shard_is_complete(clock: Clock) -> None:
    """A shard without users is complete, and sends nothing."""
    outcome = run(clock, user_id="31", shard="1/500000")

    assert (outcome.error, outcome.document["complete"]) == (None, True)
    assert outcome.document["completeness"]["requests"] == 0


@pytest.mark.parametrize(("users", "prefix"), [("31", ""), ("31,1000", "user 31: ")])
def test_execute__reasons_name_the_user(users: str, prefix: str, clock: Clock) -> None:
    """Reasons name their user, unless the run has only one."""
    outcome = run(clock, user_id=users, max_enrollments=1)

    reasons = outcome.document["completeness"]["reasons"]
    assert reasons[0] == f"{prefix}stopped after 1 enrollment, the limit of max_enrollments"


def test_execute__allow_incomplete(clock: Clock) -> None:
    """A failure is forgiven if anything was read: the document has it, the outcome has not."""
    fault = "page=2:duplicatex*"
    values: dict[str, Any] = {"user_id": "31", "lo_types": "all", "clock": clock}
    failed, _ = run_with_faults(fault, **values)
    forgiven, _ = run_with_faults(fault, **values, allow_incomplete=True)

    assert type(failed.error) is ProtocolError
    assert (forgiven.error, forgiven.document["error"]["code"]) == (None, 76)
    ids = forgiven.document["enrollment_ids"]
    assert ids
    assert (len(ids), len(set(ids))) == (forgiven.document["enrollment_count"],) * 2
    assert forgiven.document["completeness"]["status"] == "inconsistent"
    assert failed.document["enrollment_ids"] == []
    nothing_read = run(clock, user_id="4041", allow_incomplete=True)
    assert type(nothing_read.error) is UserNotFoundError


def test_execute__allow_incomplete_in_a_file(clock: Clock, tmp_path: Path) -> None:
    """With ``allow_incomplete`` one page that was read becomes the file; without, no file."""
    values: dict[str, Any] = {"user_id": "31", "lo_types": "all", "format": "ndjson"}
    for allow_incomplete in (False, True):
        path = tmp_path / f"{allow_incomplete}.ndjson"
        outcome, _ = run_with_faults(
            "page=2:503x*",
            clock=clock,
            allow_incomplete=allow_incomplete,
            output_file=path,
            **values,
        )

        assert (outcome.error is None, path.is_file()) == (allow_incomplete, allow_incomplete)
        assert outcome.totals.pages == 1


class Pipe(io.StringIO):
    """A pipe: the number of its lines is unknown before its end."""

    def seekable(self) -> bool:
        """Return ``False``."""
        return False


def test_execute__of_a_pipe(clock: Clock) -> None:
    """If the number of users is known only at the end of standard input, they are counted."""
    inputs = inputs_of(user_id=None, user_ids_file="-")
    _, credentials = load_given({"base_url": "sandbox", "user_id": "31"}, Redactor())
    totals: list[int | None] = []
    hooks = RunHooks(on_progress=lambda progress: totals.append(progress.total))

    outcome = execute(
        inputs, credentials, Redactor(), clock=clock, stdin=Pipe("31\n32\n4041\n"), hooks=hooks
    )

    assert outcome.document["users"]["requested"] == 3
    assert len(outcome.document["completeness"]["reasons"]) == 1
    assert set(totals) == {None}


def test_execute__of_a_pipe_that_is_not_read_to_its_end(clock: Clock) -> None:
    """If the run ends before the pipe does, the document has users missing without a number."""
    redactor = Redactor()
    with SandboxServer(Settings(faults=parse_faults(["user=31:401x*"]))) as server:
        values = {"base_url": server.url, "access_token": ACCESS_TOKEN, "concurrency": 1}
        inputs, credentials = load_given({**values, "user_ids_file": "-"}, redactor)
        users = Pipe("31\n32\n33\n")
        outcome = execute(inputs, credentials, redactor, clock=clock, stdin=users)

    assert type(outcome.error) is AuthenticationError
    reasons = outcome.document["completeness"]["reasons"]
    assert "the list of users was not read to its end" in reasons


def test_execute__a_user_who_is_listed_twice(clock: Clock) -> None:
    """A user to whom two addresses lead is read, and counted, once."""
    outcome = run(clock, user_email="user31@example.com,user7@x.org,31@example.com")

    assert outcome.document["users"] == {"requested": 2, "read": 2, "failed": []}


def test_execute__deleted_users(clock: Clock, tmp_path: Path) -> None:
    """The document has a reason that says how many users of the list are deleted in ALM."""
    path = tmp_path / "users.csv"
    path.write_text("user_id,state\n31,ACTIVE\n32,DELETED\n", "utf-8")

    outcome = run(clock, user_ids_file=path)

    (reason,) = outcome.document["completeness"]["reasons"]
    assert reason.startswith("skipped 1 user")
    assert outcome.document["users"]["requested"] == 1


def test_execute__names_in_a_locale(clock: Clock) -> None:
    """With ``names``, records have the names of their course, in the locale, and of the user."""
    outcome = run(clock, user_id=DOCUMENTED, names=True, locale="de-DE")

    records = outcome.document["enrollments"]
    assert [(record["lo_name"], record["user_name"]) for record in records[1:]] == [
        ("Datenschutz 7236650", "Deniz Tanaka"),
        ("Ein Team führen 7236827", "Deniz Tanaka"),
    ]


def test_execute__relative_moments(clock: Clock) -> None:
    """The document says first which moment a relative one was."""
    outcome = run(clock, user_id="31", since="9000d", max_enrollments=1)

    first, second = outcome.document["completeness"]["reasons"]
    assert re.match(r"since 9000d is [0-9]{4}-[0-9]{2}-[0-9]{2}T", first)
    assert second.startswith("stopped after 1 ")


@pytest.mark.parametrize(
    "users",
    [
        {"user_id": "1,2,3,4,5"},
        {"user_email": ",".join(f"{user}@example.com" for user in "12345")},
    ],
)
def test_execute__hidden_rows_of_others(users: dict[str, str], clock: Clock) -> None:
    """After three users of whom ALM counts more than it serves, no further one is read twice."""
    outcome, requests = run_with_faults(
        "*:hiddenx*", clock=clock, concurrency=1, lo_types="all", **users
    )

    assert outcome.error is None
    reasons = outcome.document["completeness"]["reasons"]
    assert [reason.rpartition(", ")[2] for reason in reasons] == [
        *["in two complete readings"] * 3,
        *["as for other users of this run"] * 2,
    ]
    assert requests == outcome.document["completeness"]["requests"]


def test_execute__removes_secrets(clock: Clock, tmp_path: Path) -> None:
    """Neither document nor error nor output file has a secret that ALM's answers repeat."""
    redactor = Redactor()
    redactor.add("ENROLLED")
    redactor.add("40410042")
    path = tmp_path / "out.ndjson"
    values: dict[str, Any] = {"user_id": f"{DOCUMENTED},40410042", "format": "ndjson"}

    outcome = run(clock, redactor, **values)
    run(clock, redactor, **values, output_file=path)

    records = [*outcome.document["enrollments"], *map(json.loads, path.read_bytes().splitlines())]
    assert [record["state"] for record in records] == ["***"] * 6
    assert outcome.error is not None
    assert outcome.error.message == "1 of 2 users could not be read: *** (exit code 67)."
    assert outcome.document["error"]["message"] == outcome.error.message
    (failed,) = outcome.document["users"]["failed"]
    # A number may be part of any id: values keep it, messages do not.
    assert failed["user_id"] == "40410042"
    assert "40410042" not in failed["error"]["message"]


def test_execute__removes_parts_of_secrets_from_reasons(clock: Clock) -> None:
    """A reason that quotes an id which a secret begins with does not show it."""
    values: dict[str, Any] = {"user_id": "31", "lo_types": "all", "allow_incomplete": True}
    with SandboxServer(Settings(faults=parse_faults(["page=2:duplicatex*"]))) as server:
        values |= {"base_url": server.url, "access_token": ACCESS_TOKEN}
        reasons = run(clock, **values).document["completeness"]["reasons"]
        (repeated,) = re.findall('enrollment "(.+)" came twice', reasons[0])
        redactor = Redactor()
        redactor.add(f"{repeated}-and-more")
        redacted = run(clock, redactor, **values).document["completeness"]["reasons"]

    assert redacted[0] == reasons[0].replace(repeated, "***")


class InterruptingRedactor(Redactor):
    """Sends the process a signal when it gets the journal's entry of user 31, or another value."""

    def __init__(self, moment: str = "31") -> None:
        super().__init__()
        self._moment = moment

    def clean_value(self, value: Any) -> Any:
        """Return *value*."""
        entry = value.get("user_id") if isinstance(value, dict) else value
        if entry == self._moment:
            signal.raise_signal(signal.SIGTERM)
        return super().clean_value(value)


@pytest.mark.parametrize("allow_incomplete", [False, True])
def test_execute__interrupted_while_a_user_is_written(
    *, allow_incomplete: bool, clock: Clock, tmp_path: Path
) -> None:
    """A signal waits until a user is written and counted; users are kept for ``resume``."""
    path = tmp_path / "out.ndjson"
    path.write_text("earlier", "utf-8")
    values: dict[str, Any] = {
        "user_id": "7,31,8",
        "format": "ndjson",
        "concurrency": 1,
        "allow_incomplete": allow_incomplete,
    }

    with signals.raised():
        outcome = run(clock, InterruptingRedactor(), **values, output_file=path)

    assert (type(outcome.error), outcome.document["error"]["code"]) == (InterruptedRun, 143)
    assert outcome.document["error"]["hint"] == (
        f"No output was replaced. 2 users are kept in {path}.part: run again with `resume`."
    )
    assert (outcome.document["output_file"], outcome.document["users"]["read"]) == (None, 2)
    assert path.read_text("utf-8") == "earlier"

    resumed = run(clock, **values, output_file=path, resume=True)

    assert (resumed.totals.kept, resumed.totals.read, resumed.error) == (2, 3, None)
    users = [json.loads(line)["user_id"] for line in path.read_bytes().splitlines()]
    assert list(dict.fromkeys(users)) == ["7", "31", "8"]


@pytest.mark.parametrize("allow_incomplete", [False, True])
def test_execute__interrupted_while_the_file_is_finished(
    *, allow_incomplete: bool, clock: Clock, tmp_path: Path
) -> None:
    """A signal at the end of the file leaves the file as it was, and its users for ``resume``."""
    path = tmp_path / "out.ndjson"
    values: dict[str, Any] = {
        "user_id": "7,31",
        "format": "ndjson",
        "allow_incomplete": allow_incomplete,
    }

    with signals.raised():
        # What a file says of its source is the last that is redacted before it gets its name.
        outcome = run(clock, InterruptingRedactor("sandbox"), **values, output_file=path)

    assert (type(outcome.error), path.is_file()) == (InterruptedRun, False)
    document = outcome.document
    assert (document["enrollment_count"], document["output_file"]) == (0, None)
    assert "enrollments" not in document
    assert f"2 users are kept in {path}.part" in document["error"]["hint"]
    resumed = run(clock, **values, output_file=path, resume=True)
    assert (resumed.error, resumed.totals.kept, path.is_file()) == (None, 2, True)


def test_execute__threads_end_with_the_loop(clock: Clock) -> None:
    """Threads take no further user once an error has ended the loop, whoever keeps the error."""
    before = set(threading.enumerate())

    def fail(progress: Progress) -> None:
        if progress.totals.read:
            raise OSError("no space left")

    values = {"base_url": "sandbox", "user_id": list(range(1, 100)), "concurrency": 4}
    loaded, credentials = load_given(values, Redactor())
    hooks = RunHooks(on_progress=fail)
    with pytest.raises(OSError, match="no space left") as caught:
        execute(loaded, credentials, Redactor(), clock=clock, stdin=io.StringIO(), hooks=hooks)

    assert caught.value.__traceback__ is not None
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


def test_execute__lost_signal(clock: Clock) -> None:
    """A signal whose exception Python or a library has lost ends the run all the same."""
    with signals.raised():
        with contextlib.suppress(InterruptedRun):
            signal.raise_signal(signal.SIGTERM)
        outcome = run(clock, user_id="7,31,8")

    assert (type(outcome.error), outcome.document["error"]["code"]) == (InterruptedRun, 143)


@pytest.mark.parametrize("first", ["a31@b.de", "31"])
@pytest.mark.parametrize(
    "users", [["a31@b.de", "31"], ["31", "A31@b.de"], ["5", "a31@b.de", "b31@b.de", "031"]]
)
@pytest.mark.parametrize("is_pipe", [False, True])
def test_execute__resumed_by_id_and_address(
    *, first: str, users: list[str], is_pipe: bool, clock: Clock, tmp_path: Path
) -> None:
    """A user whom the file has, by id or by address, is counted once, as in a run without it."""
    (tmp_path / "list").write_text("\n".join(users), "utf-8")
    values: dict[str, Any] = {"user_ids_file": "-" if is_pipe else tmp_path / "list"}
    before: dict[str, Any] = {"user_email" if "@" in first else "user_id": first}
    run(clock, **before, output_file=tmp_path / "out.ndjson")

    outcomes = []
    for name, resume in (("new.ndjson", False), ("out.ndjson", True)):
        stdin = io.StringIO("\n".join(users))
        outcomes.append(
            run(clock, **values, stdin=stdin, output_file=tmp_path / name, resume=resume)
        )

    new, resumed = [outcome.document["users"] for outcome in outcomes]
    assert (new, new["read"]) == (resumed, len(users) - 1 - ("031" in users))
    assert outcomes[1].totals.kept == 1


def test_execute__another_error_leaves_the_file_to_resume(clock: Clock, tmp_path: Path) -> None:
    """If anything else fails, the error is raised, and the users of the file can be resumed."""
    values: dict[str, Any] = {
        "base_url": "sandbox",
        "user_id": "7,31",
        "concurrency": 1,
        "format": "ndjson",
        "output_file": tmp_path / "out",
    }

    def fail(_: Progress) -> None:
        raise LookupError("the caller's own")

    loaded = load_given(values, Redactor())
    hooks = RunHooks(on_progress=fail)
    with pytest.raises(LookupError, match="the caller's own"):
        execute(*loaded, Redactor(), clock=clock, stdin=io.StringIO(), hooks=hooks)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.part", "out.users"]
    resumed = run(clock, **values, resume=True)
    assert (resumed.totals.kept, resumed.totals.read) == (1, 2)


def test_execute__hooks(clock: Clock) -> None:
    """A caller gets the records of a format without a file, and the progress after each user."""
    inputs, credentials = load_given(
        {"base_url": "sandbox", "user_id": f"{DOCUMENTED},8", "format": "csv", "concurrency": 1},
        Redactor(),
    )
    written: list[bytes] = []
    progress: list[tuple[int, int | None]] = []

    def on_progress(now: Progress) -> None:
        progress.append((now.totals.read, now.total))
        assert (now.client.requests > 0, now.clock) == (True, clock)

    hooks = RunHooks(write=written.append, on_progress=on_progress, has_tally=True)

    outcome = execute(
        inputs, credentials, Redactor(), clock=clock, stdin=io.StringIO(), hooks=hooks
    )

    assert progress == [(1, 2), (2, 2)]
    assert "enrollments" not in outcome.document
    count = outcome.document["enrollment_count"]
    assert len(b"".join(written).splitlines()) == 1 + count
    assert sum(outcome.totals.counts.values()) == count
    assert len(outcome.totals.first) == count
    without_tally = execute(
        *(inputs, credentials, Redactor()),
        clock=clock,
        stdin=io.StringIO(),
        hooks=RunHooks(write=written.append),
    )
    assert without_tally.totals.first == []


def test_execute__progress_while_a_user_is_read(clock: Clock) -> None:
    """Progress is also called while nobody finishes, and an account is shared by its runs."""
    redactor, read = Redactor(), []
    with SandboxServer(Settings(), latency_seconds=0.3) as server:
        inputs, credentials = load_given(
            {"base_url": server.url, "access_token": ACCESS_TOKEN, "user_id": "8"}, redactor
        )
        account = Account(TokenSource(credentials, redactor), RateLimiter())
        hooks = RunHooks(on_progress=lambda now: read.append(now.totals.read), account=account)
        execute(inputs, credentials, redactor, clock=clock, stdin=io.StringIO(), hooks=hooks)

    assert (read[0], read[-1]) == (0, 1)
    assert account.rate_limiter.seen == Quota(100 / 60, 100)


class SinkWith:
    """A sink that has some users from an earlier run."""

    def __init__(self, *users: str) -> None:
        self._users = users

    def has(self, user_id: str) -> bool:
        """Return whether it has *user_id*."""
        return user_id in self._users


def test_pending_users__without_those_of_the_file() -> None:
    """Users that the output file has are counted, and not requested; all are taken one by one."""
    sink: Any = SinkWith("1", "3")
    totals = RunTotals(is_of_many=True)
    pending = PendingUsers(iter(["1", "2", "3", "4"]), sink, totals)
    users = iter(pending)

    first = next(users)

    assert (first, pending.count, pending.is_complete) == ("2", 2, False)
    assert (list(users), pending.is_complete) == (["4"], True)
    assert (pending.count, totals.kept, totals.read) == (4, 2, 2)


def test_pending_users__after_the_end() -> None:
    """When the run has ended, a thread that still looks for the next user counts nobody."""
    sink: Any = SinkWith("1", "3", "4")
    totals = RunTotals(is_of_many=True)
    pending = PendingUsers(iter(["1", "2", "3", "4"]), sink, totals)
    users = iter(pending)
    next(users)

    pending.end()

    assert (list(users), pending.is_complete) == ([], False)
    assert (pending.count, totals.kept, totals.read) == (2, 1, 1)


@pytest.mark.parametrize("name", ["read_user_ids", "open_sink"])
def test_execute__deadline_before_the_first_request(
    name: str, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline ends a run that still reads its list, or the file to resume."""
    goes_on = threading.Event()

    def take_long(*_: object, **__: object) -> None:
        clock.sleep(700)
        goes_on.wait(10)

    abandoned = threading.Semaphore(0)
    sink = SimpleNamespace(prepare=take_long, abandon=abandoned.release)
    late = take_long if name == "read_user_ids" else lambda *_, **__: sink
    monkeypatch.setattr(f"connector.runner.all_users.{name}", late)

    with pytest.raises(DeadlineError, match="passed before the run ended") as caught:
        run(clock, user_id="7", deadline=600)

    goes_on.set()
    if name == "open_sink":
        # Also by the thread: it may have locked the file after the run had ended.
        assert [abandoned.acquire(timeout=10) for _ in range(2)] == [True, True]
    assert caught.value.retry_at == datetime(2023, 6, 29, 12, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "passed", "is_raised"),
    [
        (600, 600.4, False),
        (600, 600.6, True),
        (3, 3.1, False),
        (3, 3.2, True),
    ],
)
def test_check_deadline__after_some_grace(
    *, seconds: float, passed: float, is_raised: bool
) -> None:
    """Threads get a moment to come back with what they have read; then the run ends."""
    clock = VirtualClock()
    deadline = Deadline(clock, seconds)
    clock.sleep(passed)

    with pytest.raises(DeadlineError) if is_raised else contextlib.nullcontext() as caught:
        check_deadline(deadline)

    if is_raised:
        moment = deadline.moment()
        assert caught is not None
        assert facts(caught.value) == (
            DeadlineError,
            (
                f"The deadline of {seconds} s passed before the run ended."
                " Run again with a longer `deadline`."
            ),
            None,
            f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        )


def test_within_deadline__result_and_error() -> None:
    """What the work returns is returned, and what it raises is raised."""
    deadline = Deadline(VirtualClock(), 600)

    assert within_deadline(lambda: 42, deadline) == 42
    with pytest.raises(IndexError):
        within_deadline([].pop, deadline)


def test_within_deadline__work_that_hangs() -> None:
    """Work that does not come to its end is left alone after the deadline."""
    is_over = threading.Event()
    deadline = Deadline(SystemClock(), 0.1)
    try:
        with pytest.raises(DeadlineError):
            within_deadline(lambda: is_over.wait(60), deadline)
    finally:
        is_over.set()
