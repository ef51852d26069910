"""The only HTTP: a page request in, a page out, whatever the network does in between."""

from __future__ import annotations

import logging
import math
import random
import threading
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import requests
from pydantic import SecretStr

from connector import __version__
from connector.alm import protocol
from connector.alm.auth import read_refresh
from connector.alm.retry import Attempt, GiveUp, Wait, decide, out_of_time
from connector.alm.timed import READ_SECONDS, TimedAdapter
from connector.alm.transport import translated
from connector.errors import AuthenticationError, ConnectorError, ProtocolError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from requests.adapters import BaseAdapter

    from connector.alm.auth import TokenSource
    from connector.alm.protocol import Page, PageRequest
    from connector.alm.rate_limit import Quota, RateLimiter
    from connector.clock import Deadline

CONNECT_SECONDS = 10.0
MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_POOL_SIZE = 32
_CHUNK = 64 * 1024
_log = logging.getLogger(__name__)


class RunEndedError(Exception):
    """The run has ended; nobody waits for this answer."""


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class _Authorization(requests.auth.AuthBase):
    """Puts the token into the request at the last moment: held as text anywhere else, a traceback's locals would show it.

    That it is there at all keeps requests from looking for credentials in a ``.netrc``.
    """

    def __init__(self, token: SecretStr | None = None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"oauth {self._token.get_secret_value()}"
        return request


class Client:
    """Asks ALM for pages, all threads through one quota gate and one connection pool."""

    def __init__(
        self,
        base_url: str,
        tokens: TokenSource,
        gate: RateLimiter,
        deadline: Deadline,
        *,
        adapter: BaseAdapter | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._base_url = base_url
        self._tokens = tokens
        self._gate = gate
        self._deadline = deadline
        self._clock = deadline.clock
        self._jitter = jitter
        self._session = _session(base_url, adapter or TimedAdapter(deadline.left, MAX_POOL_SIZE))
        self._lock = threading.Lock()
        self._is_closed = False
        self.began_at = self._clock.monotonic()
        self.requests = 0
        #: How often a request has waited for the quota.
        self.waits = 0

    @property
    def quota(self) -> Quota | None:
        """The limits that ALM's headers told; ``None`` until they did."""
        return self._gate.seen

    def forget(self, error: ConnectorError) -> None:
        """Take the run's secrets out of *error*: ALM may have sent back what it was sent, and the frames hold the whole answer."""
        error.message = self._tokens.clean(error.message)
        error.args = (error.message,)
        error.request_id = error.request_id and self._tokens.clean(error.request_id)
        error.retry_after = None
        error.__traceback__ = None

    def close(self) -> None:
        """Give the connections back; threads that still read for a run that has ended send nothing further."""
        self._is_closed = True
        self._session.close()

    def fetch(self, request: PageRequest) -> Page:
        """Return the page that *request* asks for, waiting, refreshing and repeating as it takes.

        Raises the ConnectorError that remains where nothing of that helps, or not in time.
        """
        number = 1
        while True:
            try:
                return self._fetch_authorized(request)
            except ConnectorError as error:
                attempt = Attempt(number, error, self._jitter())
                match decide(attempt, now=self._clock.now(), seconds_left=self._deadline.left()):
                    case GiveUp(final):
                        if final is not error and final.retry_at:
                            self._close_gate(
                                final, (final.retry_at - self._clock.now()).total_seconds()
                            )
                        raise final from error.__cause__
                    case Wait(seconds):
                        _log.warning(
                            "attempt %d failed, the next one in %.2f s: %s (request id %s)",
                            number,
                            seconds,
                            error.message,
                            error.request_id,
                        )
                        self._hold_back(error, seconds)
            number += 1

    def _hold_back(self, error: ConnectorError, seconds: float) -> None:
        if not self._close_gate(error, seconds):
            self._clock.sleep(seconds)

    def _close_gate(self, error: ConnectorError, seconds: float) -> bool:
        """Let nothing leave for *seconds* where the limiter has refused; other runs on the credential ask in vain, too."""
        if error.http_status != requests.codes.too_many_requests:
            return False
        now = self._clock.monotonic()
        self._gate.block_until(now + seconds, now)
        return True

    def _fetch_authorized(self, request: PageRequest) -> Page:
        token = self._tokens.token(self._send_refresh)
        try:
            return self._fetch_once(request, token)
        except AuthenticationError as refused:
            if refused.http_status != requests.codes.unauthorized or not self._tokens.can_refresh:
                raise
            _log.info(
                "the access token is refused, refreshing it (request id %s)", refused.request_id
            )
        self._tokens.refresh(token, self._send_refresh)
        return self._fetch_once(request, self._tokens.token(self._send_refresh))

    def _fetch_once(self, request: PageRequest, token: SecretStr) -> Page:
        if self._tokens.are_in(request.cursor):
            raise ProtocolError(
                "ALM's link to the next page holds one of this run's own secrets.",
                hint="It was not followed: addresses are written to logs on the way. Look for a proxy between here and ALM.",
            )
        self._pass_gate()
        with self._lock:
            self.requests += 1
        answer = self._ask("GET", request.address, _Authorization(token), f"user {request.user_id}")
        self._gate.learn(answer.headers, self._clock.monotonic())
        if answer.status != requests.codes.ok:
            raise protocol.error_for(
                answer.status, answer.headers, answer.body, asked_for=f"user {request.user_id}"
            )
        return protocol.read_page(request, answer.headers, answer.body)

    def _pass_gate(self) -> None:
        booked_at = -math.inf
        # While this thread waits for its place, another one may be refused: then it books anew, behind the closed gate.
        while booked_at == -math.inf or self._gate.was_blocked_since(booked_at):
            booked_at = self._clock.monotonic()
            seconds = self._gate.reserve(booked_at, self._jitter())
            if seconds > 0:
                try:
                    self._wait_for_quota(seconds)
                except BaseException:
                    # Other runs on the credential would wait for a request that never leaves.
                    self._gate.release(booked_at)
                    raise

    def _wait_for_quota(self, seconds: float) -> None:
        if seconds >= self._deadline.left():
            is_refused = self._gate.blocked_for(self._clock.monotonic()) > 0
            status = requests.codes.too_many_requests if is_refused else None
            raise out_of_time(
                self._deadline.seconds, seconds, now=self._clock.now(), http_status=status
            )
        _log.debug("waiting %.2f s for the quota", seconds)
        with self._lock:
            self.waits += 1
        self._clock.sleep(seconds)

    def _send_refresh(
        self, *, client_id: SecretStr, client_secret: SecretStr, refresh_token: SecretStr
    ) -> SecretStr:
        secrets = {
            "client_id": client_id,
            "client_secret": client_secret,
            "refresh_token": refresh_token,
        }
        # A refresh is no page and books no place, but where the limiter has refused nothing leaves at all.
        while (seconds := self._gate.blocked_for(self._clock.monotonic())) > 0:
            self._wait_for_quota(seconds)
        answer = self._ask(
            "POST",
            self._base_url + protocol.REFRESH_PATH,
            _Authorization(),
            "the access token's refresh",
            form=secrets,
        )
        try:
            return SecretStr(read_refresh(answer.status, answer.headers, answer.body))
        except ConnectorError as error:
            # The frames below hold the answer's text, which may hold a token.
            raise error.with_traceback(None) from None
        finally:
            del answer

    def _ask(
        self,
        method: str,
        url: str,
        auth: _Authorization,
        asked_for: str,
        *,
        form: Mapping[str, SecretStr] | None = None,
    ) -> _Answer:
        if self._is_closed:
            raise RunEndedError
        left = self._deadline.left()
        if left <= 0:
            raise out_of_time(self._deadline.seconds, 0, now=self._clock.now())
        began = self._clock.monotonic()
        with (
            translated(asked_for, urlsplit(url).netloc, self._tokens.clean),
            self._session.request(
                method,
                url,
                auth=auth,
                data={name: secret.get_secret_value() for name, secret in form.items()}
                if form
                else None,
                timeout=(min(CONNECT_SECONDS, left), min(READ_SECONDS, left)),
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            answer = _Answer(
                response.status_code, response.headers, self._read_body(response, asked_for)
            )
        seconds = self._clock.monotonic() - began
        request_id = protocol.read_request_id(answer.headers)
        _log.debug(
            "%s %s: %d in %.0f ms, request id %s",
            method,
            url,
            answer.status,
            seconds * 1000,
            request_id,
        )
        return answer

    def _read_body(self, response: requests.Response, asked_for: str) -> bytes:
        body = bytearray()
        # read1 comes back with what is there: read would sit through a body that drips, whatever the deadline.
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise ProtocolError(
                    f"ALM's answer for {asked_for} is larger than {MAX_BODY_BYTES // 1024**2} MB.",
                    hint="Nothing of it was used; a page of 10 enrollments has some 10 KB. Check base_url, or include less.",
                    http_status=response.status_code,
                    request_id=protocol.read_request_id(response.headers),
                )
            if self._deadline.left() <= 0:
                raise TemporaryError(
                    f"The deadline of {self._deadline.seconds:g} s passed while ALM's answer for {asked_for} was coming in.",
                    hint="Run again, with a longer deadline.",
                    http_status=response.status_code,
                    request_id=protocol.read_request_id(response.headers),
                )
        return bytes(body)


class _Session(requests.Session):
    """Sees no redirect in any answer: requests would read its body, whatever its size, and fail on its address."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return that the answer leads nowhere else."""


def _session(base_url: str, adapter: BaseAdapter) -> requests.Session:
    session = _Session()
    session.headers = requests.structures.CaseInsensitiveDict(
        {
            "Accept": protocol.ACCEPT,
            "Accept-Encoding": "gzip",
            "User-Agent": f"alm-enrollments/{__version__}",
        }
    )
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    # http is loopback (the inputs schema sees to that): a proxy has no business there, and would be shown the token.
    session.trust_env = base_url.lower().startswith("https:")
    session.mount(base_url, adapter)
    return session
