"""Run requests: one run each, within the time that is left, on accounts that they share."""

from __future__ import annotations

import io
import math
import threading
from dataclasses import astuple, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from connector.alm.auth import TokenSource
from connector.alm.rate_limit import RateLimiter
from connector.compact_set import canonical_id
from connector.errors import DeadlineError, Problem, UsageError, UserNotFoundError
from connector.redact import Redactor
from connector.runner import RunHooks, execute
from connector.runner.connection import Account
from connector.server.request import TOKEN_HEADER, usage_error
from connector.settings import SANDBOX, load_given, variable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from connector.clock import Clock
    from connector.runner import Outcome
    from connector.server.settings import ServerSettings
    from connector.settings import Credentials, Inputs

# Feeds and polls take the first enrollment for the latest.
_SORT = "-dateEnrolled"
# Credentials in files may be replaced while the server runs.
_MAX_OWN_ACCOUNTS = 4
_MAX_BROUGHT_ACCOUNTS = 256
# From the last moment for ALM to that for the response.
_MAX_MARGIN_SECONDS = 1.0
_MARGIN_SHARE = 0.1


class EnrollmentService:
    """Reads enrollments for requests. Requests on one credential share its token and quota."""

    def __init__(self, settings: ServerSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        # Apart, so that tokens of requests cannot push out the server's own credentials.
        self._own_accounts = lru_cache(_MAX_OWN_ACCOUNTS)(self._open_account)
        self._brought_accounts = lru_cache(_MAX_BROUGHT_ACCOUNTS)(self._open_account)

    def read(
        self,
        values: Mapping[str, Any],
        token: str | None,
        arrived_at: float,
        write: Callable[[bytes], None] | None = None,
    ) -> Outcome:
        """Run with the inputs in *values*, with *token* or else with the server's credentials.

        *write* receives the records if the format is not json. *arrived_at* is the monotonic time
        from which the deadline counts. Raises UsageError for invalid inputs, UserNotFoundError for
        a user that the server does not serve, and DeadlineError if the deadline has passed.
        """
        inputs, credentials = self._load(values, token)
        self._check_users(inputs)
        seconds = min(inputs.deadline, self._settings.deadline)
        ends_at = arrived_at + seconds
        margin = min(_MAX_MARGIN_SECONDS, _MARGIN_SHARE * seconds)
        left = ends_at - margin - self._clock.monotonic()
        if left <= 0:
            raise DeadlineError(
                f"The deadline of {seconds:g} s passed before this server could start to read.",
                hint="Nothing was sent to ALM. Send the request again.",
                retry_at=self._clock.now(),
            )
        account, redactor = self.account(credentials, inputs.quota_share, is_own=token is None)
        return execute(
            # In tenths, since messages quote it.
            replace(inputs, deadline=max(math.floor(left * 10) / 10, 0.01)),
            credentials,
            redactor,
            clock=self._clock,
            stdin=io.StringIO(),
            hooks=RunHooks(write=write, account=account),
        )

    def account(
        self, credentials: Credentials, quota_share: float, *, is_own: bool
    ) -> tuple[Account, Redactor]:
        """Return the account of *credentials*, the server's own or a request's."""
        accounts = self._own_accounts if is_own else self._brought_accounts
        # Without the lock, two first requests on one credential would get an account each.
        with self._lock:
            return accounts(credentials, quota_share)

    def _load(self, values: Mapping[str, Any], token: str | None) -> tuple[Inputs, Credentials]:
        inputs, credentials = self._settings.load_own()
        if token is not None:
            credentials = {"access_token": SecretStr(token)}
        elif not credentials and inputs.get("base_url") != SANDBOX:
            allowed = "ALM's access token: this server has none of its own"
            raise usage_error(Problem(TOKEN_HEADER, "missing", allowed))
        # As everywhere, null and empty text mean "not given".
        present = {
            name: value
            for name, value in values.items()
            if value is not None and not (isinstance(value, str) and not value.strip())
        }
        redactor = Redactor()
        redactor.add(self._settings.key.get_secret_value())
        try:
            values = {"sort": _SORT, **inputs, **credentials, **present}
            return load_given(values, redactor, now=self._clock.now())
        except UsageError as error:
            raise _as_request_error(error) from None

    def _check_users(self, inputs: Inputs) -> None:
        if self._settings.user_ids is None:
            return
        for user in (*inputs.user_id, *inputs.user_email):
            if canonical_id(user) not in self._settings.user_ids:
                raise UserNotFoundError(
                    f"This server does not serve user {user}.",
                    hint="Nothing was sent to ALM;"
                    " ALM_SERVE_USER_IDS lists the users that it serves.",
                )

    def _open_account(
        self, credentials: Credentials, quota_share: float
    ) -> tuple[Account, Redactor]:
        redactor = Redactor()
        redactor.add(self._settings.key.get_secret_value())
        for secret in filter(None, astuple(credentials)):
            redactor.add(secret.get_secret_value())
        return Account(TokenSource(credentials, redactor), RateLimiter(quota_share)), redactor


def _as_request_error(error: UsageError) -> UsageError:
    """Return *error* of the inputs in the terms of a request."""
    problems = []
    for problem in error.problems:
        name = TOKEN_HEADER if problem.name == variable("access_token") else problem.name
        allowed = problem.allowed.removesuffix(" or `user_ids_file` instead")
        problems.append(replace(problem, name=name, allowed=allowed))
    return usage_error(*problems)
