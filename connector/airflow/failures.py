"""Which failures a retry can fix, and when, for operators and retry policies. Needs no Airflow."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from connector.errors import PartialError, TemporaryError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping

_RETRYABLE_CODES = (TemporaryError.exit_code, UnreachableError.exit_code)


def is_retryable(document: Mapping[str, Any]) -> bool:
    """Return whether a retry can fix the error of *document*, or of any of its failed users.

    It may if XCom had no room for the list of them.
    """
    codes = [document["error"]["code"]]
    if codes == [PartialError.exit_code]:
        failed = document["users"]["failed"]
        if failed is None:
            return True
        codes = [user["error"]["code"] for user in failed]
    return any(code in _RETRYABLE_CODES for code in codes)


def retry_at(document: Mapping[str, Any]) -> datetime | None:
    """Return the moment from which a retry can succeed, if ALM named one."""
    text = document["error"]["retry_at"]
    return datetime.fromisoformat(text) if text else None
