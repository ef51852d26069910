"""What an error says, in one value to compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.errors import error_as_dict

if TYPE_CHECKING:
    from connector.errors import ConnectorError


def facts(
    error: ConnectorError,
) -> tuple[type[ConnectorError], str, int | None, str | None]:
    """Return class, text (message, hint, request id), HTTP status and ``retry_at`` of *error*."""
    shown = error_as_dict(error)
    return type(error), str(error), shown["http_status"], shown["retry_at"]
