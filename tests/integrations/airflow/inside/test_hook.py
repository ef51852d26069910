"""AlmHook: a connection of Airflow as credentials, and the button Test."""

from __future__ import annotations

import contextlib
import importlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import airflow
import pytest
from airflow.providers_manager import ProvidersManager
from pydantic import SecretStr

from connector.airflow.hook import AlmHook
from connector.errors import UsageError

if TYPE_CHECKING:
    from .conftest import Connect, StartServer, TimedServer

IS_3 = airflow.__version__.startswith("3.")
SECRETS = Path("/run/secrets")
TRIPLE = {
    "client_id": "the-id",
    "client_secret": "the/secret",
    "refresh_token": "the~refresh",
}
CANARY = "canary/t0ken+A%b=="


def plain(values: dict[str, SecretStr | str]) -> dict[str, str]:
    """Return *values* with their secrets as text."""
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in values.items()
    }


@pytest.mark.parametrize(
    ("parts", "values"),
    [
        ({"password": CANARY}, {"access_token": CANARY}),
        (
            {"password": "t", "host": "eu.example"},
            {"access_token": "t", "base_url": "https://eu.example"},
        ),
        (
            {"password": "t", "host": "https://eu.example"},
            {"access_token": "t", "base_url": "https://eu.example"},
        ),
        (
            {"password": "t", "host": "eu.example", "port": 8443},
            {"access_token": "t", "base_url": "https://eu.example:8443"},
        ),
        (
            {"password": "t", "host": "http://127.0.0.1", "port": 8484},
            {"access_token": "t", "base_url": "http://127.0.0.1:8484"},
        ),
        (
            {"password": "t", "host": "127.0.0.1", "port": 8484, "schema": "http"},
            {"access_token": "t", "base_url": "http://127.0.0.1:8484"},
        ),
        ({"host": "sandbox"}, {"base_url": "sandbox"}),
        (
            {
                "login": "the-id",
                "password": "the/secret",
                "extra": {"refresh_token": "the~refresh"},
            },
            TRIPLE,
        ),
        (
            {
                "login": "the-id",
                "password": "the/secret",
                "extra": {"refresh_token": "the~refresh", "access_token": CANARY},
            },
            {**TRIPLE, "access_token": CANARY},
        ),
        ({"login": "the-id", "extra": {"refresh_token": ""}}, {"client_id": "the-id"}),
        ({}, {}),
    ],
)
def test_get_conn__json(parts: dict[str, Any], values: dict[str, str], connect: Connect) -> None:
    """Each part of a connection is a credential or the base URL, and credentials do not print."""
    connect(**parts)

    found = AlmHook().get_conn()

    assert plain(found) == values
    credentials = [value for name, value in values.items() if name != "base_url"]
    assert [value for value in credentials if f"'{value}'" in repr(found)] == []


@pytest.mark.parametrize(
    ("uri", "values"),
    [
        (
            "alm://:canary%2Ft0ken%2BA%25b%3D%3D@eu.example",
            {"access_token": CANARY, "base_url": "https://eu.example"},
        ),
        ("alm://the-id:the%2Fsecret@/?refresh_token=the~refresh", TRIPLE),
        (
            "alm://:t@127.0.0.1:8484/http",
            {"access_token": "t", "base_url": "http://127.0.0.1:8484"},
        ),
        (
            "alm://http://:t@127.0.0.1:8484/",
            {"access_token": "t", "base_url": "http://127.0.0.1:8484"},
        ),
        ("alm://sandbox", {"base_url": "sandbox"}),
    ],
)
def test_get_conn__uri(uri: str, values: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection may be Airflow's URI as well."""
    monkeypatch.setenv("AIRFLOW_CONN_EU", uri)

    assert plain(AlmHook("eu").get_conn()) == values


def test_run__with_the_connection_alone(
    server: TimedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing in the worker's environment takes part: no input, no credential, no typing error."""
    others = {
        "ALM_ACCESS_TOKEN": "another",
        "ALM_BASE_URL": "https://another.example",
        "ALM_MAX_ENROLLMENTS": "1",
        "ALM_USER_IDS": "5",
    }
    for name, value in others.items():
        monkeypatch.setenv(name, value)

    document = AlmHook().run(user_id="20941371")

    assert (document["enrollment_count"], document["complete"], server.users) == (
        3,
        True,
        ["20941371"],
    )


def test_run__without_the_workers_files(server: TimedServer, connect: Connect) -> None:
    """A token in the worker's /run/secrets (from test_inside.py) is not the connection's."""
    assert (SECRETS / "alm_access_token").read_text() == "sandbox-access-token"
    connect(host=server.url)

    with pytest.raises(UsageError, match="ALM_ACCESS_TOKEN"):
        AlmHook().run(user_id="20941371")
    assert server.requests == []


@pytest.mark.parametrize("parts", [{}, {"login": "the-id", "password": "the/secret"}])
def test_run__pieces_missing(parts: dict[str, Any], connect: Connect) -> None:
    """The error about missing credentials names the connection, and how to mend it."""
    connect(conn_id="alm_eu", host="https://eu.example", **parts)

    with pytest.raises(UsageError) as raised:
        AlmHook("alm_eu").run(user_id="20941371")

    assert raised.value.hint == (
        "Mend the connection alm_eu: password is the access token;"
        " or login is the client id, password its secret, and extra has refresh_token."
        " Nothing was sent."
    )
    assert str(raised.value).endswith(raised.value.hint)


def test_run__another_problem(connect: Connect) -> None:
    """An input that is wrong is not blamed on the connection."""
    connect(password="t")

    with pytest.raises(UsageError) as raised:
        AlmHook().run(user_id="nobody")

    assert "connection" not in str(raised.value)


def test_refresh_triple__reads(server: TimedServer, connect: Connect) -> None:
    """Client id, secret and refresh token of a connection make the access token that reads."""
    connect(
        host=server.url,
        login="sandbox-client-id",
        password="sandbox-client-secret",
        extra={"refresh_token": "sandbox-refresh-token"},
    )

    assert AlmHook().run(user_id="20941371")["enrollment_count"] == 3


def _closed_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


ANSWERS = [
    pytest.param((), {}, True, "ALM answers and takes the credentials.", id="taken"),
    pytest.param(
        ("*:404x*",),
        {},
        True,
        "ALM answers and takes the credentials (asked for user 0, whom it does not know).",
        id="unknown user",
    ),
    pytest.param(
        ("*:403x*",),
        {},
        True,
        "ALM answers and takes the credentials; they do not reach every user: admin:read does.",
        id="out of scope",
    ),
    pytest.param(
        (),
        {"password": CANARY},
        False,
        "ALM refuses the access token, asked for user 0 (401: ",
        id="refused",
    ),
    pytest.param((), {"password": None}, False, "Mend the connection ", id="missing"),
    pytest.param((), {"host": _closed_port()}, False, "127.0.0.1", id="unreachable"),
]


@pytest.mark.parametrize(("faults", "parts", "is_taken", "told"), ANSWERS)
def test_button__tells(
    faults: tuple[str, ...],
    parts: dict[str, Any],
    *,
    is_taken: bool,
    told: str,
    start_server: StartServer,
    button: Any,
) -> None:
    """The button Test says whether ALM takes the credentials, and why not, without showing them."""
    server = start_server(*faults)

    taken, message = button(**{"host": server.url, "password": "sandbox-access-token", **parts})

    assert (taken, told in message) == (is_taken, True), message
    assert CANARY not in message


@pytest.fixture(scope="module")
def api() -> Any:
    """Return a client of Airflow 3's whole API, its user an admin; nothing for Airflow 2."""
    if not IS_3:
        return None
    app = importlib.import_module("airflow.api_fastapi.app").create_app(apps="core")
    client = importlib.import_module("fastapi.testclient").TestClient(app)
    token = client.get("/auth/token").json()["access_token"]
    client.headers["authorization"] = f"Bearer {token}"
    return client


@pytest.fixture
def button(api: Any, connect: Connect, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that presses Test on Airflow 3's page, or runs Airflow 2's command."""

    def press_3(**parts: Any) -> tuple[bool, str]:
        answer = api.post(
            "/api/v2/connections/test",
            json={"connection_id": "tested", "conn_type": "alm", **parts},
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["status"], answer.json()["message"]

    def press_2(**parts: Any) -> tuple[bool, str]:
        connect(
            conn_id="tested", **{name: value for name, value in parts.items() if value is not None}
        )
        command = (
            importlib.import_module("airflow.cli.cli_parser")
            .get_parser()
            .parse_args(["connections", "test", "tested"])
        )
        with contextlib.suppress(SystemExit):
            command.func(command)
        told = capsys.readouterr().out
        # The command tells what the hook said only where it fails.
        return (
            (True, AlmHook("tested").test_connection()[1])
            if "Connection success!" in told
            else (False, told)
        )

    return press_3 if IS_3 else press_2


def test_form__in_the_words_of_alm(api: Any) -> None:
    """A connection's form names each field; Airflow 3 has a hidden one for the refresh token."""
    relabeling = {
        "host": "ALM's address",
        "login": "Client id",
        "password": "Access token; with a client id, the client secret",
    }
    if not IS_3:
        form = ProvidersManager().field_behaviours["alm"]
        assert (form["hidden_fields"], form["relabeling"]) == (["schema"], relabeling)
        assert set(form["placeholders"]) == {"host", "login", "extra"}
        return
    (form,) = (
        form
        for form in api.get("/ui/connections/hook_meta").json()
        if form["connection_type"] == "alm"
    )
    fields = form["standard_fields"]
    assert form["hook_name"] == "Adobe Learning Manager"
    assert {
        name: field["title"] for name, field in fields.items() if field and field["title"]
    } == relabeling
    assert fields["url_schema"]["hidden"] is True
    assert form["extra_fields"]["refresh_token"]["schema"]["format"] == "password"


def test_provider__as_airflow_knows_it() -> None:
    """Airflow finds the provider by its entry point, and the hook by its connection type."""
    manager = ProvidersManager()
    found = manager.providers["alm-enrollments-connector"]
    hook = manager.hooks["alm"]

    assert hook is not None
    assert found.version == importlib.import_module("connector").__version__
    assert (
        hook.hook_class_name,
        hook.package_name,
        hook.hook_name,
        hook.connection_id_attribute_name,
        hook.connection_testable,
    ) == (
        "connector.airflow.hook.AlmHook",
        "alm-enrollments-connector",
        "Adobe Learning Manager",
        "alm_conn_id",
        True,
    )


def test_provider_info__by_airflows_schema() -> None:
    """What the provider tells of itself is valid by the schema of Airflow itself."""
    jsonschema = importlib.import_module("jsonschema")
    schema = (
        importlib.import_module("airflow.providers_manager")
        ._create_provider_info_schema_validator()
        .schema
    )

    jsonschema.validate(
        importlib.import_module("connector.airflow.provider").get_provider_info(), schema
    )
