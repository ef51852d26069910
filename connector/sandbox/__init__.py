"""A stand-in for ALM, in the process or as a real HTTP server on loopback. Shares no code with ``connector.alm``."""

from __future__ import annotations

from connector.sandbox.answer import Request, Response, Sandbox, Settings
from connector.sandbox.tokens import ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN

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
