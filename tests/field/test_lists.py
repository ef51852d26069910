"""Lists of users as spreadsheets, office programs and other systems write them."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest

from connector.errors import UsageError
from connector.settings.users import read_user_ids
from tests.support.inputs import inputs_of
from tests.support.process import PATIENCE_SECONDS, Finished
from tests.support.sandbox import DOCUMENTED_USER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.process import Command

SANDBOX = {"ALM_BASE_URL": "sandbox"}

#: The text of each list, and its users, each of one digit.
LISTS = {
    "old Mac": ("1\r2\r", "12"),
    "mixed line ends": ("1\n2\r\n3\r4", "1234"),
    "other line ends": ("1\x0b2\x0c3\x854\u20285\u2029", "12345"),
    "end of file under DOS": ("1\r\n2\r\n\x1a", "12"),
    "no-break spaces": ("\xa01\xa0\n\u30002\u2003\n", "12"),
    "zero-width characters": ("\u200b1\u200e\n\u202a2\u202c\n\ufeff3\n", "123"),
    "semicolons behind ids": ("1;\n2;;\n", "12"),
    "tabs behind ids": ("1\t\n2\t\t\n", "12"),
    "spaces in quotes": ('" 1 "\n"2\xa0"\n', "12"),
    "semicolons": ("name;user_id;email\nx;1;a\ny;2;b\n", "12"),
    "semicolons, old Mac": ("name;user_id\rx;1\ry;2\r", "12"),
    "tabs": ("name\tuser_id\nx\t1\ny\t2\n", "12"),
    "commas in cells": ('user_id;"name"\n1;"Doe, Jane"\n2;"x,y,z"\n', "12"),
    "sep=;": ("sep=;\nname;user_id\nx;1\ny;2\n", "12"),
    "sep=, quoted": ('\ufeff"sep=,"\r\nname,user_id\r\nx,1\r\n', "1"),
    "sep=|": ("SEP=|\nname|user_id\nx|1\n", "1"),
    "sep= a tab": ("sep=\t\nname\tuser_id\nx\t1\n", "1"),
    "sep= above ids": ("sep=;\n1\n2\n", "12"),
    "a title": ("User report\nname,user_id\nx,1\n", "1"),
    "titles": ('Report, all users\n"of ""2026"", November"\n;;;\n\nname;user_id;;\nx;1;;\n', "1"),
    "a title with a quote": ('"User report\nname,user_id\nx,1\n', "1"),
    "line breaks in the header": ('"full\nname","user_id","e\r\nmail"\n"x",1,a\n', "1"),
    "a line break in the column": ('"name";"internal\nUserID"\nx;1\n', "1"),
    "spaces in the header": ("name , \xa0user_id \nx, 1\n", "1"),
    "titles and line breaks": ('Users\n"full\nname";"user_id"\n"x\ny";"1"\n;"2"\n', "12"),
    "an empty first column": (";user_id\n;1\n;2\n", "12"),
    "rows of separators": ("name;user_id\nx;1\n;\n \n;;\ny;2\n", "12"),
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("source", ["file", "standard input", "pipe"])
def test_list__is_read(name: str, source: str, tmp_path: Path) -> None:
    """Every such list is read, and alike from a file, from standard input and from a pipe."""
    path = tmp_path / "list"
    text, expected = LISTS[name]
    path.write_text(text, encoding="utf-8", newline="")
    with path.open("rb") as file:
        stdin = io.TextIOWrapper(piped(file.read()) if source == "pipe" else file)
        given = str(path) if source == "file" else "-"
        ids = tuple(read_user_ids(inputs_of(user_id=None, user_ids_file=given), stdin).ids)
        stdin.close()

    assert ids == tuple(expected)


def piped(content: bytes) -> io.BufferedReader:
    """Return the end of a pipe that *content* was written to."""
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    return os.fdopen(reader, "rb")


@pytest.mark.parametrize(
    "text", ["User report\n1\n", "name;1\n", "1;2\n", "1\t2\n", "1\n1;x\n", '"1";"2"\n']
)
def test_list__is_never_read_in_part(text: str, tmp_path: Path) -> None:
    """A list that has a column of ids for nobody but a guesser is refused."""
    path = tmp_path / "list"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(UsageError):
        read_user_ids(inputs_of(user_id=None, user_ids_file=str(path)), None)


@pytest.mark.parametrize(
    ("producer", "message"),
    [
        (r"printf '1\r2\r'", ""),
        (r"printf '\xff\xfe1\x00\n\x00'", "standard input, which is UTF-16"),
        (r"printf '1\x00\n\x00'", "standard input, which has zero bytes, as UTF-16 does"),
        (r"printf 'name;e-mail\nx;y\n'", 'standard input, whose columns are "name", "e-mail"'),
    ],
)
def test_standard_input__as_a_process(producer: str, message: str, command: Command) -> None:
    """A pipe into the command is read, or refused for what it is: nobody was asked for then."""
    finished = command.shell(f"{producer} | alm-enrollments --user-ids-file -", **SANDBOX)

    document = finished.document
    assert (finished.exit_code, document["users"]["read"]) == ((64, 0) if message else (0, 2))
    if message:
        assert f"--user-ids-file is {message} (allowed" in document["error"]["message"]
        assert document["error"]["hint"] == "Nothing was sent."


def test_standard_input__silent(command: Command) -> None:
    """A pipe that stays silent does not outlast the deadline, and finished users are kept."""
    line = "--user-ids-file - --deadline 1 --format ndjson --output-file out.ndjson"
    with command.start(line, **SANDBOX) as process:
        assert process.stdin
        process.stdin.write(f"{DOCUMENTED_USER}\n")
        process.stdin.flush()
        # Its standard input is still open.
        exit_code = process.wait(PATIENCE_SECONDS)
        stdout, stderr = process.communicate()

    error = Finished(exit_code, stdout, stderr).error
    assert (exit_code, error["message"]) == (
        75,
        "The deadline of 1 s passed before the run ended.",
    )
    assert "1 user is kept in out.ndjson.part" in error["hint"]
    assert len((command.folder / "out.ndjson.part").read_text().splitlines()) == 3
