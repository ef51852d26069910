"""Files as outputs: what can be replaced, and which names mean the same file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from connector.files import (
    check_folder_writable,
    check_replaceable,
    files_of,
    find_shared,
    identity_of,
    mode_of_replaced,
    target_of,
)


def test_target_of__links(tmp_path: Path) -> None:
    """A link leads to its target, which need not exist; any other path stays as it was written."""
    (tmp_path / "first").symlink_to("second")
    (tmp_path / "second").symlink_to("folder/file")

    assert target_of(tmp_path / "first") == tmp_path.resolve() / "folder/file"
    assert target_of(Path("some/../file")) == Path("some/../file")


def test_files_of__a_link(tmp_path: Path) -> None:
    """A run writes next to a link's target."""
    (tmp_path / "link").symlink_to("out.csv")

    names = [file.name for file in files_of(tmp_path / "link")]
    suffixes = ("", ".part", ".part.new", ".users", ".users.new")
    assert names == [f"out.csv{suffix}" for suffix in suffixes]


def test_mode_of_replaced(tmp_path: Path) -> None:
    """A file has permissions, and a missing one has none."""
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(0o640)

    assert mode_of_replaced(tmp_path / "file") == 0o640
    assert mode_of_replaced(tmp_path / "missing") is None


@pytest.mark.parametrize("name", ["file", "missing", "link"])
def test_check_replaceable__files(name: str, tmp_path: Path) -> None:
    """A regular file, a new one, and a link to one of them can be replaced."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")

    check_replaceable(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("folder", "folder is no regular file"),
        ("pipe", "pipe is no regular file"),
        ("link", "pipe is no regular file"),
        ("loop", os.strerror(40)),
    ],
)
def test_check_replaceable__others(name: str, reason: str, tmp_path: Path) -> None:
    """A folder, a pipe, a link to one of them, and a link to itself cannot be replaced."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "loop").symlink_to("loop")

    with pytest.raises(OSError, match=reason):
        check_replaceable(tmp_path / name)


def test_check_folder_writable(tmp_path: Path) -> None:
    """A folder must exist."""
    (tmp_path / "file").touch()
    check_folder_writable(tmp_path)

    for name in ("file", "missing"):
        with pytest.raises(NotADirectoryError):
            check_folder_writable(tmp_path / name)


def test_identity_of__names_of_one_file(tmp_path: Path) -> None:
    """Links, hard links, other spellings and descriptors are the same file, an absent one too."""
    file = tmp_path / "file"
    file.touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "hard").hardlink_to(file)
    (tmp_path / "dangling").symlink_to("absent")
    with file.open() as opened:
        names: list[Path | int] = [
            file,
            tmp_path / "link",
            tmp_path / "hard",
            tmp_path / "../" / file,
            opened.fileno(),
        ]
        assert len(set(map(identity_of, names))) == 1

    assert identity_of(tmp_path / "dangling") == identity_of(tmp_path / "absent")
    assert identity_of(tmp_path / "absent") != identity_of(tmp_path / "other")


def test_identity_of__what_many_may_share(tmp_path: Path) -> None:
    """Pipes, devices, folders, closed descriptors and impossible names have no identity."""
    os.mkfifo(tmp_path / "pipe")
    others: list[Path | int] = [tmp_path, tmp_path / "pipe", Path(os.devnull), 987_654]

    assert [identity_of(other) for other in others] == [None] * 4


def test_find_shared__every_pair(tmp_path: Path) -> None:
    """Each output is named with what else is its file; others may share files among themselves."""
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    outputs = {"a": [one, two], "b": [two], "c": [three]}

    assert list(find_shared(outputs, {"x": [one], "y": [one]})) == [("a", "y"), ("b", "a")]
