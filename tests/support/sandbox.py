"""Start sandboxes, and point a command at them."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import pytest

from connector.sandbox import ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, Settings
from connector.sandbox.faults import parse_faults
from connector.sandbox.learners import enrollments_of
from connector.sandbox.server import SandboxServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Without quota headers the client would assume ALM's documented quota, and wait for it.
UNLIMITED = {"rate_per_minute": 600_000, "burst": 100_000}
DOCUMENTED_USER = "20941371"
DOCUMENTED_IDS = [
    "course:6511020_7037048_20941371",
    "course:7236650_7877507_20941371",
    "course:7236827_7877699_20941371",
]
# The documented learner in the embedded sandbox: no network, no credentials.
EMBEDDED = {"ALM_USER_ID": DOCUMENTED_USER, "ALM_BASE_URL": "sandbox"}
#: What standard error has if a run reads it.
NOTE = "alm-enrollments: reading the sandbox: learners and enrollments are made up\n"
TRIPLE = {
    "ALM_CLIENT_ID": CLIENT_ID,
    "ALM_CLIENT_SECRET": CLIENT_SECRET,
    "ALM_REFRESH_TOKEN": REFRESH_TOKEN,
}


def unlimited_sandbox(*faults: str, latency_seconds: float = 0.0, **settings: Any) -> SandboxServer:
    """Return a sandbox with *faults*, without a quota unless *settings* name one."""
    values = {**UNLIMITED, "faults": parse_faults(faults), **settings}
    return SandboxServer(Settings(**values), latency_seconds=latency_seconds)


class StartSandbox:
    """Start sandboxes that run until the end of *stack*."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack

    def __call__(self, *faults: str, **settings: Any) -> SandboxServer:
        """Start one with *faults* and *settings*."""
        return self._stack.enter_context(unlimited_sandbox(*faults, **settings))


@pytest.fixture
def start_sandbox() -> Iterator[StartSandbox]:
    """Return a function that starts sandboxes."""
    with contextlib.ExitStack() as stack:
        yield StartSandbox(stack)


@pytest.fixture
def sandbox(start_sandbox: StartSandbox) -> SandboxServer:
    """Return a sandbox without faults."""
    return start_sandbox()


def reaching(server: SandboxServer, **variables: str) -> dict[str, str]:
    """Return the variables that point the command at *server*, and *variables*."""
    return {"ALM_BASE_URL": server.url, "ALM_ACCESS_TOKEN": ACCESS_TOKEN, **variables}


def requested_users(server: SandboxServer) -> list[str]:
    """Return the users that *server* was asked for, each once, by their first request."""
    targets = (request["target"] for request in list(server.requests))
    return list(dict.fromkeys(re.findall(r"/users/(\d+)/", " ".join(targets))))


def ids_of(users: Iterable[str], lo_type: str = "") -> list[str]:
    """Return the ids of every enrollment of *users*, or of those of *lo_type*."""
    return [
        enrollment["id"]
        for user in users
        for enrollment in enrollments_of(user)
        if enrollment["id"].startswith(lo_type)
    ]
