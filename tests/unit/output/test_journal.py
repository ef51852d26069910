"""The journal next to an output file: valid up to its last complete line, locked by one run."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.output.journal import (
    Journal,
    journal_of,
    open_to_append,
    read_entries,
    read_state,
    sync,
    write_all,
)
from connector.redact import Redactor
from connector.text import to_json
from tests.support.compared import END, ERROR, READ

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from connector.output.journal import Entry

USER: Entry = {**READ, "user_id": "31", "enrollments": 3, "end": 30, "status": "verified"}
INPUTS = {"format": "json", "end": 1, "crc32": 0}
FIRST = {"alm_enrollments": 2, **INPUTS}
LAST = {"end": 30, "size": 60, "crc32": 1, **END}


def write(path: Path, *entries: Mapping[str, object]) -> bytes:
    """Write a journal of its first line and *entries*, and return its bytes."""
    journal = Journal(path, Redactor())
    journal.cut()
    journal.begin(INPUTS)
    for entry in entries:
        journal.write(entry)
    journal.close()
    return path.read_bytes()


def test_journal_of__next_to_the_file(tmp_path: Path) -> None:
    """The journal has the name of the output file and one more suffix."""
    assert journal_of(tmp_path / "x.csv.gz") == tmp_path / "x.csv.gz.users"


def test_read_state__under_way(tmp_path: Path) -> None:
    """A journal lists complete users and where they end; failed users are not complete."""
    content = write(
        tmp_path / "j",
        USER,
        {"user_id": "32", "error": ERROR},
        {**USER, "user_id": "33", "enrollments": 2, "end": 50},
    )

    state = read_state(tmp_path / "j")

    assert state is not None
    assert [user_id in state.finished for user_id in ("31", "32", "33")] == [True, False, True]
    assert (state.inputs, state.records, state.end, state.length) == (FIRST, 5, 50, len(content))
    assert (state.begin, state.last) == (len(content.splitlines(keepends=True)[0]), {})


def test_read_state__user_of_an_address(tmp_path: Path) -> None:
    """A user who was read by an address is complete by the id and by the address."""
    write(tmp_path / "j", {**USER, "user_email": "ada@example.com"})

    state = read_state(tmp_path / "j")

    assert state is not None
    users = ("31", "ada@example.com", "ben@example.com")
    assert [user in state.finished for user in users] == [True, True, False]


def test_read_state__of_a_finished_run(tmp_path: Path) -> None:
    """The last line of a run describes the output file and the run."""
    end = {"end": 35, "size": 60, "crc32": 1, "requested": 3, "missing": 1, "requests": 7}
    write(tmp_path / "j", USER, end)

    state = read_state(tmp_path / "j")

    assert state is not None
    assert (state.end, state.last, state.records) == (35, end, 3)
    assert (tmp_path / "j").read_bytes()[state.last_begin :].startswith(b'{"end":35,"size":60')


def test_read_state__up_to_a_place(tmp_path: Path) -> None:
    """What a journal says can be read up to any line: there, the rest was never written."""
    other = {**USER, "user_id": "32", "end": 40}
    write(tmp_path / "j", USER, other, {**LAST, "end": 40})
    places = [place for _, place in read_entries(tmp_path / "j")]

    states = [read_state(tmp_path / "j", place) for place in places]

    assert [state and (state.end, state.records, bool(state.last)) for state in states] == [
        (1, 0, False),
        (30, 3, False),
        (40, 6, False),
        (40, 6, True),
    ]
    assert [state and state.length for state in states] == places


def test_read_state__of_a_resumed_run(tmp_path: Path) -> None:
    """If users follow the end of a run, the file grows again: the run has not ended."""
    write(tmp_path / "j", USER, LAST, {**USER, "user_id": "32", "end": 70})

    state = read_state(tmp_path / "j")

    assert state is not None
    assert (state.end, state.last) == (70, {})


@given(cut=st.integers(0, 300))
@settings(max_examples=40)
def test_read_entries__up_to_a_torn_line(cut: int) -> None:
    """Of a journal cut anywhere, exactly the complete lines are read, each with its end."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "j")
        content = write(path, *[{**USER, "user_id": str(number)} for number in range(5)])[:cut]
        path.write_bytes(content)

        complete = [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
        expected = []
        end = 0
        for line in complete:
            end += len(line)
            expected.append((json.loads(line), end))
        assert list(read_entries(path)) == expected


def test_read_entries__half_a_surrogate_pair(tmp_path: Path) -> None:
    """An id that UTF-8 cannot express is read as it was written."""
    entry = {**USER, "enrollment_ids": ["course:1_2_3\ud800"]}
    write(tmp_path / "j", entry)

    assert [read for read, _ in read_entries(tmp_path / "j")] == [FIRST, entry]


FAILED = {"user_id": None, "user_email": "ada@example.com", "error": ERROR}
OPTIONAL = {"user_email", "enrollment_ids"}
LINES = {
    "first": {
        **FIRST,
        "lo_types": ["course"],
        "shard": "1/2",
        "moments": {"since": "2024-01-01T00:00:00+00:00"},
    },
    "user": {**USER, "user_email": "ada@example.com", "enrollment_ids": ["course:1_2_31"]},
    "failed": FAILED,
    "end": LAST,
}
OTHER_VALUES: dict[str, list[object]] = {
    "alm_enrollments": [1, "2"],
    "format": ["yaml"],
    "lo_types": ["course", [{}]],
    "shard": ["2", "0/1", "a/b"],
    "moments": [{"sort": "2024-01-01T00:00:00Z"}, {"since": None}, {"since": "7d"}],
    "answered_at": ["yesterday", 5],
    "status": ["proved", None],
    "counts": [[["course", "COMPLETED"]], [[1, 2, 3]]],
    "error": [{}, {**ERROR, "code": 1}, {**ERROR, "hint": ""}, {**ERROR, "http_status": "503"}],
    "enrollments": [-1, "3", True, None, 1.5],
    "end": [-1, "3", None],
    "size": [-1, None],
}


def broken_lines() -> Iterator[tuple[str, dict[str, object]]]:
    """Yield each line of a journal without one of its keys, or with another value of it."""
    for kind, line in LINES.items():
        for name in line:
            if name not in {*OPTIONAL, "lo_types", "shard", "moments"}:
                yield kind, {key: value for key, value in line.items() if key != name}
            for value in OTHER_VALUES.get(name, [{"another": "type"}]):
                yield kind, {**line, name: value}


@pytest.mark.parametrize(("kind", "line"), [*broken_lines()])
def test_read_state__of_a_broken_line(kind: str, line: dict[str, object], tmp_path: Path) -> None:
    """A line that lacks a key, or has a value of another kind, ends the journal before it."""
    lines = [line] if kind == "first" else [FIRST, USER, line, {**USER, "user_id": "32"}]
    (tmp_path / "j").write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")

    state = read_state(tmp_path / "j")

    if kind == "first":
        assert state is None
    else:
        assert state is not None
        assert ("31" in state.finished, "32" in state.finished, state.last) == (True, False, {})


def test_read_state__of_every_line(tmp_path: Path) -> None:
    """Every kind of line is read with all that it has, half a surrogate pair included."""
    user = {**LINES["user"], "reasons": ["half a pair: \ud800"], "counts": [["course", None, 1]]}
    lines = [LINES["first"], user, FAILED, LAST]
    (tmp_path / "j").write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")

    entries = [entry for entry, _ in read_entries(tmp_path / "j")]

    assert json.loads(json.dumps(entries)) == lines


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"torn",
        b"[1]\n",
        b'{"version":1}\n',
        b'{"alm_enrollments":1,"end":0}\n',
        b"\xff\n",
        b"\0" * 99,
    ],
)
def test_read_state__of_another_file(content: bytes, tmp_path: Path) -> None:
    """A file that does not begin as a journal of this version is not taken for one."""
    (tmp_path / "j").write_bytes(content)

    assert read_state(tmp_path / "j") is None
    assert read_state(tmp_path / "missing") is None


@pytest.mark.parametrize(
    "torn", [b'{"user_id":"33","enro', b"\0\0\0\0\n", b"\xff\xfe\n", b'"text"\n']
)
def test_cut__removes_a_torn_line(torn: bytes, tmp_path: Path) -> None:
    """What a kill has torn is cut off before the journal is continued."""
    complete = write(tmp_path / "j", USER)
    (tmp_path / "j").write_bytes(complete + torn)
    state = read_state(tmp_path / "j")
    assert state is not None
    journal = Journal(tmp_path / "j", Redactor())

    journal.cut(state.length)
    journal.write({**USER, "user_id": "32"})
    journal.close()

    continued = to_json({**USER, "user_id": "32"})
    assert (tmp_path / "j").read_bytes() == complete + f"{continued}\n".encode()


def test_lock__one_run_at_a_time(tmp_path: Path) -> None:
    """While one run has the journal, another one is refused and changes nothing in it."""
    first, second = (Journal(tmp_path / "j", Redactor()) for _ in range(2))
    first.cut()
    first.write(USER)
    before = (tmp_path / "j").read_bytes()

    with pytest.raises(BlockingIOError):
        second.cut()
    unchanged = (tmp_path / "j").read_bytes()
    first.close()
    second.cut()
    second.close()

    assert unchanged == before
    assert (tmp_path / "j").read_bytes() == b""


def test_write__removes_secrets(tmp_path: Path) -> None:
    """No line of the journal has a secret in it."""
    redactor = Redactor()
    redactor.add("a-secret-0042")
    journal = Journal(tmp_path / "j", redactor)
    journal.cut()

    journal.begin({"reasons": ("a-secret-0042",)})
    journal.close()

    assert (tmp_path / "j").read_bytes() == b'{"alm_enrollments":2,"reasons":["***"]}\n'


def test_rewrite__at_once(tmp_path: Path) -> None:
    """A journal that is rewritten has its inputs and its end, the new entries, and its lock."""
    write(tmp_path / "j", USER, LAST)
    state = read_state(tmp_path / "j")
    assert state is not None
    journal = Journal(tmp_path / "j", Redactor())
    journal.lock()

    journal.rewrite(state, [{**USER, "end": 20}], 20)

    lines = (tmp_path / "j").read_bytes().splitlines(keepends=True)
    assert [entry for entry, _ in read_entries(tmp_path / "j")] == [
        {**FIRST, "end": 0},
        {**USER, "end": 20},
        {**LAST, "end": 20, "users_crc32": zlib.crc32(lines[1])},
    ]
    with pytest.raises(BlockingIOError):
        Journal(tmp_path / "j", Redactor()).lock()
    journal.write(USER)
    journal.close()
    assert len(list(read_entries(tmp_path / "j"))) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["j"]


def test_rewrite__or_not_at_all(tmp_path: Path) -> None:
    """If a journal cannot be rewritten, it stays as it was, and no other file is left."""
    before = write(tmp_path / "j", USER, LAST)
    state = read_state(tmp_path / "j")
    assert state is not None
    journal = Journal(tmp_path / "j", Redactor())
    journal.lock()

    def entries() -> Iterator[Mapping[str, object]]:
        yield USER
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        journal.rewrite(state, entries(), 20)
    journal.close()

    assert (tmp_path / "j").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["j"]


@pytest.mark.parametrize(
    ("number", "is_raised"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)]
)
def test_sync__where_it_is_not_offered(
    *, number: int, is_raised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drive that cannot sync is written all the same; one that fails is an error."""

    def fsync(_: int) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(os, "fsync", fsync)

    with pytest.raises(OSError, match="refused") if is_raised else contextlib.nullcontext():
        sync(1)


def test_close__at_any_time(tmp_path: Path) -> None:
    """A journal may be closed before it was opened, and more than once."""
    journal = Journal(tmp_path / "j", Redactor())

    for _ in range(2):
        journal.close()
        journal.lock()
        journal.lock()
        journal.close()

    assert (tmp_path / "j").read_bytes() == b""


def test_open_to_append__after_the_end(tmp_path: Path) -> None:
    """Everything is written behind the end of the file, also after it was cut."""
    (tmp_path / "x").write_bytes(b"0123456789")
    handle = open_to_append(tmp_path / "x")

    write_all(handle, b"ab")
    os.ftruncate(handle, 4)
    write_all(handle, b"cd")
    os.close(handle)

    assert (tmp_path / "x").read_bytes() == b"0123cd"


def test_open_to_append__as_any_new_file(tmp_path: Path) -> None:
    """A new file may be read and written by whom the system's own mask lets."""
    os.close(open_to_append(tmp_path / "x"))
    (tmp_path / "y").touch()

    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


def link(path: Path) -> None:
    """Make *path* a link to another file."""
    path.with_name("other").touch()
    path.symlink_to("other")


def second_name(path: Path) -> None:
    """Make *path* another name of a file."""
    path.with_name("other").touch()
    path.hardlink_to(path.with_name("other"))


def pipe(path: Path) -> None:
    """Make *path* a pipe."""
    os.mkfifo(path)


@pytest.mark.parametrize("make", [link, second_name, pipe])
def test_open_to_append__refuses_what_may_be_anothers(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    """A link, a second name and a pipe are refused: what is behind them may be another file."""
    make(tmp_path / "x")

    with pytest.raises(PermissionError) as caught:
        open_to_append(tmp_path / "x")

    assert caught.value.errno == errno.EPERM
    assert "x must be a regular file of this user's own" in str(caught.value)


def test_write_all__in_several_writes() -> None:
    """If the system writes only a part of the data, the rest is written, too."""
    read_end, write_end = os.pipe()
    pieces: list[bytes] = []
    reader = threading.Thread(
        target=lambda: pieces.extend(iter(lambda: os.read(read_end, 4_096), b""))
    )
    reader.start()

    write_all(write_end, b"x" * 300_000)
    os.close(write_end)
    reader.join()
    os.close(read_end)

    assert b"".join(pieces) == b"x" * 300_000
