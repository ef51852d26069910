"""Inputs and credentials from all their sources, in their order, and that none of them leaks."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import traceback
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from connector.errors import Problem, UsageError
from connector.redact import Redactor
from connector.schemas import load_schema
from connector.settings import (
    Credentials,
    Inputs,
    credential_names,
    input_names,
    load,
    load_given,
    variable,
)
from connector.settings.sources import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.unit.settings.conftest import SetVariables

SANDBOX = {"user_id": "1", "base_url": "sandbox"}
CANARY = "Canary+0042/é&=secret"
SENDABLE_CANARY = "Canary+0042/~&=secret"
USERS = "ALM user ids, decimal digits each, or `user_email` or `user_ids_file` instead"
NAME_PATHS = ("learningObject", "learner", "loResourceGrades.loResource")
LAST_PATHS = ("learningObject", "loResourceGrades.loResource")
DEFAULTS = Inputs(
    user_id=("1",),
    user_email=(),
    user_ids_file=None,
    lo_types=("course",),
    sort="dateEnrolled",
    state=None,
    include=(),
    names=False,
    locale="en-US",
    query=(),
    page_limit=10,
    max_enrollments=None,
    since=None,
    completed_since=None,
    base_url="sandbox",
    deadline=600,
    allow_incomplete=False,
    concurrency=8,
    prefetch=True,
    quota_share=1.0,
    shard=None,
    format="json",
    columns=(),
    output_file=None,
    resume=False,
    relative={},
)

# A text for every input that does not exclude another one, and the value that it has.
TEXTS = {
    "user_id": "2,3",
    "lo_types": "jobAid course",
    "sort": "-dateEnrolled",
    "state": "active",
    "include": "learner",
    "names": "yes",
    "locale": "de-DE",
    "query": "a=1 b=",
    "page_limit": "3",
    "max_enrollments": "7",
    "since": "2023-06-29",
    "completed_since": "2023-06-30",
    "base_url": "sandbox",
    "deadline": "1.5",
    "allow_incomplete": "yes",
    "concurrency": "32",
    "prefetch": "no",
    "quota_share": ".25",
    "shard": "2/8",
    "format": "csv",
    "columns": "id,user_name",
    "output_file": " x.csv ",
    "resume": "no",
}
READ = Inputs(
    user_id=("2", "3"),
    user_email=(),
    user_ids_file=None,
    lo_types=("jobAid", "course"),
    sort="-dateEnrolled",
    state="active",
    include=("learner",),
    names=True,
    locale="de-DE",
    query=("a=1", "b="),
    page_limit=3,
    max_enrollments=7,
    since=datetime(2023, 6, 29, tzinfo=UTC),
    completed_since=datetime(2023, 6, 30, tzinfo=UTC),
    base_url="sandbox",
    deadline=1.5,
    allow_incomplete=True,
    concurrency=32,
    prefetch=False,
    quota_share=0.25,
    shard=(2, 8),
    format="csv",
    columns=("id", "user_name"),
    output_file="x.csv",
    resume=False,
    relative={},
)


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    """Return the path of the env-file."""
    return tmp_path / "alm.env"


@pytest.fixture
def secrets_dir(tmp_path: Path) -> Path:
    """Return a folder in the role of ``/run/secrets``."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    return folder


def inputs_of(flags: Mapping[str, Any], secrets_dir: Path | None = None) -> Inputs:
    """Return the inputs of these sources and the environment."""
    return load(flags, Redactor(), secrets_dir=secrets_dir)[0]


def credentials_of(flags: Mapping[str, Any], secrets_dir: Path | None = None) -> dict[str, str]:
    """Return the credentials of these sources and the environment, in clear."""
    _, credentials = load({**SANDBOX, **flags}, Redactor(), secrets_dir=secrets_dir)
    secrets = {name: getattr(credentials, name) for name in credential_names()}
    return {name: secret.get_secret_value() for name, secret in secrets.items() if secret}


def refusal(flags: Mapping[str, Any], secrets_dir: Path | None = None) -> UsageError:
    """Return the error that these sources and the environment cause."""
    with pytest.raises(UsageError) as caught:
        load(flags, Redactor(), secrets_dir=secrets_dir)
    return caught.value


def write_variables(path: Path, values: Mapping[str, str]) -> None:
    """Write *values*, by input or credential, as an env-file."""
    lines = [f"{variable(name)}='{text}'\n" for name, text in values.items()]
    path.write_text("".join(lines), encoding="utf-8")


def forms_of(secret: str) -> list[str]:
    """Return the forms in which *secret* could show: raw, URL-encoded, base64 at any alignment."""
    encoded = [base64.b64encode(b"\0" * shift + secret.encode()) for shift in range(3)]
    return [secret, quote(secret, safe=""), *(text.decode()[4:-4] for text in encoded)]


def traceback_of(error: BaseException) -> str:
    """Return the traceback of *error* with every local variable, without the test's own frame."""
    assert error.__traceback__ is not None
    rendered = traceback.TracebackException(
        type(error), error, error.__traceback__.tb_next, capture_locals=True
    )
    return "".join(rendered.format())


def test_settings__fields_are_the_schemas() -> None:
    """The class declares exactly the inputs and credentials of the schema, each with its type."""
    types = {"array": "TextList", "string": "Text", "boolean": "Boolean"}
    kinds = {
        name: "Moment" if name.endswith("since") else types.get(rule["type"], rule["type"].title())
        for name, rule in load_schema("inputs")["properties"].items()
    }

    kinds |= dict.fromkeys(credential_names(), "Secret")
    assert Settings.__annotations__ == {**kinds, "sandbox_day": "Integer"}


def test_settings__import_needs_no_library() -> None:
    """Names and defaults need no library, and valid inputs not the slow JSON Schema library."""
    code = (
        "import sys; from connector import settings; settings.input_names();"
        "print({'pydantic', 'jsonschema', 'jsonschema_rs'} & {*sys.modules});"
        "from connector.redact import Redactor;"
        "settings.load_given({'user_id': 1, 'base_url': 'sandbox'}, Redactor());"
        "print('jsonschema' in sys.modules)"
    )

    checkout = Path(__file__).parents[3]
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, capture_output=True, check=True
    )

    assert process.stdout == b"set()\nFalse\n"


@pytest.mark.parametrize(
    ("name", "expected"), [("user_id", "ALM_USER_ID"), ("access_token", "ALM_ACCESS_TOKEN")]
)
def test_variable(name: str, expected: str) -> None:
    """A variable is the name in upper case after ALM_."""
    assert variable(name) == expected


def test_load__defaults() -> None:
    """A run that names only a user has the schema's defaults."""
    assert load(SANDBOX, Redactor(), secrets_dir=None) == (DEFAULTS, Credentials())


def test_load__default_address(set_variables: SetVariables) -> None:
    """The default address is ALM's own, and needs a token."""
    set_variables({"ALM_ACCESS_TOKEN": "token-0042"})

    assert inputs_of({"user_id": "1"}) == replace(
        DEFAULTS, base_url="https://learningmanager.adobe.com"
    )


@pytest.mark.parametrize("source", ["flags", "environment", "env-file", "given"])
def test_load__every_input(source: str, env_file: Path, set_variables: SetVariables) -> None:
    """A text has one meaning, as a flag, as a variable and in a request."""
    assert {*TEXTS, "user_email", "user_ids_file"} == {*input_names()}
    write_variables(env_file, TEXTS)
    if source == "environment":
        set_variables({variable(name): text for name, text in TEXTS.items()})
    flags: dict[str, Mapping[str, Any]] = {"flags": TEXTS, "env-file": {"env_file": env_file}}

    inputs = (
        load_given(TEXTS, Redactor())[0] if source == "given" else inputs_of(flags.get(source, {}))
    )

    assert inputs == READ


@pytest.mark.parametrize("text", ["all", "jobAid,all"])
def test_load__all_types(text: str) -> None:
    """`all` stands for the four types, in ALM's order."""
    lo_types = inputs_of({**SANDBOX, "lo_types": text}).lo_types

    assert lo_types == ("course", "learningProgram", "jobAid", "certification")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2023-06-29", datetime(2023, 6, 29, tzinfo=UTC)),
        ("2023-06-29T12:34:33.000Z", datetime(2023, 6, 29, 12, 34, 33, tzinfo=UTC)),
        (
            "2023-06-29T12:34:33+02:00",
            datetime(2023, 6, 29, 12, 34, 33, tzinfo=timezone(timedelta(hours=2))),
        ),
        (" 2023-06-29T12:34\n", datetime(2023, 6, 29, 12, 34, tzinfo=UTC)),
    ],
)
def test_load__since(text: str, moment: datetime) -> None:
    """A date or date-time is a moment with an offset, UTC if it has none."""
    since = inputs_of({**SANDBOX, "since": text}).since

    assert (since, since and since.utcoffset()) == (moment, moment.utcoffset())


@pytest.mark.parametrize("name", ["since", "completed_since"])
@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (date(2023, 6, 29), datetime(2023, 6, 29, tzinfo=UTC)),
        (datetime(2023, 6, 29, 12, 34), datetime(2023, 6, 29, 12, 34, tzinfo=UTC)),  # noqa: DTZ001 - the case
        (
            datetime(2023, 6, 29, 12, tzinfo=timezone(timedelta(hours=-5))),
            datetime(2023, 6, 29, 17, tzinfo=UTC),
        ),
    ],
)
def test_load__moments_of_python(name: str, value: object, moment: datetime) -> None:
    """Python's dates and datetimes are moments, too: UTC if they have no offset."""
    inputs = inputs_of({**SANDBOX, name: value})

    assert (getattr(inputs, name), inputs.relative) == (moment, {})


def test_load__relative_moments_once() -> None:
    """Moments relative to now are resolved against one clock reading, and kept as written."""
    now = datetime(2023, 6, 29, 12, 34, 33, tzinfo=UTC)
    given = {**SANDBOX, "since": " 7d ", "completed_since": "yesterday"}

    inputs, _ = load_given(given, Redactor(), now=now)

    assert inputs.since == datetime(2023, 6, 22, 12, 34, 33, tzinfo=UTC)
    assert inputs.completed_since == datetime(2023, 6, 28, tzinfo=UTC)
    assert inputs.relative == {"since": "7d", "completed_since": "yesterday"}


@pytest.mark.parametrize(
    ("output_file", "expected"),
    [
        ("x.json", "json"),
        ("x.ndjson", "ndjson"),
        ("x.jsonl", "ndjson"),
        ("x.csv", "csv"),
        ("x.CSV.GZ", "csv"),
        ("x.ndjson.zst", "ndjson"),
        ("a.csv/x.json", "json"),
        ("x.parquet", "parquet"),
        ("x.xlsx", "xlsx"),
        ("x.html", "html"),
    ],
)
def test_load__the_format_of_the_suffix(output_file: str, expected: str) -> None:
    """The output file's suffix names the format, and may be confirmed by it."""
    assert inputs_of({**SANDBOX, "output_file": output_file}).format == expected
    assert inputs_of({**SANDBOX, "output_file": output_file, "format": expected}).format == expected


@pytest.mark.parametrize("output_file", ["x", "x.txt", "x.gz", ".csv"])
def test_load__the_format_of_another_suffix(output_file: str) -> None:
    """For any other name the format is given."""
    given = {**SANDBOX, "output_file": output_file, "format": "table"}

    assert inputs_of(given).format == "table"
    assert inputs_of({**SANDBOX}).format == "json"


@pytest.mark.parametrize(
    ("values", "related"),
    [
        ({}, ()),
        ({"include": "learner.manager"}, ("learner.manager",)),
        ({"names": "true"}, NAME_PATHS),
        (
            {"names": "true", "include": "loInstance,learner"},
            ("loInstance", "learner", *LAST_PATHS),
        ),
    ],
)
def test_inputs__related(values: dict[str, str], related: tuple[str, ...]) -> None:
    """With names, their paths are requested besides those of include, each once."""
    assert inputs_of({**SANDBOX, **values}).related == related


@pytest.mark.parametrize("empty", ["", " ", "\n", "\t \r\n", None])
@pytest.mark.parametrize("name", [*input_names()[1:], "env_file", "verbose"])
def test_load__empty_is_not_given(
    name: str, empty: str | None, set_variables: SetVariables
) -> None:
    """An empty value counts as not given: the default applies."""
    set_variables({variable(name): empty or "", "ALM_LO_TYPE": empty or ""})

    assert inputs_of({**SANDBOX, name: empty, "base_url": "sandbox"}) == DEFAULTS


@pytest.mark.parametrize(
    ("flag", "value", "line", "expected"),
    [
        ("1", "2", "3", 1),
        (None, "2", "3", 2),
        ("", "2", "3", 2),
        (" ", " \t", "3", 3),
        (None, "", "", 10),
    ],
)
def test_load__precedence(
    flag: str | None,
    value: str,
    line: str,
    expected: int,
    env_file: Path,
    set_variables: SetVariables,
) -> None:
    """Flags come before the environment, that before the env-file, and that before the default."""
    set_variables({"ALM_PAGE_LIMIT": value})
    write_variables(env_file, {"page_limit": line})

    assert inputs_of({**SANDBOX, "page_limit": flag, "env_file": env_file}).page_limit == expected


def test_load__precedence_of_credentials(
    env_file: Path, secrets_dir: Path, set_variables: SetVariables
) -> None:
    """Each credential is the environment's, else the env-file's, else the secrets folder's."""
    set_variables({"ALM_ACCESS_TOKEN": "env-1"})
    write_variables(
        env_file, {"access_token": "file-1", "client_id": "file-2", "client_secret": "file-3"}
    )
    for name in ("ACCESS_TOKEN", "CLIENT_ID", "REFRESH_TOKEN"):
        (secrets_dir / f"ALM_{name}").write_text(f"secret-{name}\n", encoding="utf-8")

    assert credentials_of({"env_file": env_file}, secrets_dir) == {
        "access_token": "env-1",
        "client_id": "file-2",
        "client_secret": "file-3",
        "refresh_token": "secret-REFRESH_TOKEN",
    }


def test_load__an_invalid_value_is_not_skipped(set_variables: SetVariables) -> None:
    """The first source that has a value decides, even if a later one has a valid value."""
    set_variables({"ALM_PAGE_LIMIT": "5"})

    assert refusal({**SANDBOX, "page_limit": "0"}).problems == (
        Problem("page_limit", "0", "a whole number from 1 to 10"),
    )


@pytest.mark.parametrize(
    ("flags", "variables", "line", "expected"),
    [
        ({"user_ids_file": "a"}, {"ALM_USER_ID": "2"}, {}, ((), "a")),
        ({"user_id": "1"}, {"ALM_USER_IDS_FILE": "b"}, {}, (("1",), None)),
        ({"user_id": "1"}, {"ALM_USER_ID": "2", "ALM_USER_IDS_FILE": "b"}, {}, (("1",), None)),
        ({}, {"ALM_USER_ID": "2"}, {"user_ids_file": "c"}, (("2",), None)),
        ({}, {"ALM_USER_IDS_FILE": "b"}, {"user_id": "3", "user_ids_file": "c"}, ((), "b")),
        ({"user_id": " "}, {"ALM_USER_ID": ""}, {"user_ids_file": "c"}, ((), "c")),
        ({"user_ids_file": "a"}, {"ALM_USER_EMAIL": "a@b"}, {}, ((), "a")),
        ({"user_id": "1"}, {"ALM_USER_EMAIL": "a@b"}, {"user_email": "c@d"}, (("1",), None)),
    ],
)
def test_load__users_of_the_highest_source(
    flags: dict[str, str],
    variables: dict[str, str],
    line: dict[str, str],
    expected: tuple[Any, Any],
    env_file: Path,
    set_variables: SetVariables,
) -> None:
    """Of the inputs that name users, those of the highest source count."""
    set_variables(variables)
    write_variables(env_file, line)

    inputs = inputs_of({"base_url": "sandbox", "env_file": env_file, **flags})

    assert (inputs.user_id, inputs.user_email, inputs.user_ids_file) == (
        expected[0],
        (),
        expected[1],
    )


def test_load__addresses_of_a_higher_source(set_variables: SetVariables) -> None:
    """Addresses of a higher source hide the ids and the list of a lower one."""
    set_variables({"ALM_USER_ID": "2", "ALM_BASE_URL": "sandbox"})

    inputs = inputs_of({"user_email": "a@b c@d"})

    assert (inputs.user_id, inputs.user_email) == ((), ("a@b", "c@d"))


def test_load__too_many_paths() -> None:
    """At most 20 paths are included."""
    paths = [f"learner.a{number}" for number in range(21)]

    assert inputs_of({**SANDBOX, "include": paths[:20]}).include == tuple(paths[:20])
    assert refusal({**SANDBOX, "include": paths}).problems[0].name == "include"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("flags", ("user_id", "user_ids_file")),
        ("environment", ("ALM_USER_ID", "ALM_USER_IDS_FILE")),
        ("env-file", ('ALM_USER_ID in "FILE"', 'ALM_USER_IDS_FILE in "FILE"')),
    ],
)
def test_load__users_named_twice(
    source: str, names: tuple[str, str], env_file: Path, set_variables: SetVariables
) -> None:
    """Two inputs of one source that name users are a problem with both origins."""
    values = {"user_id": "1", "user_ids_file": "-"}
    flags: dict[str, Any] = {"base_url": "sandbox"}
    if source == "flags":
        flags |= values
    elif source == "environment":
        set_variables({variable(name): text for name, text in values.items()})
    else:
        write_variables(env_file, values)
        flags["env_file"] = env_file

    problem = str(refusal(flags).problems[0]).replace(str(env_file), "FILE")

    assert problem == f"{names[0]} is set together with {names[1]} (allowed: {USERS})"


@pytest.mark.parametrize("source", ["environment", "env-file"])
@pytest.mark.parametrize(
    ("text", "day"),
    [("0", 0), (" 3650 ", 3_650), ("", None), ("-1", "-1"), ("3651", "3651"), ("x", "x")],
)
def test_load__day_of_the_sandbox(
    source: str, text: str, day: int | str | None, env_file: Path, set_variables: SetVariables
) -> None:
    """The sandbox's day is a variable of its own, and no input."""
    variables = {"ALM_SANDBOX_DAY": text}
    env_file.write_text(
        f"ALM_SANDBOX_DAY={text}\n" if source == "env-file" else "", encoding="utf-8"
    )
    set_variables(variables if source == "environment" else {})
    flags = {**SANDBOX, "env_file": env_file}

    if isinstance(day, str):
        problem = Problem("ALM_SANDBOX_DAY", f'"{day}"', "a whole number from 0 to 3650")
        assert refusal(flags).problems == (problem,)
    else:
        assert load(flags, Redactor(), secrets_dir=None)[0].sandbox_day == day


@pytest.mark.parametrize("source", ["environment", "env-file"])
@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("ALM_LO_TYPE", "ALM_LO_TYPES"),
        ("ALM_USERID", "ALM_USER_ID"),
        ("ALM_USER_IDS", "ALM_USER_ID"),
        ("ALM_USER_ID_FILE", "ALM_USER_IDS_FILE"),
        ("ALM_BASEURL", "ALM_BASE_URL"),
        ("ALM_CLIENT_SECERT", "ALM_CLIENT_SECRET"),
        ("ALM_SANDBOXDAY", "ALM_SANDBOX_DAY"),
        ("alm_user_id", "ALM_USER_ID"),
        ("Alm_Access_Token", "ALM_ACCESS_TOKEN"),
        ("alm_userid", "ALM_USER_ID"),
    ],
)
def test_load__misspelled_variable(
    source: str, name: str, near: str, env_file: Path, set_variables: SetVariables
) -> None:
    """A variable that nearly has an input's name, or has it in lower case, is refused unshown."""
    env_file.write_text(f"{name}={CANARY}\n" if source == "env-file" else "", encoding="utf-8")
    set_variables({name: CANARY} if source == "environment" else {})

    error = refusal({**SANDBOX, "env_file": env_file})

    assert error.problems == (Problem(name, "not an input", near=near),)


@pytest.mark.parametrize(
    "name", ["ALM_HOME", "ALM_DATABASE_URL", "ALM_ENV_FILE", "ALM_", "ALMA_USER_ID", "USER_ID"]
)
def test_load__foreign_variable(name: str, set_variables: SetVariables) -> None:
    """Another program's variable is ignored, even if it begins with ALM_."""
    set_variables({name: CANARY})

    assert inputs_of(SANDBOX) == DEFAULTS


@pytest.mark.parametrize(
    "text",
    [
        "ALM_SORT=-dateEnrolled",
        "export ALM_SORT=-dateEnrolled",
        "  ALM_SORT = -dateEnrolled  ",
        "ALM_SORT='-dateEnrolled' # newest first",
        'ALM_SORT="-dateEnrolled"',
        "# a comment\n\nALM_SORT=-dateEnrolled\r\n",
        "ALM_SORT=dateEnrolled\nALM_SORT=-dateEnrolled",
        "\ufeffALM_SORT=-dateEnrolled",
        "PATH=/bin\nALM_STATE\nALM_SHARD=''\nALM_SORT=-dateEnrolled",
    ],
)
@pytest.mark.parametrize("kind", [str, None])
def test_env_file__forms(text: str, kind: Any, env_file: Path) -> None:
    """The usual forms of an env-file are read, with or without a byte order mark."""
    env_file.write_text(text, encoding="utf-8", newline="")
    path = str(env_file) if kind else env_file

    assert inputs_of({**SANDBOX, "env_file": path}) == replace(DEFAULTS, sort="-dateEnrolled")


def test_env_file__expands_nothing(env_file: Path, set_variables: SetVariables) -> None:
    """A dollar sign in the env-file has no meaning, and names no other file."""
    set_variables({"ALM_ENV_FILE": "other.env"})
    env_file.write_text("ALM_OUTPUT_FILE=${HOME}.json\nALM_ENV_FILE=other.env\n", encoding="utf-8")

    assert inputs_of({**SANDBOX, "env_file": env_file}) == replace(
        DEFAULTS, output_file="${HOME}.json"
    )


def test_env_file__from_a_pipe() -> None:
    """The env-file may be a pipe, as in `--env-file <(vault …)`: it is read once."""
    reader, writer = os.pipe()
    os.write(writer, b"ALM_PAGE_LIMIT=3\n")
    os.close(writer)

    inputs = inputs_of({**SANDBOX, "env_file": f"/dev/fd/{reader}"})
    os.close(reader)

    assert inputs == replace(DEFAULTS, page_limit=3)


def test_env_file__not_found_by_chance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `.env` in the working directory is not read: it could send the token to another host."""
    (tmp_path / ".env").write_text("ALM_PAGE_LIMIT=3\nALM_ACCESS_TOKEN=x\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    assert load(SANDBOX, Redactor(), secrets_dir=None) == (DEFAULTS, Credentials())


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.env", None, "No such file or directory"),
        ("", None, "Is a directory"),
        ("alm.env", b"ALM_ACCESS_TOKEN=caf\xe9\n", "it is not UTF-8 text"),
        ("a\n::error::b", None, "No such file or directory"),
    ],
)
def test_env_file__unreadable(
    name: str, content: bytes | None, reason: str, tmp_path: Path
) -> None:
    """An env-file that cannot be read is a problem in one line, which shows nothing of it."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)

    error = refusal({**SANDBOX, "env_file": path})

    assert error.problems == (
        Problem("env_file", f'"{path}", which cannot be read: {reason}', "a readable file"),
    )
    assert len(str(error).splitlines()) == 1


def test_env_file__malformed_lines(env_file: Path) -> None:
    """A malformed line, which may hold a secret, is reported by number; the other lines count."""
    lines = ["ALM_USER_ID=7", f"= {CANARY}", "# fine", f"'{CANARY} = 1", "ALM_SHARD=9/8"]
    env_file.write_text("\n".join(lines), encoding="utf-8")

    error = refusal({"base_url": "sandbox", "env_file": env_file})

    assert error.problems[:2] == (
        Problem("env_file", "not valid in line 2", "NAME=value"),
        Problem("env_file", "not valid in line 4", "NAME=value"),
    )
    assert [problem.name for problem in error.problems[2:]] == [f'ALM_SHARD in "{env_file}"']


@pytest.mark.parametrize("name", credential_names())
@pytest.mark.parametrize("spell", [str.upper, str.lower])
def test_secrets__every_credential(name: str, spell: Any, secrets_dir: Path) -> None:
    """A file in the secrets folder is a credential, spelled as Docker or the environment does."""
    (secrets_dir / spell(f"ALM_{name}")).write_text("secret-0042\n", encoding="utf-8")

    assert credentials_of({}, secrets_dir) == {name: "secret-0042"}


def test_secrets__upper_case_first(secrets_dir: Path) -> None:
    """Of two spellings the upper case one counts, unless it is empty."""
    for name, text in (("ACCESS_TOKEN", "upper"), ("CLIENT_ID", " \n")):
        (secrets_dir / f"ALM_{name}").write_text(text, encoding="utf-8")
        (secrets_dir / f"alm_{name.lower()}").write_text("lower", encoding="utf-8")

    assert credentials_of({}, secrets_dir) == {"access_token": "upper", "client_id": "lower"}


def test_secrets__only_credentials(secrets_dir: Path) -> None:
    """Inputs, folders and empty files in the secrets folder are ignored."""
    (secrets_dir / "ALM_PAGE_LIMIT").write_text("1", encoding="utf-8")
    (secrets_dir / "ALM_CLIENT_ID").write_text(" \n", encoding="utf-8")
    (secrets_dir / "ALM_ACCESS_TOKEN").mkdir()

    assert load(SANDBOX, Redactor(), secrets_dir=secrets_dir) == (DEFAULTS, Credentials())


@pytest.mark.parametrize("name", ["missing", "file", "file/below", "x" * 5000])
def test_secrets__no_folder(name: str, tmp_path: Path) -> None:
    """A secrets folder that is missing, a file or not to be entered has no credentials."""
    (tmp_path / "file").write_text("x", encoding="utf-8")

    assert credentials_of({}, tmp_path / name) == {}


def test_secrets__unreadable_file(secrets_dir: Path, set_variables: SetVariables) -> None:
    """An unreadable secret is a problem, unless a higher source has the credential."""
    (secrets_dir / "ALM_ACCESS_TOKEN").write_bytes(b"\xff\xfe")
    rule = "a file of UTF-8 text that this user may read"

    problems = refusal(SANDBOX, secrets_dir).problems
    set_variables({"ALM_ACCESS_TOKEN": "token-0042"})

    assert problems == (Problem("ALM_ACCESS_TOKEN", f"not readable in {secrets_dir}", rule),)
    assert credentials_of({}, secrets_dir) == {"access_token": "token-0042"}


def test_load__all_problems_at_once(env_file: Path, set_variables: SetVariables) -> None:
    """One message has the caller's problems, then those of the sources, then those of values."""
    env_file.write_text("= nonsense\n", encoding="utf-8")
    set_variables({"ALM_LO_TYPES": "x", "ALM_LO_TYPE": "course", "ALM_CLIENT_ID": "a b"})
    before = [Problem("--lo-type", "an unknown option", near="--lo-types")]

    with pytest.raises(UsageError) as caught:
        load({"env_file": env_file, "sorted": "x"}, Redactor(), problems=before, secrets_dir=None)

    assert [problem.name for problem in caught.value.problems] == [
        "--lo-type",
        "env_file",
        "ALM_LO_TYPE",
        "sorted",
        "user_id",
        "ALM_LO_TYPES",
        "ALM_CLIENT_SECRET",
        "ALM_REFRESH_TOKEN",
        "ALM_CLIENT_ID",
    ]


def test_load__a_credential_as_flag(set_variables: SetVariables) -> None:
    """A credential as flag is refused without its value, and hides no variable."""
    set_variables({"ALM_ACCESS_TOKEN": "token-0042"})

    error = refusal({"user_id": "1", "access_token": "flag-0042"})

    assert error.problems == (
        Problem(
            "access_token",
            "not an input",
            "ALM_ACCESS_TOKEN in the environment, in --env-file or in /run/secrets",
        ),
    )


def test_load_given__reads_no_other_source(set_variables: SetVariables) -> None:
    """Inputs and credentials of a request come from the request only."""
    set_variables({"ALM_PAGE_LIMIT": "3", "ALM_ACCESS_TOKEN": "x", "ALM_USERID": "1"})
    values = {**SANDBOX, "client_id": " given-0042\n", "shard": None, "include": ""}

    inputs, credentials = load_given(values, Redactor())

    assert inputs == DEFAULTS
    assert credentials.client_id is not None
    assert credentials.client_id.get_secret_value() == "given-0042"
    assert credentials == Credentials(client_id=credentials.client_id)


def test_redactor__learns_credentials_first(
    env_file: Path, secrets_dir: Path, set_variables: SetVariables
) -> None:
    """The redactor knows every credential, without white space, even if the inputs are refused."""
    set_variables({"ALM_ACCESS_TOKEN": " from-env\r\n"})
    write_variables(env_file, {"client_secret": "from-file"})
    (secrets_dir / "ALM_CLIENT_ID").write_text("from-secrets", encoding="utf-8")
    redactor = Redactor()

    with pytest.raises(UsageError):
        load({"env_file": env_file}, redactor, secrets_dir=secrets_dir)

    assert redactor.clean("<from-env> from-file from-secrets") == "<***> *** ***"


def test_credentials__do_not_print() -> None:
    """Credentials are hidden in every form of printing, and inputs have none."""
    inputs, credentials = load_given(
        {**SANDBOX, **dict.fromkeys(credential_names(), "canary-0042")}, Redactor()
    )

    hidden = ", ".join(f"{name}=SecretStr('**********')" for name in credential_names())
    assert [repr(credentials), f"{credentials}"] == [f"Credentials({hidden})"] * 2
    assert "canary" not in repr(inputs)


@pytest.mark.parametrize("canary", [SENDABLE_CANARY, CANARY])
@pytest.mark.parametrize("source", ["environment", "env-file", "secrets", "malformed line"])
def test_load__no_credential_in_a_traceback(
    canary: str, source: str, tmp_path: Path, env_file: Path, set_variables: SetVariables
) -> None:
    """A traceback with every local variable of a refused run shows no credential in any form."""
    values = dict.fromkeys(credential_names(), canary)
    if source == "environment":
        set_variables({variable(name): text for name, text in values.items()})
    write_variables(env_file, values if source == "env-file" else {})
    if source == "malformed line":
        env_file.write_text(f"'{canary}\n", encoding="utf-8")
    for name in credential_names() if source == "secrets" else ():
        (tmp_path / variable(name)).write_text(canary, encoding="utf-8")

    error = refusal({"page_limit": "0", "env_file": env_file}, tmp_path)

    shown = traceback_of(error) + repr(error) + repr(error.problems) + str(vars(error))
    assert "page_limit" in shown
    assert [form for form in forms_of(canary) if form in shown] == []
