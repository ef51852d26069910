"""The files that the user names: one an output, or all in a dotenv report; whole or not there, and within what reads them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from connector.channels import Place
from connector.channels.folder import Dotenv, OutputFolder
from tests.unit.channels.made import Stderr, full_disk, handover
from tests.unit.channels.test_github import OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOBODY = 65_534


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in which nothing can be made; for root nothing is forbidden, so the process is somebody else meanwhile."""
    folder, real, effective = tmp_path / "read-only", os.getuid(), os.geteuid()
    folder.mkdir(mode=0o555)
    os.setreuid(real or NOBODY, effective)
    yield folder
    os.setreuid(real, effective)


def in_folder(folder: Path, stderr: Stderr, **environ: str) -> OutputFolder:
    """Return the channel of ``--output-dir``."""
    return OutputFolder(Place(environ, stderr.say, output_dir=str(folder)))


def in_dotenv(path: Path, stderr: Stderr) -> Dotenv:
    """Return the channel of ``--dotenv``."""
    return Dotenv(Place({}, stderr.say, dotenv=str(path)))


def files_in(folder: Path) -> dict[str, str]:
    """Return each file's name and text."""
    return {
        path.name: path.read_bytes().decode(errors="surrogateescape") for path in folder.iterdir()
    }


def test_is_there__where_named(stderr: Stderr) -> None:
    """Each is there where its flag was given."""
    places = [
        Place({}, stderr.say),
        Place({}, stderr.say, output_dir="a"),
        Place({}, stderr.say, dotenv="a"),
    ]

    assert [OutputFolder.is_there(place) for place in places] == [False, True, False]
    assert [Dotenv.is_there(place) for place in places] == [False, False, True]


def test_folder__one_file_an_output(tmp_path: Path, stderr: Stderr) -> None:
    """The folder is made, with the folders above it, and gets one file an output, without a line end, for others to read."""
    folder = tmp_path / "made" / "for it"

    in_folder(folder, stderr).write(handover())

    assert files_in(folder) == OUTPUTS
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    assert stderr.text == ""


def test_folder__bytes_of_a_file_name(tmp_path: Path, stderr: Stderr) -> None:
    """A file name that is no UTF-8 is written as the bytes that it is: a shell finds the file by it."""
    in_folder(tmp_path, stderr).write(handover(output_file=os.fsdecode(b"\xff\r\n.json")))

    assert (tmp_path / "output_file").read_bytes() == b"\xff\r\n.json"


@pytest.mark.parametrize("more", [0, 1])
def test_folder__tekton(more: int, tmp_path: Path, stderr: Stderr) -> None:
    """Tekton takes about 3 KB of results together: a byte more, and the largest is left out, an earlier run's file of it too."""
    folder = tmp_path / "tekton" / "results"
    folder.mkdir(parents=True)
    (folder / "latest_date_enrolled").touch()
    date = "x" * (3_072 - len("".join(OUTPUTS.values())) + more)

    OutputFolder(Place({}, stderr.say, output_dir=str(folder), root=tmp_path)).write(
        handover(latest_date_enrolled=date)
    )

    kept = {**OUTPUTS, "latest_date_enrolled": date}
    assert files_in(folder) == {
        name: value for name, value in kept.items() if not more or value != date
    }
    assert (
        stderr.text
        == (
            f"alm-enrollments: warning: Left out of the output folder: latest_date_enrolled ({len(date):,}),"
            " for Tekton's results take at most about 3 KB together. Look in the document on standard output.\n"
        )
        * more
    )


@pytest.mark.parametrize("more", [0, 1])
def test_folder__argo(more: int, tmp_path: Path, stderr: Stderr) -> None:
    """Argo takes 256 KB of each parameter: a byte more, and it is left out."""
    date = "é" * 131_072 + "x" * more

    in_folder(tmp_path, stderr, ARGO_TEMPLATE="{}").write(handover(latest_date_enrolled=date))

    kept = {**OUTPUTS, "latest_date_enrolled": date}
    assert files_in(tmp_path) == {
        name: value for name, value in kept.items() if not more or value != date
    }
    assert (
        stderr.text
        == (
            "alm-enrollments: warning: Left out of the output folder: latest_date_enrolled (262,145),"
            " for an output parameter of Argo Workflows takes at most 256 KB. Look in the document on standard output.\n"
        )
        * more
    )


def test_folder__elsewhere_without_limit(tmp_path: Path, stderr: Stderr) -> None:
    """A folder that is neither Tekton's nor Argo's takes values of any size."""
    in_folder(tmp_path, stderr).write(handover(latest_date_enrolled="x" * 300_000))

    assert len(files_in(tmp_path)["latest_date_enrolled"]) == 300_000


def test_folder__full_disk(tmp_path: Path, stderr: Stderr) -> None:
    """A disk that is full leaves no part of a value."""
    with full_disk(100), pytest.raises(OSError, match="File too large"):
        in_folder(tmp_path, stderr).write(handover(enrollment_ids=["x" * 200]))

    assert files_in(tmp_path) == {}


def test_folder__below_a_file(tmp_path: Path, stderr: Stderr) -> None:
    """A folder that cannot be made is found out beforehand."""
    (tmp_path / "file").touch()

    with pytest.raises(NotADirectoryError):
        in_folder(tmp_path / "file" / "folder", stderr).prepare()


def test_folder__where_nothing_can_be_made(read_only: Path, stderr: Stderr) -> None:
    """So is one in which no file can be made, and it is told by its name."""
    with pytest.raises(PermissionError) as raised:
        in_folder(read_only, stderr).prepare()

    assert (raised.value.strerror, raised.value.filename) == ("Permission denied", str(read_only))


def test_dotenv__whole_text(tmp_path: Path, stderr: Stderr) -> None:
    """Every output is a line, its name in upper case, for others to read; a second writing takes the first one's place."""
    dotenv = in_dotenv(tmp_path / "report", stderr)

    dotenv.prepare()
    dotenv.write(handover(enrollment_count=1))
    dotenv.write(handover())

    assert files_in(tmp_path) == {
        "report": "".join(f"{name.upper()}={value}\n" for name, value in OUTPUTS.items())
    }
    assert (tmp_path / "report").stat().st_mode & 0o777 == 0o644
    assert stderr.text == ""


@pytest.mark.parametrize(
    "value", ["a\nERROR=b", "a\r", "a\x85b", "a\u2028b", "\ud800\0", "\udcff", " a", "a "]
)
def test_dotenv__values_of_one_line(value: str, tmp_path: Path, stderr: Stderr) -> None:
    """A value that would begin a line of its own, or lose a part, is left out with a warning; the others stay."""
    in_dotenv(tmp_path / "report", stderr).write(
        handover(latest_date_enrolled=value, output_file=value)
    )

    kept = {
        name: told
        for name, told in OUTPUTS.items()
        if name not in ("latest_date_enrolled", "output_file")
    }
    assert files_in(tmp_path) == {
        "report": "".join(f"{name.upper()}={told}\n" for name, told in kept.items())
    }
    assert stderr.text == (
        "alm-enrollments: warning: latest_date_enrolled, output_file left out of the dotenv report:"
        " a value there is one line, and loses the white space around it.\n"
    )


@pytest.mark.parametrize("more", [0, 1])
def test_dotenv__limit(more: int, tmp_path: Path, stderr: Stderr) -> None:
    """GitLab takes a report of 5,120 bytes; a byte more, and the largest output is left out."""
    others = "".join(f"{name}={value}\n" for name, value in OUTPUTS.items())
    date = "x" * (5_120 - len(others) + more)

    in_dotenv(tmp_path / "report", stderr).write(handover(latest_date_enrolled=date))

    assert (tmp_path / "report").stat().st_size == (
        len(others) - len("latest_date_enrolled=\n") if more else 5_120
    )
    assert (
        stderr.text
        == (
            f"alm-enrollments: warning: Left out of the dotenv report: latest_date_enrolled ({len(date) + 22:,}),"
            " for a dotenv report of GitLab takes at most 5 KB. Look in the document on standard output.\n"
        )
        * more
    )


def test_dotenv__full_disk(tmp_path: Path, stderr: Stderr) -> None:
    """A disk that is full leaves no part of a report."""
    with full_disk(100), pytest.raises(OSError, match="File too large"):
        in_dotenv(tmp_path / "report", stderr).write(handover())

    assert files_in(tmp_path) == {}


def test_dotenv__missing_folder(tmp_path: Path, stderr: Stderr) -> None:
    """A report in a folder that is not there is found out beforehand, and told by the folder's name."""
    with pytest.raises(NotADirectoryError) as raised:
        in_dotenv(tmp_path / "gone" / "report", stderr).prepare()

    assert (raised.value.strerror, raised.value.filename) == (
        "Not a directory",
        str(tmp_path / "gone"),
    )


def test_dotenv__where_nothing_can_be_made(read_only: Path, stderr: Stderr) -> None:
    """So is one in a folder in which no file can be made."""
    with pytest.raises(PermissionError):
        in_dotenv(read_only / "report", stderr).prepare()
