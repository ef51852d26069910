"""What is gathered, from which of the four places, and how none of it prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector.errors import Problem
from connector.settings.sources import (
    Environment,
    Given,
    credential_names,
    gather,
    input_names,
    variable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

NOWHERE = Path("/nowhere")
CANARY = "canary-0042-secret"


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    """Return where a test may write its env-file."""
    return tmp_path / "alm.env"


@pytest.fixture
def secrets_dir(tmp_path: Path) -> Path:
    """Return a directory that stands for ``/run/secrets``."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    return folder


def gathered(
    flags: Mapping[str, Any], environ: Mapping[str, str], secrets_dir: Path = NOWHERE
) -> Given:
    """Return what is gathered from these places."""
    return gather(flags, Environment(environ), secrets_dir=secrets_dir)


def revealed(given: Given) -> dict[str, str]:
    """Return the credentials in clear."""
    return {name: secret.get_secret_value() for name, secret in given.credentials.items()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("user_id", "ALM_USER_ID"),
        ("page_limit", "ALM_PAGE_LIMIT"),
        ("access_token", "ALM_ACCESS_TOKEN"),
    ],
)
def test_variable__name(name: str, expected: str) -> None:
    """An input's variable is its name in upper case after ALM_."""
    assert variable(name) == expected


def test_gather__nothing() -> None:
    """Where nothing was given, nothing is gathered: defaults are no business of this room."""
    assert gathered({}, {}) == Given({}, {}, ())


@pytest.mark.parametrize("name", input_names())
def test_gather__every_input_from_a_variable(name: str) -> None:
    """Every input has its variable, whose text is handed on as it stands."""
    assert gathered({}, {variable(name): ' ["a"] '}) == Given({name: ' ["a"] '}, {}, ())


@pytest.mark.parametrize("name", input_names())
def test_gather__every_input_from_a_flag(name: str) -> None:
    """Every input may be a flag, whose value is handed on as it is."""
    value = object()

    assert gathered({name: value}, {}) == Given({name: value}, {}, ())


@pytest.mark.parametrize("name", credential_names())
def test_gather__every_credential_from_a_variable(name: str) -> None:
    """Every credential has its variable, and is no input."""
    given = gathered({}, {variable(name): CANARY})

    assert (given.inputs, revealed(given), given.problems) == ({}, {name: CANARY}, ())


@pytest.mark.parametrize("name", credential_names())
@pytest.mark.parametrize("spell", [str.upper, str.lower])
def test_gather__every_credential_from_a_secret(name: str, spell: Any, secrets_dir: Path) -> None:
    """A file in the secrets' directory is a credential, in Docker's spelling or the environment's, its last line end left out."""
    (secrets_dir / spell(f"ALM_{name}")).write_text(f"{CANARY}\n", encoding="utf-8")

    assert revealed(gathered({}, {}, secrets_dir)) == {name: CANARY}


def test_gather__no_input_from_a_secret(secrets_dir: Path) -> None:
    """Nothing but credentials is read from the secrets' directory."""
    (secrets_dir / "ALM_USER_ID").write_text("1", encoding="utf-8")
    (secrets_dir / "ALM_BASE_URL").write_text("https://other.example", encoding="utf-8")
    (secrets_dir / "unrelated").mkdir()

    assert gathered({}, {}, secrets_dir) == Given({}, {}, ())


def test_gather__no_secrets_dir_at_all() -> None:
    """Who brings the credentials himself has none of them mixed with files."""
    assert gather(
        {}, Environment({"ALM_ACCESS_TOKEN": CANARY}), secrets_dir=None
    ).credentials.keys() == {"access_token"}


def test_gather__secrets_dir_that_is_a_file(tmp_path: Path) -> None:
    """Where the secrets' directory is none, there are no secrets."""
    file = tmp_path / "secrets"
    file.write_text(CANARY, encoding="utf-8")

    assert gathered({}, {}, file) == Given({}, {}, ())


def test_gather__an_empty_secret_is_not_given(secrets_dir: Path) -> None:
    """An empty file in the secrets' directory is a credential that was not given."""
    (secrets_dir / "ALM_ACCESS_TOKEN").write_text(" \n", encoding="utf-8")

    assert gathered({}, {}, secrets_dir) == Given({}, {}, ())


def test_gather__a_secret_that_is_not_text(secrets_dir: Path) -> None:
    """A secret of other bytes than UTF-8 is a problem of its own name, not a crash."""
    (secrets_dir / "ALM_ACCESS_TOKEN").write_bytes(b"\xff\xfe")

    given = gathered({}, {}, secrets_dir)

    assert (given.inputs, given.credentials) == ({}, {})
    assert [problem.name for problem in given.problems] == ["ALM_ACCESS_TOKEN"]


def test_gather__a_secret_that_is_a_directory(secrets_dir: Path) -> None:
    """A directory in place of a secret gives nothing, and prints no warning of another library's."""
    (secrets_dir / "ALM_ACCESS_TOKEN").mkdir()

    given = gathered({}, {"ALM_USER_ID": "1"}, secrets_dir)

    assert (given.inputs, given.credentials) == ({"user_id": "1"}, {})


@pytest.mark.parametrize(
    ("flag", "environ", "file_text", "expected"),
    [
        ("1", "2", "3", {"page_limit": "1"}),
        (None, "2", "3", {"page_limit": "2"}),
        (None, None, "3", {"page_limit": "3"}),
        (None, None, "", {}),
        ("", "2", "3", {"page_limit": "2"}),
        (" ", " \t", "3", {"page_limit": "3"}),
        ("", "", "", {}),
    ],
)
def test_gather__precedence(
    flag: str | None, environ: str | None, file_text: str, expected: dict[str, str], env_file: Path
) -> None:
    """The flag comes before the environment, that before the env-file; what is empty was not given there."""
    env_file.write_text(f"ALM_PAGE_LIMIT={file_text}\n", encoding="utf-8")
    variables = {} if environ is None else {"ALM_PAGE_LIMIT": environ}

    given = gathered({"page_limit": flag, "env_file": str(env_file)}, variables)

    assert given == Given(expected, {}, ())


def test_gather__precedence_of_credentials(env_file: Path, secrets_dir: Path) -> None:
    """A credential is the environment's before the env-file's, and that before the secrets' directory's; each from its own place."""
    (secrets_dir / "ALM_ACCESS_TOKEN").write_text("secret-1", encoding="utf-8")
    (secrets_dir / "ALM_CLIENT_ID").write_text("secret-2", encoding="utf-8")
    (secrets_dir / "ALM_REFRESH_TOKEN").write_text("secret-3", encoding="utf-8")
    env_file.write_text(
        "ALM_ACCESS_TOKEN=file-1\nALM_CLIENT_ID=file-2\nALM_CLIENT_SECRET=file-4\n",
        encoding="utf-8",
    )

    given = gathered({"env_file": env_file}, {"ALM_ACCESS_TOKEN": "env-1"}, secrets_dir)

    assert revealed(given) == {
        "access_token": "env-1",
        "client_id": "file-2",
        "client_secret": "file-4",
        "refresh_token": "secret-3",
    }


@pytest.mark.parametrize("empty", [None, "", " ", "\n\t "])
@pytest.mark.parametrize("name", ["user_id", "base_url", "env_file", "resume"])
def test_gather__empty_flags(name: str, empty: str | None) -> None:
    """A flag without text was not given, `env_file` included: it names no file."""
    assert gathered({name: empty}, {}) == Given({}, {}, ())


@pytest.mark.parametrize("value", [0, False, 0.0, [], ()])
def test_gather__what_python_calls_false_is_given(value: object) -> None:
    """Nought, false and an empty list are values like any other: the schema judges them."""
    assert gathered({"page_limit": value}, {}) == Given({"page_limit": value}, {}, ())


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("ALM_SORT=-dateEnrolled", "-dateEnrolled"),
        ("export ALM_SORT=-dateEnrolled", "-dateEnrolled"),
        ("  ALM_SORT = -dateEnrolled  ", "-dateEnrolled"),
        ("ALM_SORT='-dateEnrolled' # newest first", "-dateEnrolled"),
        ('ALM_SORT="-dateEnrolled"', "-dateEnrolled"),
        ("ALM_SORT=-dateEnrolled # newest first", "-dateEnrolled"),
        ("ALM_SORT=-date#Enrolled", "-date#Enrolled"),
        ("# a comment\n\nALM_SORT=-dateEnrolled\r\n", "-dateEnrolled"),
        ("ALM_SORT=a\nALM_SORT=b", "b"),
        ("\ufeffALM_SORT=-dateEnrolled", "-dateEnrolled"),
        ("ALM_SORT=${HOME}", "${HOME}"),
        ('ALM_SORT="a\nb"', "a\nb"),
        ("alm_sort=-dateEnrolled", "-dateEnrolled"),
    ],
)
def test_env_file__forms(line: str, value: str, env_file: Path) -> None:
    """The usual spellings of an env-file are understood; nothing in it is expanded."""
    env_file.write_text(line, encoding="utf-8", newline="")

    assert gathered({"env_file": str(env_file)}, {}) == Given({"sort": value}, {}, ())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "# nothing\n",
        "ALM_SORT=\n",
        "ALM_SORT\n",
        "ALM_SORT=''\n",
        "ALM_SORT=' '\n",
        "PATH=/bin\n",
    ],
)
def test_env_file__gives_nothing(text: str, env_file: Path) -> None:
    """An env-file without a value of ours gives nothing, and that is no problem."""
    env_file.write_text(text, encoding="utf-8")

    assert gathered({"env_file": str(env_file)}, {}) == Given({}, {}, ())


@pytest.mark.parametrize("given_as", [str, Path])
def test_env_file__as_text_or_path(given_as: Any, env_file: Path) -> None:
    """The env-file may be named by text or by a path."""
    env_file.write_text("ALM_USER_ID=7\n", encoding="utf-8")

    assert gathered({"env_file": given_as(env_file)}, {}).inputs == {"user_id": "7"}


def test_env_file__missing(tmp_path: Path) -> None:
    """An env-file that was named must be there."""
    path = tmp_path / "missing.env"

    given = gathered({"env_file": str(path)}, {"ALM_USER_ID": "1"})

    assert given == Given(
        {"user_id": "1"},
        {},
        (Problem("env_file", f'"{path}"', "a readable file; No such file or directory"),),
    )


def test_env_file__directory(tmp_path: Path) -> None:
    """A directory is no env-file."""
    given = gathered({"env_file": str(tmp_path)}, {})

    assert given == Given(
        {}, {}, (Problem("env_file", f'"{tmp_path}"', "a readable file; Is a directory"),)
    )


def test_env_file__not_utf_8(env_file: Path) -> None:
    """Other bytes than UTF-8 are a problem; none of them is shown."""
    env_file.write_bytes(b"ALM_ACCESS_TOKEN=caf\xe9\n")

    given = gathered({"env_file": str(env_file)}, {})

    assert given == Given(
        {}, {}, (Problem("env_file", f'"{env_file}"', "a readable file; it is not UTF-8 text"),)
    )


def test_env_file__malformed_lines(env_file: Path) -> None:
    """Every line that is not to be understood is told by its number alone, for it may hold a secret; the others count."""
    env_file.write_text(
        f"ALM_USER_ID=7\n= {CANARY}\n# fine\n'{CANARY} = 1\nALM_SORT=dateEnrolled\n",
        encoding="utf-8",
    )

    given = gathered({"env_file": str(env_file)}, {})

    assert given == Given(
        {"user_id": "7", "sort": "dateEnrolled"},
        {},
        (
            Problem("env_file", "not to be understood in line 2", "NAME=value"),
            Problem("env_file", "not to be understood in line 4", "NAME=value"),
        ),
    )


def test_env_file__names_no_further_env_file(env_file: Path, tmp_path: Path) -> None:
    """Only the flag names an env-file: neither the environment nor an env-file does."""
    other = tmp_path / "other.env"
    other.write_text("ALM_USER_ID=666\n", encoding="utf-8")
    env_file.write_text(f"ALM_ENV_FILE={other}\n", encoding="utf-8")

    given = gathered({"env_file": str(env_file)}, {"ALM_ENV_FILE": str(other)})

    assert given.inputs == {}


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("ALM_LO_TYPE", "ALM_LO_TYPES"),
        ("ALM_USERID", "ALM_USER_ID"),
        ("ALM_USER_IDS", "ALM_USER_ID"),
        ("ALM_USER_ID_FILE", "ALM_USER_IDS_FILE"),
        ("ALM_BASEURL", "ALM_BASE_URL"),
        ("ALM_ACCESSTOKEN", "ALM_ACCESS_TOKEN"),
        ("ALM_CLIENT_SECERT", "ALM_CLIENT_SECRET"),
    ],
)
def test_slips__in_the_environment(name: str, near: str) -> None:
    """A variable that is nearly an input's is refused rather than ignored, and its value not shown."""
    given = gathered({}, {name: CANARY})

    assert given == Given({}, {}, (Problem(name, "not an input", near=near),))


def test_slips__in_the_env_file(env_file: Path) -> None:
    """A slip of the pen is refused in the env-file as well."""
    env_file.write_text(f"ALM_LO_TYPE={CANARY}\n", encoding="utf-8")

    given = gathered({"env_file": str(env_file)}, {})

    assert given == Given({}, {}, (Problem("ALM_LO_TYPE", "not an input", near="ALM_LO_TYPES"),))


def test_slips__an_empty_one_is_not_given() -> None:
    """An empty value means not given, whatever its name: CI sets what is unset to nothing."""
    assert gathered({}, {"ALM_LO_TYPE": "", "ALM_USERID": " "}) == Given({}, {}, ())


@pytest.mark.parametrize(
    "name",
    [
        "ALM_HOME",
        "ALM_DATABASE_URL",
        "ALM_VERSION",
        "ALM_",
        "ALMA_USER_ID",
        "PATH",
        "USER_ID",
        "ALM",
    ],
)
def test_slips__foreign_names_are_ignored(name: str) -> None:
    """A variable of another program is none of ours, though it may begin with ALM_."""
    assert gathered({}, {name: CANARY}) == Given({}, {}, ())


def test_gather__unknown_flags_are_handed_on() -> None:
    """A flag that is no input, a credential included, is handed on for the schema to refuse; it is no credential."""
    given = gathered({"lo_type": "course", "access_token": CANARY}, {})

    assert given == Given({"lo_type": "course", "access_token": CANARY}, {}, ())


def test_gather__a_credential_as_flag_does_not_hide_the_variable() -> None:
    """Who names a credential as flag though the environment has it has it still: it is not missing."""
    given = gathered({"access_token": "a flag"}, {"ALM_ACCESS_TOKEN": CANARY})

    assert revealed(given) == {"access_token": CANARY}


def test_environment__does_not_print() -> None:
    """However the variables are printed, only their number is told."""
    environment = Environment({"ALM_ACCESS_TOKEN": CANARY, "PATH": "/bin"})

    assert [repr(environment), str(environment), f"{environment}", f"{[environment]}"] == [
        "Environment(2 variables)",
        "Environment(2 variables)",
        "Environment(2 variables)",
        "[Environment(2 variables)]",
    ]


def test_given__does_not_print_credentials() -> None:
    """What was gathered prints its inputs, and of the credentials only which there are."""
    given = gathered({}, {"ALM_ACCESS_TOKEN": CANARY, "ALM_USER_ID": "1"})

    text = "Given(inputs={'user_id': '1'}, credentials={'access_token': SecretStr('**********')}, problems=())"
    assert [repr(given), str(given), f"{given}"] == [text] * 3
