"""A hostile server: nothing that it sends is obeyed, believed or kept beyond a bound."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import signal
import time
from itertools import product
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from connector.alm.protocol import MAX_RECORDS, Query, Response, first_request, read_page
from connector.alm.rate_limit import RateLimiter
from connector.alm.records import MAX_INCLUDED_BYTES, MAX_LINKS, read_enrollments
from connector.clock import SystemClock
from connector.errors import DeadlineError, ProtocolError
from connector.formats import FORMATS
from connector.formats.csv import Csv
from connector.text import unescape_cell
from tests.action.runner import read_azure, read_github
from tests.faults.conftest import BOTH, run
from tests.security.conftest import MEGABYTE, bounded
from tests.support.pages import FRESH_TOKEN, USER, answer, body_of, next_link, page, record
from tests.support.secrets import TOKEN, leaks

if TYPE_CHECKING:
    from connector.alm.protocol import Page
    from tests.faults.conftest import Play
    from tests.support.process import Command, Finished
    from tests.support.server import Actions, FaultServer, Request

PROTOCOL = 76
OPAQUE = "an-opaque-id"
REQUEST = first_request(
    "https://alm.example", USER, Query(("course",), "dateEnrolled", None, (), 10)
)
NOW = SystemClock().now()


def served(*resources: Any, included: Any = (), headers: tuple[str, ...] = ()) -> Actions:
    """Return the response with a page of *resources*."""
    return (answer(200, body_of({"data": list(resources), "included": list(included)}), *headers),)


def read_from(server: FaultServer, command: Command, line: str, **variables: str) -> Finished:
    """Run the command for user 31 against *server*."""
    environ = {"ALM_BASE_URL": server.url, "ALM_ACCESS_TOKEN": TOKEN, **variables}
    return command(f"--user-id {USER} {line}", **environ)


COMMANDS = (
    "##vso[task.setvariable variable=a]b",
    "##[error]b",
    "::set-output name=a::b",
    " \t::stop-commands::b",
    "x\n::set-output name=a::b",
    "x\r::add-mask::b",
    "x\u2028::error::b",
    "\u3000::error::b",
    "\x1b]0;title\x07\x1b[2J\x9b2J\x7f",
    "\u202ereversed",
    "=::error::b",
)
TEXT_FIELDS = ("state", "url", "enrollmentSource", "dateEnrolled", "dateStarted", "dateCompleted")
TEXT_FORMATS = sorted({*FORMATS} - {"parquet", "xlsx"})


def hostile_record(text: str) -> dict[str, Any]:
    """Return an enrollment with *text* in every field that takes text."""
    grades = {"data": [{"id": text, "type": "learningObjectResourceGrade"}]}
    related = {"learningObject": {"data": {"id": text, "type": "learningObject"}}}
    return {
        "id": text,
        "type": "learningObjectInstanceEnrollment",
        "attributes": dict.fromkeys(TEXT_FIELDS, text),
        "relationships": {**related, "loResourceGrades": grades},
    }


@pytest.mark.parametrize("name", TEXT_FORMATS)
@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_formats__hold_no_command(name: str, number: int, command: Command, play: Play) -> None:
    """No runner, agent or terminal obeys a record's text, in whichever format and field."""
    text = COMMANDS[number]
    included = {"id": text, "type": "learningObject", "attributes": {text: text}}
    server = play(otherwise=served(hostile_record(text), included=[included]))

    finished = read_from(server, command, f"--format {name} --include learningObject")

    assert finished.exit_code == 0
    for stream in (finished.stdout, finished.stderr):
        assert (read_github(stream).commands, read_azure(stream).commands) == ([], [])
        assert not re.search("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u202e]", stream)
    lines = {"csv": 2, "table": 3, "ndjson": 1, "json": 1}
    assert name == "html" or len(finished.stdout.splitlines()) == lines[name]


FORMULAS = tuple(
    f"{before}{sign}{after}"
    for before, sign, after in product(
        ("", " ", "\t", "\r\n", "\u3000", "'"), "=+-@\uff1d\uff0b\uff0d\uff20", ("1+1", "")
    )
)


@pytest.mark.parametrize("separator", [",", ";"])
def test_csv__holds_no_formula(separator: str, command: Command, play: Play) -> None:
    """No cell is computed, whichever separator the reader expects; all text reads back."""
    texts = [*FORMULAS, *(f"x{separator}{formula}" for formula in FORMULAS)]
    records = [record(f"course:{n}_1_{USER}", url=text) for n, text in enumerate(texts)]
    server = play(otherwise=served(*records))

    finished = read_from(server, command, "--format csv")

    cells = [
        cell
        for row in csv.reader(io.StringIO(finished.stdout), delimiter=separator)
        for cell in row
    ]
    assert [
        cell for cell in cells if cell.lstrip().startswith(tuple("=+-@\uff1d\uff0b\uff0d\uff20"))
    ] == []
    rows = csv.DictReader(io.StringIO(finished.stdout))
    assert [unescape_cell(row["url"]) for row in rows] == texts
    assert Csv.begin in finished.stdout


def _numbers(count: int) -> bytes:
    return b'{"data":[' + b",".join([b"1"] * count) + b"]}"


def _objects(size: int) -> bytes:
    resource = body_of(record(f"course:1_1_{USER}")) + b","
    return b'{"data":[' + resource * (size // len(resource)) + resource[:-1] + b"]}"


LARGE: dict[str, tuple[bytes, dict[str, Any]]] = {
    "numbers in gzip": (_numbers(200_000), {}),
    "more numbers in gzip": (_numbers(4_000_000), {}),
    "empty lists": (b'{"data":[' + b",".join([b"[]"] * 1_000_000) + b"]}", {}),
    "empty objects": (b'{"data":[],"included":[' + b",".join([b"{}"] * 1_000_000) + b"]}", {}),
    "objects of 31 MB": (_objects(31 * MEGABYTE), {}),
    "objects of 7 MB": (_objects(7 * MEGABYTE), {}),
    "names": (
        b'{"data":[],"x":{' + b",".join(b'"%d":1' % number for number in range(600_000)) + b"}}",
        {},
    ),
    "a text of 7 MB": (body_of(page([f"course:1_{'1' * 7 * MEGABYTE}_{USER}"])), {}),
    "an attribute of 7 MB": (body_of({"data": [record("course:1_1_31", url="a" * 7_000_000)]}), {}),
    "a name of 7 MB": (b'{"data":[{"%s":1}]}' % (b"a" * 7_000_000), {}),
    "1,001 records": (
        body_of(page([f"course:{number}_1_{USER}" for number in range(MAX_RECORDS + 1)])),
        {},
    ),
    "10,001 resources": (
        body_of({"data": [], "included": [{"id": str(n), "type": "x"} for n in range(10_001)]}),
        {"include": "learner"},
    ),
    "33 levels": (
        b'{"data":[],"included":[{"id":"1","type":"x","attributes":%s}]}'
        % (b'{"a":' * 33 + b"1" + b"}" * 33),
        {"include": "learner"},
    ),
    "an included text of 2 MB": (
        body_of({"data": [], "included": [{"id": "1", "type": "x", "a": "a" * 2 * MEGABYTE}]}),
        {"include": "learner"},
    ),
}


@pytest.mark.parametrize(("body", "inputs"), LARGE.values(), ids=LARGE)
def test_page__is_bounded(body: bytes, inputs: dict[str, Any], play: Play) -> None:
    """A page of more than it may have is refused (76) in little memory and time."""
    server = play(otherwise=(answer(200, gzip.compress(body, 1), "Content-Encoding: gzip"),))

    with bounded(megabytes=64, seconds=3):
        ran = run(server, **inputs)

    assert (ran.code, ran.document["enrollment_count"]) == (PROTOCOL, 0)
    assert len(ran.document["error"]["message"]) < 500


def test_page__of_the_most_records(play: Play) -> None:
    """A page of 1,000 records is read: the bounds are far above anything real."""
    ids = [f"course:{number}_1_{USER}" for number in range(MAX_RECORDS)]
    server = play(otherwise=(answer(200, body_of(page(ids))),))

    assert run(server).document["enrollment_ids"] == ids


TOKENS = {
    "2 MB": "a" * 2 * MEGABYTE,
    "16,385 characters": "a" * 16_385,
    "7 characters": "a" * 7,
    "syntax of a record": '"lo_type":',
    "a line break": "abcdefgh\r\nX: y",
    "a quotation mark": 'abcdefgh"',
}


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
def test_refreshed_token__is_bounded(token: str, play: Play) -> None:
    """A refreshed token has 8 to 16,384 of the characters of tokens, or is not used at all."""

    def respond(request: Request) -> Actions:
        if request.method == "POST":
            return (answer(200, body_of({"access_token": token})),)
        return (answer(401),)

    server = play(otherwise=respond)

    with bounded(megabytes=64, seconds=3):
        ran = run(server, BOTH)

    assert (ran.code, ran.document["complete"]) == (75, False)
    assert {request.headers.get("authorization") for request in server.requests} == {
        f"oauth {TOKEN}",
        None,
    }


def test_refreshed_token__of_the_most_characters(play: Play) -> None:
    """A token of 16,384 characters is used, and removed from what the server repeats of it."""
    token = "aB3-" * 4_096

    def respond(request: Request) -> Actions:
        if request.method == "POST":
            return (answer(200, body_of({"access_token": token})),)
        if request.headers["authorization"] != f"oauth {token}":
            return (answer(401),)
        return served(record("course:1_1_31", url=token[:10_000], state=f"x{token[:9_000]}"))

    with bounded(megabytes=64, seconds=3):
        ran = run(play(otherwise=respond), BOTH)

    assert ran.code == 0


HARD_TO_CLEAN = {
    "ellipses": "secret… " * 100_000,
    "backslashes": "\\" * 900_000,
    "quotes": '\\"' * 400_000,
    "beginnings": TOKEN[:-1] * 40_000,
    "number signs": "#" * 900_000,
    "token": TOKEN * 40_000,
}


@pytest.mark.parametrize("text", HARD_TO_CLEAN.values(), ids=HARD_TO_CLEAN)
def test_cleaning__is_bounded(text: str, play: Play) -> None:
    """Secrets are removed from any text in little memory and time."""
    included = [{"id": "course:1", "type": "learningObject", "attributes": {"a": text, "b": TOKEN}}]
    server = play(otherwise=served(record("course:1_1_31"), included=included))

    with bounded(megabytes=96, seconds=5):
        ran = run(server, include="learningObject")

    assert ran.code == 0
    assert leaks(json.dumps(ran.document)) == []


def test_deadline__is_checked_while_a_page_is_read() -> None:
    """The deadline is checked after a page is parsed, and again after it is validated."""
    response = Response(200, {}, body_of(page(["course:1_1_31"])))
    checks: list[int] = []

    def pass_at(number: int) -> Any:
        def check() -> None:
            checks.append(number)
            if len(checks) == number:
                raise DeadlineError("The deadline passed.", hint="Run again.")

        return check

    read_page(REQUEST, response, pass_at(3))
    assert len(checks) == 2
    for number in (1, 2):
        checks.clear()
        with pytest.raises(DeadlineError):
            read_page(REQUEST, response, pass_at(number))


def test_deadline__ends_the_reading_of_a_large_page(play: Play, command: Command) -> None:
    """A page that takes longer to read than the deadline allows ends in 75, in time."""
    body = _objects(7 * MEGABYTE)[: 7 * MEGABYTE]
    server = play(otherwise=(answer(200, body),))

    began = time.monotonic()
    finished = command.as_process(
        f"--user-id {USER} --deadline 0.05", ALM_BASE_URL=server.url, ALM_ACCESS_TOKEN=TOKEN
    )

    assert finished.error["code"] in (75, PROTOCOL)
    assert time.monotonic() - began < 30


PATH = "learner" + ".x" * 4


def page_of(enrollments: int, resources: list[dict[str, Any]], linked: list[str]) -> Page:
    """Return a page whose enrollments all link to those of *resources* whose ids are *linked*."""
    data = [record(f"course:{number}_1_{USER}") for number in range(enrollments)]
    for resource in data:
        resource["relationships"]["learner"] = {"data": {"id": USER, "type": "user"}}
    learner = {"id": USER, "type": "user", "relationships": links(linked)}
    document = {"data": data, "included": [learner, *resources]}
    return read_page(REQUEST, Response(200, {}, body_of(document)))


def links(ids: list[str]) -> dict[str, Any]:
    """Return the relationship ``x`` to resources with *ids*."""
    return {"x": {"data": [{"id": resource_id, "type": "thing"} for resource_id in ids]}}


def test_include__of_a_cycle_does_not_multiply() -> None:
    """Resources that all link to one another are included once per path."""
    ids = [str(number) for number in range(10)]
    things = [{"id": thing, "type": "thing", "relationships": links(ids)} for thing in ids]

    (enrollment,) = read_enrollments(page_of(1, things, ids * 10), [PATH])

    assert enrollment.included is not None
    assert [resource["id"] for resource in enrollment.included[PATH]] == ids


@pytest.mark.parametrize(
    ("enrollments", "size", "count", "links_per_thing", "limit"),
    [
        (1, 100, 200, 200, f"includes more than {MAX_LINKS:,} resources"),
        (1, 50_000, 100, 1, f"includes more than {MAX_INCLUDED_BYTES // MEGABYTE} MB"),
        (1_000, 100_000, 1, 1, "includes more than 32 MB, with those before it on the page"),
    ],
    ids=["links", "size", "shared"],
)
def test_include__is_bounded(
    enrollments: int, size: int, count: int, links_per_thing: int, limit: str
) -> None:
    """What one enrollment, and what a page may include is bounded: 76 beyond it."""
    ids = [str(number) for number in range(count)]
    things = [
        {
            "id": thing,
            "type": "thing",
            "a": "a" * size,
            "relationships": links(ids[:links_per_thing]),
        }
        for thing in ids
    ]

    with bounded(megabytes=64, seconds=5), pytest.raises(ProtocolError, match=limit):
        read_enrollments(page_of(enrollments, things, ids), ["learner.x", PATH])


def test_include__of_too_many_grades() -> None:
    """The grades of one enrollment are bounded as what it includes is."""
    grades = [
        {"id": f"g{number}", "type": "learningObjectResourceGrade"} for number in range(5_001)
    ]
    resource = record("course:1_1_31")
    resource["relationships"]["loResourceGrades"] = {"data": grades}
    response = Response(200, {}, body_of({"data": [resource]}))

    with pytest.raises(ProtocolError, match="includes more than 5,000 grades"):
        read_enrollments(read_page(REQUEST, response))


@pytest.mark.parametrize(
    "include", ["learner.a.b.c.d.e", *[",".join(f"learner.a{n}" for n in range(21))]]
)
def test_include__takes_few_paths_and_steps(include: str, command: Command, play: Play) -> None:
    """More than 20 paths, or 5 steps, are refused (64) before anything is sent."""
    server = play()

    finished = read_from(server, command, f"--include {include}")

    assert (finished.exit_code, server.requests) == (64, [])


ABSURD_LIMITS = (
    {"x-excess-requests-per-second": "999999999"},
    {"x-rate-limit": "0.000000001r/m", "x-burst": "0"},
    {"x-rate-limit": "0.000000001r/m", "x-burst": "0", "x-excess-requests-per-second": "999999999"},
    {
        "x-rate-limit": "999999999r/s",
        "x-burst": "999999999",
        "x-excess-requests-per-second": "999999999",
    },
)


@pytest.mark.parametrize("headers", ABSURD_LIMITS)
def test_limits__are_believed_within_bounds(headers: dict[str, str]) -> None:
    """Whatever the headers say, and however often, a request may be tried after a minute."""
    limiter, now = RateLimiter(), 1_000.0
    for _ in range(100):
        limiter.update(headers, now)
        wait = limiter.acquire(now) or 0.0
        assert wait <= 60 + 1e-6
        now += wait


def test_limits__close_no_api_for_good(start_server: Any, play: Play) -> None:
    """The HTTP API goes on answering: a busy one says when to come back, and never 500."""
    absurd = {name: value for headers in ABSURD_LIMITS for name, value in headers.items()}
    lines = [
        f"{name}: {value}" for name, value in {**absurd, "x-rate-limit": "0.000000001r/m"}.items()
    ]
    alm = play(otherwise=served(headers=tuple(lines)))
    api = start_server(ALM_BASE_URL=alm.url, ALM_ACCESS_TOKEN=TOKEN, ALM_SERVE_DEADLINE="1")

    responses = [api.get(user_id=USER) for _ in range(3)]

    assert [response.status for response in responses] == [200, 504, 504]
    assert all(int(response.headers["Retry-After"]) <= 122 for response in responses[1:])


SECRET_PLACES = {
    "value": "a={secret}",
    "name": "{secret}=a",
    "name without a value": "{secret}",
    "second of two": "a=1&a={secret}",
    "first of two cursors": "page[cursor]={secret}&page[cursor]=b",
    "a part of a value": "a=x{secret}y",
    "encoded twice": "a={twice}",
}


@pytest.mark.parametrize("place", SECRET_PLACES.values(), ids=SECRET_PLACES)
@pytest.mark.parametrize("secret", [FRESH_TOKEN, "31415926535"])
def test_next_link__holds_no_secret(place: str, secret: str, play: Play) -> None:
    """No part of a next link may hold a secret: it would be written to logs on the way."""
    once = quote(secret, safe="")
    query = place.format(secret=once, twice=quote(once, safe=""))
    link = next_link(USER, "abc").partition("?")[0] + f"?page[cursor]=abc&{query}"
    server = play(otherwise=(answer(200, body_of(page(["course:1_1_31"], link))),))

    ran = run(server, {"access_token": secret})

    assert (ran.code, len(server.requests)) == (PROTOCOL, 1)
    message = "ALM's link to the next page contains a secret of this run."
    assert ran.document["error"]["message"] == message


@pytest.mark.parametrize("name", ["json", "ndjson", "csv"])
def test_equal_ids__of_two_learners(name: str, command: Command, play: Play) -> None:
    """Two learners' records with the same id, and grades with the same id, are both there."""
    grades = {"data": [{"id": OPAQUE, "type": "learningObjectResourceGrade"}]}
    resource = {
        "id": OPAQUE,
        "type": "learningObjectInstanceEnrollment",
        "relationships": {"loResourceGrades": grades},
    }
    server = play(otherwise=served(resource))
    variables = {"ALM_BASE_URL": server.url, "ALM_ACCESS_TOKEN": TOKEN}

    document = command("--user-id 31,32", **variables).document
    finished = command(f"--user-id 31,32 --format {name} --output-file out", **variables)

    for told in (document, finished.document):
        assert (told["enrollment_ids"], told["resource_grade_ids"]) == ([OPAQUE] * 2, [OPAQUE] * 2)
        assert (told["enrollment_count"], told["complete"]) == (2, True)
    assert [record["user_id"] for record in document["enrollments"]] == ["31", "32"]
    lines = (command.folder / "out").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if OPAQUE in line]) == 2


@pytest.mark.parametrize(
    "cut", [f"{FRESH_TOKEN[:-4]}...", f"...{FRESH_TOKEN[4:]}", FRESH_TOKEN[4:14]]
)
def test_secret__that_the_server_cut(cut: str, command: Command, play: Play) -> None:
    """Of a token that the server cut, no part of 8 or more characters is shown."""
    server = play(otherwise=(answer(403, body_of({"message": f"no scope for {cut}"})),))
    line = f"--user-id {USER} --debug"

    finished = command(line, ALM_BASE_URL=server.url, ALM_ACCESS_TOKEN=FRESH_TOKEN)

    parts = {FRESH_TOKEN[start : start + 8] for start in range(len(FRESH_TOKEN) - 7)}
    written = finished.stdout + finished.stderr
    assert finished.exit_code == 77
    assert [part for part in parts if part in written] == []
    assert '"no scope for ***' in finished.stderr or '"no scope for ...***' in finished.stderr


def test_secret__that_resembles_our_words(command: Command, play: Play) -> None:
    """A client id such as ``enrollments-prod`` turns no word of the product's own into ``***``."""
    message = {"message": "enrollments-prod, enrollments-pro and enrollments"}
    server = play(otherwise=(answer(403, body_of(message)),))
    trio = {
        "ALM_CLIENT_ID": "enrollments-prod",
        "ALM_CLIENT_SECRET": "the-user-of-the-token",
        "ALM_REFRESH_TOKEN": "learner:read-scope",
    }

    finished = read_from(server, command, "", **trio)

    assert finished.error["message"] == (
        'ALM does not let this token read user 31 (403: "***, *** and ***").'
    )
    assert finished.error["hint"] == "Use a token with the scope admin:read."


@pytest.mark.parametrize("name", ["access_token", "client_id", "client_secret", "refresh_token"])
def test_secret__too_short(name: str, command: Command, play: Play) -> None:
    """A credential of fewer than 8 characters is refused (64), and garbles no message."""
    server = play()
    credentials = {**BOTH, name: "a"}
    variables = {f"ALM_{key.upper()}": value for key, value in credentials.items()}

    finished = command(f"--user-id {USER}", **{"ALM_BASE_URL": server.url, **variables})

    assert (finished.exit_code, server.requests) == (64, [])
    assert finished.error["message"] == (
        f"1 input is not valid: ALM_{name.upper()} is 1 character long"
        " (allowed: 8 to 16,384 characters)."
    )


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1])
def test_signal__while_pages_are_validated(delay: float, command: Command, play: Play) -> None:
    """A signal while threads validate pages ends the process with a document, not an abort."""
    body = body_of(page([f"course:{number}_1_USER" for number in range(MAX_RECORDS)]))

    def respond(request: Request) -> Actions:
        return (answer(200, body.replace(b"USER", request.user_id.encode())),)

    server = play(otherwise=respond)
    users = ",".join(str(number) for number in range(1, 2_000))
    process = command.start(
        f"--user-id {users} --concurrency 32 --format ndjson --output-file out",
        ALM_BASE_URL=server.url,
        ALM_ACCESS_TOKEN=TOKEN,
    )
    ends_at = time.monotonic() + 60
    while len(server.requests) < 40 and time.monotonic() < ends_at:
        time.sleep(0.01)
    time.sleep(delay)

    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)

    assert (process.returncode, "FATAL" in stderr) == (143, False)
    assert json.loads(stdout)["error"]["code"] == 143


def test_core_dumps__are_refused(command: Command) -> None:
    """The process leaves no core dump, in which the token would be."""
    script = (
        "import os, resource, connector.cli.commands as commands;"
        "commands.main = lambda *_, **__: print(resource.getrlimit(resource.RLIMIT_CORE)[0]) or 0;"
        "from connector.__main__ import run_command; run_command()"
    )

    process = command.start_python(
        ["-c", f"import resource; resource.setrlimit(resource.RLIMIT_CORE, (-1, -1));{script}"]
    )
    stdout, _ = process.communicate(timeout=60)

    assert int(stdout) in (0, 1)
