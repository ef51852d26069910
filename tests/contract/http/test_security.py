"""What the door promises to keep, each promise with a test of its own, on the running process."""

from __future__ import annotations

import base64
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from connector.sandbox import ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN
from connector.schemas import load_schema

from .conftest import KEY, SERVERS

if TYPE_CHECKING:
    from .conftest import Answered, Pair, Serve, StartSandbox

TOKEN = "canary/alm-t0ken+A%b"
OWN = "canary-own-token-of-the-server"
WRONG_KEYS: dict[str, dict[str, str]] = {
    "none": {},
    "a wrong one": {"Authorization": "Bearer canary-wrong-key-000000"},
    "the beginning": {"X-API-Key": KEY[:-1]},
    "more than it": {"X-API-Key": KEY + "x"},
    "another scheme": {"Authorization": f"Digest {KEY}"},
    "as user name": {"Authorization": "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()},
    "no base64": {"Authorization": f"Basic {KEY}"},
    "empty": {"X-API-Key": "", "Authorization": "Bearer "},
    "two in one": {"X-API-Key": f"{KEY}, {KEY}"},
    "not ASCII": {"X-API-Key": "ключ".encode().decode("latin-1")},
}


def forms(secret: str) -> list[str]:
    """Return *secret* as it may be written: raw, URL-encoded, and in base64 at each alignment."""
    encoded = [
        base64.b64encode(b"x" * shift + secret.encode()).decode()[4:-4] for shift in range(3)
    ]
    return [secret, quote(secret), quote(secret, safe=""), *encoded]


def leaks(*texts: str) -> list[str]:
    """Return the secrets that any of *texts* holds in any form."""
    return [
        secret
        for secret in (KEY, TOKEN, OWN)
        for text in texts
        if any(form.lower() in text.lower() for form in forms(secret))
    ]


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"ALM_SERVE_KEY": ""}, "ALM_SERVE_KEY is missing"),
        ({"ALM_SERVE_KEY": "canary-too-shor"}, "ALM_SERVE_KEY is not fit to be one"),
        ({"ALM_SERVE_KEY": "canary with spaces in it"}, "ALM_SERVE_KEY is not fit to be one"),
        ({"ALM_SERVE_DEADLINE": "0"}, "ALM_SERVE_DEADLINE is 0"),
        ({"ALM_SERVE_USER_IDS": "31,ada"}, "ALM_SERVE_USER_IDS is"),
        ({"ALM_SERVE_USER_IDS": "@nowhere.txt"}, 'ALM_SERVE_USER_IDS is "nowhere.txt"'),
        ({"ALM_SERVE_USERS": "31"}, "ALM_SERVE_USERS is no setting"),
        (
            {"ALM_CLIENT_ID": "x"},
            "ALM_CLIENT_SECRET and ALM_REFRESH_TOKEN is missing beside ALM_CLIENT_ID",
        ),
        ({"ALM_BASE_URL": "http://evil.example"}, "base_url is"),
        ({"PORT": "99999"}, "PORT is no port"),
    ],
)
def test_start__is_refused(variables: dict[str, str], told: str, environ: dict[str, str]) -> None:
    """Without a key, or with a setting that cannot be used, nothing starts: one line says why, without any value that may be secret."""
    settings = {"ALM_BASE_URL": "https://alm.example", "ALM_SERVE_KEY": KEY, **variables}

    finished = subprocess.run(
        [sys.executable, "-m", "connector", "serve"],
        env={**environ, **settings},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (finished.returncode, finished.stdout) == (64, "")
    assert told in finished.stderr
    assert "canary" not in finished.stderr
    assert finished.stderr.count("\n") == 1


@pytest.mark.parametrize("server", ["waitress", "gunicorn"])
def test_key__must_be_shown(server: str, serve: Serve, start_sandbox: StartSandbox) -> None:
    """Whoever shows no key, or not exactly it, is asked for it, whatever else he sends, and ALM is asked for nothing."""
    alm = start_sandbox()
    door = serve(server=server, alm=alm)

    for name, headers in WRONG_KEYS.items():
        for answered in (
            door.get(key=None, headers=headers, user_id="31"),
            door.post(key=None, headers=headers, nonsense=[]),
        ):
            assert answered.status == 401, name
            assert answered.headers["www-authenticate"].startswith('Bearer realm="alm-enrollments"')
            assert (
                answered.error["message"]
                == "The request shows no key of this server, or a wrong one."
            )
    assert alm.requests == []


def test_loopback__unless_told(serve: Serve) -> None:
    """It listens on loopback alone, and elsewhere where it is told so."""
    door, open_door = serve(), serve("--host", "0.0.0.0")  # noqa: S104 - that is what is asked for

    assert door.url.startswith("http://127.0.0.1:")
    assert open_door.url.startswith("http://0.0.0.0:")


def test_token__of_the_request_alone(serve: Serve, start_sandbox: StartSandbox) -> None:
    """A request that brings ALM's token is read with it: where it is refused, the server's own credentials take no part."""
    alm = start_sandbox()
    door = serve(
        alm=alm,
        ALM_CLIENT_ID=CLIENT_ID,
        ALM_CLIENT_SECRET=CLIENT_SECRET,
        ALM_REFRESH_TOKEN=REFRESH_TOKEN,
    )

    mine, brought, refused, empty = (
        door.get(user_id="31", headers=headers)
        for headers in (
            {},
            {"X-ALM-Token": ACCESS_TOKEN},
            {"X-ALM-Token": TOKEN},
            {"X-ALM-Token": ""},
        )
    )

    assert [answer.status for answer in (mine, brought, refused, empty)] == [200, 200, 502, 400]
    assert (refused.error["code"], refused.error["http_status"]) == (77, 401)
    assert empty.error["message"].startswith("1 input is not valid: X-ALM-Token is empty")
    assert [request["status"] for request in alm.requests if request["status"] != 200] == [401]


def test_token__is_needed_from_someone(serve: Serve, start_sandbox: StartSandbox) -> None:
    """A server without credentials of its own reads for those that bring theirs, and tells the others so."""
    door = serve(alm=start_sandbox(), ALM_ACCESS_TOKEN="")

    without, brought = (
        door.get(user_id="20941371"),
        door.get(user_id="20941371", headers={"X-ALM-Token": ACCESS_TOKEN}),
    )

    assert (without.status, brought.status) == (400, 200)
    assert without.error["message"] == (
        "1 input is not valid: X-ALM-Token is missing (allowed: ALM's access token: this server has none of its own)."
    )


@pytest.mark.parametrize("name", ["access_token", "client_id", "client_secret", "refresh_token"])
def test_credentials__never_in_query_or_body(name: str, shared: Pair) -> None:
    """A credential anywhere but in its header is refused, named without its value, and not used."""
    door, asked = shared.door, len(shared.alm.requests)

    answers = [door.get(user_id="31", **{name: TOKEN}), door.post(user_id="31", **{name: TOKEN})]

    for answered in answers:
        assert answered.status == 400
        assert f"{name} is no input of a request" in answered.error["message"]
        assert leaks(str(answered)) == []
    assert len(shared.alm.requests) == asked


NO_INPUTS = [
    name
    for name in load_schema("inputs")["properties"]
    if name in ("base_url", "user_ids_file", "output_file", "resume", "format")
]


@pytest.mark.parametrize(
    "name",
    [
        *NO_INPUTS,
        "shard",
        "concurrency",
        "quota_share",
        "env_file",
        "output_dir",
        "dotenv",
        "debug",
        "User_Id",
    ],
)
def test_inputs__that_no_request_has(name: str, shared: Pair) -> None:
    """Addresses, files, channels and the server's shares are no inputs: a request that names one is refused."""
    door, asked = shared.door, len(shared.alm.requests)

    answers = [
        door.get(user_id="31", **{name: "x"}),
        door.post(user_id="31", **{name: "x"}),
        door.post(user_id="31", **{name: None}),
    ]

    assert [answer.status for answer in answers] == [400] * 3
    assert all(f"{name} is no input of a request" in answer.error["message"] for answer in answers)
    assert len(shared.alm.requests) == asked


def test_users__that_may_be_asked_for(
    serve: Serve, start_sandbox: StartSandbox, tmp_path: Any
) -> None:
    """Where learners are listed, a request for any other is refused as a whole, and ALM is not asked."""
    (tmp_path / "learners.csv").write_text("user_id,name\n20941371,Ada\n32,Bob\n", encoding="utf-8")
    alm = start_sandbox()
    for listed in ("20941371,32", f"@{tmp_path}/learners.csv"):
        door = serve(alm=alm, ALM_SERVE_USER_IDS=listed)

        listed_one, other, both = (
            door.get(user_id=user_id) for user_id in ("20941371", "33", "20941371,33")
        )

        assert (listed_one.status, other.status, both.status) == (200, 404, 404)
        assert both.error["message"] == "This server is not to be asked for user 33."
        assert both.document["enrollments"] == []
    assert len(alm.requests) == 2


ODD_REQUESTS: dict[str, dict[str, Any]] = {
    "given twice": {"method": "GET", "params": [("user_id", "31"), ("user_id", "32")]},
    "NUL": {"method": "GET", "params": {"user_id": "31\0"}},
    "line break in a name": {"method": "GET", "params": {"user_id": "31", "a\r\nX-Evil: 1": "x"}},
    "line break in a value": {
        "method": "GET",
        "params": {"user_id": "31", "state": "active\r\nX-Evil: 1"},
    },
    "no UTF-8": {"method": "GET", "params": "user_id=31&state=%ff"},
    "many fields": {"method": "GET", "params": "&".join(f"a{number}=1" for number in range(200))},
    "query and body": {"method": "POST", "params": {"user_id": "31"}, "json": {"user_id": "31"}},
    "no object": {"method": "POST", "json": ["31"]},
    "no JSON": {"method": "POST", "data": b"{", "headers": {"Content-Type": "application/json"}},
    "nothing": {"method": "POST", "data": b"", "headers": {"Content-Type": "application/json"}},
    "a name twice": {
        "method": "POST",
        "data": b'{"user_id":"31","user_id":"32"}',
        "headers": {"Content-Type": "application/json"},
    },
    "NaN": {
        "method": "POST",
        "data": b'{"user_id":"31","deadline":NaN}',
        "headers": {"Content-Type": "application/json"},
    },
    "nested": {
        "method": "POST",
        "data": b"[" * 60_000,
        "headers": {"Content-Type": "application/json"},
    },
    "huge number": {
        "method": "POST",
        "data": b'{"page_limit":' + b"9" * 60_000 + b"}",
        "headers": {"Content-Type": "application/json"},
    },
    "UTF-16": {
        "method": "POST",
        "data": '{"user_id":"31"}'.encode("utf-16"),
        "headers": {"Content-Type": "application/json"},
    },
    "half a pair": {
        "method": "POST",
        "data": b'{"user_id":"\\ud800"}',
        "headers": {"Content-Type": "application/json"},
    },
    "wrong types": {
        "method": "POST",
        "json": {"user_id": {"a": 1}, "page_limit": [], "since": 7, "allow_incomplete": "maybe"},
    },
}


@pytest.mark.parametrize("server", ["waitress", "gunicorn"])
def test_odd_requests__are_refused(server: str, serve: Serve, start_sandbox: StartSandbox) -> None:
    """What is malformed in any way is refused with 400 and a document; none of it reaches ALM, a header or the log."""
    alm = start_sandbox()
    door = serve(server=server, alm=alm)

    for name, request in ODD_REQUESTS.items():
        answered = door.ask(**{"method": "GET", **request})

        assert (answered.status, answered.error["code"]) == (400, 64), name
        assert "x-evil" not in answered.headers, name
    assert alm.requests == []
    assert "vil" not in door.written()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "no UTF-8",
            "the query is not to be understood (allowed: UTF-8, percent-encoded, at most 100 fields)",
        ),
        (
            "many fields",
            "the query is not to be understood (allowed: UTF-8, percent-encoded, at most 100 fields)",
        ),
        (
            "NaN",
            'the body is not JSON (allowed: an object such as {"user_id": ["20941371"]}, each name once)',
        ),
    ],
)
def test_odd_requests__are_not_read_at_all(name: str, told: str, shared: Pair) -> None:
    """What no query and no JSON can hold is refused as a whole, before its values are looked at."""
    answered = shared.door.ask(**{"method": "GET", **ODD_REQUESTS[name]})

    assert answered.error["message"] == f"1 input is not valid: {told}."


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
    ],
)
def test_bodies__of_another_kind(kind: str | None, shared: Pair) -> None:
    """A body that is not declared as JSON is refused: a page of another origin cannot send what is, without asking first."""
    answered = shared.door.ask(
        "POST", data=b'{"user_id":"31"}', headers={"Content-Type": kind} if kind else {}
    )

    assert (answered.status, answered.error["hint"]) == (
        415,
        "Send it as Content-Type: application/json.",
    )


@pytest.mark.parametrize("server", ["waitress", "gunicorn"])
def test_headers__of_every_answer(server: str, serve: Serve) -> None:
    """Nobody is to keep an answer or take it for anything else, no page of another origin to read it, and nobody learns what serves."""
    door = serve(server=server)
    from_a_page = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}

    answers = [
        door.get(user_id="31", headers=from_a_page),
        door.get(user_id="x", headers=from_a_page),
        door.get(key=None, headers=from_a_page),
        door.ask("OPTIONS", headers=from_a_page),
        door.get(user_id="4041", headers=from_a_page),
    ]

    assert [answer.status for answer in answers] == [200, 400, 401, 405, 404]
    for answered in answers:
        assert answered.headers["cache-control"] == "no-store"
        assert answered.headers["x-content-type-options"] == "nosniff"
        assert [
            name for name in answered.headers if name.lower().startswith("access-control")
        ] == []
        assert server == "gunicorn" or "server" not in answered.headers


@pytest.mark.parametrize("server", ["waitress", "gunicorn"])
def test_log__one_line_a_request(server: str, serve: Serve) -> None:
    """A request is told in one line, by method, path, status, seconds and the id that its answer has; nothing else that it holds is."""
    door = serve(server=server)

    answered = door.get(user_id="31", state="canary-state")
    door.session.get(
        f"{door.url}/canary-path/{quote(TOKEN)}?canary=query",
        headers={"X-Canary": "header"},
        timeout=10,
    )
    door.session.request("CANARY", f"{door.url}/healthz", timeout=10)

    lines = [line for line in door.written().splitlines() if "request id" in line]
    assert lines[0].startswith("alm-enrollments: GET /v1/enrollments 400 0.0")
    assert lines[0].endswith(f" s, request id {answered.headers['x-request-id']} error 64")
    assert [line.split()[1:4] for line in lines[1:]] == [
        ["GET", "-", "404"],
        ["-", "/healthz", "405"],
    ]
    assert "canary" not in door.written().lower()


@pytest.mark.parametrize("server", ["waitress", "gunicorn"])
def test_secrets__are_nowhere(server: str, serve: Serve, start_sandbox: StartSandbox) -> None:
    """Whatever goes wrong, and wherever a secret was put, no form of the keys and tokens is in an answer or the log."""
    door = serve(
        server=server,
        alm=start_sandbox("page=1:htmlx2", "page=1:schemax2"),
        ALM_ACCESS_TOKEN=OWN,
        ALM_SERVE_DEADLINE="2",
    )
    answers: list[Answered] = []

    for headers in ({}, {"X-ALM-Token": TOKEN}):
        answers += [door.get(user_id="31", headers=headers) for _ in range(3)]
        answers += [
            door.post(user_id=KEY, headers=headers),
            door.post(since=[KEY], headers=headers),
        ]
    answers += [
        door.get(user_id=OWN),
        door.get(user_id=TOKEN, headers={"X-ALM-Token": TOKEN}),
        door.get(key=None, headers={"X-API-Key": KEY + "x"}),
    ]

    assert {answered.status for answered in answers} == {400, 401, 502}
    assert (
        leaks(door.written(), *(f"{answered.headers}{answered.document}" for answered in answers))
        == []
    )


def test_busy__is_told_at_once(serve: Serve, start_sandbox: StartSandbox) -> None:
    """While all that may read do, others are told when to come back, and whether it lives is answered all the same."""
    alm = start_sandbox("*:stall-headersx*")
    door = serve("--threads", "8", alm=alm, ALM_SERVE_DEADLINE="3")
    readers = [threading.Thread(target=door.get, kwargs={"user_id": "31"}) for _ in range(4)]
    for reader in readers:
        reader.start()
    while len(alm.requests) < 4:
        time.sleep(0.02)

    began = time.monotonic()
    others = [door.get(user_id="32") for _ in range(12)]
    healthy = door.session.get(f"{door.url}/healthz", timeout=5)

    assert time.monotonic() - began < 1
    assert [
        (answered.status, answered.error["code"], answered.headers["retry-after"])
        for answered in others
    ] == [(429, 75, "2")] * 12
    assert healthy.status_code == 200
    for reader in readers:
        reader.join()


def test_start__is_refused_under_gunicorn(environ: dict[str, str]) -> None:
    """Another server is not started without a key either."""
    finished = subprocess.run(
        [sys.executable, *SERVERS["gunicorn"]],
        env={**environ, "ALM_BASE_URL": "sandbox"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert finished.returncode != 0
    assert "ALM_SERVE_KEY is missing" in finished.stderr
