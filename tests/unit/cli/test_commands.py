"""The command's edges that a process cannot be brought to: defects, streams that are gone, threads."""

from __future__ import annotations

import json
import signal
import threading
from typing import Any, cast

import pytest

from connector.cli.commands import main

# A value that is no text is what only a defect of the caller could bring about.
IMPOSSIBLE: Any = {"ALM_BASE_URL": "sandbox", "ALM_USER_ID": 31}


def test_main__a_defect_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A defect ends with 70, one line that asks for a report, a document with the same error, and no traceback."""
    exit_code = main([], IMPOSSIBLE)

    captured = capsys.readouterr()
    assert exit_code == 70
    assert captured.err == (
        "alm-enrollments: error: A defect in alm-enrollments: AttributeError: 'int' object has no attribute 'strip'."
        " Please report it, with what --debug tells.\n"
    )
    assert json.loads(captured.out)["error"]["code"] == 70


@pytest.mark.parametrize(("argv", "environ"), [(["--debug"], {}), ([], {"RUNNER_DEBUG": "1"})])
def test_main__a_defect_has_its_traceback_under_debug(
    argv: list[str], environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Under --debug or RUNNER_DEBUG=1 the traceback is told, each line marked, without the run's secrets."""
    secret = {"ALM_ACCESS_TOKEN": "AttributeError"}

    exit_code = main(argv, {**IMPOSSIBLE, **environ, **secret})

    lines = capsys.readouterr().err.splitlines()
    assert exit_code == 70
    assert lines[0] == "alm-enrollments: Traceback (most recent call last):"
    assert lines[-2] == "alm-enrollments: ***: 'int' object has no attribute 'strip'"
    assert {line[:17] for line in lines} == {"alm-enrollments: "}


def test_main__a_defect_in_a_check_prints_no_document(capsys: pytest.CaptureFixture[str]) -> None:
    """What prints no document when all is well prints none when all is not."""
    assert main(["check"], IMPOSSIBLE) == 70
    assert capsys.readouterr().out == ""


def test_main__leaves_the_signals_as_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    """A caller's own signal handlers are there again afterwards."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    main(["--user-id", "20941371", "--base-url", "sandbox"], {})

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert json.loads(capsys.readouterr().out)["complete"] is True


def test_main__in_a_thread(capsys: pytest.CaptureFixture[str]) -> None:
    """In a thread, where no signal arrives, the command runs as well."""
    exit_codes: list[int] = []
    argv = ["--user-id", "20941371", "--base-url", "sandbox"]
    thread = threading.Thread(target=lambda: exit_codes.append(main(argv, {})))

    thread.start()
    thread.join()

    assert exit_codes == [0]
    assert cast("dict[str, Any]", json.loads(capsys.readouterr().out))["enrollment_count"] == 3
