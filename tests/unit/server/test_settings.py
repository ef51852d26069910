"""The settings of the server: what the environment may set, and what stops the start."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

import connector.server
from connector.errors import UsageError
from connector.server.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from connector.server.settings import ServerSettings
    from tests.unit.server.conftest import SetVariables

KEY = "0123456789abcdef"
USER_IDS = "ALM user ids, decimal digits each, or @ and a readable file"
ALLOWED_KEY = "at least 16 characters, ASCII without spaces"
HINT = "The server was not started; alm-enrollments serve --help lists every setting."


@pytest.fixture(autouse=True)
def _environment(set_variables: SetVariables) -> None:
    set_variables(ALM_SERVE_KEY=KEY, ALM_ACCESS_TOKEN="a-token-of-alm")


def user_ids(settings: ServerSettings) -> list[str] | None:
    """Return the users that a server with *settings* serves."""
    return None if settings.user_ids is None else sorted(settings.user_ids)


def test_settings__defaults() -> None:
    """Only a key must be set; the settings show no secret."""
    settings = load_settings(None)

    assert (settings.deadline, settings.user_ids) == (25, None)
    assert KEY not in repr(settings)
    assert "a-token-of-alm" not in repr(settings.load_own())


@pytest.mark.parametrize("text", ["32,31", "31 32\n", '["31", "32"]', "@FILE"])
def test_settings__values(text: str, set_variables: SetVariables, tmp_path: Path) -> None:
    """Settings are written as inputs are; users may also be in a file."""
    file = tmp_path / "users.csv"
    file.write_text("user_id,name\n31,Ada\n0032,Bob\n", encoding="utf-8")
    set_variables(ALM_SERVE_DEADLINE=" 9.5 ", ALM_SERVE_USER_IDS=text.replace("FILE", str(file)))

    settings = load_settings(None)

    assert (settings.deadline, user_ids(settings)) == (9.5, ["31", "32"])


@pytest.mark.parametrize(
    ("text", "given"),
    [
        (
            "@",
            "empty: no id in standard input (allowed: at least one ALM user id or e-mail address)",
        ),
        (
            "@-",
            "empty: no id in standard input (allowed: at least one ALM user id or e-mail address)",
        ),
        (
            "@/nowhere",
            (
                '"/nowhere", which cannot be read: No such file or directory'
                " (allowed: a readable file)"
            ),
        ),
        (
            "31,x",
            f"['31', 'x'] (allowed: {USER_IDS})",
        ),
    ],
)
def test_settings__users_that_cannot_be_read(
    text: str, given: str, set_variables: SetVariables
) -> None:
    """A list of users that cannot be read never means every user."""
    set_variables(ALM_SERVE_USER_IDS=text)

    with pytest.raises(UsageError) as caught:
        load_settings(None)

    assert caught.value.message == f"1 input is not valid: ALM_SERVE_USER_IDS is {given}."


def test_settings__all_problems_at_once(set_variables: SetVariables) -> None:
    """All problems are reported at once, without secrets, and with what was perhaps meant."""
    set_variables(
        ALM_SERVE_KEY="short",
        ALM_SERVE_DEADLINE="soon",
        ALM_SERVE_USERIDS="1",
        ALM_SERVE_USER_IDS="@/nowhere",
        ALM_ACCESS_TOKN="canary",
        ALM_CLIENT_ID="canary-id",
        ALM_BASE_URL="http://alm.example",
        ALM_QUOTA_SHARE="2",
    )

    with pytest.raises(UsageError) as caught:
        load_settings(None)

    assert [problem.name for problem in caught.value.problems] == [
        "ALM_SERVE_KEY",
        "ALM_SERVE_DEADLINE",
        "ALM_SERVE_USERIDS",
        "ALM_SERVE_USER_IDS",
        "ALM_ACCESS_TOKN",
        "base_url",
        "quota_share",
        "ALM_CLIENT_SECRET",
        "ALM_REFRESH_TOKEN",
    ]
    assert caught.value.message.startswith(
        "9 inputs are not valid:"
        f" ALM_SERVE_KEY is not valid (allowed: {ALLOWED_KEY});"
        " ALM_SERVE_DEADLINE is 'soon' (allowed: a number above 0 to 3600);"
        " ALM_SERVE_USERIDS is not a setting (did you mean ALM_SERVE_USER_IDS?); "
    )
    assert "canary" not in str(caught.value)
    assert caught.value.hint == HINT


def test_settings__without_a_key(set_variables: SetVariables) -> None:
    """No server starts without a key."""
    set_variables(ALM_SERVE_KEY=" ")

    with pytest.raises(UsageError) as caught:
        load_settings(None)

    assert str(caught.value) == (
        f"1 input is not valid: ALM_SERVE_KEY is missing (allowed: {ALLOWED_KEY}). {HINT}"
    )


def test_settings__of_requests(set_variables: SetVariables, tmp_path: Path) -> None:
    """Of the inputs, the server sets the address and its shares; credentials may be files."""
    set_variables(
        ALM_ACCESS_TOKEN="", ALM_BASE_URL="sandbox", ALM_CONCURRENCY="3", ALM_PAGE_LIMIT="5"
    )
    (tmp_path / "alm_access_token").write_text("a-token-in-a-file\n", encoding="utf-8")

    inputs, credentials = load_settings(tmp_path).load_own()

    assert {**inputs, "concurrency": int(inputs["concurrency"])} == {
        "base_url": "sandbox",
        "concurrency": 3,
    }
    assert {name: secret.get_secret_value() for name, secret in credentials.items()} == {
        "access_token": "a-token-in-a-file"
    }


def test_settings__without_credentials(set_variables: SetVariables) -> None:
    """A server may start without credentials for ALM: requests bring a token."""
    set_variables(ALM_ACCESS_TOKEN="")

    assert load_settings(None).load_own() == ({}, {})


def test_settings__of_kubernetes(set_variables: SetVariables) -> None:
    """The variables that Kubernetes sets for a service alm-serve are not misspelled settings."""
    set_variables(
        ALM_SERVE_PORT="tcp://10.0.0.1:8080",
        ALM_SERVE_SERVICE_HOST="10.0.0.1",
        ALM_SERVE_PORT_8080_TCP_PROTO="tcp",
    )

    assert load_settings(None).deadline == 25


@pytest.mark.parametrize("library", ["waitress", "flask"])
def test_run__without_the_extra(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the libraries of the extra, the error says what to install."""
    monkeypatch.setitem(sys.modules, library, None)

    with pytest.raises(UsageError) as caught:
        connector.server.run("127.0.0.1", 0, 64, print)

    assert str(caught.value) == (
        f"alm-enrollments serve needs {library}, which is not installed."
        " pip install 'alm-enrollments-connector[serve]'"
    )
