"""``alm-enrollments sandbox``: its help, its refusals, and serving until a signal ends it."""

from __future__ import annotations

import io
import json
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from connector.errors import OutputError, Problem, UsageError
from connector.sandbox import ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN
from connector.sandbox.command import main
from connector.sandbox.faults import IN_THE_ANSWER, ON_THE_WAY
from connector.sandbox.learners import enrollments_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[3]
EVERY_FLAG = "alm-enrollments sandbox --help tells every flag."
USER_7 = "/primeapi/v2/users/7/enrollments?page[limit]=10&filter.loTypes=course,jobAid"
DOCUMENTED_IDS = [
    "course:6511020_7037048_20941371",
    "course:7236650_7877507_20941371",
    "course:7236827_7877699_20941371",
]
CANARY = "canary-c4n4ry"
HELP = """\
usage: alm-enrollments sandbox [--port N] [flags]

Serves a stand-in for ALM on this machine: try the connector, your pipeline, and what it does when things go wrong.

options:
  -h, --help          this text
  --port N            on 127.0.0.1; 0 is any free one (default 8484)
  --rate-limit N      requests a minute; 0 is no limiter (default 100)
  --burst N           requests at once beyond the rate (default 100)
  --excess-header     tell the bucket's fill in x-excess-requests-per-second
  --latency-ms N      how late each answer comes (default 0)
  --enrollments N     so many for every user but the documented one
  --only-type TYPE    all of this type
  --token-lifetime N  requests after which the access token expires (default: never)
  --fault SCRIPT      what is to go wrong, see below; may be repeated
  --request-log FILE  a line of JSON for each request, without secrets

users:
  20941371       the documented example; 404… is nobody, 403… is out of the token's scope
  any other id   8 to 60 enrollments over all four types, always the same for the same id

faults, as WHERE:WHAT, several separated by commas:
  WHERE   page=N  request=N  user=ID, joined by + ; or * for everywhere
  WHAT    a status (400, 401, 403, 404, 406, 429, 5xx), 429/0.42 with that retry-after, or a name below
  xK      behind it: K times instead of once; x* always

  bad-gzip       the body is not the gzip that its header says
  big            a body of more than 32 MB
  bomb           40 KB of gzip that unpack to 40 MB
  close          the connection ends before an answer
  cut            the body ends in the middle
  cut-chunked    the chunked body ends in the middle
  dead-token     the access token dies: 401 until it is refreshed
  drip           a byte of the body every 50 ms
  duplicate      an enrollment of the page before comes again
  empty          200 with an empty body
  empty-page     a page without enrollments, its next link where it was
  foreign-next   the next link leads to another host
  foreign-user   the next link leads to another user
  gap            an enrollment is missing that the cursor counts
  garbage        200 with a body that is not JSON
  html           200 with an HTML page
  loop           the next link is this page's own
  opaque         the cursor does not tell its counts
  redirect       302 to another host
  reset          the connection is reset before an answer
  same-token     the access token is refused though it lives: refreshing gives it back
  schema         JSON of another shape than the API's
  slow           slow/SECONDS: the answer comes late
  stall          headers, then silence
  stall-headers  silence from the start

  alm-enrollments sandbox --fault page=2:503x3 --fault 'user=7:429/0.42'
"""


def told(url: str) -> str:
    """Return all that the command says when it serves *url*."""
    return f"""\
The sandbox serves {url}; end it with Ctrl-C. In another terminal:

  export ALM_BASE_URL={url} ALM_ACCESS_TOKEN={ACCESS_TOKEN}
  alm-enrollments --user-id 20941371

or, to have tokens refreshed: ALM_CLIENT_ID={CLIENT_ID} ALM_CLIENT_SECRET={CLIENT_SECRET} ALM_REFRESH_TOKEN={REFRESH_TOKEN}
"""


@contextmanager
def serving(*flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the command on a free port; give its process and its URL, and see that it has ended."""
    command = [sys.executable, "-m", "connector", "sandbox", "--port", "0", *flags]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            first = process.stdout.readline()
            yield process, first.split()[3].rstrip(";")
        finally:
            process.kill()


def end_of(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return exit code, standard output and standard error of *process*, which is about to end."""
    assert process.stdout
    assert process.stderr
    return process.wait(timeout=5), process.stdout.read(), process.stderr.read()


def ask(url: str, target: str = USER_7, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body that *url* answers."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.request(
        "GET",
        target,
        headers={
            "Accept": "application/vnd.api+json",
            "Authorization": f"oauth {ACCESS_TOKEN}",
            **headers,
        },
    )
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, dict(response.getheaders()), body


def ids_of(body: bytes) -> list[str]:
    """Return the ids of the enrollments in *body*."""
    return [one["id"] for one in json.loads(body)["data"]]


@pytest.mark.parametrize(
    "argv", [["--help"], ["-h"], ["--port", "8484", "--help"], ["--help", "--burts", "1"]]
)
def test_main__help(argv: Sequence[str]) -> None:
    """The whole help, whatever else is asked; nothing is served."""
    out = io.StringIO()

    code = main(argv, out=out)

    assert (code, out.getvalue()) == (0, HELP)


@pytest.mark.parametrize(("name", "text"), sorted({**IN_THE_ANSWER, **ON_THE_WAY}.items()))
def test_main__help_tells_every_fault(name: str, text: str) -> None:
    """Each fault has its line in the help."""
    out = io.StringIO()

    main(["--help"], out=out)

    assert f"  {name:14} {text}" in out.getvalue().splitlines()


@pytest.mark.parametrize(
    ("argv", "problems"),
    [
        (["--burts"], [Problem("--burts", "no flag", near="--burst")]),
        (["--fau=x"], [Problem("--fau=x", "no flag", near="--fault")]),
        (["extra"], [Problem("extra", "no flag")]),
        (["--port", "70000"], [Problem("--port", "70000", "a number from 0 to 65535")]),
        (["--port", "-1"], [Problem("--port", "-1", "a number from 0 to 65535")]),
        (["--rate-limit", "-1"], [Problem("--rate-limit", "-1", "a number from 0 to 1e+09")]),
        (["--rate-limit", "nan"], [Problem("--rate-limit", "nan", "a number from 0 to 1e+09")]),
        (["--burst", "inf"], [Problem("--burst", "inf", "a number from 0 to 1e+09")]),
        (["--latency-ms", "-0.5"], [Problem("--latency-ms", "-0.5", "a number from 0 to 3.6e+06")]),
        (
            ["--enrollments", "100000"],
            [Problem("--enrollments", "100000", "a number from 0 to 99999")],
        ),
        (["--token-lifetime", "0"], [Problem("--token-lifetime", "0", "a number from 1 to 1e+09")]),
        (["--fault", "*:slow"], [Problem("--fault", '"*:slow"', "slow/SECONDS")]),
        (
            [
                "--prot=1",
                "--burst",
                "-1",
                "--enrollments",
                "-1",
                "--fault",
                "*:slow",
                "--fault",
                "page=1:503,page=2:slow",
            ],
            [
                Problem("--prot=1", "no flag", near="--port"),
                Problem("--burst", "-1", "a number from 0 to 1e+09"),
                Problem("--enrollments", "-1", "a number from 0 to 99999"),
                Problem("--fault", '"*:slow"', "slow/SECONDS"),
                Problem("--fault", '"page=2:slow"', "slow/SECONDS"),
            ],
        ),
    ],
)
def test_main__bad_flags_all_at_once(argv: Sequence[str], problems: list[Problem]) -> None:
    """Every flag that is none, out of range or no fault script is told in one error; nothing is served."""
    out = io.StringIO()

    with pytest.raises(UsageError) as raised:
        main(argv, out=out)

    assert (list(raised.value.problems), raised.value.hint, raised.value.code) == (
        problems,
        EVERY_FLAG,
        64,
    )
    assert out.getvalue() == ""


def test_main__one_line_for_the_user() -> None:
    """The error's line tells all problems, what is allowed and what was perhaps meant."""
    with pytest.raises(UsageError) as raised:
        main(["--burts", "--port", "70000"], out=io.StringIO())

    told_first = "2 inputs are not valid: --burts is no flag (did you mean --burst?); --port is 70000 (allowed: a number from 0 to 65535)."
    assert str(raised.value) == f"{told_first} {EVERY_FLAG}"


@pytest.mark.parametrize(
    ("argv", "beginning"),
    [
        (["--port"], "argument --port: expected one argument"),
        (["--port", "x"], "argument --port: invalid int value: 'x'"),
        (["--port", "1.5"], "argument --port: invalid int value: '1.5'"),
        (["--burst", "many"], "argument --burst: invalid float value: 'many'"),
        (["--only-type", "cource"], "argument --only-type: invalid choice: 'cource'"),
        (["--excess-header=1"], "argument --excess-header: ignored explicit argument '1'"),
    ],
)
def test_main__flags_that_cannot_be_read(argv: Sequence[str], beginning: str) -> None:
    """What argparse does not understand is a usage error of ours: no exit, nothing on standard error."""
    with pytest.raises(UsageError) as raised:
        main(argv, out=io.StringIO())

    problem = raised.value.problems[0]
    assert (len(raised.value.problems), problem.name, raised.value.hint) == (
        1,
        "the command line",
        EVERY_FLAG,
    )
    assert problem.given.startswith(f"not understood: {beginning}")


def test_main__port_in_use() -> None:
    """A port that is taken is told as a problem of ``--port``; nothing was started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(UsageError) as raised:
            main(["--port", str(port)], out=io.StringIO())

    given = f"{port}, which cannot be served: Address already in use"
    assert raised.value.problems == (Problem("--port", given, "a free port, or 0 for any"),)
    assert (raised.value.hint, raised.value.code) == ("Nothing was started.", 64)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("nowhere/requests.log", "No such file or directory"), (".", "Is a directory")],
)
def test_main__unwritable_log(name: str, reason: str, tmp_path: Path) -> None:
    """A log that cannot be written is an output error, before anything is served."""
    out = io.StringIO()

    with pytest.raises(OutputError) as raised:
        main(["--port", "0", "--request-log", str(tmp_path / name)], out=out)

    message = f"The request log {tmp_path / name} cannot be written: {reason}."
    assert (raised.value.message, raised.value.hint) == (
        message,
        "Name a file in a folder that is there.",
    )
    assert (raised.value.code, out.getvalue()) == (73, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command__serves_until_a_signal(number: signal.Signals) -> None:
    """The command tells how to reach it, serves, and being stopped is a good end: exit code 0, nothing on standard error."""
    with serving() as (process, url):
        status, _, body = ask(url, "/primeapi/v2/users/20941371/enrollments?page[limit]=3")
        process.send_signal(number)
        ended = end_of(process)

    assert (status, ids_of(body)) == (200, DOCUMENTED_IDS)
    assert ended == (0, told(url).partition("\n")[2], "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command__a_signal_in_a_rush(number: signal.Signals) -> None:
    """A signal that comes while connections are being taken in is not lost."""
    with serving() as (process, url), ExitStack() as stack:
        address = ("127.0.0.1", urlsplit(url).port)
        connections = [
            stack.enter_context(socket.create_connection(address, timeout=5)) for _ in range(100)
        ]
        process.send_signal(number)
        ended = end_of(process)

    assert len(connections) == 100
    assert ended == (0, told(url).partition("\n")[2], "")


def test_command__flags_reach_the_sandbox(tmp_path: Path) -> None:
    """Limits, data, token and faults are as the flags say."""
    log = tmp_path / "requests.log"
    limits = (
        "--rate-limit",
        "0.5",
        "--burst",
        "3",
        "--excess-header",
        "--latency-ms",
        "1",
        "--token-lifetime",
        "2",
    )
    data = (
        "--enrollments",
        "4",
        "--only-type",
        "jobAid",
        "--fault",
        "request=2:503x*",
        "--fault",
        "request=3:garbage",
    )

    with serving(*limits, *data, "--request-log", str(log)) as (_, url):
        status, headers, body = ask(url)
        statuses = [ask(url)[0] for _ in range(5)]

    quota = {"x-rate-limit": "0.5r/m", "x-burst": "3", "x-excess-requests-per-second": "0.000"}
    assert (status, ids_of(body)) == (200, [one["id"] for one in enrollments_of("7", 4, "jobAid")])
    assert {name: headers[name] for name in quota} == quota
    assert statuses == [503, 200, 401, 429, 429]
    assert [json.loads(line)["status"] for line in log.read_text().splitlines()] == [200, *statuses]


def test_command__log_has_no_secret(tmp_path: Path) -> None:
    """The log is appended to, line by line as the requests come, and has no token in it."""
    log = tmp_path / "requests.log"
    log.write_text("kept\n")

    with serving("--request-log", str(log)) as (_, url):
        ask(url, Authorization=f"oauth {CANARY}")
        ask(url)
        text = log.read_text()

    lines = text.splitlines()
    assert (lines[0], [json.loads(line)["status"] for line in lines[1:]]) == ("kept", [401, 200])
    assert (CANARY in text, ACCESS_TOKEN in text) == (False, False)


@pytest.mark.parametrize(
    ("argv", "code", "begins"),
    [(["--burts"], 64, "1 input is not valid"), (["--port", "x"], 64, "1 input is not valid")],
)
def test_command__refusals_end_the_process(argv: Sequence[str], code: int, begins: str) -> None:
    """As a process a refusal is one line on standard error and an exit code; standard output stays empty."""
    command = [sys.executable, "-m", "connector", "sandbox", *argv]

    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=20
    )

    assert (ended.returncode, ended.stdout) == (code, "")
    assert begins in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
