"""Which users are read: the forms of a file of ids, its refusals, and the shards."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import Problem, UsageError
from connector.redact import Redactor
from connector.settings import Inputs, load_inputs
from connector.settings.users import is_in_shard
from connector.settings.users import read_user_ids as read_users

if TYPE_CHECKING:
    from collections.abc import Callable

NOWHERE = Path("/nowhere")
NO_INPUT = io.StringIO()
IDS = st.lists(st.from_regex(r"[0-9]{1,20}", fullmatch=True), max_size=30)
ONE_EACH_LINE = "one ALM user id, decimal digits, in each line"


def inputs(**given: Any) -> Inputs:
    """Return inputs of a run against the sandbox."""
    return load_inputs({"base_url": "sandbox", **given}, {}, Redactor(), secrets_dir=NOWHERE)[0]


def read_user_ids(given: Inputs, stdin: Any) -> tuple[str, ...]:
    """Return all the ids, of which there are as many as was said."""
    users = read_users(given, stdin)
    ids = tuple(users.ids)
    assert users.total == len(ids)
    return ids


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], tuple[str, ...]]:
    """Return what reads the ids of a file of these bytes."""
    path = tmp_path / "users"

    def read_bytes(content: bytes) -> tuple[str, ...]:
        path.write_bytes(content)
        return read_user_ids(inputs(user_ids_file=str(path)), NO_INPUT)

    return read_bytes


@pytest.fixture
def refused(read: Callable[[bytes], tuple[str, ...]], tmp_path: Path) -> Callable[[bytes], str]:
    """Return what tells why a file of these bytes is refused, its path written FILE."""

    def refuse(content: bytes) -> str:
        with pytest.raises(UsageError) as caught:
            read(content)
        return str(caught.value).replace(str(tmp_path / "users"), "FILE")

    return refuse


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        (b"20941371", ("20941371",)),
        (b"1\n2\n3\n", ("1", "2", "3")),
        (b"2\n1\n2\n1\n", ("2", "1")),
        (b"1\r\n2\r\n", ("1", "2")),
        (b"1\r2\r", ("1", "2")),
        (b"\xef\xbb\xbf1\n2\n", ("1", "2")),
        (b"\n\n1\n  \n\t\n2\n\n", ("1", "2")),
        (b"  1  \n\t2\n", ("1", "2")),
        (b"# learners\n1\n  # more\n2 # the second\n3#third\n", ("1", "2", "3")),
        (b"# it's \"quoted\n1\n", ("1",)),
        (b"1,\n2,,\n", ("1", "2")),
        (b'"1"\n"2"\n', ("1", "2")),
        (b"00123\n123\n", ("00123", "123")),
        (b"12345678901234567890\n", ("12345678901234567890",)),
    ],
)
def test_file__plain(
    content: bytes, ids: tuple[str, ...], read: Callable[[bytes], tuple[str, ...]]
) -> None:
    """One id a line, with comments, blank lines, any line ends and a byte order mark; each once, in the file's order."""
    assert read(content) == ids


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        (b"user_id\n1\n2\n", ("1", "2")),
        (b"internalUserID\n1\n", ("1",)),
        (b"INTERNALUSERID,name\n1,x\n", ("1",)),
        (b"name,User_Id\nx,1\ny,2\n", ("1", "2")),
        (b"name, user_id ,more\nx, 1 ,y\n", ("1",)),
        (b'"name","user_id"\n"Doe, Jane","1"\n"O""Hara","2"\n', ("1", "2")),
        (b"internalUserID,user_id\n1,2\n", ("2",)),
        (b"\xef\xbb\xbfname,internalUserID\r\nx,1\r\n", ("1",)),
        (b"# exported today\n\nuser_id,name\n1,x\n\n2,y\n", ("1", "2")),
        (b"user_id,name,,\n1,x,,\n2,y,\n3\n", ("1", "2", "3")),
        (b'user_id,note\n1,"first line\nsecond line"\n2,x\n', ("1", "2")),
        ("user_id,name\n1,Zoë\n".encode(), ("1",)),
    ],
)
def test_file__csv(
    content: bytes, ids: tuple[str, ...], read: Callable[[bytes], tuple[str, ...]]
) -> None:
    """CSV with a header: the column `user_id`, else `internalUserID`, wherever it stands and however it is spelled."""
    assert read(content) == ids


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        (b'user_id,room\n1,"Room #5"\n2,x\n3,y\n', ("1", "2", "3")),
        (b'user_id,note\n1,"a\n# b"\n2,x\n3,y\n', ("1", "2", "3")),
        (b"number,team,user_id\n1,Team #4,7\n2,x,8\n", ("7", "8")),
    ],
)
def test_file__csv_with_number_signs(
    content: bytes, ids: tuple[str, ...], read: Callable[[bytes], tuple[str, ...]]
) -> None:
    """A number sign inside a CSV's cell is no comment: no user after it is lost."""
    assert read(content) == ids


@pytest.mark.parametrize("content", [b"1,2\n", b"1\n2,3\n", b"1, 2\n"])
def test_file__several_ids_in_a_line(content: bytes, refused: Callable[[bytes], str]) -> None:
    """A line with a second id, in a file without header, is refused: to read the first alone would lose a user silently."""
    line = content.count(b"\n")

    assert refused(content) == (
        f"1 input is not valid: user_ids_file is without an id in line {line} of FILE (allowed: {ONE_EACH_LINE}). Nothing was sent."
    )


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"abc\n", "1"),
        (b"1\nx\n2\n", "2"),
        (b"1\n\n# c\n-5\n", "4"),
        (b"1 2\n", "1"),
        (b"1.0\n", "1"),
        (b"123456789012345678901\n", "1"),
        ("\uff11\n".encode(), "1"),
        (b"a\nb\n\nc\n1\n", "1, 2, 4"),
        (b"a\nb\nc\nd\ne\n", "1, 2, 3 and 2 more"),
        (b"name,email\nx,y@z\n", "1, 2"),
        (b"user_id,name\n1,x\n,y\nz,w\n", "3, 4"),
        (b"name,user_id\nx\ny,2\n", "2"),
        (b"1\x00\n", "1"),
    ],
)
def test_file__lines_without_an_id(
    content: bytes, lines: str, refused: Callable[[bytes], str]
) -> None:
    """Every line that has no id is told at once by its number, and not by its text."""
    assert refused(content) == (
        f"1 input is not valid: user_ids_file is without an id in line {lines} of FILE (allowed: {ONE_EACH_LINE}). Nothing was sent."
    )


@pytest.mark.parametrize(
    "content", [b"", b"\n \n", b"# nobody\n", b"user_id\n", b"name,user_id\n\n", b"\xef\xbb\xbf"]
)
def test_file__empty(content: bytes, refused: Callable[[bytes], str]) -> None:
    """A file without any id is refused: a run that reads nobody would look like a success."""
    assert refused(content) == (
        "1 input is not valid: user_ids_file is empty: no id in FILE (allowed: at least one ALM user id). Nothing was sent."
    )


def test_file__not_utf_8(refused: Callable[[bytes], str]) -> None:
    """Other bytes than UTF-8 are refused."""
    assert refused(b"name,user_id\nZo\xeb,1\n") == (
        '1 input is not valid: user_ids_file is "FILE" (allowed: a file of UTF-8 text). Nothing was sent.'
    )


@pytest.mark.parametrize(
    "content", [b'1,"' + b"x" * 200_000, b"x" * 200_000, b'user_id,note\n1,"' + b"x\n" * 100_000]
)
def test_file__a_cell_without_end(content: bytes, refused: Callable[[bytes], str]) -> None:
    """A cell longer than any that is meant, such as one whose quote is never closed, is refused, and is no crash."""
    assert refused(content).startswith("1 input is not valid: user_ids_file is ")


@pytest.mark.parametrize(
    ("name", "reason"), [("", "Is a directory"), ("missing", "No such file or directory")]
)
def test_file__not_readable(name: str, reason: str, tmp_path: Path) -> None:
    """A file that cannot be read is refused with the system's reason, its cause kept."""
    path = str(tmp_path / name)

    with pytest.raises(UsageError) as caught:
        read_user_ids(inputs(user_ids_file=path), NO_INPUT)

    assert caught.value.problems == (
        Problem("user_ids_file", f'"{path}"', f"a readable file; {reason}"),
    )
    assert str(caught.value) == (
        f'1 input is not valid: user_ids_file is "{path}" (allowed: a readable file; {reason}). Nothing was sent.'
    )
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000])
def test_file__no_path_at_all(path: str) -> None:
    """What can be no path is refused, and is no crash."""
    with pytest.raises(UsageError, match="user_ids_file is "):
        read_user_ids(inputs(user_ids_file=path), NO_INPUT)


def test_file__a_name_with_a_line_break(tmp_path: Path) -> None:
    """The message is one line though the path is not: what follows a line break could be read as a runner's command."""
    path = str(tmp_path / "a\n::error::b")

    with pytest.raises(UsageError) as caught:
        read_user_ids(inputs(user_ids_file=path), NO_INPUT)

    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    [
        "1\n2\n",
        "# c\n1\n2 # x\n",
        "name,user_id\nx,1\ny,2\n",
        "\ufeff1\n2\n",
        "\ufeffuser_id,name\n1,x\n2,y\n",
    ],
)
def test_standard_input__forms(text: str) -> None:
    """Standard input has the forms of a file, the byte order mark included."""
    assert read_user_ids(inputs(user_ids_file="-"), io.StringIO(text)) == ("1", "2")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty: no id in standard input (allowed: at least one ALM user id)"),
        ("1\nx\n", f"without an id in line 2 of standard input (allowed: {ONE_EACH_LINE})"),
    ],
)
def test_standard_input__refused(text: str, told: str) -> None:
    """Standard input is refused as a file is, by its own name."""
    with pytest.raises(UsageError) as caught:
        read_user_ids(inputs(user_ids_file="-"), io.StringIO(text))

    assert str(caught.value) == f"1 input is not valid: user_ids_file is {told}. Nothing was sent."


def test_standard_input__not_utf_8() -> None:
    """Standard input of other bytes than UTF-8 is refused."""
    stdin = io.TextIOWrapper(io.BytesIO(b"1\n\xff\n"), encoding="utf-8")

    with pytest.raises(UsageError) as caught:
        read_user_ids(inputs(user_ids_file="-"), stdin)

    assert (
        str(caught.value)
        == '1 input is not valid: user_ids_file is "-" (allowed: a file of UTF-8 text). Nothing was sent.'
    )


def test_user_ids__named_ones() -> None:
    """Named users are read in the order given, each once, and standard input is left alone."""
    stdin = io.StringIO("9\n")

    assert read_user_ids(inputs(user_id="3,1,3,2,1"), stdin) == ("3", "1", "2")
    assert stdin.tell() == 0


@given(ids=IDS, count=st.integers(1, 40))
def test_shards__are_a_partition(ids: list[str], count: int) -> None:
    """Whatever the ids and the number of shards, every user is in exactly one of them."""
    shards = [
        {user_id for user_id in ids if is_in_shard(user_id, number, count)}
        for number in range(1, count + 1)
    ]

    assert set().union(*shards) == set(ids)
    assert sum(map(len, shards)) == len(set(ids))


@pytest.mark.parametrize(
    ("user_id", "of_2", "of_8", "of_1000"),
    [
        ("0", 1, 1, 41),
        ("1", 2, 2, 914),
        ("7", 1, 7, 231),
        ("20941371", 2, 6, 558),
        ("20941372", 2, 4, 972),
        ("20941373", 1, 5, 493),
        ("00123", 2, 8, 344),
        ("123", 2, 6, 718),
        ("99999999999999999999", 1, 5, 501),
    ],
)
def test_shards__never_drift(user_id: str, of_2: int, of_8: int, of_1000: int) -> None:
    """A user stays in the same shard on every machine and in every version: else shards run apart would lose users."""
    shards = [
        next(number for number in range(1, count + 1) if is_in_shard(user_id, number, count))
        for count in (2, 8, 1000)
    ]

    assert shards == [of_2, of_8, of_1000]


def test_shards__of_named_users_and_of_a_file(
    read: Callable[[bytes], tuple[str, ...]], tmp_path: Path
) -> None:
    """A shard takes its part of the users whether they are named or in a file, in their order."""
    ids = tuple(str(number) for number in range(20941371, 20941391))
    everyone = read("\n".join(ids).encode())
    path = str(tmp_path / "users")

    parts = [
        read_user_ids(inputs(user_ids_file=path, shard=f"{number}/3"), NO_INPUT)
        for number in (1, 2, 3)
    ]

    assert everyone == ids
    assert parts == [
        read_user_ids(inputs(user_id=ids, shard=f"{number}/3"), NO_INPUT) for number in (1, 2, 3)
    ]
    assert sorted(user_id for part in parts for user_id in part) == list(ids)
    assert [list(part) == sorted(part) for part in parts] == [True] * 3


def test_shards__one_of_one_is_everyone() -> None:
    """The only shard of one holds all users."""
    assert read_user_ids(inputs(user_id="3,1,2", shard="1/1"), NO_INPUT) == ("3", "1", "2")


def test_shards__may_be_empty() -> None:
    """A shard without users is no error: another shard has them."""
    parts = [
        read_user_ids(inputs(user_id="20941371", shard=f"{number}/2"), NO_INPUT)
        for number in (1, 2)
    ]

    assert sorted(parts) == [(), ("20941371",)]


def test_standard_input__whatever_the_terminal_speaks() -> None:
    """Ids that are piped in are UTF-8, with or without a byte order mark, whatever encoding the terminal has."""
    content = "\ufeffuser_id,name\n20941371,J\u00f6rg\n".encode()
    stdin = io.TextIOWrapper(io.BytesIO(content), encoding="cp1252")

    assert read_user_ids(inputs(user_ids_file="-"), stdin) == ("20941371",)


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        pytest.param(
            b"email,user_id\n#boss,7\nx,8\n", ("7", "8"), id="a name that begins with one"
        ),
        pytest.param(
            b'email,user_id\n#a "quote that stays open,\nx,8\ny,9\n',
            ("8", "9"),
            id="an open quote in a comment",
        ),
        pytest.param(b"user_id\n# 7 was here\n8\n", ("8",), id="a comment"),
    ],
)
def test_file__csv_rows_that_begin_with_a_number_sign(
    content: bytes, ids: tuple[str, ...], read: Callable[[bytes], tuple[str, ...]]
) -> None:
    """In CSV a number sign begins a comment only where no id stands where one is due."""
    assert read(content) == ids
