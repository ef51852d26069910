"""Joining files in this process: what a merge that was cut short leaves behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from connector.alm.completeness import Completeness, Status
from connector.output.file import OutputFile
from connector.output.journal import journal_of, read_entries, read_known
from tests.unit.formats.made import enrollment

if TYPE_CHECKING:
    from pathlib import Path

PROVED = Completeness(Status.PROVED, (), 1)


def write(path: Path, *users: str) -> None:
    """Write a file of *users*, each with two records."""
    file = OutputFile(path, path.name.split(".")[1], {}, str)
    for user_id in users:
        chunk = file.new_chunk()
        chunk.add([enrollment(user_id, number) for number in range(2)])
        file.append(user_id, chunk, PROVED)
    file.finish(len(users), 1)


@pytest.mark.parametrize("name", ["json", "ndjson", "csv", "json.gz", "ndjson.zst"])
def test_join__each_user_ends_where_he_ends(name: str, tmp_path: Path) -> None:
    """In the joined journal each user's records end where they do in the joined file: cut short anywhere, it can be gone on with."""
    for number, users in enumerate((("31", "32"), ("33", "34"))):
        write(tmp_path / f"{number}.{name}", *users)
    joined = OutputFile(tmp_path / f"joined.{name}", name.split(".", maxsplit=1)[0], {}, str)
    for number in range(2):
        path = tmp_path / f"{number}.{name}"
        known = read_known(journal_of(path))
        assert known is not None
        joined.join(
            path,
            known,
            (entry for entry, _ in read_entries(journal_of(path)) if "enrollments" in entry),
        )
    joined.abandon()

    write(tmp_path / f"whole.{name}", "31", "32", "33", "34")

    ends = [
        [entry.get("end") for entry, _ in read_entries(journal_of(tmp_path / f"{file}.{name}"))]
        for file in ("joined", "whole")
    ]
    assert ends[0] == ends[1][:-1]
