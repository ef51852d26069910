"""The Python interface: a document, or an error that has the document."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from connector.errors import PartialError, ProtocolError, UsageError
from connector.runner import run, run_given
from connector.sandbox import ACCESS_TOKEN, Settings
from connector.sandbox.faults import parse_faults
from connector.sandbox.server import SandboxServer

INPUTS: dict[str, Any] = {"user_id": ["20941371"], "base_url": "sandbox"}


@pytest.mark.parametrize("has_environment", [False, True])
def test_run__reads_the_environment(
    *, has_environment: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``run`` takes from the environment what is not passed to it; ``run_given`` does not."""
    if has_environment:
        monkeypatch.setenv("ALM_MAX_ENROLLMENTS", "1")

    assert run(**INPUTS)["enrollment_count"] == (1 if has_environment else 3)
    assert run_given(INPUTS)["enrollment_count"] == 3


def test_run_given__raises_with_the_document() -> None:
    """If some users failed, the error has the document with those that were read."""
    with pytest.raises(PartialError) as caught:
        run_given({**INPUTS, "user_id": "20941371,4041"})

    document: Any = caught.value.document
    assert (document["enrollment_count"], document["users"]["read"]) == (3, 1)
    assert document["error"]["message"] == caught.value.message


def test_run_given__of_a_server() -> None:
    """The credentials of the values are sent, and removed from what the server repeats of them."""
    faults = parse_faults(["user=7:next-secret"])
    with SandboxServer(Settings(rate_per_minute=0, faults=faults)) as server:
        values = {"base_url": server.url, "access_token": ACCESS_TOKEN}
        document = run_given({**values, "user_id": "31"})
        with pytest.raises(ProtocolError) as caught:
            run_given({**values, "user_id": "7", "lo_types": "all"})

    assert document["users"]["read"] == 1
    assert ACCESS_TOKEN not in str(caught.value)


def test_run__warns_of_credentials_that_are_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A run on the sandbox logs a warning if the environment has ALM's credentials."""
    monkeypatch.setenv("ALM_ACCESS_TOKEN", "a-token-0042")

    with caplog.at_level(logging.WARNING, logger="connector"):
        run(**INPUTS)

    (warning,) = caplog.messages
    assert warning.startswith("`ALM_ACCESS_TOKEN` is not used")


def test_run_given__without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials come from the values, even if the environment has some."""
    monkeypatch.setenv("ALM_ACCESS_TOKEN", "a-token-0042")

    with pytest.raises(UsageError, match="ALM_ACCESS_TOKEN is missing"):
        run_given({"user_id": "31"})
