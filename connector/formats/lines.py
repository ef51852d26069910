"""JSON, an enrollment a line: as NDJSON, or as one array."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec

from connector.formats.interface import Format
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connector.alm.records import Enrollment

_IS_DECODED = attrgetter("is_decoded")
_encode_lines = msgspec.json.Encoder().encode_lines


def to_lines(enrollments: Sequence[Enrollment]) -> str:
    r"""Return each of *enrollments* as a line of compact ASCII JSON, by the contract's names, ``##`` in it written ``#\u0023``."""
    try:
        lines = _encode_lines(enrollments)
    except UnicodeEncodeError:
        # Half a surrogate pair, which JSON can say and UTF-8 cannot.
        lines = b"\xff"
    # What is not ASCII, and what the contract has no name for, is left to json.
    if not lines.isascii() or not all(map(_IS_DECODED, enrollments)):
        return "".join([to_json(one.as_dict()) + "\n" for one in enrollments])
    return (lines.replace(b"##", b"#\\u0023") if b"##" in lines else lines).decode()


class Ndjson(Format):
    """A line an enrollment."""

    def rows(self, enrollments: Sequence[Enrollment]) -> str:
        """Return a line for each enrollment."""
        return to_lines(enrollments)


class JsonArray(Format):
    """One array, an enrollment a line."""

    begin = "["
    between = ","
    end = "\n]\n"

    def rows(self, enrollments: Sequence[Enrollment]) -> str:
        """Return an element for each enrollment."""
        return ",".join(["\n" + line for line in to_lines(enrollments).splitlines()])
