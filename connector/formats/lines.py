"""JSON, one enrollment per line: as NDJSON, or as one array."""

from __future__ import annotations

import json
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from connector.formats.interface import Format, flat_columns, open_text
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from connector.alm.records import Enrollment

_is_decoded = attrgetter("is_decoded")
_encode_lines = msgspec.json.Encoder().encode_lines


class Ndjson(Format):
    """One enrollment per line, with every field."""

    def rows(self, enrollments: Sequence[Enrollment]) -> str:
        r"""Return each enrollment as a line of compact ASCII JSON, ``##`` written ``#\u0023``."""
        try:
            lines = _encode_lines(enrollments)
        except UnicodeEncodeError:
            # Half a surrogate pair: JSON can express it, UTF-8 cannot.
            lines = b"\xff"
        # msgspec writes UTF-8, and a field that the document does not have if an id is undecodable.
        if not lines.isascii() or not all(map(_is_decoded, enrollments)):
            return "".join([to_json(enrollment.as_dict()) + "\n" for enrollment in enrollments])
        return lines.replace(b"##", b"#\\u0023").decode()

    def read(self, path: Path) -> Iterator[dict[str, Any]]:
        """Yield the record of each line."""
        with open_text(path) as lines:
            for line in lines:
                yield json.loads(line)


class JsonArray(Ndjson):
    """One array, one enrollment per line."""

    begin = "["
    between = ","
    end = "\n]\n"

    def rows(self, enrollments: Sequence[Enrollment]) -> str:
        """Return one element for each enrollment."""
        return ",".join(["\n" + line for line in super().rows(enrollments).splitlines()])

    def read(self, path: Path) -> Iterator[dict[str, Any]]:
        """Yield each element of an array whose elements have a line each."""
        with open_text(path) as lines:
            for line in lines:
                if line.strip() not in ("[", "]"):
                    yield json.loads(line.rstrip().removesuffix(","))


class ConvertedLines(Ndjson):
    """A file that grows as NDJSON, and becomes another one when it is finished."""

    is_streamed = False

    @classmethod
    def default_columns(cls, related: Iterable[str]) -> tuple[str, ...]:
        """Return the flat columns."""
        return flat_columns(related)

    def read_users(
        self,
        path: Path,
        start: int,  # noqa: ARG002 - rows have no position in this file
        entries: Iterable[Mapping[str, Any]],
    ) -> Iterator[tuple[Mapping[str, Any], Iterator[bytes]]]:
        """Yield each of a journal's *entries* with the user's rows as lines of NDJSON."""
        records = self.read(path)
        lines = ((to_json(record) + "\n").encode() for record in records)
        for entry in entries:
            yield entry, islice(lines, entry["enrollments"])
