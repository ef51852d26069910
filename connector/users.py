"""Which users to read: those named, or those of a file, and of them the shard's. Reads ids alone."""

from __future__ import annotations

import codecs
import csv
import hashlib
import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING

from connector.errors import Problem, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TextIO

    from connector.inputs import Inputs

STANDARD_INPUT = "-"
# ALM's own user report calls it internalUserID.
_COLUMNS = ("user_id", "internaluserid")
_SHOWN_LINES = 3


def read_user_ids(inputs: Inputs, stdin: TextIO) -> tuple[str, ...]:
    """Return the ids of the users to read, each once, in the order given.

    Raises UsageError for a file that cannot be read, or that holds anything but ids.
    """
    named = inputs.user_id if inputs.user_ids_file is None else _ids_of_file(inputs.user_ids_file, stdin)
    ids = tuple(dict.fromkeys(named))
    return tuple(user_id for user_id in ids if is_in_shard(user_id, *inputs.shard)) if inputs.shard else ids


def is_in_shard(user_id: str, number: int, count: int) -> bool:
    """Return whether *user_id* belongs to shard *number* of *count*: by SHA-256, so the same on every machine."""
    digest = hashlib.sha256(user_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") % count == number - 1


def _ids_of_file(path: str, stdin: TextIO) -> list[str]:
    try:
        if path == STANDARD_INPUT:
            return _parse_ids(_utf8_lines(stdin), "standard input")
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            return _parse_ids(file, path)
    except OSError as error:
        raise _refused(Problem("user_ids_file", f'"{path}"', f"a readable file; {error.strerror}")) from error
    except csv.Error as error:
        raise _refused(Problem("user_ids_file", f'"{path}"', "lines of ids, or CSV with every quote closed")) from error
    except UnicodeDecodeError as error:
        raise _refused(Problem("user_ids_file", f'"{path}"', "a file of UTF-8 text")) from error
    except ValueError as error:
        raise _refused(Problem("user_ids_file", f'"{path}"', "a readable file")) from error


def _utf8_lines(stdin: TextIO | None) -> Iterable[str]:
    if stdin is None:
        raise _refused(Problem("user_ids_file", "-", "a standard input that is open"))
    # Whatever encoding the terminal has: files of ids are UTF-8.
    return codecs.iterdecode(stdin.buffer, "utf-8-sig") if hasattr(stdin, "buffer") else stdin


def _parse_ids(lines: Iterable[str], name: str) -> list[str]:
    ids, wrong = [], []
    for number, cell in _cells(lines):
        if re.fullmatch(r"[0-9]{1,20}", cell):
            ids.append(cell)
        else:
            wrong.append(number)
    if wrong:
        listed = ", ".join(map(str, wrong[:_SHOWN_LINES])) + (f" and {len(wrong) - _SHOWN_LINES} more" if len(wrong) > _SHOWN_LINES else "")
        raise _refused(
            Problem("user_ids_file", f"without an id in line {listed} of {name}", "one ALM user id, decimal digits, in each line")
        )
    if not ids:
        raise _refused(Problem("user_ids_file", f"empty: no id in {name}", "at least one ALM user id"))
    return ids


def _cells(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield what stands where an id should, with the number of its line."""
    numbered = ((number, line.removeprefix("\ufeff")) for number, line in enumerate(lines, 1))
    first = next(((number, line) for number, line in numbered if line.partition("#")[0].strip()), None)
    if first is None:
        return
    header = [cell.strip().lower() for cell in next(csv.reader([first[1]]))]
    column = next((header.index(known) for known in _COLUMNS if known in header), None)
    if column is not None:
        yield from _cells_of_csv(numbered, column)
        return
    for number, line in (first, *numbered):
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
        yield number, _cell(next(csv.reader(itertools.chain([line], (rest for _, rest in numbered)), strict=True)), column)


def _cell(row: list[str], column: int) -> str:
    return row[column].strip() if column < len(row) else ""


def _refused(problem: Problem) -> UsageError:
    return UsageError.of([problem], hint="Nothing was sent.")
