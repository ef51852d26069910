"""One line for each request, on standard error. Never what a request holds: its query, its body, its headers, or a path of its own."""

from __future__ import annotations

import contextlib
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from connector.server.response import Answer

ENROLLMENTS = "/v1/enrollments"
PATHS = (ENROLLMENTS, "/healthz", "/openapi.json", "/swagger.json")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")


def log_request(method: str, path: str, answer: Answer, seconds: float, request_id: str) -> None:
    """Tell that a request was answered; a method or path that is none of HTTP's or ours is a dash: it may be anything."""
    told = f"{method if method in _METHODS else '-'} {path if path in PATHS else '-'}"
    code = f" error {answer.code}" if answer.code else ""
    _write(f"{told} {answer.status.value} {seconds:.3f} s, request id {request_id}{code}")


def log_defect(error: Exception, request_id: str) -> None:
    """Tell where this program is wrong; not what *error* says, which may quote anything."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    _write(
        f"defect, request id {request_id}: {type(error).__name__} in {Path(place.filename).name}, line {place.lineno}"
    )


def _write(text: str) -> None:
    # Without standard error there is nobody to tell.
    with contextlib.suppress(OSError, AttributeError):
        sys.stderr.write(f"alm-enrollments: {text}\n")
        sys.stderr.flush()
