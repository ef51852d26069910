"""Output files with their journals, as a comparison reads them."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

INPUTS = {"format": "ndjson", "lo_types": ["course"], "state": None, "since": None, "include": []}
ERROR = {
    "code": 67,
    "message": "?",
    "hint": "?",
    "http_status": 404,
    "request_id": None,
    "retry_at": None,
}


#: What a comparison does not need of a user who was read, and of the end of a run.
READ: dict[str, Any] = {
    "enrollments": 1,
    "end": 0,
    "crc32": 0,
    "answered_at": None,
    "reasons": [],
    "pages": 1,
    "counts": [],
}
END = {"requested": 1, "missing": 0, "requests": 1}


def records(*users: str, state: str = "STARTED") -> list[dict[str, Any]]:
    """Return a record of each user."""
    return [{"id": f"course:1_2_{user}", "user_id": user, "state": state} for user in users]


def write_file(
    path: Path, rows: Sequence[dict[str, Any]], entries: Sequence[dict[str, Any]], **inputs: Any
) -> Path:
    """Write an output file of *rows*, and a journal with *entries* of a run with *inputs*."""
    data = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    path.write_bytes(data)
    first = {"alm_enrollments": 2, "end": 0, "crc32": 0, **INPUTS, **inputs}
    last = {"end": len(data), "size": len(data), "crc32": zlib.crc32(data), **END}
    lines = [json.dumps(line) for line in (first, *entries, last)]
    path.with_name(f"{path.name}.users").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return path


def read(user: str, status: str = "verified") -> dict[str, Any]:
    """Return the journal's entry of a user who was read."""
    return {**READ, "user_id": user, "status": status}
