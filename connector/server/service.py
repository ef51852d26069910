"""From a request's inputs to its answer: one run, within the time that is left for it. Knows nothing of WSGI."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from connector.errors import Problem, TemporaryError, UsageError, UserNotFoundError
from connector.redact import Redactor
from connector.runner import RunHooks, execute
from connector.server.accounts import AccountCache
from connector.server.request import HINT, TOKEN_HEADER, retold
from connector.server.response import Answer, answer_document
from connector.settings import load_inputs
from connector.settings.sources import Environment, credential_names, variable
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from connector.clock import Clock
    from connector.server.settings import Settings
    from connector.settings import Credentials, Inputs

# The server's own credentials are few; those that are files may be replaced while it runs.
_MOST_OWN = 4
MOST_BROUGHT = 256
# Between the last moment for ALM and that for the answer; a run is looked after every half second.
_MARGIN_SECONDS = 1.0
_MARGIN = 0.1


class Reader:
    """Reads for requests, all that come on one credential through one quota gate."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        key = settings.key.get_secret_value()
        # Whatever is brought must not push the server's own off the shelf.
        self._own = AccountCache(_MOST_OWN, key)
        self.brought = AccountCache(MOST_BROUGHT, key)

    def read(self, given: Mapping[str, Any], token: str | None, arrived_at: float) -> Answer:
        """Return the answer to the inputs *given*, read with *token* or else with the server's own credentials.

        Raises UsageError for inputs that cannot be used, UserNotFoundError for a learner
        who may not be asked for, TemporaryError where the deadline has passed.
        """
        inputs, credentials = self._load(given, token)
        self._check_users(inputs)
        ends_at = arrived_at + min(inputs.deadline, self._settings.deadline)
        margin = min(_MARGIN_SECONDS, _MARGIN * (ends_at - arrived_at))
        seconds = ends_at - margin - self._clock.monotonic()
        held = (self._own if token is None else self.brought).take(credentials, inputs.quota_share)
        outcome = execute(
            # In tenths, for it is told.
            replace(inputs, deadline=max(math.floor(seconds * 10) / 10, 0.01)),
            credentials,
            held.redactor,
            clock=self._clock,
            stdin=io.StringIO(),
            around=RunHooks(
                watch=lambda _: self._look(ends_at - margin / 2, ends_at - arrived_at),
                shared=held.shared,
            ),
        )
        text = held.redactor.clean_document(to_json(outcome.document))
        return answer_document(outcome.document, text, outcome.error, self._clock.now())

    def _load(self, given: Mapping[str, Any], token: str | None) -> tuple[Inputs, Credentials]:
        environ, secrets_dir = self._settings.environ, self._settings.secrets_dir
        if token is not None:
            own = [variable(name) for name in credential_names()]
            environ = Environment(
                {name: value for name, value in environ.items() if name.upper() not in own}
            )
            environ[variable("access_token")] = token
            secrets_dir = None
        elif not self._settings.has_credentials:
            raise UsageError.of(
                [
                    Problem(
                        TOKEN_HEADER,
                        "missing",
                        "ALM's access token: this server has none of its own",
                    )
                ],
                hint=HINT,
            )
        redactor = Redactor()
        redactor.add(self._settings.key.get_secret_value())
        try:
            return load_inputs(given, environ, redactor, secrets_dir=secrets_dir)
        except UsageError as error:
            raise retold(error) from None

    def _check_users(self, inputs: Inputs) -> None:
        for user_id in inputs.user_id:
            if self._settings.user_ids is not None and user_id not in self._settings.user_ids:
                raise UserNotFoundError(
                    f"This server is not to be asked for user {user_id}.",
                    hint="Nothing was sent to ALM; ALM_SERVE_USER_IDS lists the learners that it may be asked for.",
                )

    def _look(self, ends_at: float, deadline: float) -> None:
        """Raise TemporaryError where a run goes on past *ends_at*: looking up a host's name heeds no deadline."""
        if self._clock.monotonic() >= ends_at:
            raise TemporaryError(
                f"The deadline of {deadline:g} s passed while ALM was waited for.",
                hint="Ask again.",
                retry_at=self._clock.now(),
            )
