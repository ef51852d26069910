"""Files that the user names: one per output, or all outputs in a dotenv report."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from connector.channels import ChannelContext
from connector.channels.folder import Dotenv, OutputFolder
from tests.unit.channels.examples import OUTPUTS, Stderr, full_disk, run_outputs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOBODY = 65_534
LOCATION = "Look in the document on standard output."


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """Return a folder that this process may not write to; root, who may, becomes another user."""
    folder, real, effective = tmp_path / "read-only", os.getuid(), os.geteuid()
    folder.mkdir(mode=0o555)
    os.setreuid(real or NOBODY, effective)
    yield folder
    os.setreuid(real, effective)


def output_folder(folder: Path, stderr: Stderr, **environ: str) -> OutputFolder:
    """Return the channel of ``--output-dir``, on a machine whose root is above *folder*."""
    root = folder.parents[1]
    return OutputFolder(ChannelContext(environ, stderr.write_line, str(folder), root=root))


def dotenv(path: Path, stderr: Stderr) -> Dotenv:
    """Return the channel of ``--dotenv``."""
    return Dotenv(ChannelContext({}, stderr.write_line, dotenv=str(path)))


def files_in(folder: Path) -> dict[str, str]:
    """Return the name and text of each file."""
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_is_available__if_named(stderr: Stderr) -> None:
    """Each channel is available if its flag was given."""
    contexts = [
        ChannelContext({}, stderr.write_line),
        ChannelContext({}, stderr.write_line, output_dir="a"),
        ChannelContext({}, stderr.write_line, dotenv="a"),
    ]

    assert [OutputFolder.is_available(context) for context in contexts] == [False, True, False]
    assert [Dotenv.is_available(context) for context in contexts] == [False, False, True]


def test_folder__one_file_per_output(tmp_path: Path, stderr: Stderr) -> None:
    """The folder and its parents are created; each file is a value, readable by all users."""
    folder = tmp_path / "new" / "folder"

    output_folder(folder, stderr).write(run_outputs())

    assert files_in(folder) == OUTPUTS
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    assert stderr.text == ""


def test_folder__bytes_of_a_file_name(tmp_path: Path, stderr: Stderr) -> None:
    """A file name that is not UTF-8 is written as its own bytes, so that a shell finds the file."""
    output_folder(tmp_path, stderr).write(run_outputs(output_file=os.fsdecode(b"\xff\r\n.json")))

    assert (tmp_path / "output_file").read_bytes() == b"\xff\r\n.json"


@pytest.mark.parametrize("excess", [0, 1])
def test_folder__tekton(excess: int, tmp_path: Path, stderr: Stderr) -> None:
    """Over 3 KB for Tekton, the largest output is left out, and an earlier file of it deleted."""
    folder = tmp_path / "tekton/results"
    folder.mkdir(parents=True)
    (folder / "next_since").touch()
    date = "x" * (3_072 - len("".join(OUTPUTS.values())) + excess)

    output_folder(folder, stderr).write(run_outputs(next_since=date))

    expected = {**OUTPUTS, "next_since": date}
    if excess:
        del expected["next_since"]
    assert files_in(folder) == expected
    assert stderr.text == excess * (
        "alm-enrollments: warning: Left out of the output folder: next_since"
        f" ({len(date):,}), for Tekton's results take at most about 3 KB together. {LOCATION}\n"
    )


@pytest.mark.parametrize(
    ("environ", "size", "is_written"),
    [
        ({"ARGO_TEMPLATE": "{}"}, 262_144, True),
        ({"ARGO_TEMPLATE": "{}"}, 262_145, False),
        ({}, 300_000, True),
    ],
    ids=["at Argo's limit", "over Argo's limit", "elsewhere"],
)
def test_folder__argo(
    environ: dict[str, str], size: int, *, is_written: bool, tmp_path: Path, stderr: Stderr
) -> None:
    """Argo takes 256 KB per parameter; other folders take any size."""
    value = "é" * (size // 2) + "x" * (size % 2)

    output_folder(tmp_path, stderr, **environ).write(run_outputs(next_since=value))

    assert files_in(tmp_path).get("next_since") == (value if is_written else None)
    assert stderr.text == (not is_written) * (
        "alm-enrollments: warning: Left out of the output folder: next_since (262,145),"
        f" for an output parameter of Argo Workflows takes at most 256 KB. {LOCATION}\n"
    )


def test_folder__full_disk(tmp_path: Path, stderr: Stderr) -> None:
    """A disk that fills up leaves no part of a value."""
    with full_disk(100), pytest.raises(OSError, match="File too large"):
        output_folder(tmp_path, stderr).write(run_outputs(source="x" * 200))

    assert files_in(tmp_path) == {}


def test_folder__below_a_file(tmp_path: Path, stderr: Stderr) -> None:
    """``prepare`` fails if the folder cannot be created."""
    (tmp_path / "file").touch()

    with pytest.raises(NotADirectoryError):
        output_folder(tmp_path / "file/folder", stderr).prepare()


def test_prepare__read_only_folder(read_only: Path, stderr: Stderr) -> None:
    """``prepare`` fails, and names the folder, if no file can be created in it."""
    for channel in (output_folder(read_only, stderr), dotenv(read_only / "report", stderr)):
        with pytest.raises(PermissionError) as raised:
            channel.prepare()

        assert raised.value.strerror == "Permission denied"
        assert raised.value.filename == str(read_only)


def test_dotenv__full_text(tmp_path: Path, stderr: Stderr) -> None:
    """Each output is a line with its name in upper case; a second report replaces the first."""
    channel = dotenv(tmp_path / "report", stderr)

    channel.prepare()
    channel.write(run_outputs(enrollment_count=1))
    channel.write(run_outputs())

    lines = [f"{name.upper()}={value}\n" for name, value in OUTPUTS.items()]
    assert files_in(tmp_path) == {"report": "".join(lines)}
    assert (tmp_path / "report").stat().st_mode & 0o777 == 0o644
    assert stderr.text == ""


@pytest.mark.parametrize(
    "value", ["a\nERROR=b", "a\r", "a\x85b", "a\u2028b", "\ud800\0", "\udcff", " a", "a "]
)
def test_dotenv__values_of_one_line(value: str, tmp_path: Path, stderr: Stderr) -> None:
    """Values that would begin a new line or lose white space are left out with a warning."""
    dotenv(tmp_path / "report", stderr).write(run_outputs(next_since=value, output_file=value))

    left_out = ("next_since", "output_file")
    lines = [f"{name.upper()}={OUTPUTS[name]}\n" for name in OUTPUTS if name not in left_out]
    assert files_in(tmp_path) == {"report": "".join(lines)}
    assert stderr.text == (
        "alm-enrollments: warning: next_since, output_file left out of the dotenv report:"
        " values must be one line without white space around it.\n"
    )


@pytest.mark.parametrize("excess", [0, 1])
def test_dotenv__limit(excess: int, tmp_path: Path, stderr: Stderr) -> None:
    """Over GitLab's 5,120 bytes for a report, the largest output is left out."""
    others = "".join(f"{name}={value}\n" for name, value in OUTPUTS.items())
    date = "x" * (5_120 - len(others) + excess)

    dotenv(tmp_path / "report", stderr).write(run_outputs(next_since=date))

    size = len(others) - len("next_since=\n") if excess else 5_120
    assert (tmp_path / "report").stat().st_size == size
    assert stderr.text == excess * (
        "alm-enrollments: warning: Left out of the dotenv report: next_since"
        f" ({len(date) + 12:,}), for a dotenv report of GitLab takes at most 5 KB. {LOCATION}\n"
    )


def test_dotenv__full_disk(tmp_path: Path, stderr: Stderr) -> None:
    """A disk that fills up leaves no part of a report."""
    with full_disk(100), pytest.raises(OSError, match="File too large"):
        dotenv(tmp_path / "report", stderr).write(run_outputs())

    assert files_in(tmp_path) == {}


def test_dotenv__missing_folder(tmp_path: Path, stderr: Stderr) -> None:
    """``prepare`` fails, and names the folder, if the report's folder does not exist."""
    with pytest.raises(NotADirectoryError) as raised:
        dotenv(tmp_path / "missing/report", stderr).prepare()

    assert raised.value.strerror == "Not a directory"
    assert raised.value.filename == str(tmp_path / "missing")
