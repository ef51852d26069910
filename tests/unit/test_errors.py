"""The tree of errors: every class with its exit code, and one line for the user."""

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
    InternalError,
    InterruptedRun,
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

# CONTRACT.md, Exit codes.
EXIT_CODES = [
    (UsageError, 64),
    (PartialError, 65),
    (UserNotFoundError, 67),
    (UnreachableError, 69),
    (UntrustedHostError, 69),
    (PermissionDeniedError, 77),
    (InternalError, 70),
    (OutputError, 73),
    (TemporaryError, 75),
    (ProtocolError, 76),
    (AuthenticationError, 77),
]


def drawn_tree() -> dict[str, str]:
    """Return the name of each class in the docstring's tree with the exit code beside it, "" where it has its parent's."""
    return dict(re.findall(r"[├└]── (\w+) +(\d*)", inspect.getdoc(errors) or ""))


@pytest.mark.parametrize(("error_class", "code"), EXIT_CODES)
def test_exit_code__of_every_class(error_class: type[ConnectorError], code: int) -> None:
    """Each class ends the run with the contract's exit code for it."""
    error = error_class("It failed.", hint="Do this.")

    assert (error_class.exit_code, error.code) == (code, code)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_exit_code__of_a_signal(number: int, code: int) -> None:
    """A signal ends the run with 128 and its own number, as shells count it."""
    error = InterruptedRun(number)

    assert error.code == code
    assert str(error) == "The run was stopped by a signal. Nothing was half-written; run it again."


def test_tree__in_the_docstring_is_the_classes() -> None:
    """The tree that the module's docstring draws names every class, and its exit code where it has one of its own."""
    classes = [
        cls
        for _, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, ConnectorError)
    ]

    expected = {cls.__name__: str(code) for cls, code in EXIT_CODES}
    expected |= {"UntrustedHostError": "", "PermissionDeniedError": "", "InterruptedRun": "130"}

    assert drawn_tree() == expected
    assert {cls.__name__ for cls in classes} == {"ConnectorError", *expected}


def test_tree__an_untrusted_host_is_an_unreachable_one() -> None:
    """Who catches UnreachableError catches the host that is not trusted; every other class stands right below ConnectorError."""
    parents = {cls.__name__: cls.__base__ for cls, _ in EXIT_CODES}

    assert parents.pop("UntrustedHostError") is UnreachableError
    assert parents.pop("PermissionDeniedError") is AuthenticationError
    assert set(parents.values()) == {ConnectorError}


def test_package__exports_the_classes_that_users_catch() -> None:
    """What ``connector.__all__`` names as errors are the very classes of the tree."""
    exported = {
        name: getattr(connector, name) for name in connector.__all__ if name.endswith("Error")
    }

    assert exported == {
        "ConnectorError": ConnectorError,
        "OutputError": OutputError,
        "PartialError": PartialError,
        "ProtocolError": ProtocolError,
        "AuthenticationError": AuthenticationError,
        "TemporaryError": TemporaryError,
        "UserNotFoundError": UserNotFoundError,
        "UnreachableError": UnreachableError,
        "UsageError": UsageError,
    }


def test_connector_error__keeps_what_it_is_told() -> None:
    """Everything that the constructor takes can be read from the error, unchanged."""
    moment = datetime(2023, 6, 29, tzinfo=UTC)

    error = TemporaryError(
        "It failed.",
        hint="Wait.",
        http_status=429,
        request_id="r-1",
        retry_at=moment,
        retry_after="0.42",
    )

    assert vars(error) == {
        "message": "It failed.",
        "hint": "Wait.",
        "http_status": 429,
        "request_id": "r-1",
        "retry_at": moment,
        "retry_after": "0.42",
    }
    assert error.args == ("It failed.",)
    assert error.document is None


@pytest.mark.parametrize(
    ("request_id", "line"),
    [
        (None, "ALM answered 503. Run it again."),
        ("", "ALM answered 503. Run it again."),
        ("r-1", "ALM answered 503. Run it again. (request id r-1)"),
    ],
)
def test_str__is_message_hint_and_request_id(request_id: str | None, line: str) -> None:
    """The user's line is what happened, what to do, and the request id where there is one."""
    error = TemporaryError("ALM answered 503.", hint="Run it again.", request_id=request_id)

    assert str(error) == line


def test_str__is_one_line() -> None:
    """Whatever a message quotes, the user's line has no line break: what follows one could be read as a runner's command."""
    error = OutputError("No file a\nb\r\nc.", hint="Mend\rit.")

    assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("shard", '"9/8"'), 'shard is "9/8"'),
        (Problem("shard", '"9/8"', "2/8"), 'shard is "9/8" (allowed: 2/8)'),
        (
            Problem("sort", '"date"', near="dateEnrolled"),
            'sort is "date" (did you mean dateEnrolled?)',
        ),
        (Problem("sort", '"date"', "a, b", "a"), 'sort is "date" (allowed: a, b; did you mean a?)'),
    ],
)
def test_problem__as_part_of_a_sentence(problem: Problem, text: str) -> None:
    """A problem tells the input, what was given, what is allowed and what was perhaps meant, as far as it knows."""
    assert str(problem) == text


def test_usage_error__of_one_problem() -> None:
    """One problem is told in the singular."""
    error = UsageError.of([Problem("shard", '"9/8"')], hint="Nothing was sent.")

    assert str(error) == '1 input is not valid: shard is "9/8". Nothing was sent.'


def test_usage_error__of_several_problems() -> None:
    """Every problem is in the message, in order, and in ``problems`` for who wants them apart."""
    problems = [Problem("shard", '"9/8"'), Problem("sort", '"date"', near="dateEnrolled")]

    error = UsageError.of(problems, hint="Nothing was sent.")

    assert str(error) == (
        '2 inputs are not valid: shard is "9/8"; sort is "date" (did you mean dateEnrolled?). Nothing was sent.'
    )
    assert error.problems == tuple(problems)
    assert error.code == 64


@pytest.mark.parametrize("error_class", [cls for cls, _ in EXIT_CODES])
def test_error__survives_a_pool_of_processes(error_class: type[ConnectorError]) -> None:
    """An error goes from one process to another whole: pools break, or wait for ever, on one that does not."""
    error = error_class(
        "It failed.",
        hint="Do this.",
        http_status=503,
        request_id="trace",
        retry_at=datetime(2024, 6, 9, tzinfo=UTC),
    )
    error.document = {"complete": False}

    copied = pickle.loads(pickle.dumps(error))  # noqa: S301 - this test's own

    assert type(copied) is error_class
    assert (str(copied), vars(copied)) == (str(error), vars(error))


def test_error__of_a_signal_survives_a_pool_of_processes() -> None:
    """The same holds for the one that is built from a signal's number."""
    assert pickle.loads(pickle.dumps(InterruptedRun(15))).code == 143  # noqa: S301 - this test's own


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2023, 6, 29, 14, 5, tzinfo=UTC), "2023-06-29T14:05:00Z"),
        (datetime(2023, 6, 29, 14, 5, tzinfo=timezone(timedelta(hours=2))), "2023-06-29T12:05:00Z"),
        (datetime(2023, 6, 29, 14, 5, 59, 1, tzinfo=UTC), "2023-06-29T14:06:00Z"),
        (datetime(2023, 6, 29, 14, 5, 59, 999_999, tzinfo=UTC), "2023-06-29T14:06:00Z"),
        (datetime(2023, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC), "2024-01-01T00:00:00Z"),
    ],
)
def test_error_as_dict__retry_at_is_utc_and_not_too_early(moment: datetime, text: str) -> None:
    """The moment is told in UTC, in whole seconds, and never before it: a run that trusts it must not come too early."""
    error = TemporaryError("m", hint="h", retry_at=moment)

    assert error_as_dict(error)["retry_at"] == text
