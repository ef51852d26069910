"""Every input: its default, its forms, its refusals in whole sentences; the credentials; and that none of them shows."""

from __future__ import annotations

import base64
import contextlib
import traceback
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import Problem, UsageError
from connector.redact import Redactor
from connector.settings import Credentials, Inputs, load_inputs
from connector.settings.sources import Environment, credential_names, input_names, variable

if TYPE_CHECKING:
    from collections.abc import Mapping

NOWHERE = Path("/nowhere")
TOKEN = {"ALM_ACCESS_TOKEN": "token-0042"}
SANDBOX = {"user_id": "1", "base_url": "sandbox"}
CANARY = "Canary+0042/é&=secret"
SENDABLE_CANARY = "Canary+0042/~&=secret"
NOTHING_SENT = "Nothing was sent; alm-enrollments --help tells every input."
SET_TOKEN = (
    "Set ALM_ACCESS_TOKEN, or ALM_CLIENT_ID, ALM_CLIENT_SECRET and ALM_REFRESH_TOKEN together, in the environment;"
    " runs of forks and of Dependabot get no secrets. Nothing was sent."
)
DEFAULTS = Inputs(
    user_id=("1",),
    user_ids_file=None,
    lo_types=("course",),
    sort="dateEnrolled",
    state=None,
    include=(),
    page_limit=10,
    max_enrollments=None,
    since=None,
    base_url="sandbox",
    deadline=600,
    allow_incomplete=False,
    concurrency=8,
    quota_share=1.0,
    shard=None,
    format="json",
    output_file=None,
    resume=False,
)
IDS = "ALM user ids, decimal digits each"
LO_TYPES = "course, learningProgram, jobAid, certification, all"
INCLUDE = "learner, learnerBadge, learningObject, loInstance, loResourceGrades, or dotted paths below them"
MOMENT = "an ISO 8601 date or date-time"
SHARD = "a shard's number and how many there are, such as 2/8"
URL = "https://HOST, http://127.0.0.1:PORT or another loopback address, or sandbox; without user info, query or fragment"
SECONDS = "a number above 0 to 31536000"


def load(
    flags: Mapping[str, Any], environ: Mapping[str, str] | None = None, secrets_dir: Path = NOWHERE
) -> Inputs:
    """Return the inputs that these places give."""
    return load_inputs(flags, Environment(environ or {}), Redactor(), secrets_dir=secrets_dir)[0]


def load_credentials(
    environ: Mapping[str, str], secrets_dir: Path = NOWHERE, redactor: Redactor | None = None
) -> Credentials:
    """Return the credentials that these places give a run against ALM itself."""
    return load_inputs(
        {"user_id": "1"}, Environment(environ), redactor or Redactor(), secrets_dir=secrets_dir
    )[1]


def refusal(
    flags: Mapping[str, Any], environ: Mapping[str, str] = TOKEN, secrets_dir: Path = NOWHERE
) -> UsageError:
    """Return the error by which the inputs are refused."""
    with pytest.raises(UsageError) as caught:
        load_inputs(flags, Environment(environ), Redactor(), secrets_dir=secrets_dir)
    return caught.value


def forms_of(secret: str) -> list[str]:
    """Return how *secret* could show: raw, URL-encoded, and in base64 at any alignment."""
    pieces = [
        base64.b64encode(b"\0" * shift + secret.encode()).decode()[4:-4] for shift in range(3)
    ]
    return [secret, quote(secret, safe=""), *pieces]


def shown_by(error: BaseException) -> str:
    """Return all that a traceback with every local variable shows of *error*, the test's own frame left out."""
    assert error.__traceback__ is not None
    rendered = traceback.TracebackException(
        type(error), error, error.__traceback__.tb_next, capture_locals=True
    )
    return "".join(rendered.format())


def test_defaults__of_every_input() -> None:
    """A run that names nobody but a user has the contract's defaults."""
    assert load(SANDBOX) == DEFAULTS


def test_defaults__alm_itself_is_asked() -> None:
    """The default address is ALM's own, and needs a token."""
    assert load({"user_id": "1"}, TOKEN) == replace(
        DEFAULTS, base_url="https://learningmanager.adobe.com"
    )


@pytest.mark.parametrize("source", ["flags", "environment", "env-file"])
def test_every_input__from_every_source(source: str, tmp_path: Path) -> None:
    """The same text means the same whether it is a flag, a variable, or in the env-file."""
    given = {
        "user_id": "2,3",
        "lo_types": "jobAid course",
        "sort": "-dateEnrolled",
        "state": "active",
        "include": "learner",
        "page_limit": "3",
        "max_enrollments": "7",
        "since": "2023-06-29",
        "base_url": "sandbox",
        "deadline": "1.5",
        "allow_incomplete": "yes",
        "concurrency": "32",
        "quota_share": ".25",
        "shard": "2/8",
        "format": "json",
        "resume": "no",
    }
    file = tmp_path / "alm.env"
    file.write_text(
        "".join(f"{variable(name)}={text}\n" for name, text in given.items()), encoding="utf-8"
    )
    variables = {variable(name): text for name, text in given.items()}

    sources: dict[str, Mapping[str, Any]] = {"flags": given, "env-file": {"env_file": file}}
    inputs = load(sources.get(source, {}), {"environment": variables}.get(source, {}))

    assert inputs == Inputs(
        user_id=("2", "3"),
        user_ids_file=None,
        lo_types=("jobAid", "course"),
        sort="-dateEnrolled",
        state="active",
        include=("learner",),
        page_limit=3,
        max_enrollments=7,
        since=datetime(2023, 6, 29, tzinfo=UTC),
        base_url="sandbox",
        deadline=1.5,
        allow_incomplete=True,
        concurrency=32,
        quota_share=0.25,
        shard=(2, 8),
        format="json",
        output_file=None,
        resume=False,
    )


@pytest.mark.parametrize(
    "given",
    [
        "7,8",
        "7 8",
        "7\n8",
        " 7 ,\r\n\t8, ",
        ",7,,8,",
        '["7","8"]',
        ' [7, "8"]\n',
        ["7", "8"],
        [7, 8],
        ("7", 8),
        [" 7 ", "8\n"],
        "7,8,7,8",
        ["7", 7, "8"],
        '["7","8","7"]',
    ],
)
def test_user_id__several(given: Any) -> None:
    """Ids may be parted by comma, space or newline, be a JSON array or Python's own list; duplicates go, the order stays."""
    assert load({**SANDBOX, "user_id": given}).user_id == ("7", "8")


@pytest.mark.parametrize("given", ["20941371", 20941371, ["20941371"], "[20941371]", " 20941371\n"])
def test_user_id__one(given: Any) -> None:
    """A single id may be text, a number or a list of one."""
    assert load({**SANDBOX, "user_id": given}).user_id == ("20941371",)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        (
            "lo_types",
            "course,learningProgram,jobAid,certification",
            ("course", "learningProgram", "jobAid", "certification"),
        ),
        ("lo_types", '["jobAid", "course"]', ("jobAid", "course")),
        ("lo_types", ["certification"], ("certification",)),
        ("lo_types", "course course", ("course",)),
        ("lo_types", "all", ("course", "learningProgram", "jobAid", "certification")),
        ("lo_types", "jobAid,all", ("course", "learningProgram", "jobAid", "certification")),
        ("sort", "dateEnrolled", "dateEnrolled"),
        ("sort", " -dateEnrolled ", "-dateEnrolled"),
        ("state", "active", "active"),
        ("include", "learner", ("learner",)),
        (
            "include",
            "learnerBadge learningObject loInstance",
            ("learnerBadge", "learningObject", "loInstance"),
        ),
        (
            "include",
            "loResourceGrades,learningObject.skills.levels",
            ("loResourceGrades", "learningObject.skills.levels"),
        ),
        ("page_limit", "1", 1),
        ("page_limit", 10, 10),
        ("page_limit", "+3", 3),
        ("page_limit", "10.0", 10),
        ("page_limit", 10.0, 10),
        ("page_limit", "1e1", 10),
        ("max_enrollments", "1", 1),
        ("max_enrollments", 10**12, 10**12),
        ("deadline", "0.5", 0.5),
        ("deadline", 0.001, 0.001),
        ("deadline", "31536000", 31_536_000),
        ("deadline", "6e2", 600),
        ("allow_incomplete", "true", True),
        ("allow_incomplete", "True", True),
        ("allow_incomplete", "1", True),
        ("allow_incomplete", "YES", True),
        ("allow_incomplete", "on", True),
        ("allow_incomplete", True, True),
        ("allow_incomplete", "false", False),
        ("allow_incomplete", "0", False),
        ("allow_incomplete", "no", False),
        ("allow_incomplete", " Off ", False),
        ("allow_incomplete", False, False),
        ("resume", "false", False),
        ("concurrency", "1", 1),
        ("concurrency", 32, 32),
        ("quota_share", "1", 1),
        ("quota_share", 0.01, 0.01),
        ("shard", "1/1", (1, 1)),
        ("shard", "8/8", (8, 8)),
        ("shard", " 2/8 ", (2, 8)),
        ("shard", "999999/999999", (999_999, 999_999)),
        ("format", "json", "json"),
    ],
)
def test_forms__of_every_input(name: str, given: Any, expected: object) -> None:
    """Each form that the contract allows is read into the type that the program works with."""
    value = getattr(load({**SANDBOX, name: given}), name)

    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(
    "given", ["learners.txt", "-", Path("learners.txt"), "a file, with spaces"]
)
def test_user_ids_file__instead_of_user_id(given: Any) -> None:
    """A file may be named in place of users, by text or by a path; it is not read here."""
    assert load({"user_ids_file": given, "base_url": "sandbox"}) == replace(
        DEFAULTS, user_id=(), user_ids_file=str(given)
    )


@pytest.mark.parametrize(
    ("given", "moment"),
    [
        ("2023-06-29", datetime(2023, 6, 29, tzinfo=UTC)),
        ("2023-06-29T12:34:33.000Z", datetime(2023, 6, 29, 12, 34, 33, tzinfo=UTC)),
        (
            "2023-06-29T12:34:33+02:00",
            datetime(2023, 6, 29, 12, 34, 33, tzinfo=timezone(timedelta(hours=2))),
        ),
        ("2023-06-29 12:34", datetime(2023, 6, 29, 12, 34, tzinfo=UTC)),
        (" 2023-06-29\n", datetime(2023, 6, 29, tzinfo=UTC)),
    ],
)
def test_since__forms(given: str, moment: datetime) -> None:
    """Dates and date-times are moments with an offset, UTC where none is named; what a document tells can be fed back."""
    since = load({**SANDBOX, "since": given}).since

    assert (since, since and since.utcoffset()) == (moment, moment.utcoffset())


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("user_id", "abc", f'"abc" (allowed: {IDS})'),
        ("user_id", "-5", f'"-5" (allowed: {IDS})'),
        ("user_id", "1;2", f'"1;2" (allowed: {IDS})'),
        ("user_id", "1,x,2,y", f'"x", "y" (allowed: {IDS})'),
        ("user_id", "a b c d e", f'"a", "b", "c" and 2 more (allowed: {IDS})'),
        ("user_id", "123456789012345678901", f'"123456789012345678901" (allowed: {IDS})'),
        ("user_id", "\uff11", f'"\\uff11" (allowed: {IDS})'),
        ("user_id", "a\0", f'"a\\u0000" (allowed: {IDS})'),
        ("user_id", ["1\n2"], f'"1\\n2" (allowed: {IDS})'),
        ("user_id", "[1, 2", f'"[1, 2" (allowed: {IDS})'),
        ("user_id", '{"a": 1}', f'"{{\\"a\\":", "1}}" (allowed: {IDS})'),
        ("user_id", "[[1]]", f"[1] (allowed: {IDS})"),
        ("user_id", "[null]", f"null (allowed: {IDS})"),
        ("user_id", [], f"[] (allowed: {IDS})"),
        ("user_id", ",", f"[] (allowed: {IDS})"),
        ("user_id", [""], f'"" (allowed: {IDS})'),
        ("user_id", 1.5, f"1.5 (allowed: {IDS})"),
        ("user_id", True, f"true (allowed: {IDS})"),
        ("user_id", "x" * 100, f'"{"x" * 59}… (allowed: {IDS})'),
        ("lo_types", "courses", f'"courses" (allowed: {LO_TYPES}; did you mean course?)'),
        (
            "lo_types",
            "course,learningprogram",
            f'"learningprogram" (allowed: {LO_TYPES}; did you mean learningProgram?)',
        ),
        ("lo_types", "Course", f'"Course" (allowed: {LO_TYPES}; did you mean course?)'),
        ("lo_types", "video", f'"video" (allowed: {LO_TYPES})'),
        ("lo_types", [], f"[] (allowed: {LO_TYPES})"),
        (
            "sort",
            "+dateEnrolled",
            '"+dateEnrolled" (allowed: dateEnrolled, -dateEnrolled; did you mean dateEnrolled?)',
        ),
        ("sort", "name", '"name" (allowed: dateEnrolled, -dateEnrolled)'),
        (
            "sort",
            "dateEnrolled,-dateEnrolled",
            '"dateEnrolled,-dateEnrolled" (allowed: dateEnrolled, -dateEnrolled; did you mean -dateEnrolled?)',
        ),
        ("state", "ACTIVE", '"ACTIVE" (allowed: active; did you mean active?)'),
        ("state", "all", '"all" (allowed: active)'),
        ("include", "learners", f'"learners" (allowed: {INCLUDE}; did you mean learner?)'),
        (
            "include",
            "learner,learningObjects",
            f'"learningObjects" (allowed: {INCLUDE}; did you mean learningObject?)',
        ),
        ("include", "learner.", f'"learner." (allowed: {INCLUDE}; did you mean learner?)'),
        ("include", "xyz", f'"xyz" (allowed: {INCLUDE})'),
        ("page_limit", "0", "0 (allowed: a whole number from 1 to 10)"),
        ("page_limit", 11, "11 (allowed: a whole number from 1 to 10)"),
        ("page_limit", "3.5", "3.5 (allowed: a whole number from 1 to 10)"),
        ("page_limit", "ten", '"ten" (allowed: a whole number from 1 to 10)'),
        ("page_limit", "1_0", '"1_0" (allowed: a whole number from 1 to 10)'),
        ("page_limit", "0x5", '"0x5" (allowed: a whole number from 1 to 10)'),
        ("page_limit", True, "true (allowed: a whole number from 1 to 10)"),
        ("page_limit", ["3"], '["3"] (allowed: a whole number from 1 to 10)'),
        ("max_enrollments", "0", "0 (allowed: a whole number from 1)"),
        ("max_enrollments", -1, "-1 (allowed: a whole number from 1)"),
        ("max_enrollments", "many", '"many" (allowed: a whole number from 1)'),
        ("since", "yesterday", f'"yesterday" (allowed: {MOMENT})'),
        ("since", "2023-02-30", f'"2023-02-30" (allowed: {MOMENT})'),
        ("since", "29.06.2023", f'"29.06.2023" (allowed: {MOMENT})'),
        ("since", "2023-06-29T25:00", f'"2023-06-29T25:00" (allowed: {MOMENT})'),
        ("since", 20230629, f"20230629 (allowed: {MOMENT})"),
        ("deadline", "0", f"0 (allowed: {SECONDS})"),
        ("deadline", "-1", f"-1 (allowed: {SECONDS})"),
        ("deadline", "31536001", f"31536001 (allowed: {SECONDS})"),
        ("deadline", "nan", f'"nan" (allowed: {SECONDS})'),
        ("deadline", "inf", f'"inf" (allowed: {SECONDS})'),
        ("deadline", "1e400", f'"1e400" (allowed: {SECONDS})'),
        ("deadline", float("nan"), f'"nan" (allowed: {SECONDS})'),
        ("deadline", float("inf"), f'"inf" (allowed: {SECONDS})'),
        ("deadline", "10m", f'"10m" (allowed: {SECONDS})'),
        ("allow_incomplete", "maybe", '"maybe" (allowed: true or false)'),
        ("allow_incomplete", 1, "1 (allowed: true or false)"),
        ("resume", "y", '"y" (allowed: true or false)'),
        ("concurrency", 33, "33 (allowed: a whole number from 1 to 32)"),
        ("concurrency", "0", "0 (allowed: a whole number from 1 to 32)"),
        ("quota_share", "0", "0 (allowed: a number above 0 to 1)"),
        ("quota_share", 1.01, "1.01 (allowed: a number above 0 to 1)"),
        ("quota_share", "50%", '"50%" (allowed: a number above 0 to 1)'),
        ("shard", "9/8", f'"9/8" (allowed: {SHARD})'),
        ("shard", "0/8", f'"0/8" (allowed: {SHARD})'),
        ("shard", "1/0", f'"1/0" (allowed: {SHARD})'),
        ("shard", "1", f'"1" (allowed: {SHARD})'),
        ("shard", "-1/8", f'"-1/8" (allowed: {SHARD})'),
        ("shard", "1/8/8", f'"1/8/8" (allowed: {SHARD})'),
        ("shard", 0.25, f"0.25 (allowed: {SHARD})"),
        ("format", "jsn", '"jsn" (allowed: json, ndjson, csv, parquet, table; did you mean json?)'),
        ("format", "xml", '"xml" (allowed: json, ndjson, csv, parquet, table)'),
        ("user_ids_file", 5, "5 (allowed: a readable file, or -)"),
        ("output_file", 5, "5 (allowed: a path that can be written)"),
    ],
)
def test_refusal__whole_message(name: str, given: Any, told: str) -> None:
    """What is not allowed is told with the input's name, what was given, what is allowed and what was perhaps meant."""
    flags = {**SANDBOX, name: given}
    users = {"user_ids_file": {**flags, "user_id": None}}.get(name, flags)

    assert str(refusal(users)) == f"1 input is not valid: {name} is {told}. {NOTHING_SENT}"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({}, f"user_id is missing (allowed: {IDS}, or user_ids_file instead)"),
        (
            {"user_id": "", "user_ids_file": " "},
            f"user_id is missing (allowed: {IDS}, or user_ids_file instead)",
        ),
        (
            {"user_id": "1", "user_ids_file": "-"},
            f"user_id is given together with user_ids_file (allowed: {IDS}, or user_ids_file instead)",
        ),
        ({"user_id": "1", "lo_type": "course"}, "lo_type is not an input (did you mean lo_types?)"),
        ({"user_id": "1", "userId": "course"}, "userId is not an input (did you mean user_id?)"),
        ({"user_id": "1", "verbose": True}, "verbose is not an input"),
        (
            {"user_id": "1", "access_token": "secret-0042"},
            "access_token is not an input (allowed: ALM_ACCESS_TOKEN in the environment, in --env-file or in /run/secrets)",
        ),
    ],
)
def test_refusal__between_inputs(flags: dict[str, Any], told: str) -> None:
    """Users are named in one of two ways; a name that is no input is refused rather than ignored, a credential's without its value."""
    assert (
        str(refusal({"base_url": "sandbox", **flags}))
        == f"1 input is not valid: {told}. {NOTHING_SENT}"
    )


def test_refusal__parquet_is_compressed_in_itself() -> None:
    """A Parquet file that is to be compressed once more is refused."""
    told = 'output_file is "x.parquet.gz" (allowed: a name without .gz and .zst: Parquet is compressed in itself)'

    assert (
        str(refusal({**SANDBOX, "format": "parquet", "output_file": "x.parquet.gz"}))
        == f"1 input is not valid: {told}. {NOTHING_SENT}"
    )


def test_refusal__resume_without_output_file() -> None:
    """To resume, the file that the last run wrote must be named."""
    problems = refusal({**SANDBOX, "resume": "true"}).problems

    assert problems[0] == Problem(
        "output_file", "missing", "a path that can be written, which resume needs"
    )


def test_refusal__all_at_once(tmp_path: Path) -> None:
    """Every problem is told in one message: the command line's, the env-file's, the slips, the inputs' and the credentials'."""
    file = tmp_path / "alm.env"
    file.write_text("= nonsense\n", encoding="utf-8")
    before = [Problem("--lo-type", "no flag", near="--lo-types")]
    environ = Environment({"ALM_LO_TYPE": "course", "ALM_SHARD": "9/8", "ALM_CLIENT_ID": "a b"})

    with pytest.raises(UsageError) as caught:
        load_inputs(
            {"env_file": file, "page_limit": 11, "sorted": "x"},
            environ,
            Redactor(),
            problems=before,
            secrets_dir=NOWHERE,
        )

    assert str(caught.value) == (
        "9 inputs are not valid:"
        " --lo-type is no flag (did you mean --lo-types?);"
        " env_file is not to be understood in line 1 (allowed: NAME=value);"
        " ALM_LO_TYPE is not an input (did you mean ALM_LO_TYPES?);"
        " sorted is not an input (did you mean sort?);"
        f" user_id is missing (allowed: {IDS}, or user_ids_file instead);"
        " page_limit is 11 (allowed: a whole number from 1 to 10);"
        f' shard is "9/8" (allowed: {SHARD});'
        " ALM_CLIENT_SECRET and ALM_REFRESH_TOKEN is missing beside ALM_CLIENT_ID"
        " (allowed: the three together, with or without an access token);"
        " ALM_CLIENT_ID is not to be sent as it is (allowed: the bare value: no space, no quotes' leftovers, ASCII alone)."
        f" {SET_TOKEN}"
    )


def test_refusal__unknown_names_in_the_order_given() -> None:
    """Names that are none are told in the order given, the same in every run."""
    names = ["zeta", "alpha", "mu", "beta", "omega", "gamma", "kappa"]

    problems = refusal({**SANDBOX, **dict.fromkeys(names, 1)}).problems

    assert [problem.name for problem in problems] == names


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("user_id", "digit"),
        ("user_id", "decimals"),
        ("include", "path"),
        ("include", "belows"),
        ("shard", "shards"),
        ("base_url", "fragments"),
        ("base_url", "htps"),
        ("base_url", "querys"),
    ],
)
def test_refusal__what_is_offered_is_allowed(name: str, given: str) -> None:
    """What the message says was perhaps meant is a value that would be taken, not a word of the explanation."""
    problems = refusal({**SANDBOX, name: given}).problems

    assert [problem.near for problem in problems] == [""]


@pytest.mark.parametrize(
    "given",
    [
        "[" * 100_000,
        10**5000,
        [10**5000],
        {("a",): 1},
        [{("a",): 1}],
        1j,
        Decimal("nan"),
        object(),
        b"1",
        {"1"},
        "\ud800",
        [[["1"]]],
        float("-inf"),
        {"a": float("nan")},
    ],
    ids=lambda given: f"{type(given).__name__}",
)
@pytest.mark.parametrize(
    "name", ["user_id", "include", "page_limit", "deadline", "since", "allow_incomplete"]
)
def test_refusal__whatever_python_gives(name: str, given: Any) -> None:
    """What is of no type that an input has is refused in one line, and never a crash."""
    error = refusal({**SANDBOX, name: given})

    assert {problem.name for problem in error.problems} == {name}
    assert len(str(error).splitlines()) == 1


@given(
    name=st.sampled_from(input_names()),
    given=st.text()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(), st.lists
    ),
)
def test_load_inputs__anything_is_judged(name: str, given: Any) -> None:
    """Whatever is given for whatever input, it is taken or refused in one line, and nothing else comes of it."""
    flags = {
        "base_url": "sandbox",
        **({} if name == "user_ids_file" else {"user_id": "1"}),
        name: given,
    }

    try:
        told = repr(load_inputs(flags, TOKEN, Redactor(), secrets_dir=NOWHERE)[0])
    except UsageError as error:
        told = str(error)

    assert len(told.splitlines()) == 1


@pytest.mark.parametrize("empty", ["", " ", "\n", "\t \r\n", None])
@pytest.mark.parametrize(
    "name", [name for name in input_names() if name not in ("user_id", "base_url")]
)
def test_empty__is_not_given(name: str, empty: str | None) -> None:
    """An empty value means not given: the default stands."""
    assert load({**SANDBOX, name: empty}, {variable(name): empty or ""}) == DEFAULTS


@pytest.mark.parametrize(
    ("flag", "environ", "line", "expected"),
    [
        ("1", "2", "ALM_PAGE_LIMIT=3", 1),
        (None, "2", "ALM_PAGE_LIMIT=3", 2),
        ("", "2", "ALM_PAGE_LIMIT=3", 2),
        (None, "", "ALM_PAGE_LIMIT=3", 3),
        (None, "", "ALM_PAGE_LIMIT=", 10),
    ],
)
def test_precedence__flag_environment_file_default(
    flag: str | None, environ: str, line: str, expected: int, tmp_path: Path
) -> None:
    """The flag counts before the environment, that before the env-file, and that before the default."""
    file = tmp_path / "alm.env"
    file.write_text(line, encoding="utf-8")

    inputs = load(
        {**SANDBOX, "page_limit": flag, "env_file": str(file)}, {"ALM_PAGE_LIMIT": environ}
    )

    assert inputs.page_limit == expected


def test_precedence__a_wrong_value_is_not_skipped() -> None:
    """The first place that has a value decides, though a later one had a better."""
    error = refusal({**SANDBOX, "page_limit": "0"}, {"ALM_PAGE_LIMIT": "5"})

    assert error.problems == (Problem("page_limit", "0", "a whole number from 1 to 10"),)


def test_env_file__none_is_found_by_chance(tmp_path: Path) -> None:
    """A `.env` that lies in the working directory is not read: it could point the token at another host."""
    (tmp_path / ".env").write_text(
        "ALM_PAGE_LIMIT=3\nALM_BASE_URL=https://evil.example\nALM_ACCESS_TOKEN=x\n",
        encoding="utf-8",
    )

    with contextlib.chdir(tmp_path):
        inputs, credentials = load_inputs(SANDBOX, {}, Redactor(), secrets_dir=NOWHERE)

    assert (inputs, credentials) == (DEFAULTS, Credentials())


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("https://learningmanagereu.adobe.com", "https://learningmanagereu.adobe.com"),
        ("https://learningmanager.adobe.com/", "https://learningmanager.adobe.com"),
        ("https://learningmanager.adobe.com/primeapi/v2", "https://learningmanager.adobe.com"),
        ("https://host.example/base/primeapi/v2/", "https://host.example/base"),
        ("https://host.example:8443", "https://host.example:8443"),
        ("https://host.example/behind/a/path/", "https://host.example/behind/a/path"),
        ("HTTPS://Host.Example", "HTTPS://Host.Example"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("https://10.0.0.1", "https://10.0.0.1"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("http://127.0.0.1", "http://127.0.0.1"),
        ("http://127.0.0.1:8484/", "http://127.0.0.1:8484"),
        ("http://127.255.255.254:1", "http://127.255.255.254:1"),
        ("http://localhost:65535", "http://localhost:65535"),
        ("http://LOCALHOST", "http://LOCALHOST"),
        ("http://[::1]:8484", "http://[::1]:8484"),
        (" https://host.example\n", "https://host.example"),
        ("sandbox", "sandbox"),
    ],
)
def test_base_url__taken(given: str, taken: str) -> None:
    """Any host by https, this machine alone by http; a slash or the API's own path at the end makes no difference."""
    assert load({"user_id": "1", "base_url": given}, TOKEN).base_url == taken


@pytest.mark.parametrize(
    "given",
    [
        "learningmanager.adobe.com",
        "//host.example",
        "https:",
        "https://",
        "https:///path",
        "https:/host.example",
        "https:host.example",
        "https://:443",
        "http://host.example",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://evil.example/localhost",
        "http://2130706433",
        "http://127.1",
        "http://[::2]",
        "ftp://host.example",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://user@host.example",
        "https://@host.example",
        "https://host.example?",
        "https://host.example?a=b",
        "https://host.example#",
        "https://host.example#part",
        "https://host.example\\@evil.example",
        "https:\\\\host.example",
        "https://host.example\r\nX: y",
        "https://host.example\n.evil.example",
        "https://host example",
        "https://host.example\t/x",
        "https://host.example/../x",
        "https://host..example",
        "https://b\u00fccher.example",
        "https://host.ex\u00adample",
        "https://host\u3002example",
        "https://host.example:0",
        "https://host.example:65536",
        "https://host.example:-1",
        "https://host.example:abc",
        "https://[::1",
        "https://[nonsense]",
        "https://host.example\0",
        "SANDBOX",
        "sandbox/",
    ],
)
def test_base_url__refused(given: str) -> None:
    """A URL that names no host, another scheme, or what the token must not follow is refused; no wider reading is tried."""
    problems = refusal({"user_id": "1", "base_url": given}).problems

    assert [(problem.name, problem.allowed) for problem in problems] == [("base_url", URL)]


@pytest.mark.parametrize("given", ["sandbx", "Sandbox", "sandboxx"])
def test_base_url__sandbox_perhaps_meant(given: str) -> None:
    """Who nearly wrote sandbox is told so."""
    told = f'base_url is "{given}" (allowed: {URL}; did you mean sandbox?)'

    assert (
        str(refusal({"user_id": "1", "base_url": given}))
        == f"1 input is not valid: {told}. {NOTHING_SENT}"
    )


ALL_SUBSETS = [names for count in range(5) for names in combinations(credential_names(), count)]
SUFFICIENT = {
    ("access_token",),
    ("client_id", "client_secret", "refresh_token"),
    ("access_token", "client_id", "client_secret", "refresh_token"),
}


@pytest.mark.parametrize("names", sorted(SUFFICIENT))
@pytest.mark.parametrize("source", ["environment", "env-file", "secrets"])
def test_credentials__sufficient(names: tuple[str, ...], source: str, tmp_path: Path) -> None:
    """The token alone, the three alone, or all four are taken, from each of the three places."""
    values = {variable(name): f"{name}-0042" for name in names}
    file = tmp_path / "alm.env"
    file.write_text(
        "".join(f"{name}={value}\n" for name, value in values.items()), encoding="utf-8"
    )
    for name, value in values.items():
        (tmp_path / name).write_text(f"{value}\n", encoding="utf-8")

    flags = {"user_id": "1", "env_file": {"env-file": file}.get(source)}
    environ, folder = (
        {"environment": values}.get(source, {}),
        {"secrets": tmp_path}.get(source, NOWHERE),
    )
    _, credentials = load_inputs(flags, Environment(environ), Redactor(), secrets_dir=folder)

    revealed = {name: getattr(credentials, name) for name in credential_names()}
    assert {name: secret.get_secret_value() for name, secret in revealed.items() if secret} == {
        name: f"{name}-0042" for name in names
    }


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            "",
            "ALM_ACCESS_TOKEN is missing (allowed: it, or ALM_CLIENT_ID, ALM_CLIENT_SECRET, ALM_REFRESH_TOKEN together)",
        ),
        ("client_id", "ALM_CLIENT_SECRET and ALM_REFRESH_TOKEN is missing beside ALM_CLIENT_ID"),
        (
            "client_secret",
            "ALM_CLIENT_ID and ALM_REFRESH_TOKEN is missing beside ALM_CLIENT_SECRET",
        ),
        (
            "refresh_token",
            "ALM_CLIENT_ID and ALM_CLIENT_SECRET is missing beside ALM_REFRESH_TOKEN",
        ),
        (
            "client_id client_secret",
            "ALM_REFRESH_TOKEN is missing beside ALM_CLIENT_ID and ALM_CLIENT_SECRET",
        ),
        (
            "client_id refresh_token",
            "ALM_CLIENT_SECRET is missing beside ALM_CLIENT_ID and ALM_REFRESH_TOKEN",
        ),
        (
            "client_secret refresh_token",
            "ALM_CLIENT_ID is missing beside ALM_CLIENT_SECRET and ALM_REFRESH_TOKEN",
        ),
        (
            "access_token client_id",
            "ALM_CLIENT_SECRET and ALM_REFRESH_TOKEN is missing beside ALM_CLIENT_ID",
        ),
        (
            "access_token client_secret",
            "ALM_CLIENT_ID and ALM_REFRESH_TOKEN is missing beside ALM_CLIENT_SECRET",
        ),
        (
            "access_token refresh_token",
            "ALM_CLIENT_ID and ALM_CLIENT_SECRET is missing beside ALM_REFRESH_TOKEN",
        ),
        (
            "access_token client_id client_secret",
            "ALM_REFRESH_TOKEN is missing beside ALM_CLIENT_ID and ALM_CLIENT_SECRET",
        ),
        (
            "access_token client_id refresh_token",
            "ALM_CLIENT_SECRET is missing beside ALM_CLIENT_ID and ALM_REFRESH_TOKEN",
        ),
        (
            "access_token client_secret refresh_token",
            "ALM_CLIENT_ID is missing beside ALM_CLIENT_SECRET and ALM_REFRESH_TOKEN",
        ),
    ],
)
def test_credentials__insufficient(given: str, told: str) -> None:
    """Every other subset is refused with what is missing, and a word for forks and Dependabot."""
    rule = "" if not given else " (allowed: the three together, with or without an access token)"

    error = refusal({"user_id": "1"}, {variable(name): f"{name}-0042" for name in given.split()})

    assert str(error) == f"1 input is not valid: {told}{rule}. {SET_TOKEN}"


def test_credentials__every_subset_is_told_of() -> None:
    """The two tests above name all sixteen subsets of the four."""
    assert len(ALL_SUBSETS) == len(SUFFICIENT) + 13


@pytest.mark.parametrize("names", ALL_SUBSETS, ids=" ".join)
def test_credentials__the_sandbox_needs_none(names: tuple[str, ...]) -> None:
    """The sandbox takes whatever credentials there are, and none: they are not sent anywhere."""
    assert load(SANDBOX, dict.fromkeys(map(variable, names), "in va lid")) == DEFAULTS


@pytest.mark.parametrize("name", credential_names())
@pytest.mark.parametrize(
    "value",
    [
        "two words",
        "tab\there",
        "line\nbreak",
        "nul\0",
        "bell\a",
        "caf\u00e9",
        "\u200bzero",
        "a\x7f",
        "“quoted”",
    ],
)
def test_credentials__what_cannot_be_sent(name: str, value: str) -> None:
    """White space inside, control characters and anything but ASCII are refused, and the value is not shown."""
    others = {variable(other): "fine-0042" for other in credential_names()}

    error = refusal({"user_id": "1"}, {**others, variable(name): value})

    assert str(error) == (
        f"1 input is not valid: {variable(name)} is not to be sent as it is"
        f" (allowed: the bare value: no space, no quotes' leftovers, ASCII alone). {NOTHING_SENT}"
    )
    assert value not in shown_by(error)


@pytest.mark.parametrize("value", ['"token-0042"', "'token-0042'"])
def test_credentials__quotes_left_over(value: str) -> None:
    """Quotes that a shell or a container engine left around the value are refused: ALM would answer 401 and nobody know why."""
    error = refusal({"user_id": "1"}, {"ALM_ACCESS_TOKEN": value})

    assert [problem.name for problem in error.problems] == ["ALM_ACCESS_TOKEN"]


@pytest.mark.parametrize("value", [" token-0042", "token-0042\n", "\ttoken-0042\r\n"])
def test_credentials__white_space_around_is_none_of_them(value: str) -> None:
    """White space around a credential is left out before it is used or learned."""
    redactor = Redactor()

    credentials = load_credentials({"ALM_ACCESS_TOKEN": value}, redactor=redactor)

    assert credentials.access_token is not None
    assert credentials.access_token.get_secret_value() == "token-0042"
    assert redactor.clean("<token-0042>") == "<***>"


def test_credentials__the_redactor_learns_them_first(tmp_path: Path) -> None:
    """Even where the inputs are refused, the redactor knows every credential, wherever it came from."""
    (tmp_path / "ALM_CLIENT_ID").write_text("from-secrets", encoding="utf-8")
    file = tmp_path / "alm.env"
    file.write_text("ALM_CLIENT_SECRET=from-file\n", encoding="utf-8")
    redactor = Redactor()

    with pytest.raises(UsageError):
        load_inputs(
            {"env_file": file},
            Environment({"ALM_ACCESS_TOKEN": "from-env"}),
            redactor,
            secrets_dir=tmp_path,
        )

    assert redactor.clean("from-secrets from-file from-env") == "*** *** ***"


def test_credentials__do_not_print() -> None:
    """However credentials are printed, none of them shows."""
    credentials = load_credentials({variable(name): f"{name}-0042" for name in credential_names()})

    hidden = ", ".join(f"{name}=SecretStr('**********')" for name in credential_names())
    assert [repr(credentials), str(credentials), f"{credentials}"] == [f"Credentials({hidden})"] * 3


def test_inputs__hold_no_credentials() -> None:
    """The inputs print without any credential: they have none."""
    inputs, _ = load_inputs(
        SANDBOX,
        {variable(name): "canary-0042" for name in credential_names()},
        Redactor(),
        secrets_dir=NOWHERE,
    )

    assert "canary" not in repr(inputs)
    assert set(credential_names()).isdisjoint(Inputs.__dataclass_fields__)


@pytest.mark.parametrize("canary", [SENDABLE_CANARY, CANARY])
@pytest.mark.parametrize("source", ["environment", "env-file", "secrets", "malformed line"])
def test_secrets__not_in_a_traceback(canary: str, source: str, tmp_path: Path) -> None:
    """A traceback that shows every local variable of a refused run shows no credential, in no form."""
    values = {variable(name): canary for name in credential_names()}
    lines = {"malformed line": f"'{canary}\n"}.get(
        source, "".join(f"{name}='{value}'\n" for name, value in values.items())
    )
    (tmp_path / "alm.env").write_text(lines, encoding="utf-8")
    for name, value in values.items():
        (tmp_path / name).write_text(value, encoding="utf-8")

    error = refusal(
        {
            "page_limit": "0",
            "env_file": {
                "env-file": tmp_path / "alm.env",
                "malformed line": tmp_path / "alm.env",
            }.get(source),
        },
        {"environment": values}.get(source, {}),
        {"secrets": tmp_path}.get(source, NOWHERE),
    )

    shown = shown_by(error) + repr(error) + repr(error.problems) + str(vars(error))
    assert "page_limit" in shown
    assert [form for form in forms_of(canary) if form in shown] == []


@pytest.mark.parametrize("token", ["Token-0042-short", "Token-0042-" + "abcdefghij" * 10])
def test_secrets__a_token_given_as_an_input(token: str) -> None:
    """A credential that was also given as an input, by a slip, is not shown in the message, not even its beginning."""
    error = refusal({"user_id": token}, {"ALM_ACCESS_TOKEN": token})

    assert "Token-0042" not in str(error)
    assert [problem.name for problem in error.problems] == ["user_id"]


def test_secrets__a_long_token_given_as_an_input_stays_out_of_the_cleaned_message() -> None:
    """A message is cut only after the credentials are taken out of it: the beginning of one is not known as one."""
    token = "Token-0042-" + "abcdefghij" * 10
    redactor = Redactor()

    with pytest.raises(UsageError) as caught:
        load_inputs(
            {"user_id": token},
            Environment({"ALM_ACCESS_TOKEN": token}),
            redactor,
            secrets_dir=NOWHERE,
        )

    assert "Token-0042" not in redactor.clean(str(caught.value))


def test_secrets__a_credential_as_flag_beside_the_variable() -> None:
    """Who gives a credential as flag though the variable is set is told of the flag alone: the variable is not missing."""
    error = refusal({"user_id": "1", "access_token": "flag-0042"}, TOKEN)

    assert [problem.name for problem in error.problems] == ["access_token"]
    assert "flag-0042" not in str(error)


def test_env_file__a_name_with_a_line_break() -> None:
    """The message is one line though the env-file's name is not."""
    error = refusal({**SANDBOX, "env_file": "a\n::error::b"})

    assert len(str(error).splitlines()) == 1
