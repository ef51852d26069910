"""Every input has its flag, whose value reaches the settings as it was written."""

from __future__ import annotations

import platform
import re
import shlex
from typing import TYPE_CHECKING

import pytest

from connector import errors
from connector.errors import Problem
from connector.schemas import load_schema
from connector.settings.surfaces import Surface
from tests.support.process import Finished

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Command, OnTerminal, Parsed

INPUTS = list(load_schema("inputs")["properties"])
# What help shows behind each flag, and after its description.
METAVARS = {
    "user_id": ("LIST", ""),
    "user_email": ("LIST", ""),
    "user_ids_file": ("TEXT", ""),
    "lo_types": ("course|learningProgram|jobAid|certification|all", " Default: course."),
    "sort": ("dateEnrolled|-dateEnrolled", " Default: dateEnrolled."),
    "state": ("active", ""),
    "include": ("LIST", ""),
    "names": ("[true|false]", ""),
    "locale": ("TEXT", " Default: en-US."),
    "query": ("LIST", ""),
    "page_limit": ("INTEGER", " Default: 10."),
    "max_enrollments": ("INTEGER", ""),
    "since": ("TEXT", ""),
    "completed_since": ("TEXT", ""),
    "base_url": ("TEXT", " Default: https://learningmanager.adobe.com."),
    "deadline": ("NUMBER", " Default: 600."),
    "allow_incomplete": ("[true|false]", ""),
    "concurrency": ("INTEGER", " Default: 8."),
    "prefetch": ("[true|false]", " Default: true."),
    "quota_share": ("NUMBER", " Default: 1.0."),
    "shard": ("TEXT", ""),
    "format": ("json|ndjson|csv|parquet|table|xlsx|html", ""),
    "columns": ("LIST", ""),
    "output_file": ("TEXT", ""),
    "resume": ("[true|false]", ""),
}


def flag_of(name: str) -> str:
    """Return the flag of an input."""
    return f"--{name.replace('_', '-')}"


@pytest.mark.parametrize("command", ["fetch", "check"])
@pytest.mark.parametrize("name", [*INPUTS, "env_file"])
def test_input__has_its_flag(name: str, command: str, parse: Callable[..., Parsed]) -> None:
    """Every input is a flag, whose value is the next word, or follows an equals sign."""
    spaced = parse(command, flag_of(name), " a value ")
    joined = parse(command, f"{flag_of(name)}=a=b")

    assert spaced == (command, {name: " a value "}, [])
    assert joined == (command, {name: "a=b"}, [])


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["--sort", "-dateEnrolled"], {"sort": "-dateEnrolled"}),
        (["--sort=-dateEnrolled"], {"sort": "-dateEnrolled"}),
        (["--user-ids-file", "-"], {"user_ids_file": "-"}),
        (["--page-limit", "-1"], {"page_limit": "-1"}),
        (["--env-file", "--help"], {"env_file": "--help"}),
        (["--since", ""], {}),
        (["--sort", "a", "--sort", "b"], {"sort": "b"}),
        (["--user-id", "-5", "--user-id", "--6"], {"user_id": "-5\n--6"}),
        (["--lo-types", "a,b", "--lo-types=c"], {"lo_types": "a,b\nc"}),
        (["--include", "a", "--include", "b"], {"include": "a\nb"}),
    ],
)
def test_input__takes_any_value(
    words: list[str], values: dict[str, str], parse: Callable[..., Parsed]
) -> None:
    """A value may begin with a dash; a list's flag may be repeated, of others the last counts."""
    assert parse(*words) == ("fetch", values, [])


@pytest.mark.parametrize("name", ["allow_incomplete", "resume"])
@pytest.mark.parametrize(
    ("rest", "value"),
    [
        ([""], "true"),
        (["=false"], "false"),
        (["", "no"], "no"),
        (["", "--debug"], "true"),
        (["=maybe"], "maybe"),
    ],
)
def test_input__boolean(
    name: str, rest: list[str], value: str, parse: Callable[..., Parsed]
) -> None:
    """A boolean's flag without a value is true; the next word is its value if it is no flag."""
    assert parse(flag_of(name) + rest[0], *rest[1:]).values == {name: value}


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--no-prefetch"], "false"),
        (["--prefetch"], "true"),
        (["--prefetch=false"], "false"),
        ([], None),
    ],
)
def test_input__negation(words: list[str], value: str | None, parse: Callable[..., Parsed]) -> None:
    """A boolean that is true by default has a flag that sets it to false."""
    assert parse("fetch", *words).values.get("prefetch") == value


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            ["serve", "--port", "70000"],
            Problem("--port", "70000", "a whole number from 0 to 65535"),
        ),
        (["serve", "--threads", "7"], Problem("--threads", "7", "a whole number from 8 to 512")),
        (["sandbox", "--port", "8e3"], Problem("--port", "8e3", "a whole number from 0 to 65535")),
        (["sandbox", "--burst", "nan"], Problem("--burst", "nan", "a number from 0 to 1e+09")),
        (
            ["sandbox", "--latency-ms=-1"],
            Problem("--latency-ms", "-1", "a number from 0 to 3.6e+06"),
        ),
    ],
)
def test_number__out_of_range(
    words: list[str], problem: Problem, parse: Callable[..., Parsed]
) -> None:
    """A number out of range, or a text that is none, is a problem that names the range."""
    assert parse(*words).problems == [problem]


@pytest.mark.parametrize("name", ["PORT", "FUNCTIONS_CUSTOMHANDLER_PORT"])
def test_number__of_the_platform(
    name: str, parse: Callable[..., Parsed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform's variable names the port if no flag does; a problem names the variables."""
    monkeypatch.setenv(name, "80")
    assert parse("serve").values["port"] == 80
    assert parse("serve", "--port", "81").values["port"] == 81

    monkeypatch.setenv(name, "http")
    names, allowed = "PORT or FUNCTIONS_CUSTOMHANDLER_PORT", "a whole number from 0 to 65535"
    assert parse("serve").problems == [Problem(names, "http", allowed)]


@pytest.mark.parametrize("line", ["--help", "-h", "fetch --help", "check -h", "--user-id 1 --help"])
def test_help__has_every_input(line: str, command: Command) -> None:
    """Help shows each input's flag, its values, its description and its default."""
    finished = command(line, COLUMNS="80")

    text = " ".join(finished.stdout.split())
    assert (finished.exit_code, finished.stderr) == (0, "")
    assert list(METAVARS) == INPUTS
    for name, (metavar, default) in METAVARS.items():
        description = load_schema("inputs")["properties"][name]["description"]
        description = Surface.COMMAND.text(description).replace("`", "")
        # Help may break a line at a hyphen.
        entry = f"{flag_of(name)} {metavar} {description}{default}".replace("- ", "-")
        assert entry in text.replace("- ", "-")


@pytest.mark.parametrize("name", ["fetch", "merge", "check", "serve", "sandbox"])
def test_help__has_examples_that_work(
    name: str, command: Command, parse: Callable[..., Parsed]
) -> None:
    """Each command's help has examples, whose flags exist."""
    finished = command(f"{name} --help", COLUMNS="80")

    examples = re.findall(
        r"^  (?:ALM_\S+ )?alm-enrollments ([^|\n]+)", finished.stdout, re.MULTILINE
    )
    parsed = [parse(*shlex.split(example)) for example in examples]
    assert finished.stdout.startswith(f"Usage: alm-enrollments {name} [OPTIONS]")
    assert name in [example.command for example in parsed]
    assert [example.problems for example in parsed] == [[]] * len(parsed)


def test_help__has_every_exit_code_and_credential(command: Command) -> None:
    """Help shows each exit code and each credential's variable."""
    text = command("--help").stdout

    codes = [
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ConnectorError)
    ]
    for code in {0, 130, 143, *codes}:
        assert re.search(rf"^  {code} +\w", text, re.MULTILINE)
    for name in load_schema("inputs")["$defs"]["credentials"]["properties"]:
        assert f"  ALM_{name.upper()} " in text


@pytest.mark.parametrize("columns", [None, 70, 130])
def test_help__is_as_wide_as_the_terminal(columns: int | None, on_terminal: OnTerminal) -> None:
    """Help uses the terminal's own width, or COLUMNS; only an example may be longer."""
    variables = {"COLUMNS": str(columns)} if columns else {}

    lines = on_terminal("--help", variables).stdout.splitlines()

    widths = [len(line) for line in lines if not line.startswith("  alm-enrollments")]
    assert (columns or 80) - 8 < max(widths) < (columns or 80)


def test_help__is_fast(command: Command) -> None:
    """Help and version import no library that only a run needs."""
    script = (
        "import sys; from connector.cli.commands import main; main(['--help'], {});"
        "main(['--version'], {}); heavy = {'pydantic', 'requests', 'jsonschema', 'jsonschema_rs'};"
        "sys.exit(sorted(heavy & set(sys.modules)) != [])"
    )
    process = command.start_python(["-c", script])
    process.communicate()

    assert process.returncode == 0


def test_version__is_printed(command: Command) -> None:
    """The version is printed, and nothing else."""
    python = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    assert command("--version") == Finished(0, f"alm-enrollments 0.1.0 ({python})\n", "")
