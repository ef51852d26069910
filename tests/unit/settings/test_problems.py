"""The problems of inputs and credentials, word for word."""

from __future__ import annotations

import sys
from decimal import Decimal
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import Problem, UsageError
from connector.redact import Redactor
from connector.settings import credential_names, input_names, load_given, variable

SANDBOX = {"user_id": "1", "base_url": "sandbox"}
ALM = {"user_id": "1", "access_token": "token-0042"}
NOTHING_SENT = "Nothing was sent. help(connector.run) describes every input."
SET_TOKEN = (
    "Set ALM_CLIENT_ID, ALM_CLIENT_SECRET and ALM_REFRESH_TOKEN together, or ALM_ACCESS_TOKEN,"
    " in the environment. Nothing was sent."
)
IDS = "ALM user ids, decimal digits each"
QUERY = (
    "at most 20 parameters as name=value, without page[…] and those that have an input of their own"
)
USERS = f"allowed: {IDS}, or `user_email` or `user_ids_file` instead"
LO_TYPES = "course, learningProgram, jobAid, certification, all"
INCLUDE = (
    "learner, learnerBadge, learningObject, loInstance, loResourceGrades,"
    " or dotted paths below them; at most 20 paths of at most 5 steps each"
)
MOMENT = "YYYY-MM-DD, or YYYY-MM-DDThh:mm:ss with or without Z or an offset; or yesterday, 7d, 12h"
SHARD = "a shard's number and how many there are, such as 2/8"
URL = (
    "https://HOST, http://127.0.0.1:PORT or another loopback address, or sandbox;"
    " without user info, query or fragment"
)
SECONDS = "a number above 0 to 31536000"
UNCOMPRESSED = "a name without .gz and .zst, which are for json, ndjson, csv and table"
FORMATS = "json, ndjson, csv, parquet, table, xlsx, html"
COLUMNS = (
    "id, user_id, lo_id, lo_type, lo_instance_id, state, progress_percent, has_passed, score,"
    " enrollment_source, date_enrolled, date_started, date_completed, completion_deadline,"
    " last_access_date, rating, purchased_price, url, lo_name, user_name, user_email,"
    " resource_grade_ids, module_names, resource_grades, included"
)
WITH_COLUMNS = "format csv, xlsx, parquet, table or html"
NAMES = {
    "lo_name": "learningObject",
    "user_name": "learner",
    "user_email": "learner",
    "module_names": "loResourceGrades.loResource",
}
ORDERS = "dateEnrolled, -dateEnrolled"


def refusal(values: dict[str, Any]) -> UsageError:
    """Return the error for these inputs and credentials."""
    with pytest.raises(UsageError) as caught:
        load_given(values, Redactor())
    return caught.value


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("user_id", "abc", f'"abc" (allowed: {IDS})'),
        ("user_id", "-5", f'"-5" (allowed: {IDS})'),
        ("user_id", "1,x,2,y", f'"x", "y" (allowed: {IDS})'),
        ("user_id", "a b c d e", f'"a", "b", "c" and 2 more (allowed: {IDS})'),
        ("user_id", "123456789012345678901", f'"123456789012345678901" (allowed: {IDS})'),
        ("user_id", "\uff11", f'"\\uff11" (allowed: {IDS})'),
        ("user_id", ["1\n2"], f'"1\\n2" (allowed: {IDS})'),
        ("user_id", "[1, 2", f'"[1, 2" (allowed: {IDS})'),
        ("user_id", "[null]", f"null (allowed: {IDS})"),
        ("user_id", [], f"[] (allowed: {IDS})"),
        ("user_id", ",", f"[] (allowed: {IDS})"),
        ("user_id", True, f"true (allowed: {IDS})"),
        ("user_id", "x" * 100, f'"{"x" * 59}… (allowed: {IDS})'),
        ("user_email", "ada", '"ada" (allowed: e-mail addresses)'),
        ("user_email", "ada@b,@b", '"@b" (allowed: e-mail addresses)'),
        ("user_email", ["Ada <a@b>"], '"Ada <a@b>" (allowed: e-mail addresses)'),
        ("user_email", ["a@b\0"], '"a@b\\u0000" (allowed: e-mail addresses)'),
        ("user_ids_file", 5, "5 (allowed: a readable file, or -)"),
        ("lo_types", "courses", f'"courses" (allowed: {LO_TYPES}; did you mean course?)'),
        ("lo_types", "Course", f'"Course" (allowed: {LO_TYPES}; did you mean course?)'),
        ("lo_types", "jobAid,video", f'"video" (allowed: {LO_TYPES})'),
        ("lo_types", [], f"[] (allowed: {LO_TYPES})"),
        ("sort", "+date", f'"+date" (allowed: {ORDERS})'),
        (
            "sort",
            "dateEnrolled,-dateEnrolled",
            f'"dateEnrolled,-dateEnrolled" (allowed: {ORDERS}; did you mean -dateEnrolled?)',
        ),
        ("state", "ACTIVE", '"ACTIVE" (allowed: active; did you mean active?)'),
        ("state", "all", '"all" (allowed: active)'),
        ("include", "learners", f'"learners" (allowed: {INCLUDE}; did you mean learner?)'),
        ("include", "learner.", f'"learner." (allowed: {INCLUDE}; did you mean learner?)'),
        ("include", "xyz", f'"xyz" (allowed: {INCLUDE})'),
        (
            "include",
            "learner.a.b.c.d.e",
            f'"learner.a.b.c.d.e" (allowed: {INCLUDE}; did you mean learnerBadge?)',
        ),
        *(
            ("query", text, f'"{text}" (allowed: {QUERY})')
            for text in ("x", "=1", "page[limit]=1", "Include=learner", "access_token=a", "a%=b")
        ),
        ("page_limit", "0", "0 (allowed: a whole number from 1 to 10)"),
        ("page_limit", 11, "11 (allowed: a whole number from 1 to 10)"),
        ("page_limit", "3.5", "3.5 (allowed: a whole number from 1 to 10)"),
        ("page_limit", "ten", '"ten" (allowed: a whole number from 1 to 10)'),
        ("page_limit", True, "true (allowed: a whole number from 1 to 10)"),
        ("max_enrollments", "0", "0 (allowed: a whole number from 1)"),
        ("since", "tomorrow", f'"tomorrow" (allowed: {MOMENT})'),
        ("since", "yesterdy", f'"yesterdy" (allowed: {MOMENT}; did you mean yesterday?)'),
        ("since", "0d", f'"0d" (allowed: {MOMENT})'),
        ("completed_since", "7w", f'"7w" (allowed: {MOMENT})'),
        ("locale", "en_US", '"en_US" (allowed: a language tag such as en-US)'),
        ("names", "si", '"si" (allowed: true or false)'),
        ("since", "2023-02-30", f'"2023-02-30" (allowed: {MOMENT})'),
        ("since", 20230629, f"20230629 (allowed: {MOMENT})"),
        ("base_url", "Sandbox", f'"Sandbox" (allowed: {URL}; did you mean sandbox?)'),
        ("base_url", "https://u:p@h", f'"https://***@h" (allowed: {URL})'),
        ("deadline", "0", f"0 (allowed: {SECONDS})"),
        ("deadline", "31536001", f"31536001 (allowed: {SECONDS})"),
        ("deadline", float("nan"), f'"nan" (allowed: {SECONDS})'),
        ("deadline", "10m", f'"10m" (allowed: {SECONDS})'),
        ("allow_incomplete", "maybe", '"maybe" (allowed: true or false)'),
        ("allow_incomplete", 1, "1 (allowed: true or false)"),
        ("concurrency", 33, "33 (allowed: a whole number from 1 to 32)"),
        ("quota_share", 1.01, "1.01 (allowed: a number above 0 to 1)"),
        ("shard", "9/8", f'"9/8" (allowed: {SHARD})'),
        ("shard", 0.25, f"0.25 (allowed: {SHARD})"),
        ("format", "jsn", f'"jsn" (allowed: {FORMATS}; did you mean json?)'),
        ("output_file", 5, "5 (allowed: a path that can be written)"),
        ("resume", "y", '"y" (allowed: true or false)'),
    ],
)
def test_input__message(name: str, value: Any, problem: str) -> None:
    """The message has the input's name, the value, the allowed ones, and the nearest of them."""
    values = {**SANDBOX, **ALM, name: value}
    if name in ("user_ids_file", "user_email"):
        del values["user_id"]

    assert str(refusal(values)) == f"1 input is not valid: {name} is {problem}. {NOTHING_SENT}"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, f"user_id is missing ({USERS})"),
        ({"user_id": "", "user_ids_file": " "}, f"user_id is missing ({USERS})"),
        (
            {"user_id": "1", "user_ids_file": "-"},
            f"user_id is set together with user_ids_file ({USERS})",
        ),
        (
            {"user_id": "1", "user_email": "a@b", "user_ids_file": "-"},
            f"user_id is set together with user_email and user_ids_file ({USERS})",
        ),
        (
            {"user_email": "a@b", "user_ids_file": "-"},
            f"user_email is set together with user_ids_file ({USERS})",
        ),
        ({"user_id": "1", "lo_type": "course"}, "lo_type is not an input (did you mean lo_types?)"),
        ({"user_id": "1", "userId": "2"}, "userId is not an input (did you mean user_id?)"),
        ({"user_id": "1", "ALM_SORT": "x"}, "ALM_SORT is not an input (did you mean sort?)"),
        ({"user_id": "1", "verbose": object()}, "verbose is not an input"),
        (
            {"user_id": "1", "resume": True},
            "output_file is missing (allowed: a path that can be written; `resume` needs it)",
        ),
        *(
            (
                {"user_id": "1", "format": name, "output_file": "x.GZ"},
                f'output_file is "x.GZ" (allowed: {UNCOMPRESSED})',
            )
            for name in ("parquet", "xlsx", "html")
        ),
        (
            {"user_id": "1", "format": "csv", "output_file": "x.json.gz"},
            (
                'format is "csv", but "x.json.gz" has the suffix of json'
                " (allowed: json, or another suffix)"
            ),
        ),
        (
            {"user_id": "1", "output_file": "x.txt"},
            f'format is missing, and "x.txt" has no known suffix (allowed: {FORMATS})',
        ),
        (
            {"user_id": "1", "columns": "id"},
            f"columns is set with format json, which has every field (allowed: {WITH_COLUMNS})",
        ),
        (
            {"user_id": "1", "columns": "id", "output_file": "x.jsonl"},
            f"columns is set with format ndjson, which has every field (allowed: {WITH_COLUMNS})",
        ),
        (
            {"user_id": "1", "format": "csv", "columns": "id,lo_nme", "names": "true"},
            f'columns is "lo_nme" (allowed: {COLUMNS}; did you mean lo_name?)',
        ),
        *(
            (
                {"user_id": "1", "format": "csv", "columns": column, "include": "loResourceGrades"},
                (
                    f'columns is "{column}", which ALM sends only on request'
                    f" (allowed: `names` true, or {path} in `include`)"
                ),
            )
            for column, path in NAMES.items()
        ),
    ],
)
def test_inputs__message(values: dict[str, Any], problem: str) -> None:
    """Unknown names, and inputs that need or exclude each other, are problems of their own."""
    error = refusal({"base_url": "sandbox", **values})

    assert str(error) == f"1 input is not valid: {problem}. {NOTHING_SENT}"


@pytest.mark.parametrize(
    ("name", "library"), [("parquet", "pyarrow"), ("xlsx", "xlsxwriter"), ("html", "jinja2")]
)
def test_inputs__a_format_is_not_installed(
    name: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A format without its library is refused with the command that installs it."""
    monkeypatch.setitem(sys.modules, library, None)

    rule = f"{name} after pip install 'alm-enrollments-connector[{name}]', or another format"
    assert refusal({**SANDBOX, "output_file": f"x.{name}"}).problems == (
        Problem("format", f"{name}, and {library} is not installed", rule),
    )


@pytest.mark.parametrize(
    "values",
    [
        {"names": True},
        {"include": list(NAMES.values())},
        {"include": ["learner.manager", "learningObject.skills", "loResourceGrades.loResource"]},
    ],
)
def test_columns__names_that_are_requested(values: dict[str, Any]) -> None:
    """The columns of names are allowed with names, and with the paths that bring them."""
    given = {**SANDBOX, "format": "csv", "columns": list(NAMES), **values}

    inputs, _ = load_given(given, Redactor())

    assert inputs.columns == tuple(NAMES)


@pytest.mark.parametrize("users", [{"user_email": "a@b.example"}, {"user_ids_file": "users.csv"}])
def test_columns__address_of_users_given_by_address(users: dict[str, str]) -> None:
    """Records of users given by address have it without being asked, and only it."""
    given = {"base_url": "sandbox", "format": "csv", "columns": "id,user_email", **users}

    assert load_given(given, Redactor())[0].columns == ("id", "user_email")

    problem = refusal({**given, "columns": "user_name"}).problems[0]
    assert problem.given.startswith('"user_name", which ALM sends only')


def test_inputs__unknown_names_in_order() -> None:
    """Unknown names are listed in the order given, the same in every run."""
    names = ["zeta", "alpha", "mu", "beta", "omega", "gamma", "kappa"]

    problems = refusal({**SANDBOX, **dict.fromkeys(names, 1)}).problems

    assert [problem.name for problem in problems] == names


def test_problems__all_at_once() -> None:
    """One message has every problem: of names, users, values and credentials."""
    error = refusal({"page_limit": 11, "sorted": "x", "shard": "9/8", "client_id": "a b"})

    assert str(error) == (
        "7 inputs are not valid:"
        " sorted is not an input (did you mean sort?);"
        f" user_id is missing (allowed: {IDS}, or `user_email` or `user_ids_file` instead);"
        " page_limit is 11 (allowed: a whole number from 1 to 10);"
        f' shard is "9/8" (allowed: {SHARD});'
        " ALM_CLIENT_SECRET is missing, and needed with `ALM_CLIENT_ID`;"
        " ALM_REFRESH_TOKEN is missing, and needed with `ALM_CLIENT_ID`;"
        " ALM_CLIENT_ID is not valid in an HTTP header"
        " (allowed: only the value: visible ASCII, without spaces and quotes around it)."
        f" {SET_TOKEN}"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user_id", "digit"),
        ("include", "path"),
        ("shard", "shards"),
        ("base_url", "fragments"),
        ("base_url", "htps"),
    ],
)
def test_input__no_suggestion_from_the_explanation(name: str, value: str) -> None:
    """A suggestion is an allowed value, never a word of the explanation."""
    assert [problem.near for problem in refusal({**ALM, name: value}).problems] == [""]


VALUES = [
    "[" * 100_000,
    10**5000,
    [10**5000],
    {("a",): 1},
    1j,
    Decimal("nan"),
    object(),
    b"1",
    {"1"},
    "\ud800",
    [[["1"]]],
    float("-inf"),
    {"a": float("nan")},
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("name", ["user_id", "page_limit", "since", "allow_incomplete"])
def test_input__any_python_value(name: str, value: Any) -> None:
    """A value of a type that no input has is refused in one line, without a crash."""
    error = refusal({**SANDBOX, name: value})

    assert {problem.name for problem in error.problems} == {name}
    assert len(str(error).splitlines()) == 1


@given(
    name=st.sampled_from(input_names()),
    value=st.text() | st.none() | st.booleans() | st.integers() | st.floats() | st.binary(),
)
def test_input__any_value(name: str, value: Any) -> None:
    """Any value of any input is accepted, or refused in one line."""
    values: dict[str, Any] = {"base_url": "sandbox", "user_id": "1", name: value}
    if name in ("user_ids_file", "user_email"):
        del values["user_id"]

    try:
        result = repr(load_given(values, Redactor())[0])
    except UsageError as error:
        result = str(error)

    assert len(result.splitlines()) == 1


@pytest.mark.parametrize(
    ("url", "used"),
    [
        ("https://learningmanagereu.adobe.com", "https://learningmanagereu.adobe.com"),
        ("https://learningmanager.adobe.com/", "https://learningmanager.adobe.com"),
        ("https://learningmanager.adobe.com/primeapi/v2", "https://learningmanager.adobe.com"),
        ("https://host.example/base/primeapi/v2/", "https://host.example/base"),
        ("https://host.example:8443", "https://host.example:8443"),
        ("HTTPS://Host.Example", "HTTPS://Host.Example"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("https://10.0.0.1", "https://10.0.0.1"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("http://127.0.0.1:8484/", "http://127.0.0.1:8484"),
        ("http://127.255.255.254:1", "http://127.255.255.254:1"),
        ("http://localhost:65535", "http://localhost:65535"),
        ("http://LOCALHOST", "http://LOCALHOST"),
        ("http://[::1]:8484", "http://[::1]:8484"),
        (" https://host.example\n", "https://host.example"),
        ("sandbox", "sandbox"),
    ],
)
def test_base_url__accepted(url: str, used: str) -> None:
    """Any host by https, this machine by http; the API's own path at the end is optional."""
    values = {**ALM, "base_url": url}

    assert load_given(values, Redactor())[0].base_url == used


@pytest.mark.parametrize(
    "url",
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
def test_base_url__refused(url: str) -> None:
    """A URL without a host, of another scheme, or with parts that misdirect a token is refused."""
    problems = refusal({**ALM, "base_url": url}).problems

    assert [(problem.name, problem.allowed) for problem in problems] == [("base_url", URL)]


ALL_SETS = [names for count in range(5) for names in combinations(credential_names(), count)]
TRIO = ("client_id", "client_secret", "refresh_token")
SUFFICIENT = (("access_token",), TRIO, ("access_token", *TRIO))


@pytest.mark.parametrize("names", SUFFICIENT, ids=" ".join)
def test_credentials__sufficient(names: tuple[str, ...]) -> None:
    """The access token, the other three, or all four are enough."""
    _, credentials = load_given({"user_id": "1", **dict.fromkeys(names, "x-000042")}, Redactor())

    assert tuple(name for name in credential_names() if getattr(credentials, name)) == names


@pytest.mark.parametrize("names", sorted({*ALL_SETS} - {*SUFFICIENT}), ids=" ".join)
def test_credentials__insufficient(names: tuple[str, ...]) -> None:
    """Every other set is refused with each missing one, and a hint."""
    absent = [variable(name) for name in TRIO if name not in names]
    present = [f"`{variable(name)}`" for name in TRIO if name in names]
    problems = [f"{name} is missing, and needed with {' and '.join(present)}" for name in absent]
    if not names:
        problems = ["ALM_ACCESS_TOKEN is missing"]

    error = refusal({"user_id": "1", **dict.fromkeys(names, "x-000042")})

    assert error.message.partition(": ")[2] == f"{'; '.join(problems)}."
    assert error.hint == SET_TOKEN


@pytest.mark.parametrize("names", ALL_SETS, ids=" ".join)
def test_credentials__unused_by_the_sandbox(names: tuple[str, ...]) -> None:
    """The sandbox needs no credentials and accepts any: they are sent nowhere."""
    inputs, _ = load_given({**SANDBOX, **dict.fromkeys(names, "in va lid")}, Redactor())

    assert inputs.base_url == "sandbox"


@pytest.mark.parametrize("name", credential_names())
@pytest.mark.parametrize(
    "secret",
    [
        "two words",
        "tab\there",
        "line\nbreak",
        "nul\0",
        "caf\u00e9",
        "\u200bzero",
        "a\x7f",
        "“quoted”",
        '"quoted"',
        "'quoted'",
    ],
)
def test_credentials__not_sendable(name: str, secret: str) -> None:
    """White space, control characters, quotes around it and non-ASCII are refused, not shown."""
    credentials = {**dict.fromkeys(credential_names(), "fine-0042"), name: secret}

    error = refusal({"user_id": "1", **credentials})

    assert str(error) == (
        f"1 input is not valid: {variable(name)} is not valid in an HTTP header (allowed: only the"
        f" value: visible ASCII, without spaces and quotes around it). {NOTHING_SENT}"
    )


@pytest.mark.parametrize("scheme", ["Bearer", "oauth"])
def test_credentials__with_a_scheme(scheme: str) -> None:
    """A token that was copied with the scheme of its header is refused by that name."""
    error = refusal({"user_id": "1", "access_token": f"{scheme} token-0042"})

    assert f"ALM_ACCESS_TOKEN is given with '{scheme}' before it (allowed: only the" in str(error)


@pytest.mark.parametrize("length", [1, 7, 16_385])
def test_credentials__of_another_length(length: int) -> None:
    """A credential of fewer than 8 or more than 16,384 characters is refused, not shown."""
    error = refusal({"user_id": "1", "access_token": "s" * length})

    assert error.problems == (
        Problem(
            "ALM_ACCESS_TOKEN",
            f"{length:,} character{'s' * (length > 1)} long",
            "8 to 16,384 characters",
        ),
    )


@pytest.mark.parametrize(
    "include",
    [["learner.a.b.c.d.e"], [f"learner.a{n}" for n in range(21)], ["learner." + "a" * 65]],
)
def test_include__of_too_many_paths_or_steps(include: list[str]) -> None:
    """More than 20 paths, or a path of more than 5 steps, are refused."""
    (problem,) = refusal({**ALM, "include": include}).problems

    assert (problem.name, problem.allowed) == ("include", INCLUDE)


def test_include__of_the_most_paths_and_steps() -> None:
    """20 paths of 5 steps are accepted."""
    paths = [f"learner.a.b.c.d{number}" for number in range(20)]

    inputs, _ = load_given({**ALM, "include": paths}, Redactor())

    assert inputs.include == tuple(paths)


@pytest.mark.parametrize("token", ["Token-0042-short", "Token-0042-" + "abcdefghij" * 10])
def test_credentials__quoted_as_an_input(token: str) -> None:
    """A credential given as an input, too, is not shown, not even its beginning after a cut."""
    error = refusal({"user_id": token, "access_token": token})

    assert error.problems == (Problem("user_id", '"***"', IDS),)
