"""Behaviour of every channel, and how all of them are found, prepared and written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from connector.channels import CHANNELS, ChannelContext, RunOutputs, deliver, find_channels, prepare
from connector.channels.azure import AzurePipelines
from connector.channels.folder import Dotenv, OutputFolder
from connector.channels.github import GitHub, StepSummary
from connector.channels.kubernetes import AirflowXCom, TerminationLog
from connector.channels.limits import Limit
from connector.errors import OutputError, UserNotFoundError
from connector.output.document import failed_document
from tests.action.runner import parse_outputs, read_azure, read_github
from tests.unit.channels.examples import (
    OUTPUTS,
    Stderr,
    document,
    enrollment,
    hostile,
    run_outputs,
)

if TYPE_CHECKING:
    from pathlib import Path

UNKNOWN = UserNotFoundError("ALM has no user 4041.", hint="Look it up.")
NOTHING_FITS = Limit(0, "none", lambda _, value: len(value))


@pytest.fixture
def context(tmp_path: Path, stderr: Stderr) -> ChannelContext:
    """Return a context that has every channel."""
    (tmp_path / "airflow/xcom").mkdir(parents=True)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/termination-log").touch()
    environ = {
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "TF_BUILD": "True",
    }
    folder, report = str(tmp_path / "folder"), str(tmp_path / "report")
    return ChannelContext(environ, stderr.write_line, folder, report, tmp_path)


def test_find_channels__all_or_nothing(
    context: ChannelContext, tmp_path: Path, stderr: Stderr
) -> None:
    """Every available channel is found once, and no other."""
    empty = ChannelContext({}, stderr.write_line, root=tmp_path / "empty")

    assert tuple(map(type, find_channels(context))) == CHANNELS
    assert find_channels(empty) == ()
    assert set(CHANNELS) == {
        *(GitHub, StepSummary, AzurePipelines, AirflowXCom, TerminationLog, OutputFolder, Dotenv)
    }


def test_channels__without_a_log(context: ChannelContext, stderr: Stderr) -> None:
    """Channels of files mask nothing, fold nothing and annotate nothing."""
    for channel in find_channels(context)[3:]:
        channel.mask("s3cret")
        channel.check_user_ids(["31"])
        channel.open_group()
        channel.close_group()
        channel.annotate(UNKNOWN)

    assert stderr.text == ""


def test_run_outputs__as_text() -> None:
    """Strings stay as they are, null becomes empty, the rest JSON; enrollments are no output."""
    outputs = RunOutputs(
        document(
            enrollments=[enrollment()],
            output_file="é\n##",
            enrollment_ids=["é\n##"],
            complete=False,
        )
    )

    assert outputs.as_text() == {
        **OUTPUTS,
        "output_file": "é\n##",
        "enrollment_ids": '["\\u00e9\\n#\\u0023"]',
        "complete": "false",
    }


def test_select_within_limits__warns(context: ChannelContext, stderr: Stderr) -> None:
    """A warning names the left-out outputs, the limit, and the location of the full ones."""
    report = find_channels(context)[-1]

    kept = report.select_within_limits(
        RunOutputs({"a": "xx", "b": "x" * 10, "output_file": "all.csv"}),
        None,
        Limit(9, "nine", lambda _, value: len(value), is_total=True),
    )

    assert kept == {"a": "xx", "output_file": "all.csv"}
    assert stderr.text == (
        "alm-enrollments: warning: Left out of the dotenv report: b (10), for nine."
        " Look in all.csv.\n"
    )


def test_channels__files(context: ChannelContext, tmp_path: Path) -> None:
    """Every file that a channel writes is one that it names."""
    channels = find_channels(context)
    prepare(channels)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}

    deliver(channels, RunOutputs(failed_document(UNKNOWN), UNKNOWN))

    written = {path for path in tmp_path.rglob("*") if path.is_file()}
    named = {path for channel in channels for path in channel.files()}
    assert written - before <= named
    assert {path.name for path in named} >= {"output", "summary", "report", "return.json"}


@given(hostile)
def test_select_within_limits__hostile_file_name(name: str) -> None:
    """The warning names the output file in one line, of which no part is a command."""
    stderr = Stderr()
    channel = Dotenv(ChannelContext({}, stderr.write_line, dotenv="report"))

    channel.select_within_limits(run_outputs(output_file=name), NOTHING_FITS)

    assert read_github(stderr.text).commands == read_azure(stderr.text).commands == []
    assert len(read_github(stderr.text).lines) == 1


def test_prepare__all_failures(context: ChannelContext, tmp_path: Path) -> None:
    """Everything that cannot be written is reported in one error, before the first request."""
    (tmp_path / "folder").touch()
    context = replace(context, dotenv=str(tmp_path / "missing/report"))

    with pytest.raises(OutputError) as raised:
        prepare(find_channels(context))

    assert str(raised.value) == (
        f"The output folder cannot be written: File exists ({tmp_path}/folder);"
        f" the dotenv report cannot be written: Not a directory ({tmp_path}/missing)."
        " Nothing was sent. Fix this and run again."
    )


def test_prepare__writes_no_output(context: ChannelContext, tmp_path: Path) -> None:
    """If all can be written, only the output folder is created."""
    prepare(find_channels(context))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["airflow", "dev", "folder"]


def test_deliver__despite_failures(context: ChannelContext, tmp_path: Path, stderr: Stderr) -> None:
    """A channel that cannot be written stops no other one, and the error names all that failed."""
    environ = {**context.environ, "GITHUB_OUTPUT": "/dev/full"}
    context = replace(context, environ=environ, dotenv="/dev/null/report")

    with pytest.raises(OutputError) as raised:
        deliver(find_channels(context), run_outputs(UNKNOWN))

    assert str(raised.value) == (
        "GITHUB_OUTPUT cannot be written: No space left on device (/dev/full);"
        " the dotenv report cannot be written: Not a directory (/dev/null/report)."
        " Fix this and run again."
    )
    assert len(read_azure(stderr.text).named("task.setvariable")) == len(OUTPUTS)
    assert len(list((tmp_path / "folder").iterdir())) == len(OUTPUTS)
    assert (tmp_path / "dev/termination-log").read_text(encoding="utf-8") == str(UNKNOWN)
    assert (tmp_path / "airflow/xcom/return.json").exists()


def test_deliver__despite_information(
    context: ChannelContext, tmp_path: Path, stderr: Stderr
) -> None:
    """A channel that only informs costs a warning, in the way of its own platform."""
    environ = {**context.environ, "GITHUB_STEP_SUMMARY": str(tmp_path / "missing/summary")}
    channels = find_channels(replace(context, environ=environ))
    (tmp_path / "dev/termination-log").unlink()
    (tmp_path / "dev/termination-log").mkdir()

    deliver(channels, run_outputs())

    summary = f"The step summary cannot be written: No such file or directory ({tmp_path}/missing"
    message = f"The container's termination message cannot be written: Is a directory ({tmp_path}"
    assert [warning.data for warning in read_github(stderr.text).named("warning")] == [
        f"{summary}/summary)."
    ]
    assert f"alm-enrollments: warning: {message}/dev/termination-log).\n" in stderr.text
    assert parse_outputs((tmp_path / "output").read_bytes()) == OUTPUTS


def test_deliver__twice(context: ChannelContext, tmp_path: Path) -> None:
    """A second delivery corrects the first in every channel."""
    channels = find_channels(context)
    deliver(channels, run_outputs(enrollment_count=1))

    deliver(channels, run_outputs(UNKNOWN, complete=False))

    corrected = {**OUTPUTS, "complete": "false"}
    folder = tmp_path / "folder"
    assert parse_outputs((tmp_path / "output").read_bytes()) == corrected
    assert {path.name: path.read_text("utf-8") for path in folder.iterdir()} == corrected
    assert "COMPLETE=false\n" in (tmp_path / "report").read_text("utf-8")
    assert '"complete":false' in (tmp_path / "airflow/xcom/return.json").read_text("utf-8")
