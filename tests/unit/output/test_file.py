"""The output file: torn nowhere, resumed from any state that a kill leaves, and under its name only when it is whole."""

from __future__ import annotations

import itertools
import json
import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.alm.completeness import Completeness, Status
from connector.errors import OutputError, UsageError
from connector.formats import FORMATS
from connector.formats.interface import COLUMNS
from connector.formats.table import Table
from connector.output.file import OutputFile
from tests.unit.formats.made import enrollment

if TYPE_CHECKING:
    from collections.abc import Sequence

PROVED = Completeness(Status.PROVED, (), 1)
USERS = ("7", "31", "32", "33")
# With nothing, with one record, and with several.
COUNTS = {"7": 2, "31": 0, "32": 1, "33": 3}
TEXT_FILES = ("x.ndjson", "x.json", "x.csv", "x.table", "x.json.gz", "x.ndjson.zst")
FAILED = {
    "code": 75,
    "message": "ALM failed.",
    "hint": "Run again.",
    "http_status": 503,
    "request_id": None,
    "retry_at": None,
}


def opened(path: Path, **made_with: Any) -> OutputFile:
    """Return an output file of the format that its name begins its suffixes with."""
    return OutputFile(path, path.name.split(".")[1], {"lo_types": ["course"], **made_with}, str)


def append(file: OutputFile, *users: str) -> None:
    """Append users, each with as many records as he has."""
    for user_id in users:
        chunk = file.new_chunk()
        chunk.add([enrollment(user_id, number) for number in range(COUNTS.get(user_id, 1))])
        file.append(user_id, chunk, PROVED)


def write(path: Path, users: Sequence[str], *, resume: bool = False) -> list[dict[str, Any]]:
    """Write the file of *users*, without asking again for whom it has, and return what it knew of them."""
    file = opened(path)
    known = list(file.prepare(resume=resume))
    append(file, *[user_id for user_id in users if not file.has(user_id)])
    file.finish(len(users), 3)
    return known


def journal_of(path: Path) -> Path:
    """Return the file's journal."""
    return path.with_name(f"{path.name}.users")


def part_of(path: Path) -> Path:
    """Return the file while it grows."""
    return path.with_name(f"{path.name}.part")


def entries_of(path: Path) -> list[dict[str, Any]]:
    """Return the journal's entries."""
    return [json.loads(line) for line in journal_of(path).read_text(encoding="utf-8").splitlines()]


def found(folder: Path) -> dict[str, bytes]:
    """Return every file in *folder* with what is in it."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_history(path: Path, users: Sequence[str]) -> list[tuple[bytes, bytes]]:
    """Write the file of *users* and return, in order, each state of the growing file and its journal: data comes first, then its entry."""
    file = opened(path)
    list(file.prepare(resume=False))
    history = [(b"", b"")]
    for user_id in users:
        append(file, user_id)
        history.append((part_of(path).read_bytes(), journal_of(path).read_bytes()))
    file.finish(len(users), 3)
    whole = history[-1][0] if path.suffix == ".parquet" else path.read_bytes()
    return [*history, (whole, journal_of(path).read_bytes())]


def killed_at(history: Sequence[tuple[bytes, bytes]], moment: int) -> tuple[bytes, bytes]:
    """Return what the two files hold when *moment* bytes have been written."""
    for (_, old_journal), (part, journal) in itertools.pairwise(history):
        if moment <= len(part) + len(old_journal):
            return part[: moment - len(old_journal)], old_journal
        if moment <= len(part) + len(journal):
            return part, journal[: moment - len(part)]
    return history[-1]


@pytest.mark.parametrize("name", TEXT_FILES)
@given(data=st.data())
@settings(max_examples=60)
def test_resume__from_every_state_that_a_kill_leaves(name: str, data: st.DataObject) -> None:
    """Whatever of the two files had been written when the run was killed, resuming gives the very file of an undisturbed run."""
    with TemporaryDirectory() as folder:
        whole, killed = Path(folder, name), Path(folder, f"killed.{name.split('.', 1)[1]}")
        history = write_history(whole, USERS)
        part, journal = killed_at(history, data.draw(st.integers(0, sum(map(len, history[-1])))))
        part_of(killed).write_bytes(part)
        journal_of(killed).write_bytes(journal)

        write(killed, USERS, resume=True)

        assert killed.read_bytes() == whole.read_bytes()
        # Killed behind its last line, a run tells its end a second time.
        assert (
            list(dict.fromkeys(journal_of(killed).read_bytes().splitlines()))
            == journal_of(whole).read_bytes().splitlines()
        )
        assert not part_of(killed).exists()


@given(data=st.data())
@settings(max_examples=25)
def test_resume__parquet_from_every_state_that_a_kill_leaves(data: st.DataObject) -> None:
    """Parquet is resumed by its lines, and is the same table then."""
    with TemporaryDirectory() as folder:
        whole, killed = Path(folder, "x.parquet"), Path(folder, "killed.parquet")
        history = write_history(whole, USERS)
        part, journal = killed_at(history, data.draw(st.integers(0, sum(map(len, history[-1])))))
        part_of(killed).write_bytes(part)
        journal_of(killed).write_bytes(journal)

        write(killed, USERS, resume=True)

        assert killed.read_bytes() == whole.read_bytes()
        assert sorted(found(Path(folder))) == [
            "killed.parquet",
            "killed.parquet.users",
            "x.parquet",
            "x.parquet.users",
        ]


@pytest.mark.parametrize("name", [*TEXT_FILES, "x.parquet"])
def test_resume__a_whole_file_takes_further_users(name: str, tmp_path: Path) -> None:
    """Users that are new to a whole file come behind those that it has, who are not asked for again."""
    write(tmp_path / name, USERS[:2])
    known = write(tmp_path / name, USERS, resume=True)
    (tmp_path / "at_once").mkdir()
    write(tmp_path / "at_once" / name, USERS)

    assert [entry["user_id"] for entry in known] == list(USERS[:2])
    assert (tmp_path / name).read_bytes() == (tmp_path / "at_once" / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["at_once", name, f"{name}.users"]


@pytest.mark.parametrize("name", [*TEXT_FILES, "x.parquet"])
@pytest.mark.parametrize("has_part", [False, True])
def test_resume__killed_while_a_whole_file_was_to_grow(
    name: str, has_part: bool, tmp_path: Path
) -> None:
    """A kill while a whole file is made to grow loses none of its users, though they be not asked for any more."""
    path = tmp_path / name
    write(path, USERS[:2])
    file = opened(path)
    list(file.prepare(resume=True))
    file._open()
    file.abandon()
    part_of(path).rename(part_of(path) if has_part else tmp_path / f"{name}.part.new")

    write(path, USERS[2:], resume=True)

    (tmp_path / "at_once").mkdir()
    write(tmp_path / "at_once" / name, USERS)
    assert path.read_bytes() == (tmp_path / "at_once" / name).read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["at_once", name, f"{name}.users"]


@pytest.mark.parametrize("name", [*TEXT_FILES, "x.parquet"])
def test_finish__nothing_new_changes_nothing(name: str, tmp_path: Path) -> None:
    """Where the whole file lacks nobody, neither it nor its journal is written again."""
    path = tmp_path / name
    write(path, USERS)
    before = [(each.stat().st_ino, each.stat().st_mtime_ns) for each in (path, journal_of(path))]

    write(path, USERS[:1], resume=True)
    write(path, USERS[:1], resume=True)

    assert [
        (each.stat().st_ino, each.stat().st_mtime_ns) for each in (path, journal_of(path))
    ] == before
    assert sorted(each.name for each in tmp_path.iterdir()) == [name, f"{name}.users"]


@pytest.mark.parametrize(
    ("name", "begin", "between", "end"),
    [
        ("x.json", "[", ",", "\n]\n"),
        ("x.ndjson", "", "", ""),
        ("x.csv", ",".join(COLUMNS) + "\r\n", "", ""),
        ("x.table", Table.begin, "", ""),
    ],
)
def test_finish__whole_text(name: str, begin: str, between: str, end: str, tmp_path: Path) -> None:
    """A file is its beginning, each user's records with what belongs between them, and its end."""
    rows = FORMATS[name.split(".")[1]]().rows
    users = [
        rows([enrollment(user_id, number) for number in range(COUNTS[user_id])])
        for user_id in USERS
        if COUNTS[user_id]
    ]

    write(tmp_path / name, USERS)

    assert (tmp_path / name).read_bytes().decode() == begin + between.join(users) + end


@pytest.mark.parametrize("name", ["x.ndjson", "x.parquet"])
def test_finish__takes_away_what_a_kill_left(name: str, tmp_path: Path) -> None:
    """Half of a file that a kill has left is gone when the next run has ended."""
    (tmp_path / f"{name}.part").write_bytes(b"half of it")
    (tmp_path / f"{name}.part.new").write_bytes(b"half of it")

    write(tmp_path / name, USERS)

    assert sorted(path.name for path in tmp_path.iterdir()) == [name, f"{name}.users"]


def test_prepare__touches_nothing(tmp_path: Path) -> None:
    """Before a first user is whole an earlier file and its journal are as they were, and nothing lies beside them."""
    path = tmp_path / "x.ndjson"
    write(path, USERS)
    before = found(tmp_path)
    file = opened(path)

    list(file.prepare(resume=False))
    file.new_chunk().add([enrollment()])
    file.abandon()

    assert found(tmp_path) == before


def test_append__keeps_the_earlier_file_until_the_end(tmp_path: Path) -> None:
    """While the new file grows, the earlier one stands under its name."""
    path = tmp_path / "x.ndjson"
    write(path, USERS)
    before = path.read_bytes()
    file = opened(path)

    append(file, "7")

    assert path.read_bytes() == before
    file.finish(1, 1)
    assert len(path.read_bytes().splitlines()) == 2


@pytest.mark.parametrize(
    "changed", [{"lo_types": ["jobAid"]}, {"since": "2024-01-01"}, {"format": "json"}]
)
def test_resume__other_inputs_are_refused(changed: dict[str, Any], tmp_path: Path) -> None:
    """What was asked for otherwise would be two things in one file: it is refused, both told, and the file is as it was."""
    path = tmp_path / "x.ndjson"
    write(path, USERS)
    before = found(tmp_path)
    name, value = next(iter(changed.items()))

    with pytest.raises(UsageError) as caught:
        list(opened(path, **changed).prepare(resume=True))

    was = {"lo_types": '["course"]', "since": "null", "format": '"ndjson"'}[name]
    assert str(caught.value) == (
        f"1 input is not valid: resume is asked for other inputs than those of the earlier run ({name} was {was} and is"
        f" {json.dumps(value)}) (allowed: the same inputs). Nothing was sent. Without resume the file is written anew."
    )
    assert found(tmp_path) == before
    assert len(write(path, USERS, resume=True)) == len(USERS)


@pytest.mark.parametrize("change", [b"", b"x", b"more than it was" * 100])
def test_resume__a_changed_file_is_refused(change: bytes, tmp_path: Path) -> None:
    """A file that somebody has changed since is not gone on with: what its journal tells may not be in it any more."""
    path = tmp_path / "x.ndjson"
    write(path, USERS)
    path.write_bytes(change)

    with pytest.raises(UsageError) as caught:
        list(opened(path).prepare(resume=True))

    assert str(caught.value) == (
        f'1 input is not valid: output_file is "{path}", which was changed since its journal was written'
        " (allowed: the file as the earlier run left it). Nothing was sent. Without resume it is written anew."
    )
    assert path.read_bytes() == change


def test_resume__a_growing_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    """Where the growing file lacks what its journal tells, it is not filled up with zeros."""
    path = tmp_path / "x.ndjson"
    file = opened(path)
    append(file, *USERS)
    file.abandon()
    part_of(path).write_bytes(part_of(path).read_bytes()[:-1])

    with pytest.raises(
        UsageError, match=r"x\.ndjson\.part\", which was changed since its journal was written"
    ):
        list(opened(path).prepare(resume=True))


def test_resume__where_there_is_nothing(tmp_path: Path) -> None:
    """Without an earlier file, or where it was taken away, resume begins anew."""
    path = tmp_path / "x.ndjson"

    first = write(path, USERS, resume=True)
    path.unlink()
    second = write(path, USERS, resume=True)

    assert (first, second) == ([], [])
    assert len(path.read_bytes().splitlines()) == 6


def test_append__not_by_two_runs(tmp_path: Path) -> None:
    """A second run on the same file is refused at its first user, and the first run does not notice."""
    path = tmp_path / "x.ndjson"
    first, second = opened(path), opened(path)
    list(second.prepare(resume=False))
    append(first, "7")

    with pytest.raises(OutputError) as caught:
        append(second, "32")
    second.abandon()
    append(first, "31", "32", "33")
    first.finish(4, 3)

    assert (
        str(caught.value)
        == f"The output file {path} is being written by another run. Wait for it, or name another file."
    )
    assert len(path.read_bytes().splitlines()) == 6
    assert len(write(path, USERS, resume=True)) == len(USERS)


@pytest.mark.parametrize("resume", [False, True])
def test_prepare__not_by_two_runs(resume: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a parameter
    """Where the first run has begun to write, a second one is refused before it asks for anybody."""
    path = tmp_path / "x.ndjson"
    first = opened(path)
    append(first, "7")

    with pytest.raises(OutputError, match="is being written by another run"):
        list(opened(path).prepare(resume=resume))

    append(first, "31", "32", "33")
    first.finish(4, 3)
    assert len(path.read_bytes().splitlines()) == 6


@pytest.mark.parametrize("name", [".", "", "folder", "/"])
def test_prepare__no_file(name: str, tmp_path: Path) -> None:
    """What is a folder is refused before anything is asked for, not when all was read."""
    (tmp_path / "folder").mkdir()
    path = tmp_path / name
    file = OutputFile(path, "ndjson", {}, str)

    with pytest.raises(OutputError) as caught:
        list(file.prepare(resume=False))

    assert (
        str(caught.value)
        == f"The output file {path} cannot be written: It is no regular file. Mend it and run again."
    )


def test_prepare__no_such_folder(tmp_path: Path) -> None:
    """A folder that is not there is told before anything is asked for."""
    path = tmp_path / "nowhere" / "x.ndjson"

    with pytest.raises(OutputError) as caught:
        list(opened(path).prepare(resume=False))

    assert (
        str(caught.value)
        == f"The output file {path} cannot be written: No such file or directory. Mend it and run again."
    )


def test_append__records_first_and_the_name_last(tmp_path: Path) -> None:
    """When the journal tells a user his records are there, and when it tells the end the file has not yet its name."""
    path = tmp_path / "x.ndjson"
    seen: list[tuple[str, int, list[str]]] = []

    def look(text: str) -> str:
        if text.startswith(('{"user_id"', '{"end"')):
            seen.append((text[:9], part_of(path).stat().st_size, sorted(found(tmp_path))))
        return text

    file = OutputFile(path, "ndjson", {}, look)
    append(file, "32")
    file.finish(1, 1)

    growing = (path.stat().st_size, ["x.ndjson.part", "x.ndjson.users"])
    assert seen == [('{"user_id', *growing), ('{"end":' + str(growing[0])[:2], *growing)]


def test_append__without_the_runs_secrets(tmp_path: Path) -> None:
    """A secret that ALM echoes stands neither in the file nor in its journal."""
    path = tmp_path / "x.ndjson"
    file = OutputFile(path, "ndjson", {}, lambda text: text.replace("t0ken", "***"))
    chunk = file.new_chunk()
    chunk.add([enrollment(id="course:t0ken_2_31", state="t0ken")])

    file.append("31", chunk, Completeness(Status.CONSISTENT, ("t0ken",), 1))
    file.fail("32", {**FAILED, "message": "t0ken"}, None)
    file.finish(1, 1)

    assert b"t0ken" not in path.read_bytes() + journal_of(path).read_bytes()
    assert [entry.get("enrollment_ids") for entry in entries_of(path)] == [
        None,
        ["course:***_2_31"],
        None,
        None,
    ]


def test_journal__readable(tmp_path: Path) -> None:
    """The journal tells what the file was made with, each user, who failed, and that the run came to its end."""
    path = tmp_path / "x.ndjson"
    file = opened(path)
    append(file, "7", "31")
    file.fail("40", FAILED, None)
    file.finish(3, 5)
    length = path.stat().st_size

    user = {
        "latest_date_enrolled": "2023-06-29T12:34:33.000Z",
        "status": "proved",
        "reasons": [],
        "pages": 1,
    }
    grades = ["course:0_2_7_0_7", "course:1_2_7_0_7"]
    ids = {"enrollment_ids": ["course:0_2_7", "course:1_2_7"], "resource_grade_ids": grades}
    nothing: dict[str, Any] = {
        "latest_date_enrolled": None,
        "enrollment_ids": [],
        "resource_grade_ids": [],
    }
    assert entries_of(path) == [
        {"alm_enrollments": 1, "format": "ndjson", "lo_types": ["course"], "end": 0},
        {"user_id": "7", "enrollments": 2, "end": length, **user, **ids},
        {"user_id": "31", "enrollments": 0, "end": length, **user, **nothing},
        {"user_id": "40", "error": FAILED},
        {"end": length, "size": length, "requested": 3, "requests": 5},
    ]


def test_journal__ids_while_a_document_holds_them(tmp_path: Path) -> None:
    """Ids stand in the journal as long as a document could hold them, each list by itself, over all the runs on the file."""
    path = tmp_path / "x.ndjson"
    file = opened(path)
    for user_id, count, grades in (("1", 1_500, ()), ("2", 500, None)):
        chunk = file.new_chunk()
        values = {} if grades is None else {"resource_grades": grades}
        chunk.add([enrollment(user_id, number, **values) for number in range(count)])
        file.append(user_id, chunk, PROVED)
    file.finish(2, 2)

    write(path, ["3"], resume=True)
    write(path, ["4"], resume=True)

    told = [
        (len(entry.get("enrollment_ids", [])), len(entry.get("resource_grade_ids", [])))
        for entry in entries_of(path)
    ]
    assert [
        lengths
        for entry, lengths in zip(entries_of(path), told, strict=True)
        if "enrollments" in entry
    ] == [
        (1_500, 0),
        (500, 500),
        (0, 1),
        (0, 1),
    ]


@pytest.mark.parametrize("name", TEXT_FILES)
def test_fail__what_there_is_of_a_user_comes_last(name: str, tmp_path: Path) -> None:
    """An incomplete answer that is wanted stands behind all whole users, and is cut off when the user is asked for again."""
    path = tmp_path / name
    file = opened(path)
    chunk = file.new_chunk()
    chunk.add([enrollment("33", 0)])
    file.fail("33", FAILED, chunk)
    append(file, *USERS[:3])
    file.finish(4, 3)
    longer = path.stat().st_size

    known = write(path, USERS, resume=True)

    (tmp_path / "at_once").mkdir()
    write(tmp_path / "at_once" / name, USERS)
    assert [entry["user_id"] for entry in known] == list(USERS[:3])
    assert path.read_bytes() == (tmp_path / "at_once" / name).read_bytes()
    assert longer != path.stat().st_size


def test_finish__dates_that_are_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A date that Parquet cannot hold is null there, and said to be."""
    path = tmp_path / "x.parquet"
    file = opened(path)
    chunk = file.new_chunk()
    chunk.add([enrollment(date_enrolled="yesterday", date_started="soon")])
    file.append("31", chunk, PROVED)

    with caplog.at_level(logging.WARNING, "connector"):
        file.finish(1, 1)

    assert caplog.messages == [f"2 dates are none, and are null in {path}"]
