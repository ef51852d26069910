"""The hook: a connection of Airflow as the credentials of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseHook
from pydantic import SecretStr

from connector.airflow.provider import (
    CONNECTION_TYPE,
    HIDDEN_FIELDS,
    HOOK_NAME,
    PLACEHOLDERS,
    RELABELING,
)
from connector.errors import ConnectorError, PermissionDeniedError, UsageError, UserNotFoundError
from connector.runner import run_given
from connector.settings import PREFIX, SANDBOX
from connector.settings.surfaces import Surface

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

    from connector.output.document import Document

# A user id that ALM does not have: it says so only after it has accepted the token.
_UNKNOWN_USER = "0"
_TEST_SECONDS = 20


class AlmHook(BaseHook):
    """Reads enrollments with the credentials of the connection *alm_conn_id*.

    Its password is an access token; or its login and password are a client's id and secret, and
    ``refresh_token`` among its extras makes access tokens. Its host is ALM's address, with or
    without ``https://``; ``sandbox`` is the embedded mock server. Neither the worker's
    environment nor its ``/run/secrets`` takes part.
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
        """Return the layout of a connection's form, for Airflow before 3.2."""
        return {
            "hidden_fields": HIDDEN_FIELDS,
            "relabeling": RELABELING,
            "placeholders": PLACEHOLDERS,
        }

    def get_conn(self) -> dict[str, SecretStr | str]:
        """Return the connection's credentials, which do not print, and ``base_url`` by name."""
        connection = self.get_connection(self.alm_conn_id)
        # Extra may be any JSON.
        extras = connection.extra_dejson if isinstance(connection.extra_dejson, dict) else {}
        credentials = {name: extras.get(name) for name in self._FROM_EXTRAS}
        if connection.login:
            credentials["client_id"] = connection.login
            credentials["client_secret"] = connection.password
        elif connection.password:
            credentials["access_token"] = connection.password
        values: dict[str, SecretStr | str] = {
            name: SecretStr(str(value)) for name, value in credentials.items() if value
        }
        if base_url := _base_url(connection):
            values["base_url"] = base_url
        return values

    def run(self, **inputs: Any) -> Document:  # noqa: ANN401 - the inputs schema validates them
        """Return the document of ``connector.run``, or raise its ConnectorError."""
        values: dict[str, Any] = dict(self.get_conn())
        for name, value in inputs.items():
            # A template writes a value of None as text.
            is_empty = value is None or (isinstance(value, str) and value.strip() in ("", "None"))
            if not is_empty:
                values[name] = value
        try:
            return run_given(values)
        except ConnectorError as error:
            hint = error.hint
            problems = error.problems if isinstance(error, UsageError) else ()
            if any(problem.name.startswith(PREFIX) for problem in problems):
                hint = (
                    f"Fix the connection {self.alm_conn_id}: login is the client id, password its"
                    " secret, and extra has refresh_token; or password is an access token."
                    " Nothing was sent."
                )
            elif hint == Surface.PYTHON.usage_hint:
                hint = Surface.AIRFLOW.usage_hint
            document = error.document and Surface.AIRFLOW.document(error.document)
            error = error.replaced(hint=hint, document=document)
            raise Surface.AIRFLOW.error(error) from error.__cause__

    def test_connection(self) -> tuple[bool, str]:
        """Return whether ALM accepts the credentials, and its response, for the button Test."""
        try:
            self.run(user_id=_UNKNOWN_USER, deadline=_TEST_SECONDS)
        except UserNotFoundError:
            return (
                True,
                f"ALM accepts the credentials. It has no user {_UNKNOWN_USER}, as expected.",
            )
        except PermissionDeniedError:
            text = "ALM accepts the credentials, but not for every user"
            return True, f"{text}: that needs the scope admin:read."
        except ConnectorError as error:
            return False, str(error)
        return True, "ALM accepts the credentials."


def _base_url(connection: Connection) -> str:
    host = connection.host or ""
    if not host or host == SANDBOX:
        return host
    scheme, _, rest = host.rpartition("://")
    name, slash, path = rest.partition("/")
    port = f":{connection.port}" if connection.port else ""
    return f"{scheme or connection.schema or 'https'}://{name}{port}{slash}{path}"
