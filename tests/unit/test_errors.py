"""The error classes: exit codes, one line for the user, and details that nothing changes."""

from __future__ import annotations

import inspect
import pickle
import re
import signal
from datetime import UTC, datetime, timedelta, timezone

import pytest

import connector
from connector import errors
from connector.errors import (
    AuthenticationError,
    ConnectorError,
    DeadlineError,
    InternalError,
    InterruptedRun,
    LateRetryError,
    OutputError,
    PartialError,
    PermissionDeniedError,
    Problem,
    ProtocolError,
    TemporaryError,
    UnreachableError,
    UntrustedHostError,
    UsageError,
    UserNotFoundError,
    error_as_dict,
)

CLASSES: list[tuple[type[ConnectorError], type[ConnectorError], int]] = [
    (UsageError, ConnectorError, 64),
    (PartialError, ConnectorError, 65),
    (UserNotFoundError, ConnectorError, 67),
    (UnreachableError, ConnectorError, 69),
    (UntrustedHostError, UnreachableError, 69),
    (InternalError, ConnectorError, 70),
    (OutputError, ConnectorError, 73),
    (TemporaryError, ConnectorError, 75),
    (DeadlineError, TemporaryError, 75),
    (LateRetryError, TemporaryError, 75),
    (ProtocolError, ConnectorError, 76),
    (AuthenticationError, ConnectorError, 77),
    (PermissionDeniedError, AuthenticationError, 77),
]
MOMENT = datetime(2023, 6, 29, tzinfo=UTC)
DETAILS = {
    "message": "It failed.",
    "hint": "Wait.",
    "http_status": 429,
    "request_id": "r-1",
    "retry_at": MOMENT,
    "retry_after": "0.42",
    "document": None,
}


def busy() -> TemporaryError:
    """Return an error with all its details."""
    return TemporaryError(
        "It failed.",
        hint="Wait.",
        http_status=429,
        request_id="r-1",
        retry_at=MOMENT,
        retry_after="0.42",
    )


def details_of(error: ConnectorError) -> dict[str, object]:
    """Return the details of *error* by name."""
    return {name: getattr(error, name) for name in DETAILS}


@pytest.mark.parametrize(("error_class", "parent", "code"), CLASSES)
def test_exit_code__of_each_class(
    error_class: type[ConnectorError], parent: type[ConnectorError], code: int
) -> None:
    """Each class has the exit code that the contract gives to its cause."""
    error = error_class("It failed.", hint="Do this.")

    assert (error.code, error_class.exit_code, error_class.__base__) == (code, code, parent)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_exit_code__of_a_signal(number: int, code: int) -> None:
    """A signal ends the run with 128 plus its number."""
    error = InterruptedRun(number)

    assert error.code == code
    assert str(error) == "A signal stopped the run. No output was replaced."


def test_tree__in_the_docstring_is_that_of_the_classes() -> None:
    """The module's docstring draws every class below its parent, with its exit code."""
    drawn: list[tuple[str, str, int]] = []
    parent, parent_code = "", 0
    lines = re.findall(r"^(.*)[├└]── (\w+) +(\d*)", inspect.getdoc(errors) or "", re.MULTILINE)
    for branch, name, code in lines:
        if len(branch) == 1:
            parent, parent_code = name, int(code)
            drawn.append((name, "ConnectorError", parent_code))
        else:
            drawn.append((name, parent, parent_code))

    expected = [(cls.__name__, base.__name__, code) for cls, base, code in CLASSES]
    assert drawn == [*expected, ("InterruptedRun", "ConnectorError", 130)]
    classes = inspect.getmembers(errors, inspect.isclass)
    assert {name for name, cls in classes if issubclass(cls, ConnectorError)} == {
        "ConnectorError",
        *(name for name, _, _ in drawn),
    }


def test_package__exports_the_classes_that_callers_catch() -> None:
    """``connector`` exports the errors that ``connector.run`` can raise in normal use."""
    names = {name for name in connector.__all__ if name.endswith("Error")}

    assert names == {
        "AuthenticationError",
        "ConnectorError",
        "OutputError",
        "PartialError",
        "ProtocolError",
        "TemporaryError",
        "UnreachableError",
        "UsageError",
        "UserNotFoundError",
    }
    assert [getattr(connector, name) is getattr(errors, name) for name in names] == [True] * 9


def test_details__can_be_read() -> None:
    """Everything passed to the constructor can be read from the error, unchanged."""
    error = busy()

    assert details_of(error) == DETAILS
    assert error.args == ("It failed.",)
    assert error.quoted_request_id == " (request id r-1)"


@pytest.mark.parametrize("name", [*DETAILS, "code", "quoted_request_id"])
def test_details__are_read_only(name: str) -> None:
    """No detail of an error can be assigned to."""
    error = busy()

    with pytest.raises(AttributeError):
        setattr(error, name, "changed")

    assert details_of(error) == DETAILS


def test_replaced__is_a_changed_copy() -> None:
    """``replaced`` returns a new error of the same class; the original stays as it was."""
    error = busy()

    changed = error.replaced(message="Again.", document={"complete": False})

    assert type(changed) is TemporaryError
    assert details_of(changed) == {**DETAILS, "message": "Again.", "document": {"complete": False}}
    assert changed.args == ("Again.",)
    assert details_of(error) == DETAILS


def test_replaced__has_the_cause_and_no_traceback() -> None:
    """A changed copy keeps the cause; without the traceback, no frame's locals go with it."""
    try:
        raise busy() from LookupError("the cause")
    except TemporaryError as error:
        raised = error

    changed = raised.replaced(retry_after=None)

    assert raised.__traceback__ is not None
    assert (changed.__cause__, changed.__traceback__) == (raised.__cause__, None)


def test_converted__is_another_kind_with_the_same_details() -> None:
    """Another kind of error has the same details and cause, and no traceback."""
    error = TemporaryError("m", hint="h", http_status=503, request_id="r", retry_after="1")
    error.__cause__ = ConnectionResetError()

    other = error.converted(ProtocolError)

    assert type(other) is ProtocolError
    assert (other._details, other.__cause__) == (error._details, error.__cause__)
    assert (other.args, other.code, other.__traceback__) == (("m",), 76, None)


def test_replaced__keeps_what_a_class_adds() -> None:
    """A changed copy keeps the problems of a usage error and the number of a signal."""
    usage = UsageError.of([Problem("shard", '"9/8"')], hint="Nothing was sent.")

    assert usage.replaced(hint="h").problems == usage.problems
    assert InterruptedRun(signal.SIGTERM).replaced(hint="h").code == 143


@pytest.mark.parametrize(
    ("request_id", "line"),
    [
        (None, "ALM answered 503. Run it again."),
        ("", "ALM answered 503. Run it again."),
        ("r-1", "ALM answered 503. Run it again. (request id r-1)"),
    ],
)
def test_str__is_message_hint_and_request_id(request_id: str | None, line: str) -> None:
    """An error prints what happened, what to do and, if there was an answer, the request id."""
    error = TemporaryError("ALM answered 503.", hint="Run it again.", request_id=request_id)

    assert str(error) == line


def test_str__is_one_line() -> None:
    """An error prints as one line, whatever it quotes: a CI runner could obey a second line."""
    error = OutputError("No file a\nb\r\nc ##[d].", hint="Fix\rit.")

    assert str(error) == r"No file a\nb\r\nc #\u0023[d]. Fix\rit."


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("shard", '"9/8"'), 'shard is "9/8"'),
        (Problem("shard", '"9/8"', "2/8"), 'shard is "9/8" (allowed: 2/8)'),
        (Problem("sort", '"date"', near="rate"), 'sort is "date" (did you mean rate?)'),
        (Problem("sort", '"date"', "a, b", "a"), 'sort is "date" (allowed: a, b; did you mean a?)'),
    ],
)
def test_problem__as_part_of_a_sentence(problem: Problem, text: str) -> None:
    """A problem names the input, its value, and if known the allowed values and a suggestion."""
    assert str(problem) == text


@pytest.mark.parametrize(
    ("problems", "message"),
    [
        ([Problem("shard", '"9/8"')], '1 input is not valid: shard is "9/8".'),
        (
            [Problem("shard", '"9/8"'), Problem("sort", '"date"', near="rate")],
            '2 inputs are not valid: shard is "9/8"; sort is "date" (did you mean rate?).',
        ),
    ],
)
def test_usage_error__reports_all_problems(problems: list[Problem], message: str) -> None:
    """One usage error reports every problem, in its message and one by one."""
    error = UsageError.of(problems, hint="Nothing was sent.")

    assert (error.message, error.hint) == (message, "Nothing was sent.")
    assert error.problems == tuple(problems)
    assert UsageError("ALM refused it.", hint="Check it.").problems == ()


@pytest.mark.parametrize(
    "error",
    [
        *(cls("It failed.", hint="Do this.", retry_at=MOMENT) for cls, _, _ in CLASSES),
        busy().replaced(document={"complete": False}),
        UsageError.of([Problem("shard", '"9/8"')], hint="Nothing was sent."),
        InterruptedRun(signal.SIGTERM),
    ],
    ids=lambda error: type(error).__name__,
)
def test_pickle__changes_nothing(error: ConnectorError) -> None:
    """An error crosses to another process unchanged; otherwise a process pool breaks or hangs."""
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301 - made by this test

    assert type(copied) is type(error)
    assert (str(copied), copied.code, vars(copied)) == (str(error), error.code, vars(error))


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2023, 6, 29, 14, 5, tzinfo=UTC), "2023-06-29T14:05:00Z"),
        (datetime(2023, 6, 29, 14, 5, tzinfo=timezone(timedelta(hours=2))), "2023-06-29T12:05:00Z"),
        (datetime(2023, 6, 29, 14, 5, 59, 1, tzinfo=UTC), "2023-06-29T14:06:00Z"),
        (datetime(2023, 6, 29, 14, 5, 59, 999_999, tzinfo=UTC), "2023-06-29T14:06:00Z"),
        (datetime(2023, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC), "2024-01-01T00:00:00Z"),
        (None, None),
    ],
)
def test_error_as_dict__retry_at_is_never_early(moment: datetime | None, text: str | None) -> None:
    """``retry_at`` is in UTC and rounded up to a second, so that a retry never comes too early."""
    error = TemporaryError("m", hint="h", http_status=429, request_id="r", retry_at=moment)

    assert error_as_dict(error) == {
        "code": 75,
        "message": "m",
        "hint": "h",
        "http_status": 429,
        "request_id": "r",
        "retry_at": text,
    }
