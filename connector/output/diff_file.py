"""The file of changes: a line each, written completely or not at all."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import secrets
import tempfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from connector.errors import OutputError, Problem, UsageError
from connector.files import advice_for, check_replaceable, identity_of
from connector.formats.csv import cell
from connector.output.file import compression_of, compressor_for
from connector.output.journal import journal_of
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LINES_AT_ONCE = 1_000
_COLUMNS = ("change", "user_id", "id", "completed", "fields", "before", "after")


class DiffFile:
    """The file of changes *path*; its name says whether it is NDJSON or CSV, and compressed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._suffix = Path(path.name.removesuffix(compression_of(path))).suffix

    @property
    def is_named_well(self) -> bool:
        """Whether the name says the format."""
        return self._suffix in (".ndjson", ".jsonl", ".csv")

    @property
    def folder(self) -> Path:
        """The folder of the file."""
        return self.path.resolve().parent

    def prepare(self, others: Sequence[Path]) -> None:
        """Check that the file can be written and is neither one of *others* nor a journal.

        Raises UsageError and OutputError.
        """
        for other in others:
            files = (other, journal_of(other))
            if identity_of(self.path) in {identity_of(file) for file in files} - {None}:
                given = f'"{self.path}", which is also read'
                problem = Problem("output_file", given, "another file")
                raise UsageError.of([problem], hint="Nothing was written.")
        with self._translated():
            check_replaceable(self.path)
            tempfile.TemporaryFile(dir=self.folder).close()

    def write(self, lines: Iterator[bytes]) -> None:
        """Replace the file by *lines* of JSON, one for each change. Raises OutputError."""
        # A link stays one: the file that it names is replaced.
        path = self.path.resolve()
        scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        compress = compressor_for(path)
        with self._translated():
            try:
                with scratch.open("xb") as file:
                    for piece in self._pieces(lines):
                        file.write(compress(piece))
                    file.flush()
                    os.fsync(file.fileno())
                if path.exists():
                    scratch.chmod(path.stat().st_mode & 0o7777)
                scratch.replace(path)
            finally:
                scratch.unlink(missing_ok=True)

    def _pieces(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        # Without a change, a compressed file is not empty, and a CSV has its header.
        yield ",".join(_COLUMNS).encode() + b"\r\n" if self._suffix == ".csv" else b""
        while some := list(islice(lines, _LINES_AT_ONCE)):
            if self._suffix == ".csv":
                yield _rows(some)
            else:
                yield b"".join(some)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"The output file {self.path} cannot be written: {error.strerror or error}.",
                hint=f"Nothing was written. {advice_for(error)}",
            ) from error


def _rows(lines: Sequence[bytes]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    for line in lines:
        change = json.loads(line)
        change["fields"] = " ".join(change["fields"])
        for name in ("before", "after"):
            change[name] = change[name] and to_json(change[name])
        writer.writerow([cell(change[name]) for name in _COLUMNS])
    return text.getvalue().encode(errors="backslashreplace")
