"""Faults from public reports about tools of this kind: the smallest input of each, and siblings."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.process import command
from tests.support.sandbox import sandbox, start_sandbox
from tests.support.server import FaultServer, OnConnect, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["command", "sandbox", "start_sandbox"]


@pytest.fixture
def play() -> Iterator[Callable[..., FaultServer]]:
    """Return a function that starts a server which plays the given steps, then has no faults."""
    with contextlib.ExitStack() as stack:

        def start(*script: Step | OnConnect) -> FaultServer:
            return stack.enter_context(FaultServer(script))

        yield start


# Runs a command with mounts of its own, and one for which permissions hold: root opens every file.
WITH_MOUNTS = ("unshare", "--mount", "--propagation", "private")
_DROPPED = "-dac_override,-dac_read_search"
WITHOUT_POWERS = f"setpriv --bounding-set {_DROPPED} --inh-caps {_DROPPED}"
if not sys.platform.startswith("linux") or os.geteuid() != 0:
    WITHOUT_POWERS = ""
needs_mounts = pytest.mark.skipif(not WITHOUT_POWERS, reason="only root on Linux may mount")
