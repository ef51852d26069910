"""The command line: every input has its flag, and nothing that may be a secret is shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.cli.flags import CommandLine, format_help, parse_command_line
from connector.errors import Problem
from connector.schemas import load_schema

CANARY = "canary-0042-secret"
STRAY = Problem(
    "the command line",
    "not understood: a word in it is no flag's value",
    "a command as its first word: fetch, merge, check, serve, sandbox",
)
# Every flag of CONTRACT.md's inputs: what help shows behind it, and after its description.
FLAGS = [
    ("--user-id", "LIST", ""),
    ("--user-ids-file", "TEXT", ""),
    ("--lo-types", "course|learningProgram|jobAid|certification|all", " Default: course."),
    ("--sort", "dateEnrolled|-dateEnrolled", " Default: dateEnrolled."),
    ("--state", "active", ""),
    ("--include", "LIST", ""),
    ("--page-limit", "INTEGER", " Default: 10."),
    ("--max-enrollments", "INTEGER", ""),
    ("--since", "TEXT", ""),
    ("--base-url", "TEXT", " Default: https://learningmanager.adobe.com."),
    ("--deadline", "NUMBER", " Default: 600."),
    ("--allow-incomplete", "[true|false]", ""),
    ("--concurrency", "INTEGER", " Default: 8."),
    ("--quota-share", "NUMBER", " Default: 1.0."),
    ("--shard", "TEXT", ""),
    ("--format", "json|ndjson|csv|parquet|table", " Default: json."),
    ("--output-file", "TEXT", ""),
    ("--resume", "[true|false]", ""),
]
NAMES = [flag for flag, _, _ in FLAGS]
CREDENTIALS = ["--access-token", "--client-id", "--client-secret", "--refresh-token"]


def line(
    inputs: dict[str, Any] | None = None, *problems: Problem, command: str = "fetch", **own: bool
) -> CommandLine:
    """Return the command line that says *inputs*, and nothing else but what is named."""
    told: dict[str, Any] = {"debug": False, "help": False, "version": False, **own}
    return CommandLine(command, inputs or {}, **told, problems=problems)


def name_of(flag: str) -> str:
    """Return the input's name of *flag*."""
    return flag.removeprefix("--").replace("-", "_")


def test_parse__nothing() -> None:
    """No word at all is the command that fetches, without inputs."""
    assert parse_command_line([]) == line()


def test_parse__every_input_has_its_flag() -> None:
    """The flags are the inputs of the schema, each by its name, with dashes."""
    assert [name_of(flag) for flag in NAMES] == list(load_schema("inputs")["properties"])


@pytest.mark.parametrize("flag", NAMES)
def test_parse__value_after_a_space(flag: str) -> None:
    """Every flag takes the word that follows it, untouched."""
    assert parse_command_line([flag, " a value "]) == line({name_of(flag): " a value "})


@pytest.mark.parametrize("flag", NAMES)
def test_parse__value_after_an_equals_sign(flag: str) -> None:
    """Every flag takes what follows its equals sign, further equals signs and nothing at all included."""
    assert parse_command_line([f"{flag}=a=b"]) == line({name_of(flag): "a=b"})
    assert parse_command_line([f"{flag}="]) == line({name_of(flag): ""})


@pytest.mark.parametrize(
    ("argv", "inputs"),
    [
        (["--sort", "-dateEnrolled"], {"sort": "-dateEnrolled"}),
        (["--sort=-dateEnrolled"], {"sort": "-dateEnrolled"}),
        (["--user-ids-file", "-"], {"user_ids_file": "-"}),
        (["--page-limit", "-1"], {"page_limit": "-1"}),
        (["--user-id", "-5", "--user-id", "--6"], {"user_id": "-5\n--6"}),
        (["--env-file", "-x"], {"env_file": "-x"}),
        (["--since", ""], {"since": ""}),
    ],
)
def test_parse__values_that_begin_with_a_dash(argv: list[str], inputs: dict[str, str]) -> None:
    """What follows a flag is its value, though it looks like a flag."""
    assert parse_command_line(argv) == line(inputs)


@pytest.mark.parametrize("flag", ["--user-id", "--lo-types", "--include"])
def test_parse__a_list_may_be_repeated(flag: str) -> None:
    """A repeated flag of a list adds to it."""
    assert parse_command_line([flag, "a,b", f"{flag}=c", flag, "d"]) == line(
        {name_of(flag): "a,b\nc\nd"}
    )


def test_parse__of_a_repeated_value_the_last() -> None:
    """Of a repeated flag that is no list, the last one counts."""
    assert parse_command_line(["--sort", "a", "--sort", "b"]) == line({"sort": "b"})


@pytest.mark.parametrize("flag", ["--allow-incomplete", "--resume"])
@pytest.mark.parametrize(
    ("words", "value"),
    [
        ([], "true"),
        (["true"], "true"),
        (["false"], "false"),
        (["no"], "no"),
        (["--debug"], "true"),
        (["maybe"], "maybe"),
    ],
)
def test_parse__booleans(flag: str, words: list[str], value: str) -> None:
    """A boolean's flag alone is true; the word after it, where it is no flag, is its value."""
    assert parse_command_line([flag, *words]).inputs == {name_of(flag): value}


@pytest.mark.parametrize("command", ["fetch", "check", "sandbox"])
def test_parse__commands(command: str) -> None:
    """The first word may name the command."""
    assert parse_command_line([command, "--user-id", "1"]) == line(
        {"user_id": "1"}, command=command
    )


@pytest.mark.parametrize(
    ("argv", "own"),
    [
        (["--help"], {"help": True}),
        (["-h"], {"help": True}),
        (["--version"], {"version": True}),
        (["--debug"], {"debug": True}),
        (["check", "--debug", "--help"], {"debug": True, "help": True, "command": "check"}),
    ],
)
def test_parse__its_own_flags(argv: list[str], own: dict[str, Any]) -> None:
    """Help, version and debug are no inputs."""
    assert parse_command_line(argv) == line(**own)


@pytest.mark.parametrize(
    "flag",
    [*(flag for flag in NAMES if flag not in ("--allow-incomplete", "--resume")), "--env-file"],
)
def test_parse__missing_value(flag: str) -> None:
    """A flag at the end that lacks its value is a problem, and takes nothing else of the line away."""
    assert parse_command_line(["check", "--debug", "--resume", flag]) == line(
        {"resume": "true"}, Problem(flag, "without its value"), command="check", debug=True
    )


@pytest.mark.parametrize(
    "argv", [["--user-id", "1", "--user-id", "--"], ["--user-id", "1", "--user-id=--"]]
)
def test_parse__two_dashes_are_no_value(argv: list[str]) -> None:
    """Two dashes alone end a command line's flags elsewhere: as a value they are refused, and neither dropped nor a crash."""
    assert parse_command_line(argv) == line(
        {"user_id": "1"}, Problem("--user-id", "without its value")
    )


@pytest.mark.parametrize(
    ("word", "flag"),
    [("--debug=1", "--debug"), ("--version=2", "--version"), (f"--help={CANARY}", "--help")],
)
def test_parse__value_too_many(word: str, flag: str) -> None:
    """A flag that takes no value says so, not that its value is missing, and does not show what was given."""
    parsed = parse_command_line(["--user-id", "1", word])

    assert [problem.name for problem in parsed.problems] == [flag]
    assert "without its value" not in str(parsed.problems)
    assert CANARY not in str(parsed)
    assert parsed.inputs == {"user_id": "1"}


@pytest.mark.parametrize(
    ("flag", "near"),
    [
        ("--lo-type", "--lo-types"),
        ("--userid", "--user-id"),
        ("--user_id", "--user-id"),
        ("--user-ids", "--user-id"),
        ("--USER-ID", ""),
        ("--limit", "--page-limit"),
        ("--env_file", "--env-file"),
        ("--verson", "--version"),
        ("--api-key", ""),
        ("--pag", ""),
    ],
)
@pytest.mark.parametrize("rest", [f"={CANARY}", ""])
def test_parse__unknown_flags(flag: str, near: str, rest: str) -> None:
    """A flag that is none is a problem, with the one that was perhaps meant; flags are not guessed from their beginnings."""
    assert parse_command_line(["--user-id", "1", f"{flag}{rest}"]) == line(
        {"user_id": "1"}, Problem(flag, "no flag", near=near)
    )


def test_parse__every_unknown_flag_at_once() -> None:
    """All that is wrong with the line is told at once, in its order."""
    parsed = parse_command_line(["--lo-type", "course", "--token=x", "--user-id", "1", "--sorted"])

    assert parsed == line(
        {"user_id": "1"},
        Problem("--lo-type", "no flag", near="--lo-types"),
        Problem("--token", "no flag"),
        Problem("--sorted", "no flag", near="--sort"),
    )


@pytest.mark.parametrize("flag", CREDENTIALS)
@pytest.mark.parametrize("spelled", [[f"={CANARY}"], ["", CANARY], [""]])
def test_parse__credentials_are_no_flags(flag: str, spelled: list[str]) -> None:
    """A credential on the command line is refused, told where it belongs, and not shown."""
    parsed = parse_command_line([flag + spelled[0], *spelled[1:]])

    variable = "ALM_" + name_of(flag).upper()
    assert parsed == line(
        {},
        Problem(
            flag, "no flag, for everyone can read a command line", f"{variable} in the environment"
        ),
    )
    assert CANARY not in repr(parsed)


@pytest.mark.parametrize(
    "argv",
    [
        [CANARY],
        [CANARY, CANARY],
        ["-x"],
        [f"-{CANARY}"],
        [f"-h{CANARY}"],
        ["-"],
        [""],
        ["--resume", "false", CANARY],
        ["fetch", "check"],
    ],
)
def test_parse__stray_words(argv: list[str]) -> None:
    """A word that belongs to no flag is a problem, told once, and never shown: it may be a secret."""
    parsed = parse_command_line(argv)

    assert parsed.problems == (STRAY,)
    assert CANARY not in repr(parsed)


def test_parse__a_stray_word_keeps_the_inputs() -> None:
    """A command that does not come first is a stray word, and the inputs before it count."""
    assert parse_command_line(["--user-id", "1", "check"]) == line({"user_id": "1"}, STRAY)


@pytest.mark.parametrize(("flag", "metavar", "default"), FLAGS)
def test_help__holds_every_input(flag: str, metavar: str, default: str) -> None:
    """Help tells of every input its flag, what it takes, its description and its default."""
    description = load_schema("inputs")["properties"][name_of(flag)]["description"].replace("`", "")

    text = " ".join(format_help().split())

    assert f" {flag} {metavar} {description}{default} --" in text


def test_help__holds_every_exit_code() -> None:
    """Help tells every exit code of the contract."""
    _, _, rest = format_help().partition("exit codes:\n")

    codes, _, _ = rest.partition("\n\n")

    assert codes == (
        "  0 the whole answer      64 inputs invalid        65 some users failed\n"
        " 67 no such user          69 host not reached      70 a defect of ours\n"
        " 73 output not writable   75 try again later       76 ALM's answer is wrong\n"
        " 77 token refused        130 SIGINT               143 SIGTERM"
    )


@pytest.mark.parametrize("flag", CREDENTIALS)
def test_help__tells_where_credentials_belong(flag: str) -> None:
    """Help names every credential as a variable, and none as a flag."""
    text = format_help()

    assert f"  ALM_{name_of(flag).upper()} " in text
    assert flag not in text


@pytest.mark.parametrize(
    "word", ["fetch", "check", "sandbox", "--env-file FILE", "--debug", "--version", "-h, --help"]
)
def test_help__tells_commands_and_its_own_flags(word: str) -> None:
    """Help tells the commands, and the flags that are no inputs."""
    assert f"\n  {word} " in format_help()


def test_help__is_plain_text() -> None:
    """Neither Markdown's marks nor argparse's escapes are left in help."""
    text = format_help()

    assert "`" not in text
    assert "%" not in text


@given(
    st.lists(
        st.sampled_from([*NAMES, "--env-file", "--debug", "--help", "-h", "--", "-", "check"])
        | st.text()
        | st.text("-=hx1")
    )
)
def test_parse__any_words(argv: list[str]) -> None:
    """Whatever the words, they are parsed or told as problems; nothing is printed and the process goes on."""
    parsed = parse_command_line(argv)

    assert set(parsed.inputs) <= {*map(name_of, NAMES), "env_file"}
    assert {type(value) for value in parsed.inputs.values()} <= {str}


def test_command_line__is_plain_data() -> None:
    """What was parsed is text that could as well have come as JSON."""
    parsed = parse_command_line(["--user-id", "1", "--resume"])

    assert json.loads(json.dumps(parsed.inputs)) == {"user_id": "1", "resume": "true"}
