"""Fetches pages: rate limit, then token, then retry, each a step of its own."""

from __future__ import annotations

import logging
import random
import threading
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeGuard, TypeVar

from pydantic import SecretStr

from connector.alm.auth import CHECK_REGION, read_refresh
from connector.alm.protocol import (
    REFRESH_PATH,
    Page,
    error_for,
    read_date,
    read_page,
    read_request_id,
)
from connector.alm.rate_limit import MAX_WAIT_SECONDS
from connector.alm.retry import (
    MAX_ATTEMPTS,
    Attempt,
    GiveUp,
    Outage,
    Wait,
    decide,
    out_of_time,
)
from connector.alm.transport import INCLUDE_READ_SECONDS, READ_SECONDS, Transport
from connector.alm.users import CHECK_ADDRESS, UserLookup, read_user_id
from connector.errors import (
    AuthenticationError,
    ConnectorError,
    DeadlineError,
    PermissionDeniedError,
    ProtocolError,
    UnreachableError,
    UserNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from connector.alm.auth import TokenSource
    from connector.alm.protocol import PageRequest, Response
    from connector.alm.rate_limit import Quota, RateLimiter
    from connector.alm.transport import Adapter
    from connector.clock import Deadline

_log = logging.getLogger(__name__)
# How soon a request that depends on another one's response tries again.
POLL_SECONDS = 0.01
# Not random's own generator: callers seed it, and a thread may outlive its run.
_random = random.SystemRandom().random
Result = TypeVar("Result")


class Client:
    """Fetches pages from ALM; threads share its rate limiter, its token and its connections."""

    def __init__(
        self,
        base_url: str,
        tokens: TokenSource,
        rate_limiter: RateLimiter,
        deadline: Deadline,
        *,
        adapter: Adapter | None = None,
        jitter: Callable[[], float] = _random,
    ) -> None:
        self._base_url = base_url
        self._tokens = tokens
        self._redactor = tokens.redactor
        self._rate_limiter = rate_limiter
        self._deadline = deadline
        self._clock = deadline.clock
        self._jitter = jitter
        self._transport = Transport(base_url, deadline, self._redactor.clean_foreign, adapter)
        self._outage = Outage()
        self._lock = threading.Lock()
        self.started_at = self._clock.monotonic()
        self.requests = 0
        #: How often a request has waited for the quota.
        self.waits = 0
        #: The server's own time of the first page, or of the first user whom ALM does not have.
        self.answered_at: datetime | None = None

    @property
    def quota(self) -> Quota | None:
        """The limits that ALM's headers named; ``None`` until they did."""
        return self._rate_limiter.seen

    @property
    def unread_rate(self) -> str | None:
        """The rate in ALM's header, if the limits are not used as the headers name them."""
        return self._rate_limiter.unread_rate

    @property
    def has_answered(self) -> bool:
        """Whether ALM's host has answered in this run."""
        return self._outage.has_answered

    def redacted(self, error: ConnectorError) -> ConnectorError:
        """Return *error* without secrets: ALM may have sent back what it received."""
        return self._redactor.clean_error(error, is_of_server=True)

    def close(self) -> None:
        """Close the connections; a thread that still reads for an ended run sends nothing more."""
        self._transport.close()

    def fetch(self, request: PageRequest, ahead: Page | ConnectorError | None = None) -> Page:
        """Return the page for *request*; wait for the quota, refresh the token, retry as needed.

        *ahead* is what ``fetch_ahead`` returned for the same request. Raises the ConnectorError
        that remains.
        """
        if isinstance(ahead, Page):
            self._refuse_secrets(request)
            return ahead
        return self._fetch(request, partial(self._read_page, request), ahead)

    def fetch_ahead(self, request: PageRequest) -> Page | ConnectorError | None:
        """Return the page for *request*, or the error of the only attempt; ``None`` if not sent.

        It is not sent if it would have to wait, for the quota or for the host.
        """
        if self._outage.is_ongoing:
            return None
        try:
            self._refuse_secrets(request)
            token = self._tokens.token(self._send_refresh)
            if not self._rate_limiter.try_acquire(self._clock.monotonic()):
                return None
            return self._send_booked(request, partial(self._read_page, request), token)
        except ConnectorError as error:
            decision = self._decide(Attempt(1, error, self._jitter()))
            if isinstance(decision, Wait):
                self._block_if_refused(error, decision.seconds)
            return error

    def find_user(self, email: str) -> str:
        """Return the id of the user who has the address *email*, as ``fetch`` returns a page.

        Raises UserNotFoundError if nobody or several users have it, and what ``fetch`` raises.
        """
        lookup = UserLookup(self._base_url, email)
        try:
            return self._fetch(lookup, lambda response: read_user_id(lookup, response))
        except PermissionDeniedError as error:
            hint = "Use a token with the scope admin:read, or ids instead of addresses."
            raise error.replaced(hint=hint) from None
        except UserNotFoundError as error:
            if error.http_status == HTTPStatus.OK:
                raise
            raise error.replaced(hint=CHECK_ADDRESS) from None

    def _fetch(
        self,
        request: PageRequest | UserLookup,
        read: Callable[[Response], Result],
        failed: ConnectorError | None = None,
    ) -> Result:
        """Fetch in as many attempts as it takes; *failed* is the error of one that was made."""
        number = 1
        if failed and not _is_unreachable(failed) and not self._can_refresh_after(failed):
            self._wait_to_retry(Attempt(number, failed, self._jitter()))
            number += 1
        while True:
            try:
                return self._fetch_with_token(request, read)
            except ConnectorError as error:
                # In an outage the next attempt waits for the host; this one does not count.
                if _is_unreachable(error) and self._outage.has_answered:
                    continue
                self._wait_to_retry(Attempt(number, error, self._jitter()))
            number += 1

    def _wait_to_retry(self, attempt: Attempt) -> None:
        """Wait before the next attempt, or raise the error that ends them."""
        error = attempt.error
        decision = self._decide(attempt)
        if isinstance(decision, GiveUp):
            raise decision.error from error.__cause__
        _log.warning("%s", _describe_retry(attempt, decision.seconds))
        # A blocked limiter makes the next attempt wait, and every other request with it; for a
        # longer time only this one waits.
        is_blocked = self._block_if_refused(error, decision.seconds)
        if not is_blocked or decision.seconds > MAX_WAIT_SECONDS:
            self._clock.sleep(decision.seconds)

    def _decide(self, attempt: Attempt) -> Wait | GiveUp:
        """Decide whether to retry, and if not, block the limiter until the moment named."""
        now = self._clock.now()
        decision = decide(attempt, now=now, seconds_left=self._deadline.left())
        # Other runs on the credential must not send before the moment that ALM named either.
        if isinstance(decision, GiveUp) and decision.error is not attempt.error:
            retry_at = decision.error.retry_at
            if retry_at:
                self._block_if_refused(decision.error, (retry_at - now).total_seconds())
        return decision

    def _block_if_refused(self, error: ConnectorError, seconds: float) -> bool:
        if error.http_status != HTTPStatus.TOO_MANY_REQUESTS:
            return False
        now = self._clock.monotonic()
        self._rate_limiter.block_until(now + seconds, now)
        return True

    def _fetch_with_token(
        self, request: PageRequest | UserLookup, read: Callable[[Response], Result]
    ) -> Result:
        """Fetch once, and once more with a fresh token if ALM refuses the first."""
        token = self._tokens.token(self._send_refresh)
        try:
            return self._fetch_within_quota(request, read, token)
        except AuthenticationError as error:
            if not self._can_refresh_after(error):
                raise
            _log.info("ALM refuses the access token, refreshing it%s", error.quoted_request_id)
        self._tokens.refresh(token, self._send_refresh)
        try:
            return self._fetch_within_quota(request, read, self._tokens.token(self._send_refresh))
        except AuthenticationError as error:
            if error.http_status != HTTPStatus.UNAUTHORIZED:
                raise
            # The credentials are set, and work: ALM has just made a token of them.
            raise error.replaced(hint=CHECK_REGION) from None

    def _can_refresh_after(self, error: ConnectorError) -> bool:
        return error.http_status == HTTPStatus.UNAUTHORIZED and self._tokens.can_refresh

    def _fetch_within_quota(
        self,
        request: PageRequest | UserLookup,
        read: Callable[[Response], Result],
        token: SecretStr,
    ) -> Result:
        """Send the request as soon as the rate limiter allows, and read the response."""
        self._refuse_secrets(request)
        self._wait_out_outage()
        self._acquire()
        return self._send_booked(request, read, token)

    def _send_booked(
        self,
        request: PageRequest | UserLookup,
        read: Callable[[Response], Result],
        token: SecretStr,
    ) -> Result:
        """Send a request that the rate limiter allows now, and read the response."""
        with self._lock:
            self.requests += 1
        try:
            response = self._send(
                "GET",
                request.address,
                request.subject,
                token=token,
                read_seconds=INCLUDE_READ_SECONDS if request.has_include else READ_SECONDS,
            )
        except BaseException:
            self._rate_limiter.abandon()
            raise
        self._rate_limiter.update(response.headers, self._clock.monotonic())
        answered_at = read_date(response.headers) or self._clock.now()
        if response.status != HTTPStatus.OK:
            error = error_for(response, request.subject)
            if isinstance(error, UserNotFoundError):
                self._note_answer(answered_at)
            raise error
        result = read(response)
        self._note_answer(answered_at)
        return result

    def _read_page(self, request: PageRequest, response: Response) -> Page:
        return read_page(
            request,
            response,
            check_deadline=lambda: self._check_deadline(response, request.subject),
        )

    def _refuse_secrets(self, request: PageRequest | UserLookup) -> None:
        """Raise ProtocolError if a next link has a secret in any of its parts."""
        if isinstance(request, UserLookup) or request.cursor is None:
            return
        parts = "\n".join(request.link_parts)
        if self._redactor.clean(parts) != parts:
            raise ProtocolError(
                "ALM's link to the next page contains a secret of this run.",
                hint="The connector did not follow it."
                " Look for a proxy between this machine and ALM.",
            )

    def _check_deadline(self, response: Response, subject: str) -> None:
        """Raise DeadlineError if the deadline has passed, which a large page can take to read."""
        if self._deadline.left() <= 0:
            raise DeadlineError(
                f"The deadline of {self._deadline.seconds:g} s passed"
                f" while ALM's page for {subject} was being read.",
                hint="Run again with a longer `deadline`.",
                http_status=response.status,
                request_id=read_request_id(response.headers),
                retry_at=self._deadline.moment(),
            )

    def _note_answer(self, moment: datetime) -> None:
        with self._lock:
            self.answered_at = min(moment, self.answered_at or moment)

    def _acquire(self) -> None:
        """Wait until the rate limiter allows a request; raise if that is after the deadline."""
        while True:
            booked_at = self._clock.monotonic()
            seconds = self._rate_limiter.acquire(booked_at, self._jitter())
            if seconds is None:
                self._check_time_for(POLL_SECONDS)
                self._clock.sleep(POLL_SECONDS)
                continue
            try:
                if seconds > 0:
                    self._wait_for_quota(seconds)
            except BaseException:
                # Others would wait for a request that is never sent.
                self._rate_limiter.release(booked_at)
                self._outage.release()
                raise
            # If ALM has refused another thread's request meanwhile, book again, after the block.
            if not self._rate_limiter.was_blocked_since(booked_at):
                return
            self._rate_limiter.release(booked_at)

    def _check_time_for(self, seconds: float) -> None:
        """Raise DeadlineError if the deadline is sooner than a request in so many *seconds*."""
        if seconds >= self._deadline.left():
            is_blocked = self._rate_limiter.blocked_for(self._clock.monotonic()) > 0
            raise out_of_time(
                self._deadline.seconds,
                seconds,
                now=self._clock.now(),
                http_status=HTTPStatus.TOO_MANY_REQUESTS if is_blocked else None,
            )

    def _wait_for_quota(self, seconds: float) -> None:
        self._check_time_for(seconds)
        _log.debug("waiting %.2f s for the quota", seconds)
        with self._lock:
            self.waits += 1
        self._clock.sleep(seconds)

    def _wait_out_outage(self) -> None:
        """Wait while a host that has answered in this run cannot be reached.

        Called before the quota is booked: what has waited for the host must not be sent at once.
        """
        while (seconds := self._outage.seconds_to_wait(self._clock.monotonic())) > 0:
            if seconds >= self._deadline.left():
                moment = self._deadline.moment()
                raise DeadlineError(
                    "ALM's host can no longer be reached, and the"
                    f" deadline of {self._deadline.seconds:g} s leaves no time to wait for it.",
                    hint=f"Run again after {moment:%Y-%m-%d %H:%M:%S} UTC, or set a longer"
                    " `deadline`.",
                    retry_at=moment,
                )
            self._clock.sleep(seconds)

    def _send_refresh(self, form: Mapping[str, SecretStr]) -> SecretStr:
        self._wait_out_outage()
        # A refresh does not count against the quota, but a blocked limiter blocks it too.
        while (seconds := self._rate_limiter.blocked_for(self._clock.monotonic())) > 0:
            self._wait_for_quota(seconds)
        url = self._base_url + REFRESH_PATH
        response = self._send("POST", url, "a new access token", form=form)
        try:
            return SecretStr(read_refresh(response))
        except ConnectorError as error:
            # The frames below hold the response, which may hold a token.
            raise error.with_traceback(None) from None
        finally:
            del response

    def _send(
        self,
        method: str,
        url: str,
        subject: str,
        *,
        token: SecretStr | None = None,
        form: Mapping[str, SecretStr] | None = None,
        read_seconds: float = READ_SECONDS,
    ) -> Response:
        """Send one request, note whether the host has answered, and log it."""
        started_at = self._clock.monotonic()
        try:
            response = self._transport.send(
                method, url, subject, token=token, form=form, read_seconds=read_seconds
            )
        except BaseException as error:
            if not _is_unreachable(error):
                self._outage.release()
            elif self._outage.add_failure(
                self._clock.monotonic(), self._jitter(), self._deadline.left()
            ):
                _log.warning("waiting for the host to come back: %s", error.message)
            raise
        if response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            # The proxy has answered, not ALM's host.
            self._outage.release()
        else:
            self._outage.end()
        milliseconds = (self._clock.monotonic() - started_at) * 1000
        request_id = read_request_id(response.headers) or "none"
        _log.debug(
            "%s %s: status %d after %.0f ms, request id %s",
            method,
            url,
            response.status,
            milliseconds,
            request_id,
        )
        return response


def _describe_retry(attempt: Attempt, seconds: float) -> str:
    error = attempt.error
    count = f"attempt {attempt.number}"
    # A used-up quota is waited for as long as the deadline allows.
    if error.http_status != HTTPStatus.TOO_MANY_REQUESTS:
        count += f" of {MAX_ATTEMPTS}"
    if error.request_id:
        count += f", request id {error.request_id}"
    return f"{error.message.removesuffix('.')}, retrying in {seconds:.2f} s ({count})"


def _is_unreachable(error: BaseException) -> TypeGuard[UnreachableError]:
    """Return whether there was no connection, as opposed to the response of a proxy."""
    return isinstance(error, UnreachableError) and error.http_status is None
