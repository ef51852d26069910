"""Which users to read: the named ones or those of a file, and only the shard's."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import itertools
import re
import stat
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from connector.compact_set import UserIds, canonical_id
from connector.errors import Problem, UsageError
from connector.schemas import load_schema
from connector.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import TextIO

    from connector.settings import Inputs

STANDARD_INPUT = "-"
# In the order of preference; ALM's own user report has internalUserID, userEmail and state.
_COLUMNS = ("user_id", "internaluserid", "user_email", "useremail", "email")
_COLUMN_NAMES = "user_id, internalUserID, user_email, userEmail or email"
_STATE, _DELETED = "state", "deleted"
_DELIMITERS = (",", ";", "\t")
_MAX_TITLE_LINES = 50
_MAX_LINE_CHARACTERS = 1_000_000
_MAX_LISTED_LINES = 3
_MAX_LISTED_COLUMNS = 10
# White space, what office programs leave invisibly around text, and the end of a file under DOS.
_SPACE = "[\\s\x1a\xad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]"
_AROUND = re.compile(f"^{_SPACE}+|{_SPACE}+$")
_SEPARATOR_LINE = re.compile(r"\"?sep=([^\w\"\s]|\t)\"?\s*", re.IGNORECASE)
# How files begin that are not UTF-8 text. UTF-32 begins like UTF-16.
_SIGNATURES = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"PK\x03\x04": "an Excel workbook or another archive",
    b"\x1f\x8b": "compressed with gzip",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard",
}
_UTF_8 = "a file of UTF-8 text"


class Users:
    """The users to read, each once, in the order given: ids, and addresses to look up.

    *total* is how many there are, ``None`` if that is known only at the end. Thread-safe.
    """

    def __init__(
        self,
        entries: Iterable[str],
        shard: tuple[int, int] | None = None,
        total: int | None = None,
        source: _Source | None = None,
    ) -> None:
        self._lock = threading.Lock()
        self._seen = UserIds()
        # Ids that an address had before the list had them.
        self._found: set[str] = set()
        self._ids_by_address: dict[str, str] = {}
        self._source = source
        self.total = total
        #: How many of *total* turned out to be users that the run reads already.
        self.repeats = 0
        self.ids = self._select(entries, shard)

    @property
    def deleted(self) -> int:
        """How many rows of users that ALM has deleted were skipped, as far as the file was read."""
        return self._source.deleted if self._source else 0

    def add_address(self, address: str, user_id: str) -> None:
        """Note that *address* is that of *user_id*, so that the list has the user once."""
        self._ids_by_address[canonical_id(address)] = user_id

    def claim(self, user_id: str) -> bool:
        """Return whether the user whom an address belongs to is still to be read, once."""
        with self._lock:
            is_new = self._add_found(user_id)
            self.repeats += not is_new
            return is_new

    def _add_found(self, user_id: str) -> bool:
        is_new = self._seen.add(user_id)
        if is_new:
            self._found.add(canonical_id(user_id))
        return is_new

    def _select(self, entries: Iterable[str], shard: tuple[int, int] | None) -> Iterator[str]:
        for entry in entries:
            if shard is not None and not is_in_shard(entry, *shard):
                continue
            with self._lock:
                is_new = self._seen.add(entry)
                is_repeat = not is_new and canonical_id(entry) in self._found
                self._found.discard(canonical_id(entry))
                user_id = self._ids_by_address.get(canonical_id(entry))
                if is_new and user_id:
                    is_new = self._add_found(user_id)
                    is_repeat = not is_new
                # The end of a pipe counts only what it has yielded.
                self.repeats += is_repeat and self.total is not None
            if is_new:
                yield entry


def read_user_ids(inputs: Inputs, stdin: TextIO | None) -> Users:
    """Return the users to read.

    A file is checked completely before its first user is returned; a pipe, which can be read only
    once, is checked line by line. Raises UsageError for a file that cannot be read or has lines
    without an id or an address; for a pipe the iterator raises it.
    """
    path, shard = inputs.user_ids_file, inputs.shard
    if path is None:
        given = inputs.user_id or inputs.user_email
        return Users(given, shard, _count(given, shard))
    source = _Source(path, stdin)
    if source.is_pipe:
        return Users(_read_pipe(source), shard, source=source)
    return Users(_read(source), shard, _count(_read(source), shard), source)


def is_address(user: str) -> bool:
    """Return whether *user*, of a list of users, is an e-mail address and no id."""
    return "@" in user


def _count(entries: Iterable[str], shard: tuple[int, int] | None) -> int:
    return sum(1 for _ in Users(entries, shard).ids)


def is_in_shard(user_id: str, number: int, count: int) -> bool:
    """Return whether *user_id* is in shard *number* of *count*, the same on every machine."""
    digest = hashlib.sha256(canonical_id(user_id).encode()).digest()
    return int.from_bytes(digest[:8], "big") % count == number - 1


class _Source:
    """A file or standard input, read line by line; *name* is for messages."""

    def __init__(self, path: str, stdin: TextIO | None) -> None:
        self._path = path
        # Tests and notebooks have a standard input of text only.
        self._stdin: IO[Any] | None = getattr(stdin, "buffer", stdin)
        self._start = 0
        self.name, self.quoted_name = path, f'"{path}"'
        self.is_pipe = path == STANDARD_INPUT
        #: Rows of users whom ALM has deleted, as far as it was read.
        self.deleted = 0
        if path != STANDARD_INPUT:
            # Opening the path raises the same errors, which are reported there.
            with contextlib.suppress(OSError, ValueError):
                mode = Path(path).stat().st_mode
                # What can be read only once, and perhaps never ends.
                self.is_pipe = stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
            return
        self.name = self.quoted_name = "standard input"
        if self._stdin is not None and self._stdin.seekable():
            self.is_pipe = False
            self._start = self._stdin.tell()

    def lines(self) -> Iterator[tuple[int, str]]:
        r"""Yield the number and the text of each line, with ``\n`` for any line end.

        Raises UsageError, OSError, and ValueError for text that is not UTF-8.
        """
        stream = self._open()
        self.deleted = 0
        # Files of ids are UTF-8, whatever the encoding of the terminal.
        text = io.TextIOWrapper(stream, encoding="utf-8-sig")
        try:
            for number in itertools.count(1):
                line = text.readline(_MAX_LINE_CHARACTERS)
                if not line:
                    return
                if "\0" in line:
                    raise _refusal(
                        f"{self.quoted_name}, which has zero bytes, as UTF-16 does", _UTF_8
                    )
                yield number, line
        finally:
            text.detach()
            if stream is not self._stdin:
                stream.close()

    def _open(self) -> BinaryIO:
        if self._path != STANDARD_INPUT:
            return Path(self._path).open("rb")
        if self._stdin is None:
            raise _refusal("-", "a standard input that is open")
        if not self.is_pipe:
            self._stdin.seek(self._start)
        if isinstance(self._stdin, io.TextIOBase):
            return io.BytesIO(self._stdin.read().encode())
        return cast("BinaryIO", self._stdin)


def _read_pipe(source: _Source) -> Iterator[str]:
    has_ids = False
    try:
        for user_id in _read(source):
            has_ids = True
            yield user_id
    except UsageError as error:
        if not has_ids:
            raise
        hint = "The users before it were read. With `output_file`, `resume` keeps them."
        raise UsageError.of(error.problems, hint=hint) from error.__cause__


def _read(source: _Source) -> Iterator[str]:
    try:
        yield from _parse_ids(source)
    except OSError as error:
        given = f"{source.quoted_name}, which cannot be read: {error.strerror}"
        raise _refusal(given, "a readable file") from error
    except csv.Error as error:
        raise _refusal(
            source.quoted_name, "lines of ids, or CSV with every quote closed"
        ) from error
    except UnicodeDecodeError as error:
        given = source.quoted_name
        for signature, kind in _SIGNATURES.items():
            if error.object.startswith(signature):
                given = f"{source.quoted_name}, which is {kind}"
                break
        raise _refusal(given, _UTF_8) from error
    except ValueError as error:
        raise _refusal(source.quoted_name, "a readable file") from error


def _refusal(given: str, allowed: str) -> UsageError:
    return UsageError.of([Problem("user_ids_file", given, allowed)], hint="Nothing was sent.")


def _parse_ids(source: _Source) -> Iterator[str]:
    """Yield the ids; raise at the end for every line without one, in a pipe at the first."""
    has_ids, invalid = False, []
    for number, text in _cells(source):
        if not _is_user(text):
            invalid.append(number)
            if source.is_pipe:
                break
        elif not invalid:
            has_ids = True
            yield text
    if invalid:
        listed = ", ".join(map(str, invalid[:_MAX_LISTED_LINES]))
        if len(invalid) > _MAX_LISTED_LINES:
            listed += f" and {len(invalid) - _MAX_LISTED_LINES} more"
        rule = "one ALM user id, decimal digits, or e-mail address in each line"
        raise _refusal(f"without an id in line {listed} of {source.name}", rule)
    if not has_ids:
        given = f"empty: no id in {source.name}"
        if source.deleted:
            given += f" but those of {source.deleted} deleted users"
        raise _refusal(given, "at least one ALM user id or e-mail address")


class _Header(NamedTuple):
    """The names in a header, in lower case without white space, and what separates them."""

    names: list[str]
    delimiter: str


def _cells(source: _Source) -> Iterator[tuple[int, str]]:
    """Yield each line's number and its text, or in CSV the cell of the ids' column.

    Lines above the header of CSV are titles; in a list of ids, the first one is an id.
    """
    lines = source.lines()
    delimiters: Sequence[str] = _DELIMITERS
    titles: list[tuple[int, str]] = []
    for number, line in lines:
        if not _plain_text(line):
            continue
        if not titles and _is_user(_plain_text(line)):
            lines = itertools.chain([(number, line)], lines)
            break
        if not titles and (match := _SEPARATOR_LINE.fullmatch(line)):
            delimiters = (match[1],)
            continue
        titles.append((number, line))
        if header := _find_header([title for _, title in titles], delimiters):
            yield from _csv_cells(source, lines, header)
            return
        if len(titles) == _MAX_TITLE_LINES:
            break
    _refuse_other_columns([title for _, title in titles], delimiters, source.quoted_name)
    for number, line in itertools.chain(titles, lines):
        # A second id stays in the text, which is then refused: reading only one loses a user.
        for text in map(_plain_text, line.splitlines()):
            if text:
                yield number, text


def _is_user(text: str) -> bool:
    rule = load_schema("inputs")["properties"]["user_email" if is_address(text) else "user_id"]
    return bool(re.fullmatch(rule["items"]["pattern"], text))


def _plain_text(line: str) -> str:
    """Return *line* without its comment, and without what surrounds an id."""
    text = _AROUND.sub("", line.partition("#")[0]).strip(", ;\t")
    return _AROUND.sub("", text.removeprefix('"').removesuffix('"'))


def _find_header(lines: Sequence[str], delimiters: Iterable[str]) -> _Header | None:
    """Return the header that ends with the last of *lines*, if one does."""
    for start, delimiter in itertools.product(range(len(lines)), delimiters):
        # Strict: a cell that is quoted may go on in the line that follows.
        with contextlib.suppress(csv.Error):
            row = next(csv.reader(lines[start:], delimiter=delimiter, strict=True))
            names = [re.sub(_SPACE, "", cell).lower() for cell in row]
            if not set(names).isdisjoint(_COLUMNS):
                return _Header(names, delimiter)
    return None


def _refuse_other_columns(lines: Sequence[str], delimiters: Iterable[str], name: str) -> None:
    """Raise UsageError if *lines* are CSV: none of them is a header with a usable column."""
    rows = [
        next(csv.reader(lines[start:], delimiter=delimiter))
        for start, delimiter in itertools.product(range(len(lines)), delimiters)
    ]
    columns = [" ".join(cell.split()) for cell in max(rows, key=len, default=[]) if cell.strip()]
    if len(columns) > 1 and not all(map(_is_user, columns)):
        listed = ", ".join(map(quoted, columns[:_MAX_LISTED_COLUMNS]))
        if len(columns) > _MAX_LISTED_COLUMNS:
            listed += f" and {len(columns) - _MAX_LISTED_COLUMNS} more"
        rule = f"a column {_COLUMN_NAMES}, or one id in each line"
        raise _refusal(f"{name}, whose columns are {listed}", rule)


def _csv_cells(
    source: _Source, lines: Iterator[tuple[int, str]], header: _Header
) -> Iterator[tuple[int, str]]:
    columns = [header.names.index(name) for name in _COLUMNS if name in header.names]
    state = header.names.index(_STATE) if _STATE in header.names else len(header.names)
    delimiter = header.delimiter
    for number, line in lines:
        if not _AROUND.sub("", line.replace(delimiter, "")):
            continue
        is_comment = line.lstrip().startswith("#")
        if is_comment:
            row = next(csv.reader([line], delimiter=delimiter))
        else:
            # A quoted cell may continue in the next lines; a number sign there is no comment.
            rest = (following for _, following in lines)
            row = next(csv.reader(itertools.chain([line], rest), delimiter=delimiter, strict=True))
        # Rows may have an address in place of an id.
        text = next(filter(None, (_cell(row, column) for column in columns)), "")
        # A comment, unless the row has a user: a name may begin with a number sign.
        if is_comment and (text.startswith("#") or not _is_user(text)):
            continue
        if _cell(row, state).lower() == _DELETED:
            source.deleted += 1
        else:
            yield number, text


def _cell(row: Sequence[str], column: int) -> str:
    return _AROUND.sub("", row[column]) if column < len(row) else ""
