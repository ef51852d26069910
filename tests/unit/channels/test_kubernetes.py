"""What a pod leaves behind: the document for Airflow, and the error's line for whoever asks why it failed."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from connector.channels import Place
from connector.channels.kubernetes import AirflowXCom, TerminationLog
from connector.errors import UserNotFoundError
from tests.unit.channels.made import HOSTILE, Stderr, document, full_disk, handover

if TYPE_CHECKING:
    from pathlib import Path

UNKNOWN = UserNotFoundError("ALM knows no user 4041.", hint="Look it up.", request_id="r-1")


@pytest.fixture
def pod(tmp_path: Path, stderr: Stderr) -> Place:
    """Return a pod with Airflow's sidecar and a file for the termination message, which holds one already."""
    (tmp_path / "airflow" / "xcom").mkdir(parents=True)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "termination-log").write_text("of a run before", encoding="utf-8")
    return Place({}, stderr.say, root=tmp_path)


def message_in(pod: Place) -> str:
    """Return the termination message."""
    return (pod.root / "dev" / "termination-log").read_text(encoding="utf-8")


def test_is_there__by_what_is_mounted(pod: Place, tmp_path: Path, stderr: Stderr) -> None:
    """Both are there where the pod has them, a folder and a file, and nowhere else."""
    swapped = Place({}, stderr.say, root=tmp_path / "swapped")
    (swapped.root / "airflow").mkdir(parents=True)
    (swapped.root / "airflow" / "xcom").touch()
    (swapped.root / "dev" / "termination-log").mkdir(parents=True)

    assert [kind.is_there(pod) for kind in (AirflowXCom, TerminationLog)] == [True, True]
    assert [kind.is_there(swapped) for kind in (AirflowXCom, TerminationLog)] == [False, False]


@pytest.mark.parametrize("error", [None, UNKNOWN])
def test_xcom__whole_document(error: UserNotFoundError | None, pod: Place) -> None:
    """The file has the document, of a run that failed too, as one line of JSON that the sidecar's own user can read."""
    AirflowXCom(pod).write(handover(error, output_file="é"))

    (path,) = (pod.root / "airflow" / "xcom").iterdir()
    text = path.read_text(encoding="utf-8")
    assert (path.name, path.stat().st_mode & 0o777, text.isascii()) == ("return.json", 0o644, True)
    assert json.loads(text) == document(output_file="é")


def test_xcom__written_again(pod: Place) -> None:
    """A second writing takes the first one's place, whatever the process may not do to new files."""
    before = os.umask(0o077)
    AirflowXCom(pod).write(handover(enrollment_count=1))
    AirflowXCom(pod).write(handover(enrollment_count=2))
    os.umask(before)

    (path,) = (pod.root / "airflow" / "xcom").iterdir()
    assert json.loads(path.read_text(encoding="utf-8")) == document(enrollment_count=2)
    assert path.stat().st_mode & 0o777 == 0o644


def test_xcom__full_disk(pod: Place) -> None:
    """A disk that is full in the middle leaves what was there, and no half of a file beside it."""
    AirflowXCom(pod).write(handover())

    with full_disk(100), pytest.raises(OSError, match="File too large"):
        AirflowXCom(pod).write(handover(enrollment_count=1))

    (path,) = (pod.root / "airflow" / "xcom").iterdir()
    assert json.loads(path.read_text(encoding="utf-8")) == document()


def test_xcom__a_folder_in_its_place(pod: Place) -> None:
    """Where the file cannot take its place, no half of a file is left beside it either."""
    (pod.root / "airflow" / "xcom" / "return.json").mkdir()

    with pytest.raises(IsADirectoryError):
        AirflowXCom(pod).write(handover())

    assert [path.name for path in (pod.root / "airflow" / "xcom").iterdir()] == ["return.json"]


@pytest.mark.parametrize(
    ("error", "message"),
    [(UNKNOWN, "ALM knows no user 4041. Look it up. (request id r-1)"), (None, "")],
)
def test_termination__whole_message(
    error: UserNotFoundError | None, message: str, pod: Place, stderr: Stderr
) -> None:
    """The message is the error's one line, in place of what was there; a run that succeeded leaves none."""
    inode = (pod.root / "dev" / "termination-log").stat().st_ino

    TerminationLog(pod).write(handover(error))

    assert (message_in(pod), stderr.text) == (message, "")
    # It is a mount: another file in its place would be seen by nobody.
    assert (pod.root / "dev" / "termination-log").stat().st_ino == inode


def test_termination__hostile_texts(pod: Place) -> None:
    """Whatever the error quotes, the message is one line."""
    error = UserNotFoundError("".join(text for text in HOSTILE if len(text) < 100), hint="")

    TerminationLog(pod).write(handover(error))

    assert message_in(pod) == str(error)
    assert message_in(pod).isprintable()


@pytest.mark.parametrize("more", [0, 1])
def test_termination__limit(more: int, pod: Place, stderr: Stderr) -> None:
    """A message of 4,096 bytes is whole; a longer one, which Kubernetes would cut, is left out with a warning."""
    error = UserNotFoundError("é" * 2_047, hint="x" * (1 + more))

    TerminationLog(pod).write(handover(error))

    assert message_in(pod) == str(error) * (1 - more)
    assert (
        stderr.text
        == (
            "alm-enrollments: warning: The error is left out of the container's termination message:"
            " Kubernetes takes at most 4,096 bytes. Standard error has it.\n"
        )
        * more
    )
