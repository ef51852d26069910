"""Azure Pipelines' commands, as its agent reads them: every output whole, every secret masked, and no text obeyed."""

from __future__ import annotations

import pytest
from hypothesis import given

from connector.channels import Place
from connector.channels.azure import AzurePipelines
from connector.errors import TemporaryError, UserNotFoundError
from tests.action.runner import Command, read_azure
from tests.unit.channels.made import Stderr, handover, hostile
from tests.unit.channels.test_github import AT_THE_LIMIT, OUTPUTS, SIZES_OVER_IT, TOLD, as_read

# As the agent names the systems that GitHub's runner names otherwise.
SYSTEMS = {"Linux": "Linux", "Windows": "Windows_NT"}


def channel(stderr: Stderr, **environ: str) -> AzurePipelines:
    """Return Azure Pipelines."""
    return AzurePipelines(Place({"TF_BUILD": "True", **environ}, stderr.say))


def variables_in(stderr: Stderr) -> dict[str, str]:
    """Return the output variables that the agent sets."""
    set_here = [
        command
        for command in read_azure(stderr.text).named("task.setvariable")
        if command.properties["isoutput"] == "true"
    ]
    return {command.properties["variable"]: command.data for command in set_here}


def test_is_there__by_the_agents_variable(stderr: Stderr) -> None:
    """The channel is there where the agent says so."""
    environs: list[dict[str, str]] = [{}, {"TF_BUILD": ""}, {"TF_BUILD": "True"}]

    assert [AzurePipelines.is_there(Place(environ, stderr.say)) for environ in environs] == [
        False,
        False,
        True,
    ]


def test_write__whole_text(stderr: Stderr) -> None:
    """Each field but the enrollments becomes an output variable, a null an empty one."""
    channel(stderr).write(handover())

    assert stderr.text == "".join(
        f"##vso[task.setvariable variable={name};isoutput=true]{value}\n"
        for name, value in OUTPUTS.items()
    )


@given(hostile, hostile)
def test_write__hostile_values(date: str, name: str) -> None:
    """Whatever the values hold, the agent sets the same variables, and obeys nothing else."""
    stderr = Stderr()

    channel(stderr).write(handover(latest_date_enrolled=date, output_file=name))

    log = read_azure(stderr.text)
    assert len(log.commands) == len(OUTPUTS)
    assert log.lines == []
    given_back = {name: as_read(value) for name, value in variables_in(stderr).items()}
    assert given_back == {
        **OUTPUTS,
        "latest_date_enrolled": as_read(date),
        "output_file": as_read(name),
    }


@pytest.mark.parametrize(("system", "value"), AT_THE_LIMIT, ids=SIZES_OVER_IT)
def test_write__at_the_limit(system: str, value: str, stderr: Stderr) -> None:
    """A value that fills an environment variable, which the agent makes of it, stays whole."""
    channel(stderr, AGENT_OS=SYSTEMS[system]).write(handover(latest_date_enrolled=value))

    assert variables_in(stderr) == {**OUTPUTS, "latest_date_enrolled": value}


@pytest.mark.parametrize(
    ("system", "value", "size"),
    [(*each, size) for each, size in zip(AT_THE_LIMIT, SIZES_OVER_IT, strict=True)],
    ids=SIZES_OVER_IT,
)
def test_write__over_the_limit(system: str, value: str, size: str, stderr: Stderr) -> None:
    """With one character more it is left out, with a warning that names size and limit."""
    channel(stderr, AGENT_OS=SYSTEMS[system]).write(
        handover(latest_date_enrolled=value + value[-1])
    )

    assert variables_in(stderr) == {
        name: told for name, told in OUTPUTS.items() if name != "latest_date_enrolled"
    }
    told = f"Left out of the output variables of Azure Pipelines: latest_date_enrolled ({size}), for {TOLD[system]}."
    assert read_azure(stderr.text).commands[0] == Command(
        "task.logissue", f"{told} Look in the document on standard output.", {"type": "warning"}
    )


def test_write__no_limit_on_macos(stderr: Stderr) -> None:
    """On macOS, which the agent calls Darwin, a single variable may be of any size."""
    channel(stderr, AGENT_OS="Darwin").write(handover(latest_date_enrolled="x" * 200_000))

    assert variables_in(stderr)["latest_date_enrolled"] == "x" * 200_000


@pytest.mark.parametrize(
    ("secret", "lines"),
    [
        ("50%0A##vso[x.y]%25%AZP25", ["50%0A##vso[x.y]%25%AZP25"]),
        ("first\r\n\r\n  second \nthird\n", ["first", "second", "third"]),
        ("\n", []),
    ],
)
def test_mask__each_line(secret: str, lines: list[str], stderr: Stderr) -> None:
    """Each line of a secret is masked by itself, percent signs and all, and none that is empty."""
    channel(stderr).mask(secret)

    assert read_azure(stderr.text).commands == [Command("task.setsecret", line) for line in lines]


def test_groups__open_and_closed(stderr: Stderr) -> None:
    """A group begins with what it has, and ends."""
    azure = channel(stderr)

    azure.open_group()
    azure.close_group()

    assert stderr.text == "##[group]alm-enrollments: what happened on the way\n##[endgroup]\n"


def test_warn__escapes(stderr: Stderr) -> None:
    """Percent signs and line ends are escaped in a command's text, and come back as they were."""
    channel(stderr).warn("25%AZP25 a\rb\nc")

    assert stderr.text == "##vso[task.logissue type=warning]25%AZP25AZP25 a%0Db%0Ac\n"
    assert read_azure(stderr.text).commands == [
        Command("task.logissue", "25%AZP25 a\rb\nc", {"type": "warning"})
    ]


def test_annotate__whole_text(stderr: Stderr) -> None:
    """The run's page shows the error's one line, with its exit code."""
    channel(stderr).annotate(
        UserNotFoundError("ALM knows\nno user 100%.", hint="Look it up.", request_id="r-1")
    )

    assert stderr.text == (
        "##vso[task.logissue type=error;code=67]ALM knows\\nno user 100%AZP25. Look it up. (request id r-1)\n"
    )


@given(hostile, hostile, hostile)
def test_annotate__hostile_texts(message: str, hint: str, request_id: str) -> None:
    """Whatever an error quotes, there is one issue, of one line, and no other command."""
    stderr, error = Stderr(), TemporaryError(message, hint=hint, request_id=request_id)

    channel(stderr).annotate(error)

    assert read_azure(stderr.text).commands == [
        Command("task.logissue", str(error), {"type": "error", "code": "75"})
    ]
    assert str(error).isprintable()
