"""JSON, one enrollment per line: as NDJSON, or as one array."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec

from connector.formats.interface import Format
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connector.alm.records import Enrollment

_is_decoded = attrgetter("is_decoded")
_encode_lines = msgspec.json.Encoder().encode_lines


class Ndjson(Format):
    """One enrollment per line."""

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
        return lines.replace(b"##", b"#\\u0023").replace(b"\x7f", b"\\u007f").decode()


class JsonArray(Ndjson):
    """One array, one enrollment per line."""

    begin = "["
    between = ","
    end = "\n]\n"

    def rows(self, enrollments: Sequence[Enrollment]) -> str:
        """Return one element for each enrollment."""
        return ",".join(["\n" + line for line in super().rows(enrollments).splitlines()])
