"""What every channel keeps to, and how all of them are found, tried and written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from connector.channels import CHANNELS, Place, RunOutputs, deliver, find_channels, prepare
from connector.channels.azure import AzurePipelines
from connector.channels.folder import Dotenv, OutputFolder
from connector.channels.github import GitHub
from connector.channels.interface import Limit
from connector.channels.kubernetes import AirflowXCom, TerminationLog
from connector.errors import OutputError, UserNotFoundError
from tests.action.runner import parse_outputs, read_azure, read_github
from tests.unit.channels.made import Stderr, document, enrollment, handover, hostile
from tests.unit.channels.test_github import OUTPUTS

if TYPE_CHECKING:
    from pathlib import Path

UNKNOWN = UserNotFoundError("ALM knows no user 4041.", hint="Look it up.")


@pytest.fixture
def everywhere(tmp_path: Path, stderr: Stderr) -> Place:
    """Return a place that has every channel."""
    (tmp_path / "airflow" / "xcom").mkdir(parents=True)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "termination-log").touch()
    environ = {"GITHUB_OUTPUT": str(tmp_path / "output"), "TF_BUILD": "True"}
    return Place(
        environ,
        stderr.say,
        output_dir=str(tmp_path / "folder"),
        dotenv=str(tmp_path / "report"),
        root=tmp_path,
    )


def test_find_channels__all_and_none(everywhere: Place, tmp_path: Path, stderr: Stderr) -> None:
    """Every channel that is there is found, each once, and none elsewhere."""
    found = find_channels(everywhere)

    assert [type(channel) for channel in found] == [
        GitHub,
        AzurePipelines,
        AirflowXCom,
        TerminationLog,
        OutputFolder,
        Dotenv,
    ]
    assert len(CHANNELS) == len(found)
    assert find_channels(Place({}, stderr.say, root=tmp_path / "empty")) == ()


def test_channels__what_most_do_not_have(everywhere: Place, stderr: Stderr) -> None:
    """Without a log of a kind of its own, a channel masks nothing, folds nothing and annotates nothing."""
    for channel in find_channels(everywhere)[2:]:
        channel.mask("s3cret")
        channel.watch(["31"])
        channel.open_group()
        channel.close_group()
        channel.annotate(UNKNOWN)

    assert stderr.text == ""


def test_outputs__as_text() -> None:
    """Every field but the enrollments is an output: a string as it is, null as nothing, all else as JSON of one line."""
    given = document(
        enrollments=[enrollment()], output_file="é\n##", enrollment_ids=["é\n##"], complete=False
    )

    assert RunOutputs(given).outputs() == {
        **OUTPUTS,
        "output_file": "é\n##",
        "enrollment_ids": '["\\u00e9\\n#\\u0023"]',
        "complete": "false",
    }


def test_within__largest_first(everywhere: Place, stderr: Stderr) -> None:
    """Of what is too much together the largest is left out first, and no more than has to be."""
    by_length = Limit(10, "ten", lambda _, value: len(value))
    channel = find_channels(everywhere)[-1]

    kept = channel.within(
        RunOutputs({"a": "xxx", "b": "xxxxxx", "c": "xxxx", "d": "xxxxx", "output_file": None}),
        total=by_length,
    )

    assert kept == {"a": "xxx", "c": "xxxx", "output_file": ""}
    assert stderr.text == (
        "alm-enrollments: warning: Left out of the dotenv report: b (6), d (5), for ten. Look in the document on standard output.\n"
    )


@given(hostile)
def test_within__hostile_file_name(name: str) -> None:
    """The warning names the output file in one line, of which no part is a command."""
    stderr = Stderr()
    channel = Dotenv(Place({}, stderr.say, dotenv="report"))

    channel.within(handover(output_file=name), each=Limit(0, "none", lambda _, value: len(value)))

    assert [log.commands for log in (read_github(stderr.text), read_azure(stderr.text))] == [[], []]
    assert len(read_github(stderr.text).lines) == 1


def test_prepare__all_that_cannot_be_written(everywhere: Place, tmp_path: Path) -> None:
    """What cannot be written is found out before anything is asked, all of it at once."""
    (tmp_path / "folder").touch()
    place = Place(
        everywhere.environ,
        everywhere.say,
        everywhere.output_dir,
        str(tmp_path / "gone" / "report"),
        tmp_path,
    )

    with pytest.raises(OutputError) as raised:
        prepare(find_channels(place))

    assert str(raised.value) == (
        f"The output folder cannot be written: File exists ({tmp_path}/folder);"
        f" the dotenv report cannot be written: Not a directory ({tmp_path}/gone). Nothing was sent; mend it and run again."
    )


def test_prepare__all_that_can(everywhere: Place, tmp_path: Path) -> None:
    """Where all can be written nothing is told, and nothing is there yet but the folder."""
    prepare(find_channels(everywhere))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["airflow", "dev", "folder"]


def test_deliver__the_others_although_some_fail(
    everywhere: Place, tmp_path: Path, stderr: Stderr
) -> None:
    """A channel that cannot be written keeps no other from its outputs, and every one that failed is named."""
    place = Place(
        {**everywhere.environ, "GITHUB_OUTPUT": "/dev/full"},
        everywhere.say,
        everywhere.output_dir,
        "/dev/null/report",
        tmp_path,
    )
    (tmp_path / "folder").mkdir()

    with pytest.raises(OutputError) as raised:
        deliver(find_channels(place), handover(UNKNOWN))

    assert str(raised.value) == (
        "GITHUB_OUTPUT cannot be written: No space left on device (/dev/full);"
        " the dotenv report cannot be written: Not a directory (/dev/null/report). Mend it and run again."
    )
    assert (
        len(read_azure(stderr.text).named("task.setvariable"))
        == len(list((tmp_path / "folder").iterdir()))
        == len(OUTPUTS)
    )
    assert (tmp_path / "dev" / "termination-log").read_text(encoding="utf-8") == str(UNKNOWN)
    assert (tmp_path / "airflow" / "xcom" / "return.json").exists()


def test_deliver__twice(everywhere: Place, tmp_path: Path) -> None:
    """A second delivery corrects the first wherever it went."""
    channels = find_channels(everywhere)
    prepare(channels)
    deliver(channels, handover(enrollment_count=1))

    deliver(channels, handover(UNKNOWN, complete=False))

    corrected = {**OUTPUTS, "complete": "false"}
    assert parse_outputs((tmp_path / "output").read_bytes()) == corrected
    assert {
        path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "folder").iterdir()
    } == corrected
    assert "COMPLETE=false\n" in (tmp_path / "report").read_text(encoding="utf-8")
    assert '"complete":false' in (tmp_path / "airflow" / "xcom" / "return.json").read_text(
        encoding="utf-8"
    )
