"""The file of changes: its name, its rows, and that it is written completely or not at all."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector.errors import OutputError, UsageError
from connector.formats.interface import zstd
from connector.output import diff_file as module
from connector.output.diff_file import DiffFile

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS = "change,user_id,id,completed,fields,before,after"
CHANGE: dict[str, Any] = {
    "change": "changed",
    "user_id": "31",
    "id": "course:1",
    "completed": True,
    "fields": ["state", "score"],
    "before": {"id": "course:1", "score": 1},
    "after": {"id": "course:1", "score": None},
}
ADDED = {**CHANGE, "change": "added", "completed": False, "fields": [], "before": None}
CELLS = [
    ["changed", "31", "course:1", "true", "state score"],
    ["added", "31", "course:1", "false", ""],
]
HINT = "Nothing was written."


def lines(*changes: dict[str, Any]) -> Iterator[bytes]:
    """Yield a line for each change."""
    return (f"{json.dumps(change)}\n".encode() for change in changes)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.ndjson", True),
        ("a.jsonl", True),
        ("a.csv", True),
        ("a.csv.gz", True),
        ("a.b.ndjson.zst", True),
        ("a.json", False),
        ("a.csv.bz2", False),
        ("a.gz", False),
        ("csv", False),
        ("a.CSV", False),
    ],
)
def test_is_named_well(name: str, *, expected: bool) -> None:
    """The name ends in a format, and perhaps in a compression."""
    assert DiffFile(Path(name)).is_named_well is expected


def test_folder__of_a_link(tmp_path: Path) -> None:
    """The folder is that of the file that a link names."""
    link = tmp_path / "link.csv"
    link.symlink_to("folder/file.csv")

    assert DiffFile(link).folder == tmp_path / "folder"


@pytest.mark.parametrize("name", ["x.ndjson", "x.ndjson.users", "y.ndjson", "z.ndjson"])
def test_prepare__of_a_file_to_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a file that is read nor its journal is written, by whatever name."""
    monkeypatch.chdir(tmp_path)
    Path("x.ndjson").touch()
    Path("y.ndjson").symlink_to("x.ndjson")
    Path("z.ndjson").hardlink_to("x.ndjson")

    with pytest.raises(UsageError) as raised:
        DiffFile(tmp_path / name).prepare([Path("other.csv"), Path("x.ndjson")])

    assert raised.value.message == (
        f'1 input is not valid: output_file is "{tmp_path / name}", which is also read'
        " (allowed: another file)."
    )
    assert raised.value.hint == HINT


def test_prepare__leaves_nothing(tmp_path: Path) -> None:
    """A file that can be written is not written yet, and an earlier one stays."""
    path = tmp_path / "x.csv"
    file = DiffFile(path)

    file.prepare([tmp_path / "y.csv"])
    assert list(tmp_path.iterdir()) == []
    path.write_text("old", encoding="utf-8")
    file.prepare([])

    assert path.read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize(
    ("name", "reason", "advice"),
    [
        ("folder.csv", "folder.csv is no regular file", "Fix this"),
        ("no/x.csv", "No such file or directory", "Create the folder"),
    ],
)
def test_prepare__refused_by_the_system(
    name: str, reason: str, advice: str, tmp_path: Path
) -> None:
    """What is no file, or in no folder, is refused."""
    (tmp_path / "folder.csv").mkdir()

    with pytest.raises(OutputError) as raised:
        DiffFile(tmp_path / name).prepare([])

    assert raised.value.message == (
        f"The output file {tmp_path / name} cannot be written: {reason}."
    )
    assert raised.value.hint == f"{HINT} {advice} and run again."


@pytest.mark.parametrize("name", ["c.ndjson", "c.jsonl"])
def test_write__lines(name: str, tmp_path: Path) -> None:
    """NDJSON has the lines as they are."""
    path = tmp_path / name

    DiffFile(path).write(lines(CHANGE, ADDED))

    assert path.read_bytes() == b"".join(lines(CHANGE, ADDED))
    assert list(tmp_path.iterdir()) == [path]


def test_write__rows(tmp_path: Path) -> None:
    """CSV has the fields as words and the records as JSON."""
    path = tmp_path / "c.csv"

    DiffFile(path).write(lines(CHANGE, ADDED))

    text = path.read_bytes().decode()
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    before, after = ('{"id":"course:1","score":1}', '{"id":"course:1","score":null}')
    assert text.startswith(f"{COLUMNS}\r\nchanged,31,")
    assert rows == [COLUMNS.split(","), [*CELLS[0], before, after], [*CELLS[1], "", after]]


def test_write__rows_of_any_text(tmp_path: Path) -> None:
    """No cell is a formula, and half of a surrogate pair is written as its escape."""
    path = tmp_path / "c.csv"

    DiffFile(path).write(lines({**ADDED, "id": "=1\ud83d", "after": {"id": "x"}}))

    row = path.read_text(encoding="utf-8").splitlines()[1]
    assert row == 'added,31,\'=1\\ud83d,false,,,"{""id"":""x""}"'


@pytest.mark.parametrize("name", ["c.csv", "c.ndjson"])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_write__many_lines(
    name: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every line is written, however many there are at once."""
    monkeypatch.setattr(module, "_LINES_AT_ONCE", 2)
    path = tmp_path / name

    DiffFile(path).write(lines(*[{**ADDED, "id": str(number)} for number in range(count)]))

    written = path.read_text(encoding="utf-8").splitlines()
    if name == "c.csv":
        assert [row.split(",")[2] for row in written] == ["id", *map(str, range(count))]
    else:
        assert [json.loads(line)["id"] for line in written] == list(map(str, range(count)))


@pytest.mark.parametrize(
    ("name", "expected"), [("c.csv", f"{COLUMNS}\r\n".encode()), ("c.ndjson", b"")]
)
def test_write__nothing(name: str, expected: bytes, tmp_path: Path) -> None:
    """Without changes a CSV has its header, and a compressed file is one."""
    for suffix in ("", ".gz", ".zst"):
        DiffFile(tmp_path / f"{name}{suffix}").write(iter(()))

    assert (tmp_path / name).read_bytes() == expected
    compressed = (tmp_path / f"{name}.gz").read_bytes()
    assert compressed
    assert gzip.decompress(compressed) == expected
    assert zstd().decompress((tmp_path / f"{name}.zst").read_bytes()) == expected


def test_write__replaces_what_a_link_names(tmp_path: Path) -> None:
    """A link stays one, the file keeps its mode, and a reader of the earlier file its text."""
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "t.ndjson", tmp_path / "link.ndjson"
    target.write_text("old", encoding="utf-8")
    target.chmod(0o4640)
    link.symlink_to("folder/t.ndjson")

    with target.open(encoding="utf-8") as opened:
        DiffFile(link).write(lines(CHANGE))
        assert opened.read() == "old"

    assert link.is_symlink()
    assert target.read_bytes() == b"".join(lines(CHANGE))
    assert target.stat().st_mode & 0o7777 == 0o4640
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "folder",
        "link.ndjson",
        "t.ndjson",
    ]


def test_write__is_on_the_disk_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hidden file of a name of its own is written and synced before it takes the place."""
    seen: list[tuple[list[str], int]] = []

    def sync(handle: int) -> None:
        names = [path.name for path in tmp_path.iterdir()]
        seen.append((names, os.fstat(handle).st_size))

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(secrets, "token_hex", lambda size: f"hex{size}")

    DiffFile(tmp_path / "c.ndjson").write(lines(CHANGE))

    assert seen == [([".c.ndjson.hex4"], len(b"".join(lines(CHANGE))))]


def test_write__failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk fails, the earlier file stays, nothing else, and the error names the file."""
    path = tmp_path / "c.ndjson"
    path.write_text("old", encoding="utf-8")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError) as raised:
        DiffFile(path).write(lines(CHANGE))

    message = f"The output file {path} cannot be written: No space left on device."
    assert raised.value.message == message
    assert raised.value.hint == f"{HINT} Fix this and run again."
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text(encoding="utf-8") == "old"


def test_write__of_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is there already by the scratch name is not written into."""
    monkeypatch.setattr(secrets, "token_hex", lambda _: "x")
    (tmp_path / ".c.csv.x").write_text("", encoding="utf-8")

    with pytest.raises(OutputError, match="File exists"):
        DiffFile(tmp_path / "c.csv").write(lines(CHANGE))


def test_translated__without_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the system without a text of its own is told as it is."""

    def fail(_: int) -> None:
        raise OSError("broken")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=r"cannot be written: broken\."):
        DiffFile(tmp_path / "c.csv").write(lines(CHANGE))
