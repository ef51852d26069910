"""The application without a server: what time has passed before it is asked, defects, and what a server leaves out."""

from __future__ import annotations

import http.server
import io
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import connector.server
from connector.clock import SystemClock
from connector.sandbox import ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, Settings
from connector.sandbox.faults import parse_faults
from connector.sandbox.server import SandboxServer
from connector.server.app import ARRIVED_AT, make_application

KEY = "0123456789abcdef"
PAGE = Path(__file__).parents[1] / "alm" / "documented_page.json"


def ask(application: Any, **environ: Any) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Return status, headers and document that *application* answers."""
    told: list[Any] = []
    asked = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/v1/enrollments",
        "HTTP_X_API_KEY": KEY,
        **environ,
    }
    body = b"".join(application(asked, lambda *said: told.extend(said)))
    return told[0], dict(told[1]), json.loads(body)


def sandboxed(**variables: str) -> Any:
    """Return an application in front of the embedded sandbox."""
    return make_application(
        {"ALM_SERVE_KEY": KEY, "ALM_BASE_URL": "sandbox", **variables}, secrets_dir=None
    )


def test_application__is_made_when_first_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What servers import is configured by the process's environment, once."""
    monkeypatch.setenv("ALM_SERVE_KEY", KEY)
    monkeypatch.setenv("ALM_BASE_URL", "sandbox")
    monkeypatch.delitem(vars(connector.server), "application", raising=False)

    application = connector.server.application

    assert ask(application, QUERY_STRING="user_id=20941371")[2]["enrollment_count"] == 3
    assert connector.server.application is application
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        connector.server.other  # noqa: B018 - that it is not there is what is looked at
    vars(connector.server).pop("application")


@pytest.mark.parametrize(
    ("waited", "status"), [(0.0, "200 OK"), (0.4, "200 OK"), (2.0, "504 Gateway Timeout")]
)
def test_deadline__counts_from_the_arrival(waited: float, status: str) -> None:
    """The time that a request has waited for its turn is part of the deadline."""
    with SandboxServer(Settings(rate_per_minute=0)) as alm:
        variables = {
            "ALM_SERVE_DEADLINE": "1",
            "ALM_BASE_URL": alm.url,
            "ALM_ACCESS_TOKEN": ACCESS_TOKEN,
        }
        arrived_at = time.monotonic() - waited

        answered = ask(
            sandboxed(**variables), QUERY_STRING="user_id=20941371", **{ARRIVED_AT: arrived_at}
        )

    assert answered[0] == status


class Oversleeping(SystemClock):
    """A clock whose waits last longer than they should, as the lookup of a name does that heeds no deadline."""

    def sleep(self, seconds: float) -> None:
        """Wait for much longer than *seconds*."""
        super().sleep(seconds + 4)


def test_deadline__of_what_heeds_none() -> None:
    """Even where a run itself is held up for longer, its answer comes in time."""
    with SandboxServer(Settings(rate_per_minute=0, faults=parse_faults(["*:503x*"]))) as alm:
        environ = {
            "ALM_SERVE_KEY": KEY,
            "ALM_BASE_URL": alm.url,
            "ALM_ACCESS_TOKEN": ACCESS_TOKEN,
            "ALM_SERVE_DEADLINE": "2",
        }
        application = make_application(environ, secrets_dir=None, clock=Oversleeping())

        began = time.monotonic()
        status, headers, document = ask(application, QUERY_STRING="user_id=31")

    assert time.monotonic() - began < 2.5
    assert (status, document["error"]["message"]) == (
        "504 Gateway Timeout",
        "The deadline of 2 s passed while ALM was waited for.",
    )
    assert "Retry-After" in headers


def test_defect__is_500_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """A defect is told by its kind in answer and log, where it happened in the log alone, and what it quotes nowhere."""

    class Broken(io.BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            raise KeyError("canary")

    body = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": "5",
        "wsgi.input": Broken(),
    }

    status, _, document = ask(sandboxed(), **body)

    assert (status, document["error"]["code"]) == ("500 Internal Server Error", 70)
    written = capsys.readouterr().err
    assert "KeyError in test_app.py, line " in written
    assert "canary" not in f"{written}{document}"
    assert "Traceback" not in f"{written}{document}"


@pytest.mark.parametrize(
    ("environ", "status"),
    [
        (
            {"CONTENT_LENGTH": "22", "wsgi.input": io.BytesIO(b'{"user_id":"20941371"}{"more":1}')},
            200,
        ),
        ({"CONTENT_LENGTH": "", "wsgi.input": io.BytesIO(b'{"user_id":"20941371"}')}, 400),
        ({"CONTENT_LENGTH": "x", "wsgi.input": io.BytesIO(b'{"user_id":"20941371"}')}, 400),
        ({"wsgi.input_terminated": True, "wsgi.input": io.BytesIO(b'{"user_id":"20941371"}')}, 200),
        (
            {
                "wsgi.input_terminated": True,
                "wsgi.input": io.BytesIO(b'{"user_id":"20941371"}'.ljust(65_536)),
            },
            200,
        ),
        (
            {
                "wsgi.input_terminated": True,
                "wsgi.input": io.BytesIO(b'{"user_id":"20941371"}'.ljust(65_537)),
            },
            413,
        ),
        ({"CONTENT_LENGTH": "65537", "wsgi.input": None}, 413),
        ({"CONTENT_LENGTH": "30", "wsgi.input": io.BytesIO(b'{"user_id":"20941371"}')}, 200),
    ],
)
def test_body__is_read_as_far_as_it_goes(environ: dict[str, Any], status: int) -> None:
    """A body is read to its length, or to its end where the server ends it, and no byte beyond the limit."""
    body = {"REQUEST_METHOD": "POST", "CONTENT_TYPE": "application/json; charset=utf-8", **environ}

    assert ask(sandboxed(), **body)[0].startswith(str(status))


def test_secrets__that_are_files_may_be_replaced(tmp_path: Path) -> None:
    """A token that is a file is the one that the file has when a request comes."""
    file = tmp_path / "alm_access_token"
    file.write_text("wrong-token", encoding="utf-8")
    with SandboxServer(Settings(rate_per_minute=0)) as alm:
        application = make_application(
            {"ALM_SERVE_KEY": KEY, "ALM_BASE_URL": alm.url}, secrets_dir=tmp_path
        )
        statuses = [ask(application, QUERY_STRING="user_id=31")[0]]
        file.write_text(ACCESS_TOKEN, encoding="utf-8")
        statuses.append(ask(application, QUERY_STRING="user_id=31")[0])

    assert statuses == ["502 Bad Gateway", "200 OK"]


def test_secrets__that_are_files_take_no_part(tmp_path: Path) -> None:
    """Beside a token that is brought, the server's files count as little as its variables."""
    for name, value in (
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
        ("refresh_token", REFRESH_TOKEN),
    ):
        (tmp_path / f"alm_{name}").write_text(value, encoding="utf-8")
    with SandboxServer(Settings(rate_per_minute=0)) as alm:
        application = make_application(
            {"ALM_SERVE_KEY": KEY, "ALM_BASE_URL": alm.url}, secrets_dir=tmp_path
        )

        statuses = [
            ask(application, QUERY_STRING="user_id=31", **headers)[0]
            for headers in ({}, {"HTTP_X_ALM_TOKEN": "wrong-token"})
        ]

    assert statuses == ["200 OK", "502 Bad Gateway"]
    assert [request["method"] for request in alm.requests].count("POST") == 1


def test_tokens__that_are_brought_do_not_add_up() -> None:
    """However many tokens are brought, so many are remembered and no more, and none of them takes the place of the server's own."""
    with SandboxServer(
        Settings(rate_per_minute=0, faults=parse_faults(["user=32:429/60x*"]))
    ) as alm:
        environ = {"ALM_SERVE_KEY": KEY, "ALM_BASE_URL": alm.url, "ALM_ACCESS_TOKEN": ACCESS_TOKEN}
        application = make_application(environ, secrets_dir=None)
        refused = ask(application, QUERY_STRING="user_id=32")
        for number in range(300):
            ask(application, QUERY_STRING="user_id=31", HTTP_X_ALM_TOKEN=f"token-{number}")

        still_refused = ask(application, QUERY_STRING="user_id=31")

    assert (refused[0], still_refused[0]) == ("429 Too Many Requests",) * 2
    assert (len(alm.requests), len(application.reader.brought)) == (301, 256)


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with an enrollment whose state is all that it was sent as credentials."""

    def do_GET(self) -> None:
        """Answer."""
        page = json.loads(PAGE.read_text(encoding="utf-8"))
        page["data"][0]["attributes"]["state"] = f"{self.headers['Authorization']} {KEY}"
        page.pop("links", None)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(page).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("headers", [{}, {"HTTP_X_ALM_TOKEN": "the-canary-of-a-token"}])
def test_secrets__that_come_back(headers: dict[str, str]) -> None:
    """A token or key that comes back as data is not handed on."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as alm:
        threading.Thread(target=alm.serve_forever, kwargs={"poll_interval": 0.01}).start()
        environ = {
            "ALM_BASE_URL": f"http://127.0.0.1:{alm.server_port}",
            "ALM_ACCESS_TOKEN": "the-canary-of-a-token",
        }

        document = ask(
            sandboxed(**environ), QUERY_STRING="user_id=20941371&allow_incomplete=true", **headers
        )[2]
        alm.shutdown()

    assert document["enrollments"][0]["state"] == "oauth *** ***"
