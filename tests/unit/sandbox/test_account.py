"""The sandbox's account: access tokens as ALM hands them out, and openresty's leaky bucket."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.sandbox import ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN
from connector.sandbox.account import Limiter, Tokens

FORM = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN}
BODY = urlencode(FORM).encode()
SECOND = f"{ACCESS_TOKEN}-2"


@pytest.mark.parametrize("scheme", ["oauth", "OAuth", "Bearer", "bearer"])
def test_accepts__both_schemes(scheme: str) -> None:
    """ALM takes ``oauth TOKEN`` and ``Bearer TOKEN``."""
    assert Tokens().accepts(f"{scheme} {ACCESS_TOKEN}")


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        ACCESS_TOKEN,
        "oauth ",
        f"oauth {SECOND}",
        f"Basic {ACCESS_TOKEN}",
        f"oauth={ACCESS_TOKEN}",
    ],
)
def test_accepts__nothing_else(authorization: str) -> None:
    """Another scheme, another token or no token is refused."""
    assert not Tokens().accepts(authorization)


def test_refresh__valid_token() -> None:
    """A refresh of a valid token returns the same one."""
    tokens = Tokens()

    assert [tokens.refresh(BODY), tokens.refresh(BODY)] == [ACCESS_TOKEN, ACCESS_TOKEN]
    assert tokens.accepts(f"oauth {ACCESS_TOKEN}")


def test_refresh__expired_token() -> None:
    """A refresh of an expired token returns a new one each time, and the old one stays refused."""
    tokens = Tokens()
    tokens.expire()
    assert not tokens.accepts(f"oauth {ACCESS_TOKEN}")

    assert tokens.refresh(BODY) == SECOND
    assert [tokens.accepts(f"oauth {token}") for token in (ACCESS_TOKEN, SECOND)] == [False, True]
    tokens.expire()
    assert tokens.refresh(BODY) == f"{ACCESS_TOKEN}-3"


def test_refresh__refused_token() -> None:
    """A token that is refused although it is valid comes back, and stays refused."""
    tokens = Tokens()
    tokens.refuse()

    assert tokens.refresh(BODY) == ACCESS_TOKEN
    assert not tokens.accepts(f"oauth {ACCESS_TOKEN}")


@pytest.mark.parametrize(
    "body",
    [
        *(urlencode({**FORM, name: value}).encode() for name in FORM for value in ("", "wrong")),
        *(b"", b"\xff\xfe", b"{}", b"client_id"),
    ],
)
def test_refresh__wrong_credentials(body: bytes) -> None:
    """Each credential has to be right, whatever the bytes of the body."""
    assert Tokens().refresh(body) is None


@pytest.mark.parametrize(
    ("moments", "waits", "excess"),
    [
        ([1_000], [None], 0.0),
        ([0, 0, 0], [None, None, None], 2.0),
        ([0, 0, 0, 0, 0], [None, None, None, 3.0, 3.0], 2.0),
        ([0, 0, 0, 0.5, 1], [None, None, None, 2.5, None], 2.0),
        ([0, 0, 0, 2.5], [None, None, None, None], 0.5),
        ([0, 0, 0, 500], [None, None, None, None], 0.0),
    ],
)
def test_limiter__one_per_second_and_two_beyond(
    moments: list[float], waits: list[float | None], excess: float
) -> None:
    """The bucket drains with time; accepted requests fill it by one, refused ones do not."""
    limiter = Limiter(60, 2)

    assert [limiter.retry_after(moment) for moment in moments] == waits
    assert limiter.excess == excess


@given(rate=st.floats(1, 6_000), burst=st.integers(0, 50))
def test_limiter__accepts_after_the_wait(rate: float, burst: int) -> None:
    """After the seconds that a refusal names, the next request is accepted."""
    limiter = Limiter(rate, burst)
    accepted = [limiter.retry_after(0) for _ in range(burst + 1)]
    wait = limiter.retry_after(0)

    assert accepted == [None] * (burst + 1)
    assert wait == pytest.approx((burst + 1) / rate * 60)
    assert limiter.retry_after(wait or 0) is None
