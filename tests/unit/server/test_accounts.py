"""What requests on one credential share, and that there is never more of it than a few."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from pydantic import SecretStr

from connector.server.accounts import AccountCache
from connector.settings import Credentials


def token(text: str) -> Credentials:
    """Return credentials that are one access token."""
    return Credentials(SecretStr(text))


def test_take__the_same_for_the_same() -> None:
    """One credential has one token source, one gate and one redactor, however many ask at once."""
    shelf = AccountCache(4)

    with ThreadPoolExecutor(8) as threads:
        taken = set(map(id, threads.map(lambda _: shelf.take(token("token-one"), 1.0), range(64))))

    assert (len(taken), len(shelf)) == (1, 1)


def test_take__another_for_another() -> None:
    """Credentials that differ in anything share nothing."""
    shelf = AccountCache(8)
    given = [
        token("a-token"),
        token("b-token"),
        Credentials(None, *map(SecretStr, "xyz")),
        Credentials(SecretStr("x"), None, *map(SecretStr, "yz")),
    ]

    assert len({id(shelf.take(credentials, 1.0).shared.gate) for credentials in given}) == 4


def test_take__holds_no_more_than_it_may() -> None:
    """However many tokens are brought, those used last stay, and no more than so many of them."""
    shelf = AccountCache(4)
    kept = shelf.take(token("kept-token"), 1.0)

    for number in range(100):
        shelf.take(token(f"token-{number}"), 1.0)
        assert shelf.take(token("kept-token"), 1.0) is kept

    assert len(shelf) == 4


def test_take__knows_the_secrets() -> None:
    """What a credential's runs say is free of it, and of the server's own secrets."""
    held = AccountCache(1, "the-servers-key").take(token("the-brought-token"), 1.0)

    assert held.redactor.clean_document('["the-servers-key the-brought-token"]') == '["*** ***"]'


def test_take__has_the_servers_share() -> None:
    """The gate uses the part of the quota that the server is told."""
    assert (
        AccountCache(1).take(token("a-token"), 0.5).shared.gate.quota.rate * 2
        == AccountCache(1).take(token("a-token"), 1.0).shared.gate.quota.rate
    )
