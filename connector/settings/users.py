"""Which users to read: those named, or those of a file, and of them the shard's. Reads ids alone."""

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

from connector.compact_set import UserIds
from connector.errors import Problem, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TextIO

    from connector.settings import Inputs

STANDARD_INPUT = "-"
# ALM's own user report calls it internalUserID.
_COLUMNS = ("user_id", "internaluserid")
_SHOWN_LINES = 3


@dataclass(frozen=True, slots=True)
class Users:
    """The ids of the users to read, each once, in the order given, one at a time; *total* is ``None`` where only the end tells it."""

    ids: Iterator[str]
    total: int | None


def read_user_ids(inputs: Inputs, stdin: TextIO) -> Users:
    """Return the users to read. A file is judged as a whole first; a pipe can be read only once, and is judged line by line.

    Raises UsageError for a file that cannot be read, or that holds anything but ids;
    of a pipe it is raised by the iterator.
    """
    if inputs.user_ids_file is None:
        return Users(
            _chosen(inputs.user_id, inputs), sum(1 for _ in _chosen(inputs.user_id, inputs))
        )
    path = inputs.user_ids_file
    if path == STANDARD_INPUT:
        return _of_standard_input(inputs, stdin)
    if _is_pipe(path):
        return Users(_chosen(_ids_of_file(path, stdin, is_pipe=True), inputs), None)
    total = sum(1 for _ in _chosen(_ids_of_file(path, stdin), inputs))
    return Users(_chosen(_ids_of_file(path, stdin), inputs), total)


def _of_standard_input(inputs: Inputs, stdin: TextIO | None) -> Users:
    stream: IO[Any] | None = getattr(stdin, "buffer", stdin)
    if stream is None or not stream.seekable():
        return Users(_chosen(_ids_of_file(STANDARD_INPUT, stdin, is_pipe=True), inputs), None)
    begin = stream.tell()
    total = sum(1 for _ in _chosen(_ids_of_file(STANDARD_INPUT, stdin), inputs))
    stream.seek(begin)
    return Users(_chosen(_ids_of_file(STANDARD_INPUT, stdin), inputs), total)


def _is_pipe(path: str) -> bool:
    try:
        return stat.S_ISFIFO(Path(path).stat().st_mode)
    except (OSError, ValueError):
        # What is wrong with it is told when it is opened.
        return False


def _chosen(ids: Iterable[str], inputs: Inputs) -> Iterator[str]:
    seen = UserIds()
    for user_id in ids:
        if (inputs.shard is None or is_in_shard(user_id, *inputs.shard)) and seen.add(user_id):
            yield user_id


def is_in_shard(user_id: str, number: int, count: int) -> bool:
    """Return whether *user_id* belongs to shard *number* of *count*: by SHA-256, so the same on every machine."""
    digest = hashlib.sha256(user_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") % count == number - 1


def _ids_of_file(path: str, stdin: TextIO | None, *, is_pipe: bool = False) -> Iterator[str]:
    try:
        if path == STANDARD_INPUT:
            yield from _parse_ids(_utf8_lines(stdin), "standard input", is_pipe=is_pipe)
        else:
            with Path(path).open(encoding="utf-8-sig", newline="") as file:
                yield from _parse_ids(file, path, is_pipe=is_pipe)
    except OSError as error:
        raise _refused(
            Problem("user_ids_file", f'"{path}"', f"a readable file; {error.strerror}"),
            is_pipe=is_pipe,
        ) from error
    except csv.Error as error:
        raise _refused(
            Problem("user_ids_file", f'"{path}"', "lines of ids, or CSV with every quote closed"),
            is_pipe=is_pipe,
        ) from error
    except UnicodeDecodeError as error:
        raise _refused(
            Problem("user_ids_file", f'"{path}"', "a file of UTF-8 text"), is_pipe=is_pipe
        ) from error
    except ValueError as error:
        raise _refused(
            Problem("user_ids_file", f'"{path}"', "a readable file"), is_pipe=is_pipe
        ) from error


def _utf8_lines(stdin: TextIO | None) -> Iterable[str]:
    if stdin is None:
        raise _refused(
            Problem("user_ids_file", "-", "a standard input that is open"), is_pipe=False
        )
    # Whatever encoding the terminal has: files of ids are UTF-8.
    return codecs.iterdecode(stdin.buffer, "utf-8-sig") if hasattr(stdin, "buffer") else stdin


def _parse_ids(lines: Iterable[str], name: str, *, is_pipe: bool) -> Iterator[str]:
    """Yield the ids, and raise at the end for every line that has none; of a pipe, whose end may be far, at the first of them."""
    has_ids, wrong = False, []
    for number, cell in _cells(lines):
        if not re.fullmatch(r"[0-9]{1,20}", cell):
            wrong.append(number)
            if is_pipe:
                break
        elif not wrong:
            has_ids = True
            yield cell
    if wrong:
        listed = ", ".join(map(str, wrong[:_SHOWN_LINES])) + (
            f" and {len(wrong) - _SHOWN_LINES} more" if len(wrong) > _SHOWN_LINES else ""
        )
        told = f"without an id in line {listed} of {name}"
        raise _refused(
            Problem("user_ids_file", told, "one ALM user id, decimal digits, in each line"),
            is_pipe=is_pipe and has_ids,
        )
    if not has_ids:
        raise _refused(
            Problem("user_ids_file", f"empty: no id in {name}", "at least one ALM user id"),
            is_pipe=False,
        )


def _cells(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield what stands where an id should, with the number of its line."""
    numbered = ((number, line.removeprefix("\ufeff")) for number, line in enumerate(lines, 1))
    first = next(
        ((number, line) for number, line in numbered if line.partition("#")[0].strip()), None
    )
    if first is None:
        return
    header = [cell.strip().lower() for cell in next(csv.reader([first[1]]))]
    column = next((header.index(known) for known in _COLUMNS if known in header), None)
    if column is not None:
        yield from _cells_of_csv(numbered, column)
        return
    for number, line in itertools.chain([first], numbered):
        # A second id in the line stays in the text, which is then refused: to read the first alone would lose a user.
        text = line.partition("#")[0].strip(", \t\r\n")
        if text:
            yield number, text.removeprefix('"').removesuffix('"')


def _cells_of_csv(numbered: Iterator[tuple[int, str]], column: int) -> Iterator[tuple[int, str]]:
    for number, line in numbered:
        if not line.strip(", \t\r\n"):
            continue
        if line.lstrip().startswith("#"):
            # A comment, unless an id stands where one is due: a name may begin with a number sign.
            cell = _cell(next(csv.reader([line])), column)
            if cell.isdecimal():
                yield number, cell
            continue
        # A quoted cell may go on in the lines that follow: there a number sign begins no comment.
        yield (
            number,
            _cell(
                next(
                    csv.reader(itertools.chain([line], (rest for _, rest in numbered)), strict=True)
                ),
                column,
            ),
        )


def _cell(row: list[str], column: int) -> str:
    return row[column].strip() if column < len(row) else ""


def _refused(problem: Problem, *, is_pipe: bool) -> UsageError:
    # Of a pipe, the users before it may have been asked for.
    hint = (
        "Users before it were asked for; of an output_file, resume keeps those that were read."
        if is_pipe
        else "Nothing was sent."
    )
    return UsageError.of([problem], hint=hint)
