"""The commands that serve: their flags, what they print, and their end."""

from __future__ import annotations

import json
import signal
import socket
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from connector.sandbox import ACCESS_TOKEN
from connector.sandbox.days import enrollments_on
from connector.sandbox.faults import IN_THE_ANSWER, ON_THE_WAY
from connector.sandbox.learners import enrollments_of
from tests.support.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from .conftest import Command

CANARY = "canary-c4n4ry"
USER_7 = "/primeapi/v2/users/7/enrollments?page[limit]=10&filter.loTypes=course,jobAid"
SANDBOX_HINT = "alm-enrollments sandbox --help lists every option."
SERVE_HINT = "Nothing was started; alm-enrollments serve --help lists every option."


@contextmanager
def sandbox(command: Command, flags: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the command on a free port; yield its process and its URL, and end it."""
    process = command.start(f"sandbox --port 0 {flags}")
    with process:
        try:
            assert process.stdout
            yield process, process.stdout.readline().split()[3].rstrip(";")
        finally:
            process.kill()


def get(url: str, token: str = ACCESS_TOKEN) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of user 7's first page."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_SECONDS)
    headers = {"Accept": "application/vnd.api+json", "Authorization": f"oauth {token}"}
    connection.request("GET", USER_7, headers=headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, dict(response.getheaders()), body


@pytest.mark.parametrize(
    ("line", "problems", "hint"),
    [
        (
            "sandbox --fau=x --port 70000 --fault *:slow --fault page=1:503,page=2:slow",
            (
                "4 inputs are not valid: --fau is an unknown option (did you mean --fault?);"
                " --port is 70000 (allowed: a whole number from 0 to 65535);"
                ' --fault is "*:slow" (allowed: slow/SECONDS);'
                ' --fault is "page=2:slow" (allowed: slow/SECONDS)'
            ),
            SANDBOX_HINT,
        ),
        (
            "sandbox --only-type cource",
            (
                "1 input is not valid: Invalid value for"
                " '--only-type': 'cource' is not one of 'course', 'learningProgram', 'jobAid',"
                " 'certification'"
            ),
            SANDBOX_HINT,
        ),
        (
            f"serve --key={CANARY} --port x --threads 4",
            (
                "3 inputs are not valid: --key is an unknown option;"
                " --port is x (allowed: a whole number from 0 to 65535);"
                " --threads is 4 (allowed: a whole number from 8 to 512)"
            ),
            SERVE_HINT,
        ),
    ],
)
def test_serving__refuses_flags(line: str, problems: str, hint: str, command: Command) -> None:
    """All problems with the flags are one message; nothing is served, and nothing printed."""
    finished = command(line)

    assert (finished.exit_code, finished.stdout) == (64, "")
    assert finished.stderr == f"alm-enrollments: error: {problems}. {hint}\n"


def test_sandbox__port_in_use(command: Command) -> None:
    """A port that is in use is a problem, and nothing is started."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        finished = command(f"sandbox --port {port}")

    assert (finished.exit_code, finished.stdout) == (64, "")
    assert finished.stderr == (
        f"alm-enrollments: error: 1 input is not valid: --port is {port}, where the server cannot"
        " listen: Address already in use (allowed: a free port, or 0 for any). Nothing was"
        " started.\n"
    )


def test_serve__needs_its_settings(command: Command) -> None:
    """Without its key the server does not start."""
    finished = command("serve --port 0")

    assert (finished.exit_code, finished.stdout) == (64, "")
    assert "ALM_SERVE_KEY is missing" in finished.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve__prints_its_url_and_ends_with_a_signal(
    number: signal.Signals, command: Command
) -> None:
    """It prints its URL, answers there, and ends with 0 and no other line when a signal comes."""
    process = command.start("serve --port 0", ALM_SERVE_KEY="x" * 16, ALM_BASE_URL="sandbox")
    assert process.stdout
    line = process.stdout.readline()
    url = line.removeprefix("alm-enrollments serves ").partition(";")[0]
    connection = HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_SECONDS)
    connection.request("GET", "/healthz")
    status = connection.getresponse().status
    connection.close()

    process.send_signal(number)
    rest, _ = process.communicate(timeout=PATIENCE_SECONDS)

    assert line == f"alm-enrollments serves {url}; end it with Ctrl-C.\n"
    assert (status, rest, process.returncode) == (200, "", 0)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("nowhere/requests.log", "No such file or directory"), (".", "Is a directory")],
)
def test_sandbox__log_cannot_be_written(name: str, reason: str, command: Command) -> None:
    """A request log that cannot be written ends the command with 73 before it serves."""
    finished = command(f"sandbox --port 0 --request-log {name}")

    assert (finished.exit_code, finished.stdout) == (73, "")
    assert finished.stderr == (
        f"alm-enrollments: error: The request log {name} cannot be written: {reason}."
        " Name a file in a folder that exists.\n"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_sandbox__serves_until_a_signal(number: signal.Signals, command: Command) -> None:
    """It prints how to reach it and serves; a signal ends it with 0, even while clients connect."""
    with sandbox(command) as (process, url), ExitStack() as stack:
        status, _, _ = get(url)
        for _ in range(100):
            address = ("127.0.0.1", urlsplit(url).port)
            stack.enter_context(socket.create_connection(address, timeout=PATIENCE_SECONDS))
        process.send_signal(number)
        process.wait(timeout=PATIENCE_SECONDS)
        assert process.stdout
        assert process.stderr
        printed, errors = process.stdout.read(), process.stderr.read()

    trio = (
        "ALM_CLIENT_ID=sandbox-client-id ALM_CLIENT_SECRET=sandbox-client-secret"
        " ALM_REFRESH_TOKEN=sandbox-refresh-token"
    )
    instructions = f"""
  export ALM_BASE_URL={url} ALM_ACCESS_TOKEN=sandbox-access-token
  alm-enrollments --user-id 20941371

or, to have tokens refreshed: {trio}
"""
    assert (process.returncode, status, errors, printed) == (0, 200, "", instructions)


def test_sandbox__behaves_as_the_flags_say(command: Command) -> None:
    """Limits, data, token and faults are those of the flags."""
    flags = (
        "--rate-limit 0.5 --burst 3 --excess-header --latency-ms 1 --token-lifetime 2"
        " --enrollments 4 --only-type jobAid --fault request=2:503x* --fault request=3:garbage"
    )

    with sandbox(command, flags) as (_, url):
        status, headers, body = get(url)
        statuses = [get(url)[0] for _ in range(5)]

    quota = {"x-rate-limit": "0.5r/m", "x-burst": "3", "x-excess-requests-per-second": "0.000"}
    expected = [enrollment["id"] for enrollment in enrollments_of("7", 4, "jobAid")]
    assert (status, [record["id"] for record in json.loads(body)["data"]]) == (200, expected)
    assert {name: headers[name] for name in quota} == quota
    assert statuses == [503, 200, 401, 429, 429]


def test_sandbox__serves_the_learners_of_a_day(command: Command) -> None:
    """With a day, the learners' enrollments are those of that day."""
    with sandbox(command, "--day 9 --only-type jobAid --enrollments 3") as (_, url):
        _, _, body = get(url)

    assert json.loads(body)["data"] == list(enrollments_on(9, "7", 3, "jobAid"))


def test_sandbox__log_has_no_secret(command: Command) -> None:
    """Each request is appended to the log as it comes, without its token."""
    log = command.folder / "requests.log"
    log.write_text("kept\n", encoding="utf-8")

    with sandbox(command, "--request-log requests.log") as (_, url):
        get(url, CANARY)
        get(url)
        text = log.read_text(encoding="utf-8")

    first, *entries = text.splitlines()
    assert (first, [json.loads(entry)["status"] for entry in entries]) == ("kept", [401, 200])
    assert (CANARY in text, ACCESS_TOKEN in text) == (False, False)


def test_sandbox__help_has_every_fault(command: Command) -> None:
    """Help describes each fault."""
    text = " ".join(command("sandbox --help", COLUMNS="80").stdout.split())

    for name, description in {**IN_THE_ANSWER, **ON_THE_WAY}.items():
        assert f" {name} {description}" in text
