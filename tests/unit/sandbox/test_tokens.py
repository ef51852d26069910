"""Access tokens: one while it lives, a new one when it is dead, none for wrong credentials."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from connector.sandbox import ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN
from connector.sandbox.tokens import Tokens

FORM = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN}
BODY = urlencode(FORM).encode()
SECOND = f"{ACCESS_TOKEN}-2"


@pytest.mark.parametrize("scheme", ["oauth", "OAuth", "Bearer", "bearer"])
def test_accepts__both_words(scheme: str) -> None:
    """ALM takes ``oauth TOKEN`` and ``Bearer TOKEN``."""
    tokens = Tokens()

    assert tokens.accepts(f"{scheme} {ACCESS_TOKEN}")


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        ACCESS_TOKEN,
        "oauth",
        "oauth ",
        f"oauth {ACCESS_TOKEN}x",
        f"Basic {ACCESS_TOKEN}",
        f"oauth={ACCESS_TOKEN}",
        f"oauth {SECOND}",
    ],
)
def test_accepts__nothing_else(authorization: str) -> None:
    """Another word, another token or none does not open the door."""
    tokens = Tokens()

    assert not tokens.accepts(authorization)


def test_refresh__same_token_while_it_lives() -> None:
    """Refreshing a token that is still valid returns the same one (ALM_API.md, Tokens)."""
    tokens = Tokens()

    refreshed = [tokens.refresh(BODY), tokens.refresh(BODY)]

    assert refreshed == [ACCESS_TOKEN, ACCESS_TOKEN]
    assert tokens.accepts(f"oauth {ACCESS_TOKEN}")


def test_refresh__new_token_when_dead() -> None:
    """A dead token is replaced by a new one, and stays dead."""
    tokens = Tokens()
    tokens.kill()
    was_accepted = tokens.accepts(f"oauth {ACCESS_TOKEN}")

    refreshed = tokens.refresh(BODY)

    assert (was_accepted, refreshed, tokens.current) == (False, SECOND, SECOND)
    assert (tokens.accepts(f"oauth {ACCESS_TOKEN}"), tokens.accepts(f"oauth {SECOND}")) == (
        False,
        True,
    )


def test_refresh__a_new_one_for_each_death() -> None:
    """Every death brings another token, never an old one again."""
    tokens = Tokens()
    tokens.kill()
    second = tokens.refresh(BODY)
    tokens.kill()

    third = tokens.refresh(BODY)

    assert (second, third) == (SECOND, f"{ACCESS_TOKEN}-3")


def test_refresh__refused_token_comes_back() -> None:
    """A token that lives but is refused is what a refresh returns, and it stays refused."""
    tokens = Tokens()
    tokens.refuse()

    refreshed = tokens.refresh(BODY)

    assert (refreshed, tokens.accepts(f"oauth {ACCESS_TOKEN}")) == (ACCESS_TOKEN, False)


@pytest.mark.parametrize("name", FORM)
@pytest.mark.parametrize("value", ["", "wrong", " "])
def test_refresh__wrong_credentials(name: str, value: str) -> None:
    """Each of the three has to be right; a dead token stays dead otherwise."""
    tokens = Tokens()
    tokens.kill()

    refreshed = tokens.refresh(urlencode({**FORM, name: value}).encode())

    assert (refreshed, tokens.current) == (None, ACCESS_TOKEN)


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"{}", b"client_id", urlencode({"client_id": CLIENT_ID}).encode()]
)
def test_refresh__body_that_is_no_form(body: bytes) -> None:
    """A body without the three credentials is refused, whatever its bytes."""
    tokens = Tokens()

    assert tokens.refresh(body) is None
