"""A mock ALM server, in process or on a loopback port; shares no code with ``connector.alm``."""

from __future__ import annotations

from connector.sandbox.account import ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN
from connector.sandbox.service import Request, Response, Sandbox, Settings

__all__ = [
    "ACCESS_TOKEN",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "REFRESH_TOKEN",
    "Request",
    "Response",
    "Sandbox",
    "Settings",
]
