"""Results that people read: names, columns, moments and formats, through the command."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import connector
from connector.formats import read_records
from connector.formats.interface import value_of
from connector.output.journal import journal_of
from connector.text import to_json
from tests.support.sandbox import DOCUMENTED_IDS, EMBEDDED, NOTE, reaching, requested_users

if TYPE_CHECKING:
    from pathlib import Path

    from connector.sandbox.server import SandboxServer
    from tests.support.process import Command

USERS = "31,32,4041,33"
SANDBOX = {"ALM_BASE_URL": "sandbox", "ALM_LO_TYPES": "all"}


def entries_of(path: Path) -> list[dict[str, Any]]:
    """Return the entries of the file's journal."""
    return [json.loads(line) for line in journal_of(path).read_text().splitlines()]


def test_formats__the_same_records(command: Command) -> None:
    """Every format of one run has the same records; csv, xlsx and parquet read back as NDJSON."""
    records: dict[str, list[dict[str, Any]]] = {}
    for name in ("ndjson", "json", "csv", "xlsx", "parquet"):
        finished = command(
            f"--user-id {USERS} --names true --concurrency 1 --output-file x.{name}", **SANDBOX
        )
        assert (finished.exit_code, finished.document["enrollment_count"]) == (65, 120)
        records[name] = list(read_records(command.folder / f"x.{name}"))

    assert records["json"] == records["ndjson"]
    for name in ("csv", "xlsx", "parquet"):
        columns = list(records[name][0])
        assert records[name] == [
            {column: value_of(record, column) for column in columns} for record in records["ndjson"]
        ]
        assert {"lo_name", "user_name", "user_email", "module_names"} < {*columns}


def test_names__in_the_document(command: Command) -> None:
    """With names, records have names in the locale, and resources only if include has them."""
    finished = command("--names --locale de-DE --include learner", **EMBEDDED)

    first = finished.document["enrollments"][0]
    assert (first["user_name"], first["user_email"]) == (
        "Deniz Tanaka",
        "user20941371@example.com",
    )
    assert first["lo_name"].startswith(("Sicherheit", "Datenschutz", "Erste", "Ein", "Cloud"))
    assert all(grade["module_name"] for grade in first["resource_grades"])
    assert list(first["included"]) == ["learner"]


def test_names__left_out(command: Command) -> None:
    """Without names and include, neither records nor grades have them."""
    document = command("", **EMBEDDED).document

    first = document["enrollments"][0]
    names = {"lo_name", "user_name", "user_email", "included", "module_name"}
    assert names.isdisjoint({*first, *first["resource_grades"][0]})


def test_columns__of_a_file(command: Command) -> None:
    """Columns are written in the order given; the suffix alone names the format."""
    command("--columns lo_id,state,id --output-file x.csv", **EMBEDDED)

    lines = (command.folder / "x.csv").read_text().splitlines()
    assert lines[0] == "lo_id,state,id"
    assert [line.split(",")[2] for line in lines[1:]] == DOCUMENTED_IDS


def test_since__relative_moments_are_reported(command: Command) -> None:
    """The document says which moment a relative one was, once for the run."""
    document = command("--since 7d --completed-since yesterday", **EMBEDDED).document

    since, completed = document["completeness"]["reasons"]
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    yesterday = (midnight - timedelta(days=1)).isoformat(timespec="milliseconds")
    moment = datetime.fromisoformat(since.removeprefix("since 7d is "))
    assert completed == f"completed_since yesterday is {yesterday.replace('+00:00', 'Z')}"
    assert timedelta(days=7) <= datetime.now(UTC) - moment < timedelta(days=7, minutes=5)
    assert (document["complete"], document["enrollments"]) == (True, [])


def test_since__resumes_from_the_same_moment(command: Command, sandbox: SandboxServer) -> None:
    """A run that resumes another one reads from that one's moment, however late it is."""
    variables = reaching(sandbox, ALM_SINCE="12h", ALM_OUTPUT_FILE="x.ndjson", ALM_LO_TYPES="all")
    command("--user-id 31", **variables)
    path = command.folder / "x.ndjson"
    first, *others = entries_of(path)
    first["moments"]["since"] = "2022-01-01T00:00:00+00:00"
    # As if the earlier run had been long ago.
    journal_of(path).write_text("".join(to_json(entry) + "\n" for entry in (first, *others)))

    finished = command("--user-id 31,32 --resume", **variables)

    dates = [record["date_enrolled"] for record in read_records(path)]
    assert finished.document["completeness"]["reasons"] == ["since 12h is 2022-01-01T00:00:00.000Z"]
    assert min(dates) >= "2022-01-01"
    assert len(dates) > 5
    assert entries_of(path)[0]["moments"] == {"since": "2022-01-01T00:00:00+00:00"}


def test_since__of_python() -> None:
    """The Python interface takes datetimes and dates."""
    day = date(2023, 6, 20)
    moment = datetime(2023, 6, 29, 11, 34, 50, tzinfo=UTC)

    documents = [
        connector.run(user_id="20941371", base_url="sandbox", since=since)
        for since in (day, moment)
    ]

    assert [document["enrollment_count"] for document in documents] == [2, 2]


@pytest.mark.parametrize("name", ["xlsx", "parquet"])
def test_resume__a_finished_file(name: str, command: Command, sandbox: SandboxServer) -> None:
    """Users that a finished file has are kept, and the file is the one of a single run."""
    variables = reaching(sandbox, ALM_NAMES="true", ALM_LO_TYPES="all", ALM_CONCURRENCY="1")
    command(f"--user-id 31,32 --output-file x.{name}", **variables)
    sandbox.requests.clear()

    finished = command(f"--user-id 31,32,33 --output-file x.{name} --resume", **variables)
    command(f"--user-id 31,32,33 --output-file y.{name}", **variables)

    assert (finished.exit_code, finished.document["users"]["read"]) == (0, 3)
    assert requested_users(sandbox)[0] == "33"
    files = [command.folder / f"{stem}.{name}" for stem in "xy"]
    assert list(read_records(files[0])) == list(read_records(files[1]))


def test_resume__other_columns(command: Command) -> None:
    """A file grows with the columns that it began with."""
    command("--columns id --output-file x.csv", **EMBEDDED)

    finished = command("--columns id,state --output-file x.csv --resume", **EMBEDDED)

    assert finished.exit_code == 64
    assert 'columns was ["id"] and is ["id","state"]' in finished.error["message"]


def test_resume__a_finished_page(command: Command, sandbox: SandboxServer) -> None:
    """Of a finished page nothing can be kept: all users are read again."""
    variables = reaching(sandbox, ALM_OUTPUT_FILE="x.html")
    command("--user-id 31", **variables)
    sandbox.requests.clear()

    finished = command("--user-id 31,32 --resume", **variables)

    assert (finished.exit_code, finished.document["users"]["read"]) == (0, 2)
    assert sorted(requested_users(sandbox)) == ["31", "32"]
    assert "of 2 learners" in (command.folder / "x.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["csv", "xlsx", "parquet"])
def test_merge__with_names(name: str, command: Command) -> None:
    """Shards with names join to the file of one run."""
    for shard in ("1/2", "2/2"):
        command(
            f"--user-ids-file - --shard {shard} --names --since 9999d --concurrency 1"
            f" --output-file {shard[0]}.{name}",
            stdin="31\n32\n33\n34\n",
            **SANDBOX,
        )

    finished = command(f"merge all.{name} 1.{name} 2.{name}")

    parts = [list(read_records(command.folder / f"{number}.{name}")) for number in (1, 2)]
    assert finished.exit_code == 0
    assert list(read_records(command.folder / f"all.{name}")) == parts[0] + parts[1]
    assert {record["user_id"] for record in parts[0] + parts[1]} == {"31", "32", "33", "34"}


def test_merge__refuses_pages(command: Command) -> None:
    """Pages cannot be joined: they list a part of their records."""
    for number in (1, 2):
        command(f"--user-id {number} --base-url sandbox --output-file {number}.html")

    finished = command("merge all.html 1.html 2.html")

    assert finished.exit_code == 64
    assert '"1.html" has the format html, which cannot be read back' in finished.error["message"]


def test_page__of_a_run_that_partly_failed(command: Command) -> None:
    """The page of a run names the learners who could not be read, and is not called complete."""
    finished = command(f"--user-id {USERS} --names --output-file x.html", **SANDBOX)

    page = (command.folder / "x.html").read_text(encoding="utf-8")
    assert finished.exit_code == 65
    assert "Learners who could not be read" in page
    assert "ALM has no user 4041" in page
    assert '<span class="status warn">Incomplete</span>' in page
    assert "120 enrollments of 3 learners (4 requested)." in page


@pytest.mark.parametrize("name", ["xlsx", "html"])
def test_stdout__of_a_file_that_is_made_at_the_end(name: str, command: Command) -> None:
    """Without an output file, the finished file goes to standard output, and nothing else."""
    script = f"alm-enrollments --format {name} > x.{name}"

    finished = command.shell(script, **EMBEDDED)

    data = (command.folder / f"x.{name}").read_bytes()
    assert (finished.exit_code, finished.stderr) == (0, NOTE)
    assert data.startswith(b"PK" if name == "xlsx" else b"<!doctype html>")
    assert data.rstrip().endswith(b"</html>") is (name == "html")
