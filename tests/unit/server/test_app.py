"""The application in this process: routes, refusals, internal errors, and the log."""

from __future__ import annotations

import http.server
import io
import json
import re
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import connector.server
from connector.sandbox import ACCESS_TOKEN
from connector.server.app import ARRIVED_AT, Application
from tests.unit.server.conftest import KEY, get, message

if TYPE_CHECKING:
    from tests.support.sandbox import StartSandbox
    from tests.unit.server.conftest import MakeClient, SetVariables

PAGE = Path(__file__).parents[1] / "alm" / "documented_page.json"
TIMES = re.compile(r"\d\.\d{3} s, request id [0-9a-f]{16}")


def test_application__is_made_when_first_used(
    set_variables: SetVariables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WSGI servers import an application that the process's environment configures, once."""
    set_variables(ALM_SERVE_KEY=KEY, ALM_BASE_URL="sandbox")
    monkeypatch.delitem(vars(connector.server), "application", raising=False)

    application = connector.server.application

    document = get(application.test_client(), user_id="20941371").get_json()
    assert document["enrollment_count"] == 3
    assert connector.server.application is application
    assert isinstance(connector.server.make_application(), Application)
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        vars(connector.server)["__getattr__"]("other")
    monkeypatch.delitem(vars(connector.server), "application")


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        *((method, "/healthz", 200, None) for method in ("GET", "HEAD")),
        *((method, "/openapi.json", 200, None) for method in ("GET", "HEAD")),
        *((method, "/swagger.json", 200, None) for method in ("GET", "HEAD")),
        *((method, "/healthz", 405, "GET, HEAD") for method in ("POST", "OPTIONS", "X")),
        *((method, "/swagger.json", 405, "GET, HEAD") for method in ("POST", "OPTIONS")),
        *((method, "/v1/enrollments", 401, None) for method in ("GET", "POST")),
        *(("GET", f"/v1/enrollments.{name}", 401, None) for name in ("csv", "xlsx")),
        *((method, "/v1/enrollments.csv", 405, "GET") for method in ("HEAD", "POST", "OPTIONS")),
        *(
            (method, "/v1/enrollments", 405, "GET, POST")
            for method in ("HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "PROPFIND")
        ),
        *(
            ("GET", path, 404, None)
            for path in (
                "/",
                "/v1/enrollments.html",
                "/v1/enrollments.",
                "/healthz/",
                "/v1//enrollments",
                "/outputs.json",
                "/static/x",
            )
        ),
    ],
)
def test_routes(
    method: str, path: str, status: int, allow: str | None, make_client: MakeClient
) -> None:
    """Each path has its methods; only the enrollments need the key."""
    response = make_client().open(path, method=method)

    assert (response.status_code, response.headers.get("Allow")) == (status, allow)
    assert bool(response.get_data()) is (method != "HEAD")
    assert int(response.headers["Content-Length"]) > 0


def test_headers__of_every_response(make_client: MakeClient) -> None:
    """No response may be kept, taken for another type, or read by a page of another origin."""
    client = make_client()
    page = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
    responses = [
        get(client, page, user_id="20941371"),
        get(client, page, user_id="x"),
        client.get("/v1/enrollments", headers=page),
        client.options("/v1/enrollments", headers=page),
        client.get("/nowhere", headers=page),
        client.get("/healthz", headers=page),
    ]

    assert [response.status_code for response in responses] == [200, 400, 401, 405, 404, 200]
    for response in responses:
        names = {"Content-Type", "Content-Length", "Allow", "WWW-Authenticate"}
        others = {name: value for name, value in response.headers if name not in names}
        assert re.fullmatch("[0-9a-f]{16}", others.pop("X-Request-Id"))
        assert others == {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


BODY = b'{"user_id":"20941371"}'
CHUNKED = {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""}


@pytest.mark.parametrize(
    ("body", "environ", "status"),
    [
        (BODY + b'{"more":1}', {"CONTENT_LENGTH": str(len(BODY))}, 200),
        (BODY, {"CONTENT_LENGTH": ""}, 400),
        (BODY, {"CONTENT_LENGTH": "x"}, 400),
        (BODY, {"CONTENT_LENGTH": "30"}, 400),
        (BODY, CHUNKED, 200),
        (BODY.ljust(65_536), CHUNKED, 200),
        (BODY.ljust(65_537), CHUNKED, 413),
        (BODY.ljust(200_000), CHUNKED, 413),
        (b"", {"CONTENT_LENGTH": "65538"}, 413),
    ],
)
def test_body__length(
    body: bytes, environ: dict[str, Any], status: int, make_client: MakeClient
) -> None:
    """A body is read to its declared length, or to its end if the server knows it."""
    response = make_client().post(
        "/v1/enrollments",
        headers={"X-API-Key": KEY, "Content-Type": "application/json"},
        environ_overrides={"wsgi.input": io.BytesIO(body), **environ},
    )

    assert response.status_code == status


def test_deadline__from_the_arrival(make_client: MakeClient) -> None:
    """A server that knows when the request arrived says so; its deadline counts from there."""
    client = make_client()

    def status(arrived_at: float) -> int:
        return client.get(
            "/v1/enrollments?user_id=31",
            headers={"X-API-Key": KEY},
            environ_overrides={ARRIVED_AT: arrived_at},
        ).status_code

    assert status(time.monotonic()) == 200
    assert status(time.monotonic() - 25) == 504


def test_busy__is_reported_at_once(make_client: MakeClient) -> None:
    """A request that would have to wait for another run gets 429; a liveness probe is answered."""
    client = make_client()
    reads = vars(client.application)["_reads"]
    reads.acquire()

    response = get(client, user_id="31")

    assert (response.status, response.get_json()["error"]["code"]) == ("429 Too Many Requests", 75)
    assert response.headers["Retry-After"] in ("1", "2")
    assert client.get("/healthz").get_data() == b"ok\n"
    reads.release()
    assert get(client, user_id="31").status_code == 200
    assert get(client, user_id="31").status_code == 200


def test_defect__is_reported_without_its_message(
    make_client: MakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """An internal error shows its class only; the log has the line, and neither has the message."""

    class Broken(io.BytesIO):
        def readinto(self, _: Any) -> int:
            raise KeyError("canary")

    client = make_client()
    capsys.readouterr()
    response = client.post(
        "/v1/enrollments",
        headers={"X-API-Key": KEY},
        environ_overrides={"wsgi.input": Broken(), "CONTENT_LENGTH": "5"},
    )

    assert (response.status_code, response.get_json()["error"]["code"]) == (500, 70)
    assert message(response) == "Internal error in alm-enrollments: KeyError."
    log = re.sub(r"request id \w+", "request id #", capsys.readouterr().err).splitlines()
    assert re.fullmatch(
        r"alm-enrollments: internal error, request id #: KeyError in test_app.py, line \d+", log[0]
    )
    assert log[1].endswith(" request id # error 70")
    assert len(log) == 2


def test_log__has_one_line_per_request(
    make_client: MakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log has method, path, status, time and id of a request, and nothing else of it."""
    client = make_client()
    capsys.readouterr()

    first = get(client, user_id="31", state="canary")
    client.get("/canary?canary=1", headers={"X-Canary": "canary"})
    client.open("/healthz", method="CANARY")

    log = capsys.readouterr().err
    assert f"request id {first.headers['X-Request-Id']} error 64" in log
    assert TIMES.sub("#", log).splitlines() == [
        "alm-enrollments: GET /v1/enrollments 400 # error 64",
        "alm-enrollments: GET - 404 # error 64",
        "alm-enrollments: - /healthz 405 # error 64",
    ]


def test_log__without_standard_error(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed standard error does not fail a request."""
    monkeypatch.setattr(sys, "stderr", None)

    assert make_client().get("/healthz").status_code == 200


def test_quota__closes_for_every_request(
    make_client: MakeClient, start_sandbox: StartSandbox
) -> None:
    """While ALM's limiter is closed, no request on the same credential is sent."""
    alm = start_sandbox("user=32:429/60x*")
    client = make_client(alm)

    responses = [get(client, user_id=user_id) for user_id in ("32", "31", "31")]

    assert [response.status_code for response in responses] == [429] * 3
    assert len(alm.requests) == 1
    assert 50 < int(responses[0].headers["Retry-After"]) <= 62
    other = get(client, {"X-ALM-Token": ACCESS_TOKEN}, user_id="31")
    assert other.status_code == 200


class Echo(http.server.BaseHTTPRequestHandler):
    """An ALM that returns an enrollment whose state is the credentials that it was sent."""

    def do_GET(self) -> None:
        """Respond."""
        page = json.loads(PAGE.read_text(encoding="utf-8"))
        page["data"][0]["attributes"]["state"] = f"{self.headers['Authorization']} {KEY}"
        del page["links"]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(page).encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.mark.parametrize("headers", [{}, {"X-ALM-Token": "canary-of-a-token"}])
def test_secrets__in_the_records(headers: dict[str, str], make_client: MakeClient) -> None:
    """A token or key that ALM returns as data is not passed on."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as alm:
        threading.Thread(target=alm.serve_forever, kwargs={"poll_interval": 0.01}).start()
        url = f"http://127.0.0.1:{alm.server_port}"
        client = make_client(ALM_BASE_URL=url, ALM_ACCESS_TOKEN="canary-of-a-token")

        response = get(client, headers, user_id="20941371", allow_incomplete="true")
        alm.shutdown()

    assert response.get_json()["enrollments"][0]["state"] == "oauth *** ***"
