"""Proxies, certificate authorities, TLS, and responses that few servers send."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import certifi
import pytest

from connector.errors import UnreachableError
from tests.support.clock import VirtualClock
from tests.support.pages import IDS, answer, head, respond
from tests.support.runner import run_inputs
from tests.support.secrets import traceback_of
from tests.support.server import Hang, OnConnect, Pause

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from tests.support.process import Command, Finished
    from tests.support.server import FaultServer, Request

    Play = Callable[..., FaultServer]

TOKEN = "tok-live-abcdef"
ASKED = {"ALM_USER_ID": "31", "ALM_ACCESS_TOKEN": TOKEN}
NOT_AN_ADDRESS = (
    "{} is not the address of a proxy while reading user 31.",
    "Write it as http://HOST:PORT or http://USER:PASSWORD@HOST:PORT; socks5h:// for SOCKS.",
)
SOCKS = (
    "{} names a SOCKS proxy, which needs the package PySocks while reading user 31.",
    "Run pip install PySocks, or set a proxy that begins with http://.",
)
ENDS_THE_HOST = (
    (
        "{} has a character in its user name or password that must be percent-encoded"
        " while reading user 31."
    ),
    "Percent-encode it: %2F for /, %3F for ?, %23 for #, %5C for \\.",
)
NOT_LATIN_1 = (
    "{} has a character in its user name or password that HTTP cannot send while reading user 31.",
    "Use only characters of Latin-1 in the proxy's user name and password.",
)


def error_of(finished: Finished) -> tuple[int, str, str, int]:
    """Return exit code, message, hint, and how many requests were counted."""
    requests = finished.document["completeness"]["requests"]
    return finished.exit_code, finished.error["message"], finished.error["hint"], requests


@pytest.mark.parametrize(
    ("variable", "address", "texts"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1080", SOCKS),
        ("all_proxy", "socks5h://127.0.0.1:1080", SOCKS),
        ("HTTPS_PROXY", "socks4://user:hunter22@127.0.0.1:1080", SOCKS),
        ("https_proxy", "SOCKS4A://127.0.0.1", SOCKS),
        # What desktops write.
        ("ALL_PROXY", "socks://127.0.0.1:1080/", NOT_AN_ADDRESS),
        ("HTTPS_PROXY", "http://user:hun/ter22@proxy:3128", ENDS_THE_HOST),
        ("HTTPS_PROXY", "http://user:hun#ter22@proxy:3128", ENDS_THE_HOST),
        ("HTTPS_PROXY", "http://user:hun?ter22@proxy:3128", ENDS_THE_HOST),
        ("HTTPS_PROXY", "http://user:hun\\ter22@proxy:3128", ENDS_THE_HOST),
        # To a parser, the host is "user" and the port 22.
        ("https_proxy", "http://user:22/hunter22@proxy:3128", ENDS_THE_HOST),
        ("HTTPS_PROXY", "user:hunter22@proxy:3128", NOT_AN_ADDRESS),
        ("HTTPS_PROXY", "proxy:3128", NOT_AN_ADDRESS),
        ("HTTPS_PROXY", "http://user:hunter22@:3128", NOT_AN_ADDRESS),
        ("HTTPS_PROXY", "http://user:hunter22@proxy:port", NOT_AN_ADDRESS),
        ("HTTPS_PROXY", "http://user:hunter22@proxy:99999", NOT_AN_ADDRESS),
        ("HTTPS_PROXY", "http://user:hunter22@[::1", NOT_AN_ADDRESS),
        ("HTTPS_PROXY", " http://user:hunter22@proxy:3128", NOT_AN_ADDRESS),
        ("HTTPS_PROXY", "http:/proxy:3128", NOT_AN_ADDRESS),
        ("HTTPS_PROXY", "ftp://proxy:3128", NOT_AN_ADDRESS),
        ("HTTPS_PROXY", "http://user:hunter22€@proxy:3128", NOT_LATIN_1),
        ("HTTPS_PROXY", "http://user:hunter22%E2%82%AC@proxy:3128", NOT_LATIN_1),
    ],
)
def test_proxy__unusable(
    variable: str, address: str, texts: tuple[str, str], command: Command
) -> None:
    """A proxy that cannot be used ends the run at once, by its variable, without its password."""
    finished = command("--deadline 30", **ASKED, **{variable: address})

    message, hint = texts
    assert error_of(finished) == (69, message.format(variable), hint, 1)
    assert "attempt" not in finished.stderr
    assert "hunter22" not in finished.stdout + finished.stderr


@pytest.mark.parametrize(
    "address", ["http://user:hun/ter22@proxy:3128", "http://user:hunter22@127.0.0.1:1"]
)
def test_proxy__password_in_a_traceback(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A traceback with the locals of every frame, and the log, lack the password of a proxy."""
    monkeypatch.setenv("HTTPS_PROXY", address)
    caplog.set_level("DEBUG")

    error = run_inputs({"user_id": "31", "access_token": TOKEN}).outcome.error

    assert isinstance(error, UnreachableError)
    assert "ter22" not in traceback_of(error) + caplog.text + str(error.document)


def test_base_url__password(command: Command) -> None:
    """A password in base_url is refused, and not shown, whatever characters it has."""
    finished = command(**ASKED, ALM_BASE_URL="https://user:hun/ter22@alm.example")

    assert (finished.exit_code, "ter22" in finished.stdout + finished.stderr) == (64, False)
    assert 'ALM_BASE_URL is "https://***@alm.example"' in finished.error["message"]


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("der", "it has no certificate authorities in PEM"),
        ("cut", "it has no certificate authorities in PEM"),
        ("empty", "it has no certificate authorities in PEM"),
        ("missing", "No such file or directory"),
        ("/dev/null", "it has no certificate authorities in PEM"),
    ],
)
def test_authorities__unreadable(
    variable: str, content: str, reason: str, command: Command
) -> None:
    """Certificate authorities that cannot be read end the run at once, by their variable."""
    text = Path(certifi.where()).read_text(encoding="utf-8")
    pem = text[text.index("-----BEGIN") : text.index("-----END")] + "-----END CERTIFICATE-----\n"
    contents = {"der": ssl.PEM_cert_to_DER_cert(pem), "cut": pem[:600].encode(), "empty": b""}
    path = Path(content) if "/" in content else command.folder / "authorities"
    if content in contents:
        path.write_bytes(contents[content])

    finished = command("--deadline 30", **ASKED, **{variable: str(path)})

    message = f'The file "{path}" of {variable} cannot be read: {reason} while reading user 31.'
    hint = f"Set {variable} to a file of certificate authorities in PEM, or to a folder of them."
    assert error_of(finished) == (69, message, hint, 1)


# Sent before a request is read: to the server, a TLS handshake is none.
PLAIN_HTTP = OnConnect((answer(400), Pause(0.2), Hang.FIN))


def test_tls__port_without_it(command: Command, play: Play) -> None:
    """A port that answers https with http is named, and not tried again."""
    address = play(PLAIN_HTTP).url.removeprefix("http://")

    finished = command("--deadline 30", **ASKED, ALM_BASE_URL=f"https://{address}")

    assert error_of(finished) == (
        69,
        f"The port of {address} does not speak TLS while reading user 31.",
        "Check the port in --base-url. It may be a port of plain HTTP.",
        1,
    )


def test_tls__proxy_without_it(command: Command, play: Play) -> None:
    """A proxy whose address wrongly begins with https is named by its variable."""
    address = play(PLAIN_HTTP).url.replace("http://", "https://user:hunter22@")

    finished = command("--deadline 30", **ASKED, https_proxy=address)

    assert error_of(finished) == (
        69,
        "The proxy for learningmanager.adobe.com does not speak TLS while reading user 31.",
        "Write http:// in https_proxy. Only a proxy that speaks TLS has an address with https://.",
        1,
    )
    assert "hunter22" not in finished.stdout + finished.stderr


def healthy_page(request: Request) -> bytes:
    """Return the response of an ALM without faults."""
    return respond(request.method, request.user_id, request.cursor)


HINTS = head("Link: </style.css>; rel=preload", status=103)


@pytest.mark.parametrize(
    "interim",
    [
        HINTS,
        HINTS * 30,
        head(status=100) + HINTS + head(status=100),
        head("Some: header", status=102),
        head(status=199),
    ],
    ids=["103", "many", "mixed", "102", "unknown"],
)
def test_interim_responses__are_skipped(interim: bytes, command: Command, play: Play) -> None:
    """Interim responses of any kind and number precede the one that counts."""
    server = play(*[lambda request: (interim, healthy_page(request))] * 2)

    finished = command(**ASKED, ALM_BASE_URL=server.url)

    assert (finished.exit_code, finished.document["enrollment_ids"]) == (0, list(IDS))
    assert server.order == "AB"


def test_interim_responses__switched_protocol(command: Command, play: Play) -> None:
    """A switch to a protocol that nobody asked for is final, and breaks the API's contract."""
    finished = command(**ASKED, ALM_BASE_URL=play((head("Upgrade: h2c", status=101),)).url)

    assert (finished.exit_code, finished.document["completeness"]["requests"]) == (76, 1)


@pytest.mark.parametrize("status", [200, 103])
def test_headers__too_many(status: int, command: Command, play: Play) -> None:
    """More than 100 headers are no temporary failure, as one overlong header is none."""
    many = head(*[f"X-{number}: 1" for number in range(101)], status=status)
    server = play((many + answer(200, b"{}"),))

    finished = command(**ASKED, ALM_BASE_URL=server.url)

    host = server.url.removeprefix("http://")
    message = f"{host} sent too many headers while reading user 31."
    assert error_of(finished) == (76, message, "Look for a proxy between this machine and ALM.", 1)


def http_date(moment: datetime) -> str:
    """Return *moment* as HTTP writes it."""
    return f"{moment:%a, %d %b %Y %H:%M:%S} GMT"


@pytest.mark.parametrize("hours", [-1, 0, 1])
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after__by_the_servers_clock(status: int, hours: int, play: Play) -> None:
    """A date in Retry-After counts from the answer's Date: this machine's clock may be wrong."""
    now = VirtualClock().now() + timedelta(hours=hours)
    headers = (f"Date: {http_date(now)}", f"Retry-After: {http_date(now + timedelta(seconds=7))}")
    server = play((answer(status, b"", *headers),))

    ran = run_inputs({"user_id": "31", "base_url": server.url, "access_token": TOKEN})

    assert (ran.code, server.order) == (0, "AAB")
    assert 7 <= sum(ran.slept) < 8.5
