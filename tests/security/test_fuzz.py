"""Any JSON, any bytes, any headers of a server: a result or a named failure, within bounds."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from connector.schemas import is_valid
from tests.faults.conftest import BOTH, run
from tests.security.conftest import bounded
from tests.support.pages import USER, answer, body_of
from tests.support.server import FaultServer, Hang

if TYPE_CHECKING:
    from tests.support.server import Actions

pytestmark = pytest.mark.slow

# Every exit code of a failure that a server can cause; 70 is a fault of this program.
CODES = (0, 64, 67, 69, 75, 76, 77)
# Found out by the time of writing: it is processor time, which other processes do not use up.
SECONDS_PER_ANSWER = 5.0
FUZZED = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

TEXTS = st.one_of(
    st.text(max_size=20),
    st.text("\ud800\udfff\x00\x7f\u2028#:;=\\\"'\n\r\t \u0130\ufeff", max_size=12),
    st.sampled_from(
        [
            *("", "course:1_2_31", "course:1_2_32", "jobAid:1_-1_31", "31", "user", "a" * 2_000),
            *("2023-06-29T11:34:50.000Z", "0000-01-01", "9999-12-31T23:59:59-14:00", "2023-02-30"),
            *("/primeapi/v2/users/31/enrollments?page[cursor]=a", "//[", "?page[cursor]=a&a", "#"),
        ]
    ),
)
NUMBERS = st.one_of(
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([10**400, -(10**4_000), 1e308, 5e-324]),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
NAMES = st.one_of(
    st.text(max_size=5),
    st.sampled_from(
        ["data", "id", "type", "attributes", "relationships", "links", "next", "errors"]
    ),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
RELATIONSHIPS = ("learner", "learnerBadge", "learningObject", "loInstance", "loResourceGrades", "x")
ATTRIBUTES = (
    *("state", "score", "hasPassed", "progressPercent", "dateEnrolled", "dateCompleted", "rating"),
    *(
        "url",
        "dateStarted",
        "completionDeadline",
        "purchasedPrice",
        "localizedMetadata",
        "duration",
    ),
)
TYPES = st.sampled_from(
    [
        "learningObjectInstanceEnrollment",
        "learningObjectResourceGrade",
        "learningObject",
        "user",
        "x",
    ]
)


def sometimes(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return *usual* values, and now and then any JSON in their place."""
    return st.one_of(usual, usual, usual, usual, JSON)


IDENTIFIERS = st.fixed_dictionaries({"id": sometimes(TEXTS), "type": sometimes(TYPES)})
LINKED = st.fixed_dictionaries(
    {"data": sometimes(st.one_of(IDENTIFIERS, st.lists(IDENTIFIERS, max_size=4)))}
)
RESOURCES = st.fixed_dictionaries(
    {"id": sometimes(TEXTS), "type": sometimes(TYPES)},
    optional={
        "attributes": sometimes(st.dictionaries(st.sampled_from(ATTRIBUTES), sometimes(SCALARS))),
        "relationships": sometimes(
            st.dictionaries(st.sampled_from(RELATIONSHIPS), sometimes(LINKED))
        ),
        "links": JSON,
    },
)
ENROLLMENTS = st.fixed_dictionaries(
    {
        "id": st.integers(1, 9).map(lambda number: f"course:{number}_2_{USER}") | TEXTS,
        "type": st.just("learningObjectInstanceEnrollment"),
        "attributes": st.dictionaries(st.sampled_from(ATTRIBUTES), sometimes(SCALARS)),
        "relationships": st.dictionaries(
            st.sampled_from(RELATIONSHIPS[3:]), sometimes(LINKED), max_size=2
        ),
    }
)
PAGES = st.fixed_dictionaries(
    {"data": sometimes(st.lists(ENROLLMENTS | RESOURCES, max_size=4))},
    optional={
        "included": sometimes(st.lists(RESOURCES, max_size=5)),
        "links": sometimes(st.fixed_dictionaries({}, optional={"next": sometimes(TEXTS)})),
        "meta": JSON,
    },
)
ERRORS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("title", "message", "detail", "source", "errors", "access_token"), JSON
    ),
)
BODIES = st.one_of(
    PAGES.map(body_of),
    JSON.map(body_of),
    ERRORS.map(body_of),
    PAGES.map(lambda value: json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")),
    PAGES.map(lambda value: gzip.compress(body_of(value))),
    st.binary(max_size=50),
    st.tuples(PAGES.map(body_of), st.integers(0, 200)).map(lambda pair: pair[0][: pair[1]]),
    st.sampled_from([b"[" * 5_000, b'{"a":' * 3_000, b"9" * 5_000, b"1e999", b'{"data":[1e999]}']),
)
HEADER_NAMES = (
    *("Date", "Retry-After", "X-Rate-Limit", "X-Burst", "X-Excess-Requests-Per-Second", "Location"),
    *("X-Request-Id", "Content-Type", "Content-Encoding", "Set-Cookie", "Connection", "Age", "X"),
    *(
        "Transfer-Encoding",
        "Content-Length",
        "Link",
        "WWW-Authenticate",
        "Content-Range",
        "Upgrade",
    ),
)
HEADER_VALUES = st.one_of(
    st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=30),
    st.sampled_from(
        [
            *(
                "gzip",
                "deflate, gzip",
                "zstd",
                "chunked",
                "identity",
                "close",
                "keep-alive",
                "0",
                "-1",
            ),
            *("1e9", "999999999", "0.000000001r/m", "100r/m", "5r/s", "1r/y", "inf", "nan", "٣"),
            *(
                "Mon, 01 Jan 0001 00:00:00 GMT",
                "Fri, 31 Dec 9999 23:59:59 -1400",
                "Thu, 01 Jan 1970",
            ),
            *(
                "Wed, 21 Oct 2026 07:28:00 GMT",
                "99999999999999",
                "a" * 5_000,
                "##[error]",
                "::error::x",
            ),
        ]
    ),
).map(lambda text: text.encode("latin-1", errors="replace").decode("latin-1"))
HEADERS = st.lists(st.tuples(st.sampled_from(HEADER_NAMES), HEADER_VALUES), max_size=4)
STATUSES = st.sampled_from(
    [200] * 12 + [100, 201, 204, 206, 302, 400, 401, 403, 404, 429, 500, 999]
)


def played(status: int, headers: list[tuple[str, str]], body: bytes) -> Actions:
    """Return the raw response; a server that names a length or a coding may lie."""
    lines = [f"{name}: {value}" for name, value in headers]
    # Closed then: a client would wait for the rest of a body that is not sent.
    return (answer(status, body, *lines), Hang.FIN)


ANSWERS = st.builds(played, STATUSES, HEADERS, BODIES)
EMPTY = (answer(200, b'{"data":[]}'),)


@given(answers=st.lists(ANSWERS, min_size=1, max_size=3), allow_incomplete=st.booleans())
@pytest.mark.parametrize("name", ["json", "ndjson", "csv", "table", "parquet"])
@FUZZED
def test_answers__end_in_a_result_or_a_named_failure(
    name: str,
    answers: list[Actions],
    allow_incomplete: bool,  # noqa: FBT001 - drawn
) -> None:
    """Whatever a server sends, the run ends within its bounds, with a valid document."""
    with (
        tempfile.TemporaryDirectory() as folder,
        FaultServer(answers, EMPTY) as server,
        bounded(megabytes=96, seconds=SECONDS_PER_ANSWER),
    ):
        file: dict[str, Any] = {}
        if name != "json":
            file["output_file"] = str(Path(folder, "out"))
        ran = run(
            server,
            BOTH,
            format=name,
            include="learner,learningObject.x,loResourceGrades",
            allow_incomplete=allow_incomplete,
            **file,
        )

    event(f"code {ran.code}")
    assert ran.code in CODES
    assert is_valid("outputs", ran.document)
    assert ran.document["complete"] is False or ran.code == 0


@given(status=STATUSES, headers=HEADERS, body=ERRORS.map(body_of) | BODIES)
@FUZZED
def test_refreshes__end_in_a_token_or_a_named_failure(
    status: int, headers: list[tuple[str, str]], body: bytes
) -> None:
    """Whatever answers a refresh of the token, the run ends in bounds, in a known way."""
    script = [(answer(401),), played(status, headers, body)]
    with FaultServer(script, EMPTY) as server, bounded(megabytes=96, seconds=SECONDS_PER_ANSWER):
        ran = run(server, BOTH)

    assert ran.code in CODES
    assert is_valid("outputs", ran.document)
