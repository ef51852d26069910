"""Which users are read: the forms of a file of ids, its refusals, pipes and shards."""

from __future__ import annotations

import gzip
import io
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import Problem, UsageError
from connector.redact import Redactor
from connector.settings import Inputs, load_given
from connector.settings.users import is_in_shard, read_user_ids

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NO_INPUT = io.StringIO()
ONE_EACH_LINE = "one ALM user id, decimal digits, or e-mail address in each line"
SENT = "The users before it were read. With `output_file`, `resume` keeps them."


def inputs_of(**values: Any) -> Inputs:
    """Return the inputs of a run against the sandbox."""
    return load_given({"base_url": "sandbox", **values}, Redactor())[0]


def ids_of(stdin: Any = NO_INPUT, **values: Any) -> tuple[str, ...]:
    """Return the ids of the users to read, as many as announced."""
    users = read_user_ids(inputs_of(**values), stdin)
    ids = tuple(users.ids)
    assert users.total == len(ids)
    return ids


def refusal(stdin: Any = NO_INPUT, **values: Any) -> UsageError:
    """Return the error for these users."""
    with pytest.raises(UsageError) as caught:
        ids_of(stdin, **values)
    return caught.value


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], tuple[str, ...]]:
    """Return what reads the ids of a file with these bytes."""
    path = tmp_path / "users"

    def read_bytes(content: bytes) -> tuple[str, ...]:
        path.write_bytes(content)
        return ids_of(user_ids_file=path)

    return read_bytes


@pytest.fixture
def message(tmp_path: Path) -> Callable[[bytes], str]:
    """Return what refuses a file with these bytes, its path replaced by FILE."""
    path = tmp_path / "users"

    def refuse(content: bytes) -> str:
        path.write_bytes(content)
        return str(refusal(user_ids_file=path)).replace(str(path), "FILE")

    return refuse


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        (b"20941371", ("20941371",)),
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
        (b"00123\n123\n0123\n", ("00123",)),
        (b"12345678901234567890\n", ("12345678901234567890",)),
    ],
)
def test_file__plain(
    content: bytes, ids: tuple[str, ...], read: Callable[[bytes], tuple[str, ...]]
) -> None:
    """One id per line, with comments, blank lines, any line ends, in the file's order, once."""
    assert read(content) == ids


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        (b"user_id\n1\n2\n", ("1", "2")),
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
        (b'user_id,room\n1,"Room #5"\n2,x\n', ("1", "2")),
        (b'user_id,note\n1,"a\n# b"\n2,x\n', ("1", "2")),
        (b"number,team,user_id\n1,Team #4,7\n2,x,8\n", ("7", "8")),
        (b"email,user_id\n#boss,7\nx,8\n", ("7", "8")),
        (b'email,user_id\n#a "quote that stays open,\nx,8\ny,9\n', ("8", "9")),
        (b"user_id\n# 7 was here\n8\n", ("8",)),
    ],
)
def test_file__csv(
    content: bytes, ids: tuple[str, ...], read: Callable[[bytes], tuple[str, ...]]
) -> None:
    """CSV has a header with `user_id` or `internalUserID`; a number sign in a cell is text."""
    assert read(content) == ids


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"abc\n", "1"),
        (b"1\nx\n2\n", "2"),
        (b"1\n\n# c\n-5\n", "4"),
        (b"1,2\n", "1"),
        (b"1 2\n", "1"),
        (b"1\n2, 3\n", "2"),
        (b"1.0\n", "1"),
        (b"123456789012345678901\n", "1"),
        ("\uff11\n".encode(), "1"),
        (b"a\nb\n\nc\n1\n", "1, 2, 4"),
        (b"a\nb\nc\nd\ne\n", "1, 2, 3 and 2 more"),
        (b"user_id,name\n1,x\n,y\nz,w\n", "3, 4"),
        (b"name,user_id\nx\ny,2\n", "2"),
    ],
)
def test_file__lines_without_an_id(
    content: bytes, lines: str, message: Callable[[bytes], str]
) -> None:
    """Every line without an id, or with two, is listed by number: a skipped one loses a user."""
    assert message(content) == (
        f"1 input is not valid: user_ids_file is without an id in line {lines} of FILE"
        f" (allowed: {ONE_EACH_LINE}). Nothing was sent."
    )


@pytest.mark.parametrize(
    "content", [b"", b"\n \n", b"# nobody\n", b"user_id\n", b"name,user_id\n\n", b"\xef\xbb\xbf"]
)
def test_file__empty(content: bytes, message: Callable[[bytes], str]) -> None:
    """A file without ids is refused: a run without users would look like a success."""
    assert message(content) == (
        "1 input is not valid: user_ids_file is empty: no id in FILE"
        " (allowed: at least one ALM user id or e-mail address). Nothing was sent."
    )


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"name,user_id\nZo\xeb,1\n", ""),
        ("user_id\n1\n".encode("utf-16"), ", which is UTF-16"),
        (b"\xfe\xff" + "1\n".encode("utf-16-be"), ", which is UTF-16"),
        ("1\n".encode("utf-16-le"), ", which has zero bytes, as UTF-16 does"),
        ("1\n".encode("utf-32"), ", which is UTF-32"),
        (b"PK\x03\x04\x14\x00\xff", ", which is an Excel workbook or another archive"),
        (gzip.compress(b"1\n", mtime=0), ", which is compressed with gzip"),
        (b"1\n\xff\xfe", ""),
    ],
)
def test_file__not_utf_8(content: bytes, kind: str, message: Callable[[bytes], str]) -> None:
    """A file of other bytes than UTF-8 is refused, by its kind if that shows."""
    assert message(content) == (
        f'1 input is not valid: user_ids_file is "FILE"{kind} (allowed: a file of UTF-8 text).'
        " Nothing was sent."
    )


COLUMNS = "a column user_id, internalUserID, user_email, userEmail or email, or one id in each line"


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        (b"name,mail\nx,y@z\n", '"name", "mail"'),
        (b"Report\n\nname;e-mail\nx;y@z\n", '"name", "e-mail"'),
        (b'sep=|\n"full\nname"|id\n', '"full name", "id"'),
        (b"\t".join(b"c%d" % n for n in range(12)), ", ".join(f'"c{n}"' for n in range(10))),
    ],
)
def test_file__other_columns(content: bytes, columns: str, message: Callable[[bytes], str]) -> None:
    """CSV without a usable column is refused, and the columns that it has are named."""
    more = " and 2 more" if columns.count(",") > 2 else ""
    assert message(content) == (
        f'1 input is not valid: user_ids_file is "FILE", whose columns are {columns}{more}'
        f" (allowed: {COLUMNS}). Nothing was sent."
    )


@pytest.mark.parametrize(
    "content", [b'1,"' + b"x" * 200_000, b"x" * 200_000, b'user_id,note\n1,"' + b"x\n" * 100_000]
)
def test_file__unclosed_quote(content: bytes, message: Callable[[bytes], str]) -> None:
    """A cell without end, such as after an unclosed quote, is refused without a crash."""
    assert message(content) == (
        '1 input is not valid: user_ids_file is "FILE"'
        " (allowed: lines of ids, or CSV with every quote closed). Nothing was sent."
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "Is a directory"),
        ("missing", "No such file or directory"),
        ("a\n::error::b", "No such file or directory"),
        ("x" * 5000, "File name too long"),
    ],
)
def test_file__not_readable(name: str, reason: str, tmp_path: Path) -> None:
    """An unreadable file is refused in one line with the system's reason and its cause."""
    path = str(tmp_path / name)

    error = refusal(user_ids_file=path)

    assert error.problems == (
        Problem("user_ids_file", f'"{path}", which cannot be read: {reason}', "a readable file"),
    )
    assert len(str(error).splitlines()) == 1
    assert isinstance(error.__cause__, OSError)


def test_file__not_a_path() -> None:
    """A text that no path can have is refused without a crash."""
    assert refusal(user_ids_file="a\0b").problems == (
        Problem("user_ids_file", '"a\0b"', "a readable file"),
    )


@pytest.mark.parametrize(
    "text",
    ["1\n2\n", "# c\n1\n2 # x\n", "name,user_id\nx,1\ny,2\n", "\ufeffuser_id,name\n1,x\n2,y\n"],
)
def test_standard_input__forms(text: str) -> None:
    """Standard input has the forms of a file."""
    assert ids_of(io.StringIO(text), user_ids_file="-") == ("1", "2")


def test_standard_input__utf_8_on_any_terminal() -> None:
    """Ids on standard input are UTF-8, with or without byte order mark, on every terminal."""
    content = "\ufeffuser_id,name\n20941371,J\u00f6rg\n".encode()
    stdin = io.TextIOWrapper(io.BytesIO(content), encoding="cp1252")

    assert ids_of(stdin, user_ids_file="-") == ("20941371",)


@pytest.mark.parametrize(
    ("stdin", "problem"),
    [
        (
            io.StringIO(""),
            "empty: no id in standard input (allowed: at least one ALM user id or e-mail address)",
        ),
        (
            io.StringIO("1\nx\n"),
            f"without an id in line 2 of standard input (allowed: {ONE_EACH_LINE})",
        ),
        (
            io.TextIOWrapper(io.BytesIO(b"1\n\xff\n"), encoding="utf-8"),
            "standard input (allowed: a file of UTF-8 text)",
        ),
        (None, "- (allowed: a standard input that is open)"),
    ],
    ids=["empty", "no id", "not UTF-8", "closed"],
)
def test_standard_input__refused(stdin: Any, problem: str) -> None:
    """Standard input is refused as a file is, by its own name."""
    error = refusal(stdin, user_ids_file="-")

    assert str(error) == f"1 input is not valid: user_ids_file is {problem}. Nothing was sent."


@pytest.mark.parametrize("is_named", [False, True])
@pytest.mark.parametrize(
    ("content", "ids", "hint"),
    [
        (b"1\n2\n1\n", ["1", "2"], None),
        (b"1\nx\n3\ny\n", ["1"], SENT),
        (b"x\n1\n", [], "Nothing was sent."),
        (b"", [], "Nothing was sent."),
    ],
)
def test_pipe__read_once(
    content: bytes, ids: list[str], hint: str | None, *, is_named: bool
) -> None:
    """A pipe is read once, its number of users unknown; its first invalid line ends it."""
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    read: list[str] = []
    raised = None

    with os.fdopen(reader, encoding="utf-8") as stdin:
        path = f"/dev/fd/{reader}" if is_named else "-"
        users = read_user_ids(inputs_of(user_ids_file=path), stdin)
        try:
            read.extend(iter(users.ids))
        except UsageError as error:
            raised = error.hint

    assert (users.total, read, raised) == (None, ids, hint)


def test_pipe__terminal() -> None:
    """A terminal is read once, as a pipe is: it may never end."""
    end_of_transmission = b"\x04"
    controller, terminal = os.openpty()
    try:
        os.write(controller, b"31\n32\n" + end_of_transmission)
        users = read_user_ids(inputs_of(user_ids_file=os.ttyname(terminal)), None)

        assert (users.total, list(users.ids)) == (None, ["31", "32"])
    finally:
        os.close(controller)
        os.close(terminal)


def test_user_ids__named() -> None:
    """Named users are read in the order given, each once, without touching standard input."""
    stdin = io.StringIO("9\n")

    assert ids_of(stdin, user_id="3,1,3,2,1") == ("3", "1", "2")
    assert stdin.tell() == 0


@given(
    ids=st.lists(st.from_regex(r"[0-9]{1,20}", fullmatch=True), max_size=30),
    count=st.integers(1, 40),
)
def test_shards__are_a_partition(ids: list[str], count: int) -> None:
    """Every user is in exactly one shard, whatever the ids and the number of shards."""
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
        ("20941371", 2, 6, 558),
        ("20941372", 2, 4, 972),
        ("00123", 2, 6, 718),
        ("123", 2, 6, 718),
        ("99999999999999999999", 1, 5, 501),
    ],
)
def test_shards__never_change(user_id: str, of_2: int, of_8: int, of_1000: int) -> None:
    """A user's shard is the same on every machine and in every version: no run loses a user."""
    shards = [
        next(number for number in range(1, count + 1) if is_in_shard(user_id, number, count))
        for count in (2, 8, 1000)
    ]

    assert shards == [of_2, of_8, of_1000]


def test_shards__of_named_users_and_of_a_file(
    read: Callable[[bytes], tuple[str, ...]], tmp_path: Path
) -> None:
    """A shard selects the same users, in their order, from names and from a file."""
    ids = tuple(str(number) for number in range(20941391, 20941371, -1))
    assert read("\n".join(ids).encode()) == ids

    shards = [f"{number}/3" for number in (1, 2, 3)]
    parts = [ids_of(user_ids_file=tmp_path / "users", shard=shard) for shard in shards]

    assert parts == [ids_of(user_id=ids, shard=shard) for shard in shards]
    assert sorted(user_id for part in parts for user_id in part) == sorted(ids)
    assert [list(part) for part in parts] == [sorted(part, reverse=True) for part in parts]


def test_shards__may_be_empty() -> None:
    """A shard without users is valid: another shard has them."""
    parts = [ids_of(user_id="20941371", shard=f"{number}/2") for number in (1, 2)]

    assert parts == [(), ("20941371",)]
