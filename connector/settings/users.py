"""Which users to read: the named ones or those of a file, and only the shard's."""

from __future__ import annotations

import codecs
import csv
import hashlib
import itertools
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from connector.compact_set import UserIds, canonical_id
from connector.errors import Problem, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TextIO

    from connector.settings import Inputs

STANDARD_INPUT = "-"
# ALM's own user report calls the column internalUserID.
_COLUMNS = ("user_id", "internaluserid")
_MAX_LISTED_LINES = 3


@dataclass(frozen=True, slots=True)
class Users:
    """The ids of the users to read, each once, in the order given, and their number.

    *total* is ``None`` if it is known only at the end.
    """

    ids: Iterator[str]
    total: int | None


def read_user_ids(inputs: Inputs, stdin: TextIO | None) -> Users:
    """Return the users to read.

    A file is checked completely before its first id is returned; a pipe, which can be read only
    once, is checked line by line. Raises UsageError for a file that cannot be read or has lines
    without an id; for a pipe the iterator raises it.
    """
    path, shard = inputs.user_ids_file, inputs.shard
    if path is None:
        ids = list(_select(inputs.user_id, shard))
        return Users(iter(ids), len(ids))
    stream: IO[Any] | None = None
    if path == STANDARD_INPUT:
        stream = getattr(stdin, "buffer", stdin)
        is_pipe = stream is None or not stream.seekable()
    else:
        is_pipe = _is_stream(path)
    if is_pipe:
        return Users(_select(_read_pipe(path, stdin), shard), None)
    start = stream.tell() if stream else 0
    total = sum(1 for _ in _select(_read_file(path, stdin), shard))
    if stream:
        stream.seek(start)
    return Users(_select(_read_file(path, stdin), shard), total)


def is_in_shard(user_id: str, number: int, count: int) -> bool:
    """Return whether *user_id* is in shard *number* of *count*, the same on every machine."""
    digest = hashlib.sha256(canonical_id(user_id).encode()).digest()
    return int.from_bytes(digest[:8], "big") % count == number - 1


def _select(ids: Iterable[str], shard: tuple[int, int] | None) -> Iterator[str]:
    seen = UserIds()
    for user_id in ids:
        if (shard is None or is_in_shard(user_id, *shard)) and seen.add(user_id):
            yield user_id


def _is_stream(path: str) -> bool:
    """Return whether *path* can be read only once, and perhaps never ends."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        # Opening the path raises the same error, which is reported there.
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def _read_pipe(path: str, stdin: TextIO | None) -> Iterator[str]:
    has_ids = False
    try:
        for user_id in _read_file(path, stdin, is_pipe=True):
            has_ids = True
            yield user_id
    except UsageError as error:
        if not has_ids:
            raise
        hint = (
            "Users before it were asked for; of an output_file, resume keeps those that were read."
        )
        raise UsageError.of(error.problems, hint=hint) from error.__cause__


def _read_file(path: str, stdin: TextIO | None, *, is_pipe: bool = False) -> Iterator[str]:
    try:
        if path != STANDARD_INPUT:
            with Path(path).open(encoding="utf-8-sig", newline="") as file:
                yield from _parse_ids(file, path, is_pipe=is_pipe)
        elif stdin is None:
            raise _refusal("-", "a standard input that is open")
        else:
            # Files of ids are UTF-8, whatever the encoding of the terminal.
            buffer = getattr(stdin, "buffer", None)
            lines = codecs.iterdecode(buffer, "utf-8-sig") if buffer else stdin
            yield from _parse_ids(lines, "standard input", is_pipe=is_pipe)
    except OSError as error:
        raise _refusal(f'"{path}"', f"a readable file; {error.strerror}") from error
    except csv.Error as error:
        raise _refusal(f'"{path}"', "lines of ids, or CSV with every quote closed") from error
    except UnicodeDecodeError as error:
        raise _refusal(f'"{path}"', "a file of UTF-8 text") from error
    except ValueError as error:
        raise _refusal(f'"{path}"', "a readable file") from error


def _refusal(given: str, allowed: str) -> UsageError:
    return UsageError.of([Problem("user_ids_file", given, allowed)], hint="Nothing was sent.")


def _parse_ids(lines: Iterable[str], name: str, *, is_pipe: bool) -> Iterator[str]:
    """Yield the ids; raise at the end for every line without one, in a pipe at the first."""
    has_ids, invalid = False, []
    for number, text in _cells(lines):
        if not re.fullmatch(r"[0-9]{1,20}", text):
            invalid.append(number)
            if is_pipe:
                break
        elif not invalid:
            has_ids = True
            yield text
    if invalid:
        listed = ", ".join(map(str, invalid[:_MAX_LISTED_LINES]))
        if len(invalid) > _MAX_LISTED_LINES:
            listed += f" and {len(invalid) - _MAX_LISTED_LINES} more"
        rule = "one ALM user id, decimal digits, in each line"
        raise _refusal(f"without an id in line {listed} of {name}", rule)
    if not has_ids:
        raise _refusal(f"empty: no id in {name}", "at least one ALM user id")


def _cells(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield each line's number and its text, or in CSV the cell of the ids' column."""
    numbered = ((number, line.removeprefix("\ufeff")) for number, line in enumerate(lines, 1))
    texts = (pair for pair in numbered if pair[1].partition("#")[0].strip())
    first = next(texts, None)
    if first is None:
        return
    header = [cell.strip().lower() for cell in next(csv.reader([first[1]]))]
    for column in _COLUMNS:
        if column in header:
            yield from _csv_cells(numbered, header.index(column))
            return
    for number, line in itertools.chain([first], numbered):
        # A second id stays in the text, which is then refused: reading only one loses a user.
        text = line.partition("#")[0].strip(", \t\r\n")
        if text:
            yield number, text.removeprefix('"').removesuffix('"')


def _csv_cells(numbered: Iterator[tuple[int, str]], column: int) -> Iterator[tuple[int, str]]:
    for number, line in numbered:
        if not line.strip(", \t\r\n"):
            continue
        if line.lstrip().startswith("#"):
            # A comment, unless the row has an id: a name may begin with a number sign.
            text = _cell(next(csv.reader([line])), column)
            if text.isdecimal():
                yield number, text
            continue
        # A quoted cell may continue in the next lines; a number sign there is no comment.
        rest = (following for _, following in numbered)
        row = next(csv.reader(itertools.chain([line], rest), strict=True))
        yield number, _cell(row, column)


def _cell(row: list[str], column: int) -> str:
    return row[column].strip() if column < len(row) else ""
