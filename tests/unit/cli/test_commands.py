"""The command's edges: internal errors, terminals, signals, and runs without channels."""

from __future__ import annotations

import re
import signal
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from connector.cli.commands import main
from connector.sandbox import ACCESS_TOKEN
from tests.support.process import Finished, valid_document
from tests.support.sandbox import EMBEDDED, NOTE

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Command, OnTerminal, StartSandbox

# Standard input that is nothing of the kind is what only an internal error could bring about.
IMPOSSIBLE = ["--user-ids-file", "-", "--base-url", "sandbox"]
DEFECT = "AttributeError: 'int' object has no attribute 'seekable'"
SANDBOX = {"ALM_BASE_URL": "sandbox"}
BARE_HELP = """\
Usage: alm-enrollments [COMMAND] [OPTIONS]

  Read every enrollment of Adobe Learning Manager learners, or report what is
  missing.

Examples:
  alm-enrollments --user-id 20941371 --base-url sandbox
                                  Read a sample user, without network and
                                  credentials.
  alm-enrollments --user-id 20941371,20941372 | jq .enrollment_ids
                                  List the ids of two users' enrollments.
  alm-enrollments --user-ids-file users.txt --format csv --output-file all.csv
                                  Export the enrollments of a list of users.

alm-enrollments --help describes every command and option.
"""


@pytest.fixture
def impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace standard input by a number."""
    monkeypatch.setattr(sys, "stdin", 31)


@pytest.mark.usefixtures("impossible")
def test_main__an_internal_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """An internal error ends with 70, one line, a document with the same error, no traceback."""
    assert main(IMPOSSIBLE, {}) == 70

    captured = capsys.readouterr()
    assert captured.err == (
        f"{NOTE}alm-enrollments: error: Internal error in alm-enrollments: {DEFECT}."
        " Please report it with the output of --debug.\n"
    )
    assert valid_document(captured.out)["error"]["code"] == 70


@pytest.mark.usefixtures("impossible")
@pytest.mark.parametrize(("flags", "environ"), [(["--debug"], {}), ([], {"RUNNER_DEBUG": "1"})])
def test_main__debug_shows_the_traceback(
    flags: list[str], environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Under --debug or RUNNER_DEBUG=1 the traceback is logged, line by line, without secrets."""
    secret = {"ALM_ACCESS_TOKEN": "AttributeError"}

    assert main([*IMPOSSIBLE, *flags], {**environ, **secret}) == 70

    note, *lines = capsys.readouterr().err.splitlines(keepends=False)
    assert f"{note}\n" == NOTE
    assert lines[0] == "alm-enrollments: Traceback (most recent call last):"
    assert lines[-2] == f"alm-enrollments: {DEFECT.replace('AttributeError', '***')}"
    assert {line[:17] for line in lines} == {"alm-enrollments: "}


@pytest.mark.usefixtures("impossible")
def test_main__check_has_no_document(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that prints no document prints none when it fails, either."""
    assert main(["check", *IMPOSSIBLE], {}) == 70
    assert capsys.readouterr().out == ""


def test_main__restores_signal_handlers(capsys: pytest.CaptureFixture[str]) -> None:
    """The caller's signal handlers are the same afterwards."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    main(["--user-id", "20941371", "--base-url", "sandbox"], {})

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert valid_document(capsys.readouterr().out)["complete"] is True


def test_main__runs_in_a_thread(capsys: pytest.CaptureFixture[str]) -> None:
    """In a thread, which receives no signals, the command runs, too."""
    exit_codes: list[int] = []
    argv = ["--user-id", "20941371", "--base-url", "sandbox"]
    thread = threading.Thread(target=lambda: exit_codes.append(main(argv, {})))

    thread.start()
    thread.join()

    assert exit_codes == [0]
    assert valid_document(capsys.readouterr().out)["enrollment_count"] == 3


@pytest.mark.parametrize("line", ["--user-id my-secret-token", "--sort my-secret-token"])
def test_main__never_shows_a_credential(line: str, command: Command) -> None:
    """A token of the environment that is given as another input is not shown."""
    finished = command(line, ALM_ACCESS_TOKEN="my-secret-token")

    assert finished.exit_code == 64
    assert "my-secret" not in finished.stdout + finished.stderr


def test_main__repeated_name(command: Command) -> None:
    """A container's arguments that begin with the program's name get a hint."""
    assert command("alm-enrollments --user-id 31", **EMBEDDED).error["message"] == (
        "1 input is not valid: unexpected argument 'alm-enrollments'"
        " (allowed: options and commands, without the program's name)."
    )


def test_sandbox__with_real_credentials_is_a_warning(command: Command) -> None:
    """A run of the sandbox is noted; credentials that it does not use cause a warning."""
    warning = (
        "alm-enrollments: warning: ALM_ACCESS_TOKEN is not used: --base-url is sandbox, so every"
        " record is made up. To read ALM, set --base-url to your account's host.\n"
    )

    assert command(**EMBEDDED).stderr == NOTE
    assert command(**EMBEDDED, ALM_ACCESS_TOKEN=ACCESS_TOKEN).stderr == NOTE
    assert command(**EMBEDDED, ALM_ACCESS_TOKEN="real-token").stderr == NOTE + warning
    assert command("check", **EMBEDDED, ALM_ACCESS_TOKEN="real-token").stderr == NOTE + warning


def test_sandbox__warns_on_the_page_of_the_run(command: Command) -> None:
    """On GitHub, the warning annotates the run, and the step summary begins with a banner."""
    variables = {"GITHUB_OUTPUT": "outputs", "GITHUB_STEP_SUMMARY": "summary", **EMBEDDED}

    finished = command(**variables, ALM_ACCESS_TOKEN="real-token")

    assert "::warning title=alm-enrollments::`access-token` is not used" in finished.stderr
    assert "> [!WARNING]\n> The sandbox made up" in command.files()["summary"]


def test_fetch__summary_counts_records_on_standard_output(command: Command) -> None:
    """If standard output has the records, GitHub's step summary counts them by type and state."""
    variables = {"GITHUB_OUTPUT": "outputs", "GITHUB_STEP_SUMMARY": "summary", **EMBEDDED}

    finished = command("--format ndjson", **variables)

    assert finished.stdout.count("\n") == 3
    assert "| <code>course</code> | 3 | 3 |" in command.files()["summary"]


def test_check__counts_the_users_of_a_pipe(command: Command) -> None:
    """A check reads a pipe to its end to count the users."""
    line = "check --base-url sandbox --user-ids-file -"

    finished = command.as_process(line, stdin="31\n32\n33\n")

    assert finished.stdout.startswith("inputs     valid: 3 users; course; sort dateEnrolled;")


def test_merge__refuses_flags_of_fetch(command: Command) -> None:
    """A flag of another command is unknown to merge, and nothing is written."""
    finished = command("merge out.json --format csv 1.json 2.json")

    assert finished.exit_code == 64
    assert finished.stderr == (
        "alm-enrollments: error: 1 input is not valid: --format is an unknown option."
        " Nothing was written.\n"
    )
    assert command.files() == {}


def test_terminal__usage_error_has_no_document(on_terminal: OnTerminal) -> None:
    """If standard output is a terminal, invalid inputs are one message, without the document."""
    finished = on_terminal("--user-id ada", SANDBOX)

    message = (
        'alm-enrollments: error: 1 input is not valid: --user-id is "ada" (allowed: ALM user ids,'
        " decimal digits each). Nothing was sent. Run alm-enrollments --help to see every input.\n"
    )
    assert finished == Finished(64, "", message)


@pytest.mark.parametrize(
    ("line", "variables", "exit_code"),
    [("", EMBEDDED, 0), ("--user-id 4041", SANDBOX, 67)],
)
def test_terminal__has_every_other_document(
    line: str, variables: dict[str, str], exit_code: int, on_terminal: OnTerminal
) -> None:
    """Any other document is printed to a terminal, too, after the messages."""
    finished = on_terminal(line, variables)

    document = valid_document(finished.stdout)
    assert finished.exit_code == exit_code
    assert (document["error"] or {"code": 0})["code"] == exit_code


def test_terminal__bare_command_gets_short_help(on_terminal: OnTerminal, tmp_path: Path) -> None:
    """Without a word and without a user, a terminal gets short help, and channels the error."""
    outputs = tmp_path / "outputs"

    finished = on_terminal("", {"GITHUB_OUTPUT": str(outputs)})

    help_text, _, annotation = finished.stderr.rpartition("::error")
    assert (finished.exit_code, finished.stdout, help_text) == (64, "", BARE_HELP)
    assert "exit code 64::" in annotation
    assert "--user-id is missing" in outputs.read_text(encoding="utf-8")


@pytest.mark.parametrize("line", ["--debug", "check"])
def test_terminal__other_commands_get_a_message(line: str, on_terminal: OnTerminal) -> None:
    """With a flag, or of another command, the missing user is one message."""
    finished = on_terminal(line, SANDBOX)

    assert (finished.exit_code, finished.stdout) == (64, "")
    assert finished.stderr.startswith("alm-enrollments: error: 1 input is not valid: --user-id is")
    assert finished.stderr.count("\n") == 1


def test_terminal__progress_gives_way_to_messages(
    on_terminal: OnTerminal, start_sandbox: StartSandbox
) -> None:
    """A message on a terminal clears the progress, which is gone when the document comes."""
    server = start_sandbox("user=33:503")
    variables = {"ALM_BASE_URL": server.url, "ALM_ACCESS_TOKEN": ACCESS_TOKEN}

    line = "--user-id 31,32,33 --concurrency 1"
    shown = on_terminal(line, variables, has_both=True).stdout

    *messages, document = shown.splitlines()
    message = next(line for line in messages if "(attempt 1 of 5" in line)
    assert "of 3 users" in shown
    assert message.rpartition("\r")[2].startswith(
        "alm-enrollments: ALM failed while reading user 33 (503"
    )
    assert valid_document(document.rpartition("\r")[2])["users"]["read"] == 3


def test_unknown_command__is_the_only_problem(command: Command) -> None:
    """A misspelled command is named with a suggestion; no input is reported as missing."""
    assert command("serv").stderr == (
        "alm-enrollments: error: 1 input is not valid: unknown command 'serv' (allowed: fetch,"
        " merge, diff, check, serve, sandbox; did you mean serve?). Nothing was sent. Run"
        " alm-enrollments --help to see every command.\n"
    )


def test_bare_command__has_a_document_elsewhere(command: Command) -> None:
    """If standard output is no terminal, a bare command without a user prints the document."""
    finished = command(ALM_BASE_URL="sandbox")

    assert finished.exit_code == finished.error["code"] == 64
    assert finished.stderr.startswith("alm-enrollments: error: 1 input is not valid: --user-id is")


def test_terminal__progress_gives_way_to_records(on_terminal: OnTerminal) -> None:
    """Records on a terminal begin at the left, and not behind the progress."""
    line = "--user-id 20941371,31 --concurrency 1 --format table"
    shown = on_terminal(line, SANDBOX, has_both=True).stdout

    rows = [row.rpartition("\r")[2] for row in shown.replace("\r\n", "\n").splitlines()]
    assert len([row for row in rows if row.startswith("course:")]) > 10
    assert [row for row in rows if "course:" in row and not row.startswith("course:")] == []


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
@pytest.mark.parametrize("line", ["--help", "--user-id ada", "--user-id 4041", "--user-id 31,32"])
def test_terminal__has_no_color(
    line: str, variables: dict[str, str], on_terminal: OnTerminal
) -> None:
    """No output has a color, whatever the terminal and NO_COLOR."""
    shown = on_terminal(line, {**SANDBOX, **variables}, has_both=True).stdout

    assert re.findall("\x1b\\[[0-9;]*m", shown) == []


def test_github_output__that_cannot_be_written_is_reported_once(command: Command) -> None:
    """A channel that fails before the first request and at the end is one error."""
    finished = command("--user-id 31", **SANDBOX, GITHUB_OUTPUT="/nowhere/outputs")

    assert finished.exit_code == 73
    assert finished.stderr.count("cannot be written") - finished.stderr.count("::error") == 1


@pytest.mark.parametrize("line", ["merge all.csv missing.csv", "diff a.csv", "chek"])
def test_channels__get_problems_without_an_input(line: str, command: Command) -> None:
    """A problem that belongs to no input is in the outputs and the annotation, too."""
    outputs = command.folder / "outputs"

    finished = command(line, GITHUB_OUTPUT=str(outputs))

    assert finished.exit_code == 64
    assert "::error title=alm-enrollments%3A exit code 64::1 input is not valid" in finished.stderr
    assert "1 input is not valid" in outputs.read_text(encoding="utf-8")
