"""The fault tests' servers, and runs of the connector against them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.process import command
from tests.support.runner import Ran, run_inputs
from tests.support.sandbox import start_sandbox
from tests.support.secrets import CREDENTIALS, TOKEN
from tests.support.server import FaultServer, Step, healthy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from connector.clock import Clock
    from tests.support.server import OnConnect

__all__ = ["command", "start_sandbox"]

ONLY_TOKEN = {"access_token": TOKEN}
BOTH = {**ONLY_TOKEN, **CREDENTIALS}


class Play:
    """Start servers that run until the end of *stack*."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack

    def __call__(self, *script: Step | OnConnect, otherwise: Step = healthy) -> FaultServer:
        """Start one that plays *script*, and then *otherwise*."""
        return self._stack.enter_context(FaultServer(script, otherwise))


@pytest.fixture
def play() -> Iterator[Play]:
    """Return a function that starts servers."""
    with contextlib.ExitStack() as stack:
        yield Play(stack)


def run(
    server: FaultServer,
    credentials: dict[str, str] = ONLY_TOKEN,
    clock: Clock | None = None,
    **inputs: Any,
) -> Ran:
    """Run the connector for user 31 against *server*, on a virtual clock by default."""
    return run_inputs({"user_id": "31", "base_url": server.url, **credentials, **inputs}, clock)
