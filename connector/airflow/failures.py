"""Which failures another try can mend: by exit code, for operators and retry policies alike. Knows nothing of Airflow."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from connector.errors import PartialError, TemporaryError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping

_CAN_PASS = (TemporaryError.exit_code, UnreachableError.exit_code)


def can_pass(document: Mapping[str, Any]) -> bool:
    """Return whether the failure that *document* tells may be gone next time; of users who failed, whether anyone's may."""
    if document["error"]["code"] == PartialError.exit_code:
        return any(one["error"]["code"] in _CAN_PASS for one in document["users"]["failed"])
    return document["error"]["code"] in _CAN_PASS


def retry_at(document: Mapping[str, Any]) -> datetime | None:
    """Return the moment from which another try can succeed, with its offset; ``None`` where ALM did not tell."""
    told = document["error"]["retry_at"]
    return datetime.fromisoformat(told) if told else None
