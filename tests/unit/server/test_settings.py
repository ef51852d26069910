"""What the door is told by the environment, and what it does not let be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from connector.errors import UsageError
from connector.server.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

GIVEN = {"ALM_SERVE_KEY": "0123456789abcdef", "ALM_ACCESS_TOKEN": "a-token"}


def test_settings__defaults() -> None:
    """A key is all that must be given: 25 seconds, and any learner."""
    settings = load_settings(GIVEN, secrets_dir=None)

    assert (settings.deadline, settings.user_ids, settings.has_credentials) == (25, None, True)
    assert "0123456789abcdef" not in repr(settings)
    assert "a-token" not in repr(settings)


def test_settings__given() -> None:
    """Each is read as inputs are: numbers, and lists by comma, space or as JSON."""
    settings = load_settings(
        {**GIVEN, "ALM_SERVE_DEADLINE": " 9.5 ", "ALM_SERVE_USER_IDS": '["31", "32"]'},
        secrets_dir=None,
    )

    assert (settings.deadline, settings.user_ids) == (9.5, frozenset({"31", "32"}))


@pytest.mark.parametrize("text", ["31,32", "31 32\n", "@FILE"])
def test_settings__learners(text: str, tmp_path: Path) -> None:
    """Learners are listed, or in a file as user_ids_file has them."""
    file = tmp_path / "learners.txt"
    file.write_text("# two\n31\n32\n", encoding="utf-8")

    assert load_settings(
        {**GIVEN, "ALM_SERVE_USER_IDS": text.replace("FILE", str(file))}, secrets_dir=None
    ).user_ids == frozenset({"31", "32"})


@pytest.mark.parametrize(
    ("text", "told"),
    [("@", '"-"|empty'), ("@-", "empty"), ("@/nowhere", '"/nowhere"'), ("x", "['x']")],
)
def test_settings__learners_that_are_none(text: str, told: str) -> None:
    """A list that cannot be read never means any learner."""
    with pytest.raises(UsageError, match=r"ALM_SERVE_USER_IDS is") as caught:
        load_settings({**GIVEN, "ALM_SERVE_USER_IDS": text}, secrets_dir=None)

    assert any(part in str(caught.value) for part in told.split("|"))


def test_settings__all_problems_at_once() -> None:
    """Every problem is told at once, a slip with what was perhaps meant, the key without its value."""
    with pytest.raises(UsageError) as caught:
        load_settings(
            {"ALM_SERVE_KEY": "short", "ALM_SERVE_DEADLINE": "soon", "ALM_SERVE_USERIDS": "1"},
            secrets_dir=None,
        )

    assert caught.value.message == (
        "3 inputs are not valid: ALM_SERVE_KEY is not fit to be one (allowed: at least 16 characters, ASCII without spaces);"
        " ALM_SERVE_DEADLINE is 'soon' (allowed: a number above 0 to 3600);"
        " ALM_SERVE_USERIDS is no setting (did you mean ALM_SERVE_USER_IDS?)."
    )


def test_settings__inputs_of_other_commands() -> None:
    """Of the inputs in the environment its runs see the server's own alone, however they are written."""
    inputs = {
        "ALM_OUTPUT_FILE": "x",
        "alm_user_id": "31",
        "ALM_QUOTA_SHARE": "0.5",
        "ALM_BASE_URL": "https://alm.example",
        "HOME": "/",
    }

    settings = load_settings({**GIVEN, **inputs}, secrets_dir=None)

    assert set(settings.environ) - set(GIVEN) == {
        "ALM_QUOTA_SHARE",
        "ALM_BASE_URL",
        "HOME",
        "ALM_SORT",
    }


@pytest.mark.parametrize("text", ["sandbox", "https://alm.example"])
def test_settings__credentials_of_files(text: str, tmp_path: Path) -> None:
    """Credentials may be files, as for every command; none at all are for requests to bring."""
    key = {"ALM_SERVE_KEY": GIVEN["ALM_SERVE_KEY"], "ALM_BASE_URL": text}
    (tmp_path / "alm_access_token").write_text("a-token", encoding="utf-8")

    assert load_settings(key, secrets_dir=tmp_path).has_credentials
    assert load_settings(key, secrets_dir=None).has_credentials is (text == "sandbox")


def test_settings__of_kubernetes() -> None:
    """What Kubernetes tells of a service that is called alm-serve is nobody's slip."""
    told = {
        "ALM_SERVE_PORT": "tcp://10.0.0.1:8080",
        "ALM_SERVE_SERVICE_HOST": "10.0.0.1",
        "ALM_SERVE_PORT_8080_TCP_PROTO": "tcp",
    }

    assert load_settings({**GIVEN, **told}, secrets_dir=None).deadline == 25
