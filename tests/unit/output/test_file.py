"""The output file: no torn user, an atomic end, and resuming from whatever a kill leaves."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import signal
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector import signals
from connector.alm.completeness import Completeness, Status
from connector.errors import InterruptedRun, OutputError, UsageError
from connector.formats import make_format
from connector.output.file import OutputFile
from connector.output.journal import journal_of
from connector.output.results import RunTotals, UserResult
from connector.redact import Redactor
from tests.support.clock import VirtualClock
from tests.support.files import text_of
from tests.support.pages import ANSWERED_AT
from tests.support.records import VERIFIED, enrollment, enrollments

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from connector.output.buffer import RecordBuffer

# Each user with the number of records.
COUNTS = {"7": 2, "31": 0, "32": 1, "33": 3}
USERS = tuple(COUNTS)
TEXT_FILES = ("x.ndjson", "x.json", "x.csv", "x.table", "x.json.gz", "x.ndjson.zst")
MADE_AT_THE_END = ("x.parquet", "x.xlsx")
ALL_FILES = (*TEXT_FILES, *MADE_AT_THE_END)
ERROR = {
    "code": 75,
    "message": "ALM failed.",
    "hint": "Run again.",
    "http_status": 503,
    "request_id": None,
    "retry_at": None,
}


def open_file(path: Path, redactor: Redactor | None = None, **inputs: Any) -> OutputFile:
    """Return an output file of the format that the first suffix of its name stands for."""
    written_as = path.name.split(".")[1]
    inputs = {"lo_types": ["course"], **inputs}
    return OutputFile(path, written_as, inputs, redactor or Redactor(), VirtualClock())


def buffer_of(file: OutputFile, user_id: str, count: int) -> RecordBuffer:
    """Return a buffer of *file* with *count* records of a user."""
    buffer = file.new_buffer(has_tally=False)
    buffer.add(enrollments(count, user_id))
    return buffer


def append(file: OutputFile, *users: str) -> None:
    """Append *users*, each with its records."""
    for user_id in users:
        file.append(result_of(user_id, buffer_of(file, user_id, COUNTS.get(user_id, 1))))


def result_of(
    user_id: str, buffer: RecordBuffer, completeness: Completeness = VERIFIED
) -> UserResult[RecordBuffer]:
    """Return the result of a user whose records are in *buffer*."""
    return UserResult(user_id, buffer, completeness, answered_at=ANSWERED_AT)


def totals_of(requested: int, *, read: int | None = None) -> RunTotals:
    """Return the totals of a run of *requested* users, all of them read unless *read* says so."""
    totals = RunTotals()
    for _ in range(requested if read is None else read):
        totals.add_kept()
    totals.end(requested=requested, requests=3)
    return totals


def checksum_of(data: bytes) -> int:
    """Return the checksum of *data*."""
    return zlib.crc32(data)


def write(path: Path, users: Sequence[str], *, resume: bool = False) -> list[str]:
    """Write the file of *users* as a run does; return the users that it has from an earlier run."""
    file = open_file(path)
    kept = [entry["user_id"] for entry in file.prepare(resume=resume)]
    append(file, *[user_id for user_id in users if not file.has(user_id)])
    assert file.finish(totals_of(len(users))) == str(path)
    return kept


@functools.cache
def undisturbed(name: str, users: tuple[str, ...] = USERS) -> tuple[bytes, bytes]:
    """Return the file of *users* and its journal, written in one run."""
    with TemporaryDirectory() as folder:
        write(Path(folder, name), users)
        return content(Path(folder, name)), content(journal_of(Path(folder, name)))


@functools.cache
def history_of(name: str) -> list[tuple[bytes, bytes]]:
    """Return each state of the growing file and its journal: records come before their entry."""
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        file = open_file(path)
        states = [(b"", b"")]
        for user_id in USERS:
            append(file, user_id)
            states.append((content(file.part), content(journal_of(path))))
        file.finish(totals_of(len(USERS)))
        grown = states[-1][0] if name in MADE_AT_THE_END else content(path)
        return [*states, (grown, content(journal_of(path)))]


def content(path: Path) -> bytes:
    """Return the bytes of *path*."""
    return path.read_bytes()


def files_in(folder: Path) -> dict[str, bytes]:
    """Return the files in *folder* by name, each with its bytes."""
    return {path.name: content(path) for path in sorted(folder.iterdir())}


def entries_of(path: Path) -> list[dict[str, Any]]:
    """Return the entries of the file's journal."""
    return [json.loads(line) for line in content(journal_of(path)).splitlines()]


def without_checksum(journal: bytes) -> list[str]:
    """Return the lines of a *journal* without its own checksum."""
    return re.sub(r',"users_crc32":[0-9]+', "", journal.decode()).splitlines()


def state_at(history: Sequence[tuple[bytes, bytes]], moment: int) -> tuple[bytes, bytes]:
    """Return what both files hold when *moment* bytes have been written."""
    for (_, old_journal), (part, journal) in itertools.pairwise(history):
        if moment <= len(part) + len(old_journal):
            return part[: moment - len(old_journal)], old_journal
        if moment <= len(part) + len(journal):
            return part, journal[: moment - len(part)]
    return history[-1]


@pytest.mark.parametrize("name", ALL_FILES)
@given(data=st.data())
@settings(max_examples=25)
def test_resume__from_every_state_that_a_kill_leaves(name: str, data: st.DataObject) -> None:
    """Whatever was written when a run was killed, resuming it gives the file of one run."""
    history = history_of(name)
    part, journal = state_at(history, data.draw(st.integers(0, sum(map(len, history[-1])))))
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        Path(folder, f"{name}.part").write_bytes(part)
        journal_of(path).write_bytes(journal)

        write(path, USERS, resume=True)

        file, whole_journal = undisturbed(name)
        assert content(path) == file
        # A run that was killed behind its last line writes that line again.
        lines = list(dict.fromkeys(without_checksum(content(journal_of(path)))))
        assert lines == without_checksum(whole_journal)
        assert sorted(files_in(Path(folder))) == [name, f"{name}.users"]


@pytest.mark.parametrize("name", ALL_FILES)
def test_resume__a_finished_file_takes_further_users(name: str, tmp_path: Path) -> None:
    """New users follow those that a finished file has, which are not read again."""
    write(tmp_path / name, USERS[:2])

    assert write(tmp_path / name, USERS, resume=True) == list(USERS[:2])
    assert content(tmp_path / name) == undisturbed(name)[0]
    assert sorted(files_in(tmp_path)) == [name, f"{name}.users"]


@pytest.mark.parametrize("name", ALL_FILES)
@pytest.mark.parametrize("suffix", [".part", ".part.new"])
def test_resume__killed_while_a_finished_file_reopens(
    name: str, suffix: str, tmp_path: Path
) -> None:
    """A kill while a finished file is made to grow loses no user, requested again or not."""
    path = tmp_path / name
    write(path, USERS[:2])
    file = open_file(path)
    list(file.prepare(resume=True))
    file._open()
    file.abandon()
    file.part.rename(tmp_path / f"{name}{suffix}")

    write(path, USERS[2:], resume=True)

    assert content(path) == undisturbed(name)[0]
    assert sorted(files_in(tmp_path)) == [name, f"{name}.users"]


@pytest.mark.parametrize("name", ["x.ndjson", "x.parquet"])
def test_resume__with_a_torn_line_after_the_end(name: str, tmp_path: Path) -> None:
    """What a kill has torn behind the end of a finished run is removed from the journal."""
    path = tmp_path / name
    write(path, USERS[:2])
    with journal_of(path).open("ab") as journal:
        journal.write(b'{"end":1')

    write(path, USERS, resume=True)

    assert content(path) == undisturbed(name)[0]
    assert write(path, USERS, resume=True) == list(USERS)


@pytest.mark.parametrize("name", ["x.ndjson", "x.parquet"])
def test_resume__of_a_broken_journal(name: str, tmp_path: Path) -> None:
    """A finished file whose journal has a broken line is refused; it may have more users."""
    path = tmp_path / name
    write(path, USERS)
    text = content(journal_of(path)).replace(b'"verified"', b'"proved"', 1)
    journal_of(path).write_bytes(text)

    with pytest.raises(UsageError, match="or whose journal, was changed after its run"):
        list(open_file(path).prepare(resume=True))
    assert content(path) == undisturbed(name)[0]


def test_resume__of_a_journal_without_inputs(tmp_path: Path) -> None:
    """A journal whose first line is broken is no journal: resume starts anew."""
    path = tmp_path / "x.ndjson"
    write(path, USERS)
    journal_of(path).write_bytes(content(journal_of(path)).replace(b'"crc32":', b'"crc":', 1))

    assert write(path, USERS, resume=True) == []
    assert content(path) == undisturbed("x.ndjson")[0]


def test_resume__without_an_earlier_file(tmp_path: Path) -> None:
    """If there is no earlier file, or it was deleted, resume starts anew."""
    path = tmp_path / "x.ndjson"

    first = write(path, USERS, resume=True)
    path.unlink()
    second = write(path, USERS, resume=True)

    assert (first, second) == ([], [])
    assert content(path) == undisturbed("x.ndjson")[0]


@pytest.mark.parametrize(
    ("inputs", "change"),
    [
        ({"lo_types": ["jobAid"]}, 'lo_types was ["course"] and is ["jobAid"]'),
        ({"since": "2024-01-01"}, 'since was null and is "2024-01-01"'),
        ({"format": "json"}, 'format was "ndjson" and is "json"'),
    ],
)
def test_resume__refuses_other_inputs(inputs: dict[str, Any], change: str, tmp_path: Path) -> None:
    """Other inputs than those of the earlier run are refused, and the file stays as it was."""
    path = tmp_path / "x.ndjson"
    write(path, USERS)
    before = files_in(tmp_path)

    with pytest.raises(UsageError) as caught:
        list(open_file(path, **inputs).prepare(resume=True))

    assert str(caught.value) == (
        "1 input is not valid: resume is set, but the inputs differ from the earlier run:"
        f" {change} (allowed: the same inputs)."
        " Nothing was sent. Without `resume` the run writes a new file."
    )
    assert files_in(tmp_path) == before
    assert write(path, USERS, resume=True) == list(USERS)


@pytest.mark.parametrize("name", ALL_FILES)
@pytest.mark.parametrize("change", ["shorter", "longer", "zeros"])
def test_resume__refuses_a_changed_file(change: str, name: str, tmp_path: Path) -> None:
    """A finished file that was changed since, or lost to a power failure, is not resumed."""
    path = tmp_path / name
    write(path, USERS)
    before = content(path)
    changed = {"shorter": before[:-1], "longer": before * 2, "zeros": bytes(len(before))}[change]
    path.write_bytes(changed)

    with pytest.raises(UsageError) as caught:
        list(open_file(path).prepare(resume=True))

    assert str(caught.value) == (
        f'1 input is not valid: output_file is "{path}", which, or whose journal, was'
        " changed after its run (allowed: the file as the earlier run left it)."
        " Nothing was sent. Without `resume` the run writes a new file."
    )
    assert content(path) == changed


def lose(lines: list[bytes], place: int) -> list[bytes]:
    """Return *lines* without the one at *place*."""
    return [*lines[:place], *lines[place + 1 :]]


def repeat(lines: list[bytes], place: int) -> list[bytes]:
    """Return *lines* with the one at *place* twice."""
    return [*lines[: place + 1], *lines[place:]]


def swap(lines: list[bytes], place: int) -> list[bytes]:
    """Return *lines* with the one at *place* and its predecessor in each other's place."""
    return [*lines[: place - 1], lines[place], lines[place - 1], *lines[place + 1 :]]


@pytest.mark.parametrize("name", ALL_FILES)
@pytest.mark.parametrize("place", range(2, len(USERS) + 1))
@pytest.mark.parametrize("change", [lose, repeat, swap])
def test_resume__refuses_a_changed_journal(
    change: Callable[[list[bytes], int], list[bytes]], place: int, name: str, tmp_path: Path
) -> None:
    """A finished file whose journal does not describe it exactly is not resumed."""
    path = tmp_path / name
    write(path, USERS[:2])
    write(path, USERS, resume=True)
    lines = content(journal_of(path)).splitlines(keepends=True)
    journal_of(path).write_bytes(b"".join(change(lines, place)))
    before = files_in(tmp_path)

    with pytest.raises(UsageError, match="or whose journal, was changed after its run"):
        list(open_file(path).prepare(resume=True))

    assert files_in(tmp_path) == before


def test_resume__of_a_journal_without_its_checksum(tmp_path: Path) -> None:
    """A journal need not have a checksum of its own."""
    path = tmp_path / "x.ndjson"
    write(path, USERS)
    lines = without_checksum(content(journal_of(path)))
    journal_of(path).write_text("".join(f"{line}\n" for line in lines), "utf-8")

    assert write(path, USERS, resume=True) == list(USERS)


@pytest.mark.parametrize("name", ALL_FILES)
@pytest.mark.parametrize("intact", range(len(USERS)))
def test_resume__after_a_loss_of_power(intact: int, name: str, tmp_path: Path) -> None:
    """Of a part file whose end was lost to zeros, exactly the users before it are kept."""
    path = tmp_path / name
    file = open_file(path)
    append(file, *USERS)
    file.abandon()
    ends = [entry["end"] for entry in entries_of(path)]
    part = content(file.part)
    with_rows = [place for place, user in enumerate(USERS) if COUNTS[user] and place >= intact]
    start = ends[with_rows[0]]
    file.part.write_bytes(part[:start] + bytes(len(part) - start))

    assert write(path, USERS, resume=True) == list(USERS[: with_rows[0]])
    assert content(path) == undisturbed(name)[0]


@pytest.mark.parametrize("name", ["x.csv", "x.json", "x.csv.gz"])
def test_resume__after_the_beginning_was_lost(name: str, tmp_path: Path) -> None:
    """A part file without its beginning is written anew, even if no user had records."""
    path = tmp_path / name
    file = open_file(path)
    append(file, "31")
    file.abandon()
    file.part.write_bytes(bytes(file.part.stat().st_size))

    assert write(path, USERS, resume=True) == []
    assert content(path) == undisturbed(name)[0]


@pytest.mark.parametrize("name", TEXT_FILES[:4])
def test_finish__the_complete_text(name: str, tmp_path: Path) -> None:
    """A file is its beginning, the rows of each user with what belongs between them, its end."""
    written_as = make_format(name.split(".")[1])
    rows = [
        written_as.rows(enrollments(count, user_id)) for user_id, count in COUNTS.items() if count
    ]

    write(tmp_path / name, USERS)

    text = written_as.begin + written_as.between.join(rows) + written_as.end
    assert content(tmp_path / name).decode() == text


@pytest.mark.parametrize("name", ALL_FILES)
def test_finish__without_new_users_changes_nothing(name: str, tmp_path: Path) -> None:
    """If a finished file has every user, neither the file nor its journal is written again."""
    path = tmp_path / name
    write(path, USERS)
    before = [(file.stat().st_ino, file.stat().st_mtime_ns) for file in tmp_path.iterdir()]

    for _ in range(2):
        write(path, USERS[:1], resume=True)

    after = [(file.stat().st_ino, file.stat().st_mtime_ns) for file in tmp_path.iterdir()]
    assert after == before
    assert sorted(files_in(tmp_path)) == [name, f"{name}.users"]


@pytest.mark.parametrize("name", ["x.ndjson", "x.parquet"])
def test_finish__of_other_missing_users(name: str, tmp_path: Path) -> None:
    """A run that read nothing new, and did not reach all users either, says so in the journal."""
    path = tmp_path / name
    write(path, USERS)
    file = open_file(path)
    list(file.prepare(resume=True))

    file.finish(totals_of(9, read=4))

    assert content(path) == undisturbed(name)[0]
    assert (entries_of(path)[-1]["requested"], entries_of(path)[-1]["missing"]) == (9, 5)


@pytest.mark.parametrize("name", ["x.ndjson", "x.parquet"])
def test_finish__keeps_failures_of_earlier_runs(name: str, tmp_path: Path) -> None:
    """A user who failed in an earlier run, and is not asked for now, still counts as failed."""
    path = tmp_path / name
    file = open_file(path)
    append(file, *USERS[:2])
    file.add_failure("40", ERROR)
    file.finish(totals_of(3))

    write(path, USERS, resume=True)

    assert [entry for entry in entries_of(path) if "error" in entry] == [
        {"user_id": "40", "error": ERROR}
    ]


@pytest.mark.parametrize("name", ALL_FILES)
def test_finish__without_a_record(name: str, tmp_path: Path) -> None:
    """A file without a record can be read: compressed, it is not empty."""
    path = tmp_path / name

    write(path, ["31"])

    written_as = make_format(name.split(".")[1])
    if written_as.is_streamed:
        assert text_of(path) == written_as.begin + written_as.end
    assert bool(path.stat().st_size) == (name != "x.ndjson")
    assert write(path, ["31", "7", "32", "33"], resume=True) == ["31"]
    assert content(path) == undisturbed(name, ("31", "7", "32", "33"))[0]


@pytest.mark.parametrize("name", ["x.ndjson", "x.parquet"])
def test_finish__removes_what_a_kill_left(name: str, tmp_path: Path) -> None:
    """The parts of files that a killed run has left are gone when the next run has ended."""
    for suffix in ("part", "part.new"):
        (tmp_path / f"{name}.{suffix}").write_bytes(b"half of it")

    write(tmp_path / name, USERS)

    assert sorted(files_in(tmp_path)) == [name, f"{name}.users"]
    assert content(tmp_path / name) == undisturbed(name)[0]


def test_finish__refuses_more_than_the_format_takes(tmp_path: Path) -> None:
    """More records than a sheet takes are refused; the earlier file stays, and so do the users."""
    path = tmp_path / "x.xlsx"
    path.write_bytes(b"an earlier file")
    file = open_file(path)
    append(file, "7")
    with file.part.open("ab") as part:
        part.write(b"{}\n" * 1_048_574)

    with pytest.raises(OutputError, match=r"x\.xlsx would have 1,048,576 records"):
        file.finish(totals_of(1))

    assert path.read_bytes() == b"an earlier file"
    assert sorted(files_in(tmp_path)) == ["x.xlsx", "x.xlsx.part", "x.xlsx.users"]
    # The next run may have the file.
    tuple(open_file(path).prepare(resume=False))


def test_finish__removes_what_it_could_not_complete(tmp_path: Path) -> None:
    """If a file cannot be converted, its complete users are kept, and nothing half-converted."""
    path = tmp_path / "x.parquet"
    file = open_file(path)
    append(file, "7")
    os.truncate(file.part, 1)

    with pytest.raises(ValueError, match="Expecting"):
        file.finish(totals_of(1))
    file.abandon()

    assert sorted(files_in(tmp_path)) == ["x.parquet.part", "x.parquet.users"]


def test_prepare__touches_nothing(tmp_path: Path) -> None:
    """Until a first user is complete, an earlier file and its journal stay as they were."""
    path = tmp_path / "x.ndjson"
    write(path, USERS)
    before = files_in(tmp_path)
    file = open_file(path)

    list(file.prepare(resume=False))
    buffer_of(file, "7", 1)
    file.abandon()

    assert files_in(tmp_path) == before


def test_append__keeps_the_earlier_file_until_the_end(tmp_path: Path) -> None:
    """While the new file grows, the earlier one keeps its name and its content."""
    path = tmp_path / "x.ndjson"
    write(path, USERS)
    file = open_file(path)

    append(file, "7")

    assert (content(path), file.location) == (undisturbed("x.ndjson")[0], file.part)
    file.finish(totals_of(1))
    assert (content(path), file.location) == (undisturbed("x.ndjson", ("7",))[0], path)


@pytest.mark.parametrize("is_prepared", [False, True])
@pytest.mark.parametrize("resume", [False, True])
def test_lock__one_run_at_a_time(*, is_prepared: bool, resume: bool, tmp_path: Path) -> None:
    """A second run on a file is refused, at the latest at its first user; the first goes on."""
    path = tmp_path / "x.ndjson"
    first, second = open_file(path), open_file(path)
    if is_prepared:
        list(second.prepare(resume=resume))
    append(first, "7")

    with pytest.raises(OutputError) as caught:
        append(second, "32") if is_prepared else list(second.prepare(resume=resume))
    second.abandon()
    append(first, *USERS[1:])
    first.finish(totals_of(len(USERS)))

    assert str(caught.value) == (
        f"The output file {path} is in use by another run. Wait until it ends, or use another file."
    )
    assert content(path) == undisturbed("x.ndjson")[0]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (".", "{path.name} is no regular file"),
        ("folder", "folder is no regular file"),
        ("part", "part.part is no regular file"),
        ("users", "users.users is no regular file"),
        ("converted", "converted.part.new is no regular file"),
        ("loop", "Too many levels of symbolic links"),
        ("missing/x.ndjson", "No such file or directory"),
    ],
)
def test_prepare__cannot_be_written(name: str, reason: str, tmp_path: Path) -> None:
    """A path that cannot be written is refused before anything is read."""
    for folder in ("folder", "part.part", "users.users", "converted.part.new"):
        (tmp_path / folder).mkdir()
    (tmp_path / "loop").symlink_to("loop")
    path = tmp_path / name
    file = OutputFile(path, "ndjson", {}, Redactor(), VirtualClock())

    with pytest.raises(OutputError) as caught:
        list(file.prepare(resume=False))

    hint = "Create the folder and run again." if "missing" in name else "Fix this and run again."
    assert str(caught.value) == (
        f"The output file {path} cannot be written: {reason.format(path=path)}. {hint}"
    )


def test_append__cannot_be_written(tmp_path: Path) -> None:
    """If the disk is full, complete users are kept, and the hint recommends resume."""
    path = tmp_path / "x.ndjson"
    file = open_file(path)
    append(file, "7")
    buffer = buffer_of(file, "31", 1)
    buffer._refusal = OSError(28, "No space left on device")

    with pytest.raises(OutputError) as caught:
        file.append(result_of("31", buffer))

    assert str(caught.value) == (
        f"The output file {path} cannot be written: No space left on device."
        " Complete users are kept. Fix this and run again with `resume`."
    )
    assert write(path, USERS, resume=True) == ["7"]
    assert content(path) == undisturbed("x.ndjson")[0]


def test_append__records_first_and_the_name_last(tmp_path: Path) -> None:
    """The journal mentions a user after the records are there, and the end before the new name."""
    path = tmp_path / "x.ndjson"
    seen: list[tuple[str, int, list[str]]] = []

    class Observer(Redactor):
        def clean_value(self, value: Any) -> Any:
            if isinstance(value, dict):
                seen.append(
                    (next(iter(value)), file.part.stat().st_size, sorted(files_in(tmp_path)))
                )
            return value

    file = open_file(path, Observer())
    append(file, "32")
    file.finish(totals_of(1))

    size, names = path.stat().st_size, ["x.ndjson.part", "x.ndjson.users"]
    assert seen == [
        ("alm_enrollments", 0, names),
        ("user_id", size, names),
        ("end", size, names),
    ]


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of what has been synced to the disk, in this order."""
    names: list[str] = []

    def fsync(handle: int) -> None:
        names.append(Path(f"/proc/self/fd/{handle}").resolve().name)

    monkeypatch.setattr(os, "fsync", fsync)
    return names


def test_append__survives_a_loss_of_power(tmp_path: Path, synced: list[str]) -> None:
    """Records are synced before the journal that lists them, at most once a second."""
    clock = VirtualClock()
    file = OutputFile(tmp_path / "x.ndjson", "ndjson", {}, Redactor(), clock)

    for seconds in (0.9, 0.2, 0.0, 0.5, 5.0):
        clock.sleep(seconds)
        append(file, "7")
    file.abandon()

    assert synced == ["x.ndjson.part", "x.ndjson.users"] * 2


@pytest.mark.parametrize("name", ["x.ndjson", "x.parquet"])
def test_finish__survives_a_loss_of_power(name: str, tmp_path: Path, synced: list[str]) -> None:
    """The file is synced before the journal that says its size, the folder after the new name."""
    write(tmp_path / name, USERS)

    finished = f"{name}.part.new" if name == "x.parquet" else f"{name}.part"
    assert synced == [f"{name}.part", finished, f"{name}.users", tmp_path.name]


@pytest.mark.parametrize("name", ["x.ndjson", "x.parquet"])
@pytest.mark.parametrize("moment", range(4))
def test_finish__interrupted(
    moment: int, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal stops a run until the journal says that it has ended, and comes too late then."""
    path = tmp_path / name
    path.write_bytes(b"earlier")
    places = iter(range(4))

    def fsync(_: int) -> None:
        if next(places) == moment:
            signal.raise_signal(signal.SIGTERM)

    file = open_file(path)
    append(file, *USERS)
    monkeypatch.setattr(os, "fsync", fsync)
    is_too_late = moment > 1
    expected = contextlib.nullcontext() if is_too_late else pytest.raises(InterruptedRun)
    with signals.raised(), expected:
        assert file.finish(totals_of(len(USERS))) == str(path)
    file.abandon()

    assert content(path) == (undisturbed(name)[0] if is_too_late else b"earlier")
    rest = [] if is_too_late else [f"{name}.part"]
    assert sorted(files_in(tmp_path)) == sorted([name, *rest, f"{name}.users"])
    monkeypatch.undo()
    assert write(path, USERS, resume=True) == list(USERS)


def test_finish__interrupted_before_signals_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal that comes before signals are deferred stops the run: the file has no name yet."""

    def interrupt() -> NoReturn:
        raise InterruptedRun(signal.SIGTERM)

    file = open_file(tmp_path / "x.ndjson")
    append(file, *USERS)
    monkeypatch.setattr(signals, "deferred", interrupt)

    with pytest.raises(InterruptedRun):
        file.finish(totals_of(len(USERS)))
    file.abandon()

    assert sorted(files_in(tmp_path)) == ["x.ndjson.part", "x.ndjson.users"]


def test_journal__the_complete_text(tmp_path: Path) -> None:
    """The journal holds the inputs, complete users, failed users, and the end of the run."""
    path = tmp_path / "x.ndjson"
    file = open_file(path)
    append(file, "7", "31")
    file.add_failure("40", ERROR)
    file.finish(totals_of(4, read=3))

    rows = content(path)
    size, checksum = len(rows), checksum_of(rows)
    common = {"answered_at": ANSWERED_AT.isoformat()}
    verdict = {"status": "verified", "reasons": [], "pages": 1}
    ids = {
        "enrollment_ids": ["course:0_2_7", "course:1_2_7"],
        "resource_grade_ids": ["course:0_2_7_0_7", "course:1_2_7_0_7"],
    }
    first = {"user_id": "7", "enrollments": 2, "end": size, "crc32": checksum, **common, **verdict}
    second = {"user_id": "31", "enrollments": 0, "end": size, "crc32": 0, **common, **verdict}
    numbers = {"requested": 4, "missing": 1, "requests": 3}
    journal = content(journal_of(path)).splitlines(keepends=True)
    numbers["users_crc32"] = checksum_of(b"".join(journal[1:-1]))
    assert entries_of(path) == [
        {"alm_enrollments": 2, "format": "ndjson", "lo_types": ["course"], "end": 0, "crc32": 0},
        {**first, "counts": [["course", "COMPLETED", 2]], **ids},
        {**second, "counts": [], "enrollment_ids": [], "resource_grade_ids": []},
        {"user_id": "40", "error": ERROR},
        {"end": size, "size": size, "crc32": checksum, **numbers},
    ]


def test_journal__ids_as_long_as_a_document_lists_them(tmp_path: Path) -> None:
    """The journal has each list of ids as long as a document does, over all runs on the file."""
    path = tmp_path / "x.ndjson"
    file = open_file(path)
    for user_id, count, values in (("1", 1_500, {"resource_grades": ()}), ("2", 500, {})):
        buffer = file.new_buffer(has_tally=False)
        buffer.add([enrollment(user_id, number, **values) for number in range(count)])
        file.append(result_of(user_id, buffer))
    file.finish(totals_of(2))

    write(path, ["3"], resume=True)
    write(path, ["4"], resume=True)

    counts = [
        (len(entry.get("enrollment_ids", [])), len(entry.get("resource_grade_ids", [])))
        for entry in entries_of(path)
        if "enrollments" in entry
    ]
    assert counts == [(1_500, 0), (500, 500), (0, 1), (0, 1)]


def test_append__removes_secrets(tmp_path: Path) -> None:
    """A secret that ALM echoes is neither in the file nor in its journal."""
    path = tmp_path / "x.ndjson"
    redactor = Redactor()
    redactor.add("a-secret-0042")
    file = open_file(path, redactor)
    buffer = file.new_buffer(has_tally=False)
    buffer.add([enrollment(id="course:a-secret-0042_2_31", state="a-secret-0042")])

    file.append(result_of("31", buffer, Completeness(Status.CONSISTENT, ("a-secret-0042",), 1)))
    file.add_failure("32", {**ERROR, "message": "a-secret-0042"})
    file.finish(totals_of(1))

    assert b"a-secret" not in content(path) + content(journal_of(path))
    entry = entries_of(path)[1]
    assert (entry["enrollment_ids"], entry["reasons"]) == (["course:***_2_31"], ["***"])


@pytest.mark.parametrize("name", ALL_FILES)
def test_fail__partial_records_come_last(name: str, tmp_path: Path) -> None:
    """Records of a failed user follow all complete users, and a resumed run replaces them."""
    path = tmp_path / name
    file = open_file(path)
    file.add_failure("33", ERROR)
    file.add_partial(buffer_of(file, "33", 1))
    append(file, *USERS[:3])
    file.finish(totals_of(len(USERS)))
    with_partial = content(path)

    kept = write(path, USERS, resume=True)

    assert kept == list(USERS[:3])
    assert with_partial not in (content(path), undisturbed(name, USERS[:3])[0])
    assert content(path) == undisturbed(name)[0]
