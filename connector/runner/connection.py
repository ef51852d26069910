"""From credentials, or the embedded sandbox, to the client of a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pydantic import SecretStr

from connector.alm.auth import TokenSource
from connector.alm.client import Client
from connector.alm.protocol import Query, first_request
from connector.alm.rate_limit import RateLimiter
from connector.settings import SANDBOX, Credentials, variable
from connector.settings.values import parse_parameter
from connector.text import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from connector.alm.protocol import PageRequest
    from connector.clock import Deadline
    from connector.redact import Redactor
    from connector.settings import Inputs

# A name that never resolves (RFC 6761): should the sandbox not answer, nothing else does.
_SANDBOX_URL = "https://sandbox.invalid"


@dataclass(frozen=True, slots=True)
class Account:
    """The token and the rate limiter of one credential, shared by every run that uses it."""

    tokens: TokenSource
    rate_limiter: RateLimiter


def open_client(
    inputs: Inputs,
    credentials: Credentials,
    redactor: Redactor,
    deadline: Deadline,
    account: Account | None = None,
) -> Client:
    """Return the client for ``base_url``: ALM, or the sandbox with its own credentials.

    Without an *account* the run has a token and a rate limiter of its own.
    """
    if inputs.base_url == SANDBOX:
        return _sandbox_client(inputs, redactor, deadline)
    if account is None:
        account = Account(TokenSource(credentials, redactor), RateLimiter(inputs.quota_share))
    return Client(inputs.base_url, account.tokens, account.rate_limiter, deadline)


def warnings_of(base_url: str, credentials: Credentials) -> Iterator[str]:
    """Yield a warning if *base_url* is the sandbox, although *credentials* are ALM's."""
    if base_url != SANDBOX:
        return
    from connector import sandbox  # noqa: PLC0415 - seldom used

    names = []
    for name, secret in asdict(credentials).items():
        # The sandbox has a constant for each of its own credentials.
        if secret and secret.get_secret_value() != getattr(sandbox, name.upper()):
            names.append(f"`{variable(name)}`")
    if names:
        verb = "is" if len(names) == 1 else "are"
        yield (
            f"{listed(names)} {verb} not used: `base_url` is sandbox, so every record is made up."
            " To read ALM, set `base_url` to your account's host."
        )


def request_for(user_id: str, inputs: Inputs) -> PageRequest:
    """Return the request for the first page of *user_id*."""
    base_url = _SANDBOX_URL if inputs.base_url == SANDBOX else inputs.base_url
    query = Query(
        inputs.lo_types,
        inputs.sort,
        inputs.state,
        inputs.related,
        inputs.page_limit,
        further=tuple(filter(None, map(parse_parameter, inputs.query))),
    )
    return first_request(base_url, user_id, query)


def _sandbox_client(inputs: Inputs, redactor: Redactor, deadline: Deadline) -> Client:
    from connector.sandbox import ACCESS_TOKEN, Sandbox, Settings  # noqa: PLC0415 - seldom used
    from connector.sandbox.adapter import SandboxAdapter  # noqa: PLC0415

    tokens = TokenSource(Credentials(SecretStr(ACCESS_TOKEN)), redactor)
    adapter = SandboxAdapter(Sandbox(Settings(day=inputs.sandbox_day), deadline.clock))
    return Client(_SANDBOX_URL, tokens, RateLimiter(inputs.quota_share), deadline, adapter=adapter)
