"""AlmHook: a connection of Airflow as credentials, and the button Test."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import airflow
import jsonschema
import pytest
from airflow.providers_manager import ProvidersManager
from pydantic import SecretStr

import connector
from connector.airflow.hook import AlmHook
from connector.airflow.provider import get_provider_info
from connector.errors import UsageError

if TYPE_CHECKING:
    from .conftest import Connect, StartServer, TimedServer

IS_AIRFLOW_3 = airflow.__version__.startswith("3.")
SECRETS = Path("/run/secrets")
CLIENT = {"login": "the-id", "password": "the/secret"}
TRIPLE = {"client_id": "the-id", "client_secret": "the/secret", "refresh_token": "the~refresh"}
CANARY = "canary/t0ken+A%b=="


def values_of(conn_id: str = "alm_default") -> dict[str, str]:
    """Return what the hook reads from the connection, secrets as text."""
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in AlmHook(conn_id).get_conn().items()
    }


@pytest.mark.parametrize(
    ("parts", "values"),
    [
        ({"password": CANARY}, {"access_token": CANARY}),
        ({**CLIENT, "extra": {"refresh_token": "the~refresh"}}, TRIPLE),
        (
            {**CLIENT, "extra": {"refresh_token": "the~refresh", "access_token": CANARY}},
            {**TRIPLE, "access_token": CANARY},
        ),
        ({"login": "the-id", "extra": {"refresh_token": ""}}, {"client_id": "the-id"}),
        ({}, {}),
    ],
)
def test_get_conn__credentials(
    parts: dict[str, Any], values: dict[str, str], connect: Connect
) -> None:
    """Each part of a connection is a credential, and credentials do not print."""
    connect(**parts)

    assert values_of() == values
    printed = repr(AlmHook().get_conn())
    assert [value for value in values.values() if f"'{value}'" in printed] == []


@pytest.mark.parametrize(
    ("parts", "base_url"),
    [
        ({"host": "eu.example"}, "https://eu.example"),
        ({"host": "https://eu.example"}, "https://eu.example"),
        ({"host": "eu.example", "port": 8443}, "https://eu.example:8443"),
        ({"host": "http://127.0.0.1", "port": 8484}, "http://127.0.0.1:8484"),
        ({"host": "127.0.0.1", "port": 8484, "schema": "http"}, "http://127.0.0.1:8484"),
        ({"host": "sandbox"}, "sandbox"),
    ],
)
def test_get_conn__base_url(parts: dict[str, Any], base_url: str, connect: Connect) -> None:
    """Host, port and schema of a connection make the base URL."""
    connect(**parts)

    assert values_of() == {"base_url": base_url}


@pytest.mark.parametrize(
    ("uri", "values"),
    [
        (
            "alm://:canary%2Ft0ken%2BA%25b%3D%3D@sandbox",
            {"access_token": CANARY, "base_url": "sandbox"},
        ),
        ("alm://the-id:the%2Fsecret@/?refresh_token=the~refresh", TRIPLE),
        ("alm://127.0.0.1:8484/http", {"base_url": "http://127.0.0.1:8484"}),
        ("alm://http://:@127.0.0.1:8484/", {"base_url": "http://127.0.0.1:8484"}),
    ],
)
def test_get_conn__uri(uri: str, values: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection may be a URI of Airflow."""
    monkeypatch.setenv("AIRFLOW_CONN_EU", uri)

    assert values_of("eu") == values


def test_run__ignores_the_environment(server: TimedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's environment has no effect: no input, no credential, no misspelled name."""
    monkeypatch.setenv("ALM_ACCESS_TOKEN", "another-token")
    monkeypatch.setenv("ALM_BASE_URL", "https://another.example")
    monkeypatch.setenv("ALM_MAX_ENROLLMENTS", "1")
    monkeypatch.setenv("ALM_USER_IDS", "5")

    document = AlmHook().run(user_id="20941371")

    assert (document["enrollment_count"], document["complete"]) == (3, True)
    assert server.users == ["20941371"]


def test_run__ignores_secrets_of_the_worker(server: TimedServer, connect: Connect) -> None:
    """A token in the worker's /run/secrets (from test_inside.py) is not used."""
    assert (SECRETS / "alm_access_token").read_text() == "sandbox-access-token"
    connect(host=server.url)

    with pytest.raises(UsageError, match="ALM_ACCESS_TOKEN"):
        AlmHook().run(user_id="20941371")
    assert server.requests == []


@pytest.mark.parametrize("parts", [{}, CLIENT])
def test_run__credentials_missing(parts: dict[str, Any], connect: Connect) -> None:
    """The error about missing credentials names the connection, and says how to fix it."""
    connect(conn_id="alm_eu", host="https://eu.example", **parts)

    with pytest.raises(UsageError) as raised:
        AlmHook("alm_eu").run(user_id="20941371")

    assert raised.value.hint == (
        "Fix the connection alm_eu: login is the client id, password its secret, and extra has"
        " refresh_token; or password is an access token. Nothing was sent."
    )
    assert str(raised.value).endswith(raised.value.hint)


def test_run__another_problem(connect: Connect) -> None:
    """An error about a parameter does not mention the connection."""
    connect(password="some-token")

    with pytest.raises(UsageError) as raised:
        AlmHook().run(user_id="nobody")

    assert raised.value.hint == (
        "Nothing was sent. Correct the task's parameters; help(connector.run) describes all."
    )


def test_run__with_a_refresh_token(server: TimedServer, connect: Connect) -> None:
    """A connection may have client id, secret and refresh token instead of an access token."""
    connect(
        host=server.url,
        login="sandbox-client-id",
        password="sandbox-client-secret",
        extra={"refresh_token": "sandbox-refresh-token"},
    )

    assert AlmHook().run(user_id="20941371")["enrollment_count"] == 3


@pytest.mark.parametrize(
    ("faults", "parts", "is_accepted", "text"),
    [
        ((), {}, True, "ALM accepts the credentials."),
        (("*:404x*",), {}, True, "It has no user 0, as expected."),
        (("*:403x*",), {}, True, ", but not for every user: that needs the scope admin:read."),
        (
            (),
            {"password": CANARY},
            False,
            "ALM refuses the access token while reading user 0 (401: ",
        ),
        ((), {"password": None}, False, "Fix the connection "),
        ((), {"host": "http://127.0.0.1:1"}, False, "127.0.0.1"),
    ],
    ids=["accepted", "unknown user", "out of scope", "refused", "missing", "unreachable"],
)
def test_button__reports(
    faults: tuple[str, ...],
    parts: dict[str, Any],
    *,
    is_accepted: bool,
    text: str,
    start_server: StartServer,
    press_test: Any,
) -> None:
    """The button Test reports whether ALM accepts the credentials, and why not, without them."""
    server = start_server(*faults)

    result = press_test(**{"host": server.url, "password": "sandbox-access-token", **parts})

    assert (result[0], text in result[1]) == (is_accepted, True), result
    assert CANARY not in result[1]


@pytest.fixture(scope="module")
def api() -> Any:
    """Return a client of Airflow 3's API, as an administrator; ``None`` for Airflow 2."""
    if not IS_AIRFLOW_3:
        return None
    app = importlib.import_module("airflow.api_fastapi.app").create_app(apps="core")
    client = importlib.import_module("fastapi.testclient").TestClient(app)
    token = client.get("/auth/token").json()["access_token"]
    client.headers["authorization"] = f"Bearer {token}"
    return client


@pytest.fixture
def press_test(api: Any, connect: Connect, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that tests a connection: by Airflow 3's API, or Airflow 2's command."""

    def press_in_3(**parts: Any) -> tuple[bool, str]:
        connection = {"connection_id": "tested", "conn_type": "alm", **parts}
        response = api.post("/api/v2/connections/test", json=connection)
        assert response.status_code == 200, response.text
        return response.json()["status"], response.json()["message"]

    def press_in_2(**parts: Any) -> tuple[bool, str]:
        connect(conn_id="tested", **{name: value for name, value in parts.items() if value})
        parser = importlib.import_module("airflow.cli.cli_parser").get_parser()
        command = parser.parse_args(["connections", "test", "tested"])
        with contextlib.suppress(SystemExit):
            command.func(command)
        output = capsys.readouterr().out
        if "Connection success!" not in output:
            return False, output
        # After a success, the command does not print the hook's message.
        return True, AlmHook("tested").test_connection()[1]

    return press_in_3 if IS_AIRFLOW_3 else press_in_2


def test_form__names_the_fields(api: Any) -> None:
    """A connection's form names each field; Airflow 3 has a masked one for the refresh token."""
    labels = {
        "host": "ALM's address",
        "login": "Client id",
        "password": "Access token; with a client id, the client secret",
    }
    if not IS_AIRFLOW_3:
        form = ProvidersManager().field_behaviours["alm"]
        assert (form["hidden_fields"], form["relabeling"]) == (["schema"], labels)
        assert set(form["placeholders"]) == {"host", "login", "extra"}
        return
    forms = api.get("/ui/connections/hook_meta").json()
    (form,) = (form for form in forms if form["connection_type"] == "alm")
    fields = form["standard_fields"]
    titles = {name: field["title"] for name, field in fields.items() if field and field["title"]}
    assert titles == labels
    assert form["hook_name"] == "Adobe Learning Manager"
    assert fields["url_schema"]["hidden"] is True
    assert form["extra_fields"]["refresh_token"]["schema"]["format"] == "password"


def test_provider_info__is_valid() -> None:
    """The provider's description is valid by Airflow's own schema, and has our version."""
    manager = importlib.import_module("airflow.providers_manager")
    info = get_provider_info()

    jsonschema.validate(info, manager._create_provider_info_schema_validator().schema)
    assert info["versions"] == [connector.__version__]
