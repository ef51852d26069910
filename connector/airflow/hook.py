"""A connection of Airflow as the credentials of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseHook

from connector.airflow.provider import (
    CONNECTION_TYPE,
    HIDDEN_FIELDS,
    HOOK_NAME,
    PLACEHOLDERS,
    RELABELING,
)
from connector.errors import ConnectorError, PermissionDeniedError, UsageError, UserNotFoundError
from connector.runner import run_in
from connector.settings.problems import SANDBOX
from connector.settings.sources import PREFIX, Environment

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

    from connector.output.document import Document

# Nobody has it: that ALM does not know him is said to those alone whose token it takes.
_NOBODY = "0"
_TEST_SECONDS = 20


class AlmHook(BaseHook):
    """Reads enrollments with the credentials of the connection *alm_conn_id*.

    Its password is an access token. Or login and password are the client id and
    secret, and ``refresh_token`` among its extras makes access tokens. Its host is
    ALM's address, with or without ``https://``; ``sandbox`` is the embedded stand-in.
    Neither the worker's environment nor its ``/run/secrets`` takes part.
    """

    conn_name_attr = "alm_conn_id"
    default_conn_name = "alm_default"
    conn_type = CONNECTION_TYPE
    hook_name = HOOK_NAME
    _FROM_EXTRAS: ClassVar = ("access_token", "refresh_token")

    def __init__(self, alm_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.alm_conn_id = alm_conn_id

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return how the form of a connection looks, for Airflow before 3.2."""
        return {
            "hidden_fields": HIDDEN_FIELDS,
            "relabeling": RELABELING,
            "placeholders": PLACEHOLDERS,
        }

    def get_conn(self) -> Environment:
        """Return the connection as the variables that the command would be given; they do not print."""
        connection = self.get_connection(self.alm_conn_id)
        # Whatever is JSON is taken for an extra.
        extras = connection.extra_dejson if isinstance(connection.extra_dejson, dict) else {}
        found = {name: extras.get(name) for name in self._FROM_EXTRAS}
        if connection.login:
            found |= {"client_id": connection.login, "client_secret": connection.password}
        elif connection.password:
            found["access_token"] = connection.password
        found["base_url"] = _base_url(connection)
        return Environment(
            {PREFIX + name.upper(): str(value) for name, value in found.items() if value}
        )

    def run(self, **inputs: Any) -> Document:  # noqa: ANN401 - whatever is given is judged by the inputs schema
        """Return the document of ``connector.run``. Raises the ConnectorError that it raises."""
        try:
            return run_in(self.get_conn(), inputs, secrets_dir=None)
        except UsageError as error:
            if any(problem.name.startswith(PREFIX) for problem in error.problems):
                error.hint = (
                    f"Mend the connection {self.alm_conn_id}: password is the access token;"
                    " or login is the client id, password its secret, and extra has refresh_token. Nothing was sent."
                )
            raise

    def test_connection(self) -> tuple[bool, str]:
        """Return whether ALM takes the credentials, and what it said: what the button Test shows."""
        try:
            self.run(user_id=_NOBODY, deadline=_TEST_SECONDS)
        except UserNotFoundError:
            return (
                True,
                f"ALM answers and takes the credentials (asked for user {_NOBODY}, whom it does not know).",
            )
        except PermissionDeniedError:
            return (
                True,
                "ALM answers and takes the credentials; they do not reach every user: admin:read does.",
            )
        except ConnectorError as error:
            return False, str(error)
        return True, "ALM answers and takes the credentials."


def _base_url(connection: Connection) -> str:
    host = connection.host or ""
    if not host or host == SANDBOX:
        return host
    scheme, _, rest = host.rpartition("://")
    name, slash, path = rest.partition("/")
    port = f":{connection.port}" if connection.port else ""
    return f"{scheme or connection.schema or 'https'}://{name}{port}{slash}{path}"
