"""The command in a CI system: what its runner reads in both streams and every file."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from connector.sandbox import ACCESS_TOKEN
from tests.action.runner import (
    Log,
    job_outputs,
    parse_outputs,
    read_azure,
    read_github,
    read_summary,
)
from tests.contract.test_fetch import BAD_INPUT
from tests.support.process import PATIENCE_SECONDS, Finished, wait_until
from tests.support.sandbox import DOCUMENTED_USER, EMBEDDED, TRIPLE, reaching
from tests.support.secrets import CANARY, leaks
from tests.support.secrets import TRIPLE as CANARIES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from connector.sandbox.server import SandboxServer
    from tests.support.process import Command
    from tests.support.sandbox import StartSandbox

FILES = "--output-dir folder --dotenv report"
AZURE = {"TF_BUILD": "True", "AGENT_OS": "Linux"}
FULL = {"GITHUB_OUTPUT": "/dev/full"}
UNWRITABLE = "GITHUB_OUTPUT cannot be written: No space left on device (/dev/full)."
MASK = "::add-mask::"


@pytest.fixture
def github(command: Command, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the variables of GitHub's runner, with empty files for outputs and summary."""
    files = {name: command.folder / name for name in ("output", "summary")}
    for file in files.values():
        file.touch()
    return {
        "GITHUB_OUTPUT": str(files["output"]),
        "GITHUB_STEP_SUMMARY": str(files["summary"]),
        "RUNNER_TEMP": str(tmp_path_factory.mktemp("runner")),
        "RUNNER_OS": "Linux",
    }


def in_github(finished: Finished) -> Log:
    """Return what GitHub's runner reads: closed groups, and one annotation at most."""
    log = read_github(finished.stderr, finished.stdout)
    assert log.open_groups == 0
    assert len(log.named("error")) <= 1
    return log


def in_azure(finished: Finished) -> dict[str, str]:
    """Return the variables that Azure's agent reads: closed groups, and one issue at most."""
    log = read_azure(finished.stderr, finished.stdout)
    errors = [issue for issue in log.named("task.logissue") if issue.properties["type"] == "error"]
    assert (log.open_groups, len(errors) <= 1) == (0, True)
    variables = log.named("task.setvariable")
    return {variable.properties["variable"]: variable.data for variable in variables}


def in_folder(folder: Path) -> dict[str, str]:
    """Return the text of each file by its name."""
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def outputs_of(command: Command) -> dict[str, str]:
    """Return the outputs that GitHub's runner reads."""
    return parse_outputs((command.folder / "output").read_bytes())


def as_outputs(document: Mapping[str, Any]) -> dict[str, str]:
    """Return *document* as outputs: strings as they are, null as nothing, the rest as JSON."""
    outputs = {}
    for name, value in document.items():
        text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        outputs[name] = "" if value is None else text
    outputs.pop("enrollments")
    return outputs


def names(log: Log) -> list[str]:
    """Return the names of the commands in *log*."""
    return [entry.name for entry in log.commands]


@pytest.mark.parametrize(
    ("users", "fault", "exit_code", "headline"),
    [
        ("31", "page=9:503", 0, "✅ complete"),
        ("4041", "page=9:503", 67, "❌ failed"),
        ("4041,31", "page=9:503", 65, "❌ failed"),
        ("31", "*:429/30x*", 75, "❌ failed"),
        ("31", "*:401x*", 77, "❌ failed"),
        ("ada", "page=9:503", 64, "❌ failed"),
    ],
)
def test_github__says_what_the_document_says(
    users: str,
    fault: str,
    exit_code: int,
    headline: str,
    github: dict[str, str],
    command: Command,
    start_sandbox: StartSandbox,
) -> None:
    """However the run ends, outputs, summary and annotation agree with the document."""
    server = start_sandbox(fault)

    finished = command(f"--user-id {users} --deadline 5", **reaching(server, **github))

    document, log = finished.document, in_github(finished)
    summary = read_summary((command.folder / "summary").read_bytes())
    title = {"title": f"alm-enrollments: exit code {exit_code}"}
    assert (finished.exit_code, outputs_of(command)) == (exit_code, as_outputs(document))
    assert summary.splitlines()[2].startswith(f"**{headline}** · ")
    assert [error.properties for error in log.named("error")] == [title] * bool(exit_code)
    for annotation in log.named("error"):
        message, advice = annotation.data.splitlines()[:2]
        assert message == document["error"]["message"]
        assert advice == f"What to do: {document['error']['hint']}"
    assert log.lines[-1] == finished.stdout.removesuffix("\n")


def test_github__quiet_success_only_masks(
    github: dict[str, str], command: Command, sandbox: SandboxServer
) -> None:
    """A run without messages masks its token, and writes no empty group."""
    finished = command("--user-id 31", **reaching(sandbox, **github))

    assert finished.stderr == f"::add-mask::{ACCESS_TOKEN}\n"
    assert job_outputs(outputs_of(command), [ACCESS_TOKEN])["complete"] == "true"


def test_github__messages_are_in_one_group(
    github: dict[str, str], command: Command, start_sandbox: StartSandbox
) -> None:
    """All messages are in one group, after the masks and before the annotation."""
    server = start_sandbox("page=1:429/0.1")

    finished = command("--user-id 4041", **reaching(server, RUNNER_DEBUG="1", **github))

    lines = finished.stderr.splitlines()
    kinds = [line.split("::")[1] if line.startswith("::") else line.split()[1] for line in lines]
    messages = ["GET", "ALM's", "waiting", "GET", "error:"]
    annotation = "error title=alm-enrollments%3A exit code 67"
    assert kinds == ["add-mask", "group", *messages, "endgroup", annotation]
    in_github(finished)


def test_github__reports_invalid_inputs(github: dict[str, str], command: Command) -> None:
    """Every channel gets the error that lists all invalid inputs."""
    finished = command(f"--dead-line 5 {FILES}", **BAD_INPUT, **github)

    (annotation,) = in_github(finished).named("error")
    outputs = as_outputs(finished.document)
    problem = (
        "8 inputs are not valid: --dead-line is an unknown option (did you mean --deadline?); "
    )
    assert (finished.exit_code, annotation.data[: len(problem)]) == (64, problem)
    assert annotation.data.splitlines()[0] == finished.error["message"]
    assert outputs_of(command) == in_folder(command.folder / "folder") == outputs
    assert "COMPLETE=false\n" in command.files()["report"]


def test_summary__of_a_resume_with_fewer_users(github: dict[str, str], command: Command) -> None:
    """The summary says whose enrollments a file has that an earlier run began."""
    line = "--format ndjson --output-file out.ndjson --resume --user-id"
    command(f"{line} 31,32,33", **EMBEDDED)

    finished = command(f"{line} 32,34", **EMBEDDED, **github)

    count = finished.document["enrollment_count"]
    heading = f"**{count} enrollments** of 4 users · requested: 2 users · verified"
    assert heading in command.files()["summary"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_github__cancelled_run_has_complete_outputs(
    number: signal.Signals, github: dict[str, str], command: Command, start_sandbox: StartSandbox
) -> None:
    """A run that is cancelled while it waits writes its outputs, and one annotation."""
    server = start_sandbox("*:429/50x*")
    variables = reaching(server, RUNNER_DEBUG="1", **github)
    process = command.start("--user-id 31", **variables)
    wait_until(lambda: server.requests)
    time.sleep(0.1)

    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)

    finished = Finished(process.returncode, stdout, stderr)
    assert (finished.exit_code, finished.error["code"]) == (128 + number,) * 2
    assert names(in_github(finished)) == ["group", "endgroup", "error"]
    assert outputs_of(command) == as_outputs(finished.document)


def test_github__unwritable_outputs_end_with_73(
    github: dict[str, str], command: Command, sandbox: SandboxServer
) -> None:
    """If GitHub's outputs cannot be written, the run fails with 73 in every other channel."""
    variables = reaching(sandbox, **AZURE) | github | FULL

    finished = command(f"--user-id 31 {FILES}", **variables)

    outputs = as_outputs(finished.document)
    (annotation,) = in_github(finished).named("error")
    assert (finished.exit_code, finished.error["code"]) == (73, 73)
    assert annotation.data == f"{UNWRITABLE}\nWhat to do: Fix this and run again."
    assert (outputs["complete"], outputs["enrollment_ids"]) == ("false", "[]")
    assert in_azure(finished) == in_folder(command.folder / "folder") == outputs
    assert f"ERROR={outputs['error']}\n" in command.files()["report"]


def test_github__annotates_the_first_of_two_errors(
    github: dict[str, str], command: Command, sandbox: SandboxServer
) -> None:
    """If a run fails in part and cannot write its outputs, the first error is annotated."""
    finished = command("--user-id 4041,31", **reaching(sandbox) | github | FULL)

    (annotation,) = in_github(finished).named("error")
    assert (finished.exit_code, finished.error["message"]) == (73, UNWRITABLE)
    assert annotation.properties == {"title": "alm-enrollments: exit code 65"}


def test_folder__that_cannot_be_made_ends_with_73(
    github: dict[str, str], command: Command, sandbox: SandboxServer
) -> None:
    """A folder that cannot be made ends the run before the first request."""
    (command.folder / "folder").touch()

    finished = command(f"--user-id 31 {FILES}", **reaching(sandbox, **github))

    message = "The output folder cannot be written: File exists (folder)."
    assert (finished.exit_code, sandbox.requests) == (73, [])
    assert finished.error["message"] == message
    assert outputs_of(command) == as_outputs(finished.document)


def test_masks__come_before_any_message(
    github: dict[str, str], command: Command, start_sandbox: StartSandbox
) -> None:
    """Every credential is masked once, on GitHub, before anything else is written."""
    server = start_sandbox("*:401x*")

    finished = command("--user-id 31", **reaching(server, **TRIPLE, **github, **AZURE))

    secrets = [ACCESS_TOKEN, *TRIPLE.values()]
    masks = [f"{MASK}{secret}" for secret in secrets]
    assert finished.stderr.splitlines()[:4] == masks
    assert (finished.stderr.count("add-mask"), finished.stderr.count("setsecret")) == (4, 0)


def test_masks__include_a_refreshed_token(
    github: dict[str, str], command: Command, start_sandbox: StartSandbox
) -> None:
    """A token that the run receives is masked before it is used or logged."""
    server = start_sandbox(token_lifetime=2)
    variables = reaching(server, RUNNER_DEBUG="1", **TRIPLE, **github)

    finished = command("--user-id 31 --lo-types all", **variables)

    lines = finished.stderr.splitlines()
    refreshes = [number for number, line in enumerate(lines) if " POST " in line]
    expected = [f"::add-mask::{ACCESS_TOKEN}-{n}" for n in range(2, len(refreshes) + 2)]
    assert (finished.exit_code, len(refreshes) > 1) == (0, True)
    assert [lines[number + 1] for number in refreshes] == expected
    assert len(in_github(finished).masks) == 4 + len(refreshes)


def test_masks__that_are_part_of_an_id_cause_warnings(
    github: dict[str, str], command: Command
) -> None:
    """A user id in a secret causes warnings that name the outputs that GitHub will drop."""
    finished = command(**EMBEDDED, **github, ALM_CLIENT_ID=DOCUMENTED_USER)

    _, *warnings = [warning.data for warning in in_github(finished).named("warning")]
    outputs = {name: value for name, value in outputs_of(command).items() if value}
    dropped = outputs.keys() - job_outputs(outputs, [DOCUMENTED_USER]).keys()
    assert dropped == {"enrollment_ids", "resource_grade_ids"}
    first = (
        "A user id is part of a masked secret: GitHub drops every job output that contains masked"
    )
    second = "enrollment_ids, resource_grade_ids: GitHub drops these job outputs"
    assert [warnings[0][: len(first)], warnings[1][: len(second)]] == [first, second]


@pytest.mark.parametrize("line", ["--debug", "--debug --user-id k4nari/t0ken+A%b==", "check"])
def test_outputs__hold_no_secret(
    line: str, github: dict[str, str], command: Command, start_sandbox: StartSandbox
) -> None:
    """With every channel present, only masks hold a credential."""
    server = start_sandbox("*:401x*")
    credentials = {**CANARIES, "ALM_ACCESS_TOKEN": CANARY}
    variables = {"ALM_BASE_URL": server.url, "ALM_USER_ID": "31", **credentials}

    finished = command(f"{line} {FILES}", **variables, **github, **AZURE)

    written = "\n".join([finished.stdout, finished.stderr, *command.files().values()])
    lines = [line for line in written.splitlines() if not line.startswith(MASK)]
    assert leaks("\n".join(lines)) == []
    assert in_github(finished).masks[0] == CANARY


def test_outputs__hold_no_secret_that_is_part_of_a_path(
    github: dict[str, str], command: Command
) -> None:
    """An error that names a folder does not show the credential in its path."""
    variables = {**EMBEDDED, **github, **AZURE, "ALM_CLIENT_SECRET": "s3cret-folder"}

    finished = command("--output-dir /dev/null/s3cret-folder", **variables)

    written = "\n".join([finished.stdout, finished.stderr, *command.files().values()])
    message = "The output folder cannot be written: Not a directory (/dev/null/***)."
    assert finished.error["message"] == message
    assert in_github(finished).named("error")[0].data.splitlines()[0] == message
    lines = [line for line in written.splitlines() if "s3cret" in line]
    assert lines == [f"{MASK}s3cret-folder"]


def test_check__folds_masks_and_annotates(
    github: dict[str, str], command: Command, sandbox: SandboxServer
) -> None:
    """A check masks, groups its messages and annotates its error, and writes no outputs."""
    variables = reaching(sandbox, RUNNER_DEBUG="1", **github)

    valid = command(f"check --user-id 31 {FILES}", **variables)
    invalid = command("check", **github)

    assert (valid.exit_code, names(in_github(valid))) == (0, ["add-mask", "group", "endgroup"])
    assert (invalid.exit_code, names(in_github(invalid))) == (64, ["group", "endgroup", "error"])
    assert (outputs_of(command), (command.folder / "folder").exists()) == ({}, False)


@pytest.mark.parametrize(("users", "issues"), [("31", []), ("4041", [("error", "67")])])
def test_azure__has_variables_and_issues(
    users: str, issues: list[tuple[str, str]], command: Command, sandbox: SandboxServer
) -> None:
    """In Azure Pipelines output variables hold the document, and an issue holds the error."""
    finished = command(f"--user-id {users}", **reaching(sandbox, **AZURE))

    log = read_azure(finished.stderr, finished.stdout)
    found = [issue.properties for issue in log.named("task.logissue")]
    assert in_azure(finished) == as_outputs(finished.document)
    assert [(properties["type"], properties["code"]) for properties in found] == issues
    assert log.lines[-1] == finished.stdout.removesuffix("\n")


def test_channels__all_have_the_same_values(
    github: dict[str, str], command: Command, sandbox: SandboxServer
) -> None:
    """Every channel gets the same values, and none of them obeys another one's commands."""
    finished = command(f"--user-id 4041,31 {FILES}", **reaching(sandbox, **github, **AZURE))

    outputs = as_outputs(finished.document)
    assert outputs_of(command) == in_azure(finished) == in_folder(command.folder / "folder")
    assert outputs_of(command) == outputs
    pairs = [line.split("=", 1) for line in command.files()["report"].splitlines()]
    assert {name.lower(): value for name, value in pairs} == outputs
    groups = ["group", "group", "endgroup", "endgroup"]
    assert names(in_github(finished)) == ["add-mask", *groups, "error"]


@pytest.mark.parametrize("user", ["31", "4041", "ada"])
def test_stdout__is_written_last(
    user: str, github: dict[str, str], command: Command, sandbox: SandboxServer
) -> None:
    """If both streams are one, as in a pod, the document is the last line."""
    variables = reaching(sandbox, **github, **AZURE)

    finished = command.shell(f"alm-enrollments --user-id {user} {FILES} 2>&1", **variables)

    last = finished.stdout.splitlines()[-1]
    assert finished.stdout.endswith(f"\n{last}\n")
    assert as_outputs(json.loads(last)) == outputs_of(command)
    # Only the action masks: whatever reads this stream would have the token.
    assert ACCESS_TOKEN not in finished.stdout


def test_stdout__is_written_last_if_a_channel_fails(
    github: dict[str, str], command: Command, sandbox: SandboxServer
) -> None:
    """If a failed run cannot write its outputs either, the document is still the last line."""
    variables = reaching(sandbox) | github | FULL

    finished = command.shell("alm-enrollments --user-id 4041 2>&1", **variables)

    assert finished.exit_code == 67
    assert json.loads(finished.stdout.splitlines()[-1])["error"]["code"] == 67
    assert read_github(finished.stdout).open_groups == 0
