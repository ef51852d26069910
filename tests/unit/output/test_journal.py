"""The journal beside an output file: good up to its last whole line, one run's at a time."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.output.journal import (
    Journal,
    journal_of,
    open_to_append,
    read_entries,
    read_known,
    write_all,
)

if TYPE_CHECKING:
    from pathlib import Path

USER = {"user_id": "31", "enrollments": 3, "end": 30}


def begun(path: Path) -> Journal:
    """Return a journal that has its first line."""
    journal = Journal(path, str)
    journal.clear()
    journal.begin({"format": "json", "end": 1})
    return journal


def test_journal_of__beside_the_file(tmp_path: Path) -> None:
    """The journal has the file's name and a suffix more."""
    assert journal_of(tmp_path / "x.csv.gz") == tmp_path / "x.csv.gz.users"


def test_read_known__what_is_whole(tmp_path: Path) -> None:
    """Users, the ends of both files, and what the last line says of the run come back."""
    journal = begun(tmp_path / "j")
    for entry in (
        USER,
        {"user_id": "32", "error": {}},
        {"user_id": "33", "enrollments": 2, "end": 50},
    ):
        journal.write(entry)
    under_way = read_known(tmp_path / "j")
    journal.write({"end": 50, "size": 60, "requested": 3, "requests": 7})
    journal.close()

    ended = read_known(tmp_path / "j")

    assert under_way is not None
    assert ended is not None
    assert (under_way.end, under_way.size, under_way.records) == (50, None, 5)
    assert (ended.end, ended.size, ended.records, ended.requested, ended.requests) == (
        50,
        60,
        5,
        3,
        7,
    )
    assert ("31" in ended.finished, "32" in ended.finished, "33" in ended.finished) == (
        True,
        False,
        True,
    )
    assert ended.length == (tmp_path / "j").stat().st_size
    assert ended.made_with == {"alm_enrollments": 1, "format": "json", "end": 1}


def test_read_known__users_behind_the_end_of_a_run(tmp_path: Path) -> None:
    """Where users follow a run's end, the file is growing again: its size then says nothing any more."""
    journal = begun(tmp_path / "j")
    for entry in (
        USER,
        {"end": 30, "size": 60, "requested": 1, "requests": 1},
        {**USER, "user_id": "32", "end": 70},
    ):
        journal.write(entry)
    journal.close()

    known = read_known(tmp_path / "j")

    assert known is not None
    assert (known.end, known.size) == (70, None)


@given(cut=st.integers(0, 400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_read_entries__up_to_a_torn_line(cut: int, tmp_path: Path) -> None:
    """Wherever the journal is cut, its whole lines before that are read, each with its place, and nothing else."""
    journal = begun(tmp_path / "j")
    for user_id in range(5):
        journal.write({**USER, "user_id": str(user_id)})
    journal.close()
    whole = (tmp_path / "j").read_bytes()
    (tmp_path / "torn").write_bytes(whole[:cut])

    lines = whole[:cut].splitlines(keepends=True)
    good = [line for line in lines if line.endswith(b"\n")]
    read = list(read_entries(tmp_path / "torn"))
    assert [entry for entry, _ in read] == [json.loads(line) for line in good]
    assert [place for _, place in read] == [
        sum(map(len, good[: number + 1])) for number in range(len(good))
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"torn",
        b"[1]\n",
        b'{"version":1}\n',
        b'{"alm_enrollments":2,"end":0}\n',
        b"\xff\n",
        b"\0" * 99,
    ],
)
def test_read_known__no_journal(content: bytes, tmp_path: Path) -> None:
    """What does not begin as a journal of this version is none."""
    (tmp_path / "j").write_bytes(content)

    assert read_known(tmp_path / "j") is None
    assert read_known(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    "torn", [b'{"user_id":"33","enro', b"\0\0\0\0\n", b"\xff\xfe\n", b'"text"\n']
)
def test_resume__behind_the_last_whole_line(torn: bytes, tmp_path: Path) -> None:
    """What a kill has torn is cut off before anything is written behind it."""
    journal = begun(tmp_path / "j")
    journal.write(USER)
    journal.close()
    good = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(good + torn)
    known = read_known(tmp_path / "j")
    assert known is not None

    journal.resume(known)
    journal.write({**USER, "user_id": "32"})
    journal.close()

    assert (tmp_path / "j").read_bytes() == good + b'{"user_id":"32","enrollments":3,"end":30}\n'


def test_lock__one_at_a_time(tmp_path: Path) -> None:
    """While one run has it no other gets it, and nothing in it is touched; afterwards it does."""
    first, second = begun(tmp_path / "j"), Journal(tmp_path / "j", str)
    before = (tmp_path / "j").read_bytes()

    with pytest.raises(BlockingIOError):
        second.clear()
    unharmed = (tmp_path / "j").read_bytes() == before
    first.close()
    second.clear()
    second.close()

    assert unharmed
    assert (tmp_path / "j").read_bytes() == b""


def test_write__without_the_runs_secrets(tmp_path: Path) -> None:
    """No line has a secret in it."""
    journal = Journal(tmp_path / "j", lambda text: text.replace("t0ken", "***"))
    journal.clear()

    journal.begin({"since": "t0ken"})
    journal.close()

    assert (tmp_path / "j").read_bytes() == b'{"alm_enrollments":1,"since":"***"}\n'


def test_close__of_what_is_not_open(tmp_path: Path) -> None:
    """To close it twice, or before it was opened, is no error."""
    journal = Journal(tmp_path / "j", str)
    journal.close()
    journal.lock()
    journal.close()

    journal.close()

    assert (tmp_path / "j").exists()


def test_open_to_append__behind_what_is_there(tmp_path: Path) -> None:
    """What is written comes behind all that is there, after a cut as well."""
    (tmp_path / "x").write_bytes(b"0123456789")
    handle = open_to_append(tmp_path / "x")

    write_all(handle, b"ab")
    os.ftruncate(handle, 4)
    write_all(handle, b"cd")
    os.close(handle)

    assert (tmp_path / "x").read_bytes() == b"0123cd"


def test_write_all__in_as_many_pieces_as_it_takes() -> None:
    """A write that takes only part of the data is followed by another one."""
    ours, its = os.pipe()
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.extend(iter(lambda: os.read(ours, 4_096), b"")))
    reader.start()

    write_all(its, b"x" * 300_000)
    os.close(its)
    reader.join()
    os.close(ours)

    assert sum(map(len, read)) == 300_000
