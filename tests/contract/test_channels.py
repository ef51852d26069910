"""The command where a CI system runs it: what its runner makes of both streams and of every file, however the run ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector.sandbox import ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN
from tests.action.runner import (
    Command,
    Log,
    job_outputs,
    parse_outputs,
    read_azure,
    read_github,
    read_summary,
)
from tests.contract.test_fetch import BAD_INPUT
from tests.contract.test_secrets import CANARY, RUNS, TRIPLE, everything, leaks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .conftest import Finished, Reaching, RunCommand, StartSandbox

SANDBOX_TRIPLE = {
    "ALM_CLIENT_ID": CLIENT_ID,
    "ALM_CLIENT_SECRET": CLIENT_SECRET,
    "ALM_REFRESH_TOKEN": REFRESH_TOKEN,
}
FILES = ("--output-dir", "folder", "--dotenv", "report")
AZURE = {"TF_BUILD": "True", "AGENT_OS": "Linux"}


@pytest.fixture
def github(tmp_path: Path) -> dict[str, str]:
    """Return the variables of GitHub's runner, with empty files for outputs and summary."""
    for name in ("output", "summary"):
        (tmp_path / name).touch()
    return {
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "RUNNER_TEMP": str(tmp_path),
        "RUNNER_OS": "Linux",
    }


def in_github(finished: Finished) -> Log:
    """Return what GitHub's runner made of the run; groups are closed, and one error at most is annotated."""
    log = read_github(finished.stderr, finished.stdout)
    assert log.open_groups == 0
    assert len(log.named("error")) <= 1
    return log


def outputs_of(github: Mapping[str, str]) -> dict[str, str]:
    """Return the outputs that the runner finds."""
    return parse_outputs(Path(github["GITHUB_OUTPUT"]).read_bytes())


def as_outputs(document: Mapping[str, Any]) -> dict[str, str]:
    """Return what the contract says of *document* as outputs."""
    texts = {
        name: json.dumps(value, separators=(",", ":"))
        for name, value in document.items()
        if name != "enrollments"
    }
    return {
        name: document[name] if text.startswith('"') else text.removeprefix("null")
        for name, text in texts.items()
    }


def in_folder(folder: Path) -> dict[str, str]:
    """Return each file's name and text."""
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def in_azure(finished: Finished) -> dict[str, str]:
    """Return the variables that Azure Pipelines' agent has set in the end; groups are closed, and one error at most is told."""
    log = read_azure(finished.stderr, finished.stdout)
    assert log.open_groups == 0
    assert (
        len([issue for issue in log.named("task.logissue") if issue.properties["type"] == "error"])
        <= 1
    )
    return {
        command.properties["variable"]: command.data for command in log.named("task.setvariable")
    }


ENDINGS = [
    pytest.param("31", "page=9:503", 0, "✅ complete", id="success"),
    pytest.param("31", "page=1:503", 0, "✅ complete", id="success after a failure"),
    pytest.param("4041", "page=9:503", 67, "❌ failed", id="unknown user"),
    pytest.param("4041,31", "page=9:503", 65, "❌ failed", id="some users"),
    pytest.param("31", "*:429/30x*", 75, "❌ failed", id="quota"),
    pytest.param("31", "*:401x*", 77, "❌ failed", id="refused token"),
    pytest.param("ada", "page=9:503", 64, "❌ failed", id="usage"),
]


@pytest.mark.parametrize(("users", "fault", "exit_code", "headline"), ENDINGS)
def test_github__every_ending(
    users: str,
    fault: str,
    exit_code: int,
    headline: str,
    github: dict[str, str],
    command: RunCommand,
    start_sandbox: StartSandbox,
    reaching: Reaching,
) -> None:
    """However the run ends, outputs and summary say the same as the document, and one annotation says why it failed."""
    server = start_sandbox(fault)

    finished = command(environ=reaching(server, ALM_USER_ID=users, ALM_DEADLINE="5", **github))

    document, log = finished.document, in_github(finished)
    assert finished.exit_code == exit_code
    assert outputs_of(github) == as_outputs(document)
    assert (
        read_summary(Path(github["GITHUB_STEP_SUMMARY"]).read_bytes())
        .splitlines()[2]
        .startswith(f"**{headline}** · ")
    )
    assert [error.properties for error in log.named("error")] == [
        {"title": f"alm-enrollments: exit code {exit_code}"}
    ] * bool(exit_code)
    assert [error.data.splitlines()[:2] for error in log.named("error")] == [
        [error["message"], f"What to do: {error['hint']}"] for error in [document["error"]] if error
    ]
    assert log.lines[-1] == finished.stdout.removesuffix("\n")


def test_github__quiet_success(
    github: dict[str, str], command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """A run of which there is nothing to tell masks its token, and says nothing else: no empty group is in the log."""
    finished = command(environ=reaching(start_sandbox(), ALM_USER_ID="31", **github))

    assert finished.stderr == f"::add-mask::{ACCESS_TOKEN}\n"
    assert job_outputs(outputs_of(github), [ACCESS_TOKEN])["complete"] == "true"


def test_github__what_happened_is_folded(
    github: dict[str, str], command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """What is told on the way, with RUNNER_DEBUG every request, is in one group, behind the masks and before the annotation."""
    variables = reaching(
        start_sandbox("page=1:503"), ALM_USER_ID="4041", RUNNER_DEBUG="1", **github
    )

    finished = command(environ=variables)

    lines = finished.stderr.splitlines()
    assert [
        line.split("::")[1] if line.startswith("::") else line.split()[1] for line in lines
    ] == [
        *(
            "add-mask",
            "group",
            "GET",
            "attempt",
            "GET",
            "error:",
            "endgroup",
            "error title=alm-enrollments%3A exit code 67",
        )
    ]
    in_github(finished)


def test_github__bad_input(github: dict[str, str], command: RunCommand, tmp_path: Path) -> None:
    """The annotation lists every problem of the inputs, and the outputs have the error, as has every other channel."""
    finished = command("--dead-line", "5", *FILES, environ={**BAD_INPUT, **github})

    (error,) = in_github(finished).named("error")
    assert finished.exit_code == 64
    assert error.data.startswith(
        "8 inputs are not valid: --dead-line is no flag (did you mean --deadline?); "
    )
    assert error.data.splitlines()[0] == finished.document["error"]["message"]
    assert outputs_of(github) == in_folder(tmp_path / "folder") == as_outputs(finished.document)
    assert "COMPLETE=false\n" in (tmp_path / "report").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_github__stopped_in_mid_wait(
    number: signal.Signals,
    github: dict[str, str],
    environ: dict[str, str],
    start_sandbox: StartSandbox,
    reaching: Reaching,
) -> None:
    """A run that is cancelled while it waits leaves whole outputs with its error, a closed group and one annotation."""
    server = start_sandbox("*:429/50x*")
    process = subprocess.Popen(
        [sys.executable, "-m", "connector"],
        env={**environ, **reaching(server, ALM_USER_ID="31", RUNNER_DEBUG="1", **github)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not server.requests:
        time.sleep(0.05)
    time.sleep(0.3)

    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=10)

    log = read_github(stderr, stdout)
    assert process.returncode == 128 + number
    assert (log.open_groups, [command.name for command in log.commands]) == (
        0,
        ["add-mask", "group", "endgroup", "error"],
    )
    assert json.loads(outputs_of(github)["error"])["code"] == 128 + number
    assert outputs_of(github) == as_outputs(json.loads(stdout))


def test_github__cannot_be_written(
    github: dict[str, str],
    command: RunCommand,
    start_sandbox: StartSandbox,
    reaching: Reaching,
    tmp_path: Path,
) -> None:
    """Where GitHub's outputs cannot be written the run fails with 73, and standard output and every other channel say so."""
    variables = reaching(start_sandbox(), ALM_USER_ID="31", **github, **AZURE)

    finished = command(*FILES, environ={**variables, "GITHUB_OUTPUT": "/dev/full"})

    outputs = as_outputs(finished.document)
    (error,) = in_github(finished).named("error")
    assert finished.exit_code == 73
    assert (
        error.data
        == "GITHUB_OUTPUT cannot be written: No space left on device (/dev/full).\nWhat to do: Mend it and run again."
    )
    assert (
        json.loads(outputs["error"])["code"],
        outputs["complete"],
        outputs["enrollment_ids"],
    ) == (73, "false", "[]")
    assert in_azure(finished) == in_folder(tmp_path / "folder") == outputs
    assert f"ERROR={outputs['error']}\n" in (tmp_path / "report").read_text(encoding="utf-8")


def test_github__one_annotation_of_two_errors(
    github: dict[str, str], command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """Of a run that fails in part, and then cannot write what it has, the first error is annotated, which the second would hide."""
    variables = reaching(start_sandbox(), ALM_USER_ID="4041,31", **github)

    finished = command(environ={**variables, "GITHUB_OUTPUT": "/dev/full"})

    (error,) = in_github(finished).named("error")
    assert finished.exit_code == 73
    assert error.properties == {"title": "alm-enrollments: exit code 65"}
    assert (
        finished.document["error"]["message"]
        == "GITHUB_OUTPUT cannot be written: No space left on device (/dev/full)."
    )


def test_folder__cannot_be_made(
    github: dict[str, str],
    command: RunCommand,
    start_sandbox: StartSandbox,
    reaching: Reaching,
    tmp_path: Path,
) -> None:
    """A folder that cannot be made ends the run before anything is sent, and GitHub's outputs have the error."""
    (tmp_path / "folder").touch()
    server = start_sandbox()

    finished = command(*FILES, environ=reaching(server, ALM_USER_ID="31", **github))

    in_github(finished)
    assert (finished.exit_code, server.requests) == (73, [])
    assert (
        finished.document["error"]["message"]
        == "The output folder cannot be written: File exists (folder)."
    )
    assert outputs_of(github) == as_outputs(finished.document)


def test_masks__of_every_credential_before_any_text(
    github: dict[str, str], command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """Every credential is masked once, in each system's way, before anything else is told."""
    variables = reaching(
        start_sandbox("*:401x*"), ALM_USER_ID="31", **SANDBOX_TRIPLE, **github, **AZURE
    )

    finished = command(environ=variables)

    secrets = [ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN]
    assert finished.stderr.splitlines()[:8] == [
        *(f"::add-mask::{secret}" for secret in secrets),
        *(f"##vso[task.setsecret]{secret}" for secret in secrets),
    ]
    assert finished.stderr.count("add-mask") == finished.stderr.count("setsecret") == 4


def test_masks__of_a_token_that_the_run_is_given(
    github: dict[str, str], command: RunCommand, start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """A token that the run is given on the way is masked before anything is sent with it, or told."""
    server = start_sandbox(token_lifetime=2)
    variables = reaching(
        server,
        ALM_USER_ID="31",
        RUNNER_DEBUG="1",
        ALM_LO_TYPES="all",
        ALM_PAGE_LIMIT="10",
        **SANDBOX_TRIPLE,
        **github,
    )

    finished = command(environ=variables)

    lines = finished.stderr.splitlines()
    given = [at for at, line in enumerate(lines) if " POST " in line]
    assert finished.exit_code == 0
    assert len(given) > 1
    assert [lines[at + 1] for at in given] == [
        f"::add-mask::{ACCESS_TOKEN}-{number}" for number in range(2, len(given) + 2)
    ]
    assert in_github(finished).masks == [
        line.removeprefix("::add-mask::") for line in lines if "add-mask" in line
    ]


def test_masks__that_hold_the_user_id(github: dict[str, str], command: RunCommand) -> None:
    """A user id that is part of a secret is warned of, and so are the outputs that GitHub will drop."""
    variables = {
        "ALM_USER_ID": "20941371",
        "ALM_BASE_URL": "sandbox",
        "ALM_CLIENT_ID": "20941371",
        **github,
    }

    finished = command(environ=variables)

    first, second = in_github(finished).named("warning")
    dropped = (
        outputs_of(github).keys()
        - job_outputs(outputs_of(github), ["20941371"]).keys()
        - {"output_file", "error"}
    )
    assert first.data.startswith(
        "A user id is part of a masked secret: GitHub drops every job output that holds masked text"
    )
    assert second.data.startswith(
        "enrollment_ids, resource_grade_ids: GitHub drops job outputs like these"
    )
    assert dropped == {"enrollment_ids", "resource_grade_ids"}


@pytest.mark.parametrize("fault", ["*:401x*", "*:htmlx*", "*:same-token", "*:foreign-nextx*"])
@pytest.mark.parametrize("argv", [RUNS[0], RUNS[4], RUNS[6]], ids=" ".join)
def test_sinks__hold_no_secret(
    argv: tuple[str, ...],
    fault: str,
    github: dict[str, str],
    command: RunCommand,
    start_sandbox: StartSandbox,
    reaching: Reaching,
    tmp_path: Path,
) -> None:
    """With every channel there, no form of a credential is written anywhere but where it is masked."""
    variables = reaching(
        start_sandbox(fault), ALM_USER_ID="31", ALM_DEADLINE="3", **github, **AZURE, **TRIPLE
    )

    finished = command(*argv, *FILES, environ={**variables, "ALM_ACCESS_TOKEN": CANARY})

    masks = ("::add-mask::", "##vso[task.setsecret]")
    text = "\n".join(
        line for line in everything(finished, tmp_path).splitlines() if not line.startswith(masks)
    )
    assert leaks(text) == []
    assert in_github(finished).masks[0] == CANARY


def test_sinks__hold_no_secret_that_is_a_path(
    github: dict[str, str], command: RunCommand, tmp_path: Path
) -> None:
    """A credential that was given as a folder, too, is written nowhere but where it is masked, although the error names the folder."""
    variables = {
        "ALM_USER_ID": "31",
        "ALM_BASE_URL": "sandbox",
        "ALM_CLIENT_SECRET": "s3cret-folder",
        **github,
        **AZURE,
    }

    finished = command("--output-dir", "/dev/null/s3cret-folder", environ=variables)

    text = everything(finished, tmp_path)
    assert (
        finished.document["error"]["message"]
        == "The output folder cannot be written: Not a directory (/dev/null/***)."
    )
    assert (
        in_github(finished).named("error")[0].data.splitlines()[0]
        == finished.document["error"]["message"]
    )
    assert [line for line in text.splitlines() if "s3cret" in line] == [
        "::add-mask::s3cret-folder",
        "##vso[task.setsecret]s3cret-folder",
    ]


def test_check__folds_and_masks(
    github: dict[str, str],
    command: RunCommand,
    start_sandbox: StartSandbox,
    reaching: Reaching,
    tmp_path: Path,
) -> None:
    """The check, which has no document, closes its group and writes no outputs."""
    finished = command(
        "check",
        *FILES,
        environ=reaching(start_sandbox(), ALM_USER_ID="31", RUNNER_DEBUG="1", **github),
    )

    assert [command.name for command in in_github(finished).commands] == [
        "add-mask",
        "group",
        "endgroup",
    ]
    assert (finished.exit_code, outputs_of(github), (tmp_path / "folder").exists()) == (
        0,
        {},
        False,
    )


def test_check__annotates_what_is_wrong(github: dict[str, str], command: RunCommand) -> None:
    """What the check finds wrong is annotated."""
    finished = command("check", environ=github)

    assert [command.name for command in in_github(finished).commands] == [
        "group",
        "endgroup",
        "error",
    ]
    assert (finished.exit_code, outputs_of(github)) == (64, {})


@pytest.mark.parametrize(("users", "issues"), [("31", []), ("4041", [("error", "67")])])
def test_azure__variables_and_issues(
    users: str,
    issues: list[tuple[str, str]],
    command: RunCommand,
    start_sandbox: StartSandbox,
    reaching: Reaching,
) -> None:
    """In Azure Pipelines the output variables say the same as the document, and an issue says why the run failed."""
    finished = command(environ=reaching(start_sandbox(), ALM_USER_ID=users, **AZURE))

    log = read_azure(finished.stderr, finished.stdout)
    assert in_azure(finished) == as_outputs(finished.document)
    assert [
        (issue.properties["type"], issue.properties["code"]) for issue in log.named("task.logissue")
    ] == issues
    assert log.lines[-1] == finished.stdout.removesuffix("\n")


def test_channels__all_at_once(
    github: dict[str, str],
    command: RunCommand,
    start_sandbox: StartSandbox,
    reaching: Reaching,
    tmp_path: Path,
) -> None:
    """Every channel that is there gets the same, and none obeys what another one is told."""
    variables = reaching(start_sandbox("page=1:503"), ALM_USER_ID="4041,31", **github, **AZURE)

    finished = command(*FILES, environ=variables)

    outputs = as_outputs(finished.document)
    assert outputs_of(github) == in_azure(finished) == in_folder(tmp_path / "folder") == outputs
    lines = (tmp_path / "report").read_text(encoding="utf-8").splitlines()
    assert {line.partition("=")[0].lower(): line.partition("=")[2] for line in lines} == outputs
    assert [command.name for command in in_github(finished).commands] == [
        "add-mask",
        *["group"] * 2,
        *["endgroup"] * 2,
        "error",
    ]


@pytest.mark.parametrize("users", ["31", "4041", "ada"])
def test_stdout__is_written_last(
    users: str,
    github: dict[str, str],
    environ: dict[str, str],
    start_sandbox: StartSandbox,
    reaching: Reaching,
    tmp_path: Path,
) -> None:
    """Where both streams are one, as in a pod, the document is the last line, whatever the channels were told before."""
    finished = subprocess.run(
        [sys.executable, "-m", "connector", *FILES],
        env={
            **environ,
            **reaching(start_sandbox("page=1:503"), ALM_USER_ID=users, **github, **AZURE),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=tmp_path,
        text=True,
        check=False,
    )

    *_, last = finished.stdout.splitlines()
    assert finished.stdout.endswith(f"\n{last}\n")
    assert as_outputs(json.loads(last)) == outputs_of(github)
    assert read_github(finished.stdout).commands[0] == Command("add-mask", ACCESS_TOKEN)


def test_stdout__is_written_last_although_a_channel_fails(
    github: dict[str, str], environ: dict[str, str], start_sandbox: StartSandbox, reaching: Reaching
) -> None:
    """So it is where a run that failed cannot write its outputs either: what that has to tell is told before, and its group closed."""
    variables = reaching(
        start_sandbox(), ALM_USER_ID="4041", **{**github, "GITHUB_OUTPUT": "/dev/full"}
    )

    finished = subprocess.run(
        [sys.executable, "-m", "connector"],
        env={**environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert finished.returncode == 67
    assert json.loads(finished.stdout.splitlines()[-1])["error"]["code"] == 67
    assert read_github(finished.stdout).open_groups == 0
