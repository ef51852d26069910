"""A pod's files: the document for Airflow, and the termination message."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from connector.channels import ChannelContext
from connector.channels.kubernetes import AirflowXCom, TerminationLog
from connector.errors import UserNotFoundError
from tests.unit.channels.examples import HOSTILE, Stderr, document, full_disk, run_outputs

if TYPE_CHECKING:
    from pathlib import Path

UNKNOWN = UserNotFoundError("ALM has no user 4041.", hint="Look it up.", request_id="r-1")


@pytest.fixture
def pod(tmp_path: Path, stderr: Stderr) -> ChannelContext:
    """Return a pod with Airflow's sidecar and an earlier termination message."""
    (tmp_path / "airflow/xcom").mkdir(parents=True)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/termination-log").write_text("of an earlier run", encoding="utf-8")
    return ChannelContext({}, stderr.write_line, root=tmp_path)


def message_in(pod: ChannelContext) -> str:
    """Return the termination message."""
    return (pod.root / "dev/termination-log").read_text(encoding="utf-8")


def test_is_available__by_mounts(pod: ChannelContext, tmp_path: Path, stderr: Stderr) -> None:
    """The channels need a folder and a file; a file and a folder are not enough."""
    swapped = ChannelContext({}, stderr.write_line, root=tmp_path / "swapped")
    (swapped.root / "airflow").mkdir(parents=True)
    (swapped.root / "airflow/xcom").touch()
    (swapped.root / "dev/termination-log").mkdir(parents=True)

    assert [AirflowXCom.is_available(pod), TerminationLog.is_available(pod)] == [True, True]
    assert [AirflowXCom.is_available(swapped), TerminationLog.is_available(swapped)] == [
        False,
        False,
    ]


@pytest.mark.parametrize("error", [None, UNKNOWN])
def test_xcom__full_document(error: UserNotFoundError | None, pod: ChannelContext) -> None:
    """The file has the document as ASCII JSON that the sidecar's user can read, also on failure."""
    umask = os.umask(0o077)
    AirflowXCom(pod).write(run_outputs(enrollment_count=1))
    AirflowXCom(pod).write(run_outputs(error, output_file="é"))
    os.umask(umask)

    (path,) = (pod.root / "airflow/xcom").iterdir()
    text = path.read_text(encoding="utf-8")
    assert (path.name, path.stat().st_mode & 0o777, text.isascii()) == ("return.json", 0o644, True)
    assert json.loads(text) == document(output_file="é")


@pytest.mark.parametrize(
    ("output_file", "location"),
    [
        (None, "the document on standard output"),
        ("out.csv", "out.csv, and in the document on standard output"),
    ],
)
def test_xcom__too_large(
    output_file: str | None, location: str, pod: ChannelContext, stderr: Stderr
) -> None:
    """What exceeds XCom's limit is left out, and a warning says where it is."""
    ids = ["course:1_2_3"] * 30_000
    AirflowXCom(pod).write(run_outputs(enrollment_ids=ids, output_file=output_file))

    written = json.loads((pod.root / "airflow/xcom/return.json").read_bytes())
    expected = document(output_file=output_file, enrollment_ids=None, resource_grade_ids=None)
    assert written == expected
    assert stderr.text == (
        "alm-enrollments: warning: Left out of Airflow's XCom: enrollment_ids, resource_grade_ids,"
        f" for XCom takes at most 262,144 bytes. Look in {location}.\n"
    )


def test_xcom__full_disk(pod: ChannelContext) -> None:
    """A disk that fills up leaves the earlier file, and no partial file next to it."""
    AirflowXCom(pod).write(run_outputs())

    with full_disk(100), pytest.raises(OSError, match="File too large"):
        AirflowXCom(pod).write(run_outputs(enrollment_count=1))

    (path,) = (pod.root / "airflow/xcom").iterdir()
    assert json.loads(path.read_text(encoding="utf-8")) == document()


def test_xcom__cannot_be_replaced(pod: ChannelContext) -> None:
    """If the file cannot be replaced, both steps fail, and no temporary file stays."""
    (pod.root / "airflow/xcom/return.json").mkdir()
    channel = AirflowXCom(pod)

    with pytest.raises(OSError, match=r"return\.json is no regular file"):
        channel.prepare()
    with pytest.raises(OSError, match=r"return\.json is no regular file"):
        channel.write(run_outputs())

    assert [path.name for path in (pod.root / "airflow/xcom").iterdir()] == ["return.json"]


@pytest.mark.parametrize(
    ("error", "message"),
    [(UNKNOWN, "ALM has no user 4041. Look it up. (request id r-1)"), (None, "")],
)
def test_termination__full_message(
    error: UserNotFoundError | None, message: str, pod: ChannelContext, stderr: Stderr
) -> None:
    """The message is the error's line, written in place: the kubelet sees no other file."""
    inode = (pod.root / "dev/termination-log").stat().st_ino

    TerminationLog(pod).write(run_outputs(error))

    assert (message_in(pod), stderr.text) == (message, "")
    assert (pod.root / "dev/termination-log").stat().st_ino == inode


def test_termination__hostile_texts(pod: ChannelContext) -> None:
    """Whatever the error quotes, the message is one printable line."""
    error = UserNotFoundError("".join(text for text in HOSTILE if len(text) < 100), hint="")

    TerminationLog(pod).write(run_outputs(error))

    assert message_in(pod) == str(error)
    assert message_in(pod).isprintable()


@pytest.mark.parametrize("excess", [0, 1])
def test_termination__limit(excess: int, pod: ChannelContext, stderr: Stderr) -> None:
    """A message over 4,096 bytes, which Kubernetes would cut, is left out with a warning."""
    error = UserNotFoundError("é" * 2_047, hint="x" * (1 + excess))

    TerminationLog(pod).write(run_outputs(error))

    assert message_in(pod) == str(error) * (1 - excess)
    assert stderr.text == excess * (
        "alm-enrollments: warning: The error is left out of the container's termination message:"
        " Kubernetes accepts at most 4,096 bytes. Standard error has it.\n"
    )
