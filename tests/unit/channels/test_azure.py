"""Azure Pipelines: outputs, masks and issues as its agent reads them."""

from __future__ import annotations

import pytest
from hypothesis import given

from connector.channels import ChannelContext
from connector.channels.azure import AzurePipelines
from connector.errors import TemporaryError, UserNotFoundError
from tests.action.runner import Command, read_azure
from tests.unit.channels.examples import OUTPUTS, Stderr, as_utf_8, hostile, run_outputs


def channel(stderr: Stderr, **environ: str) -> AzurePipelines:
    """Return the channel."""
    return AzurePipelines(ChannelContext({"TF_BUILD": "True", **environ}, stderr.write_line))


def variables(stderr: Stderr) -> dict[str, str]:
    """Return the output variables that the agent sets."""
    commands = read_azure(stderr.text).named("task.setvariable")
    assert {command.properties["isoutput"] for command in commands} == {"true"}
    return {command.properties["variable"]: command.data for command in commands}


@pytest.mark.parametrize(
    ("environ", "is_available"), [({}, False), ({"TF_BUILD": ""}, False), ({"TF_BUILD": "1"}, True)]
)
def test_is_available__by_variable(
    environ: dict[str, str], *, is_available: bool, stderr: Stderr
) -> None:
    """The channel is available if the agent's variable is set."""
    context = ChannelContext(environ, stderr.write_line)

    assert AzurePipelines.is_available(context) is is_available


def test_write__full_text(stderr: Stderr) -> None:
    """Each field except the enrollments becomes an output variable."""
    channel(stderr).write(run_outputs())

    assert stderr.text == "".join(
        f"##vso[task.setvariable variable={name};isoutput=true]{value}\n"
        for name, value in OUTPUTS.items()
    )


@given(hostile, hostile)
def test_write__hostile_values(date: str, name: str) -> None:
    """The agent sets the values as they are, and obeys nothing in them."""
    stderr = Stderr()

    channel(stderr).write(run_outputs(next_since=date, output_file=name))

    log = read_azure(stderr.text)
    assert (len(log.commands), log.lines) == (len(OUTPUTS), [])
    assert {name: as_utf_8(value) for name, value in variables(stderr).items()} == {
        **OUTPUTS,
        "next_since": as_utf_8(date),
        "output_file": as_utf_8(name),
    }


def test_write__over_the_limit(stderr: Stderr) -> None:
    """A value too large for the agent's system is left out, with a warning that names the limit."""
    channel(stderr, AGENT_OS="Windows_NT").write(run_outputs(next_since="x" * 32_757))

    assert variables(stderr).keys() == OUTPUTS.keys() - {"next_since"}
    text = (
        "Left out of the output variables of Azure Pipelines: next_since (32,768), for"
        " an environment variable on Windows holds at most 32,767 characters, its name included."
        " Look in the document on standard output."
    )
    assert read_azure(stderr.text).commands[0] == Command(
        "task.logissue", text, {"type": "warning"}
    )


def test_mask__writes_no_secret(stderr: Stderr) -> None:
    """No secret is written to standard error, which a step may redirect to a file."""
    channel(stderr).mask("canary-token")

    assert stderr.text == ""


def test_groups__open_and_close(stderr: Stderr) -> None:
    """A group begins with its title, and ends."""
    azure = channel(stderr)

    azure.open_group()
    azure.close_group()

    assert stderr.text == "##[group]alm-enrollments: messages\n##[endgroup]\n"


def test_warn__escapes(stderr: Stderr) -> None:
    """Percent signs and line ends are escaped, and the agent reads them back."""
    channel(stderr).warn("25%AZP25 a\rb\nc")

    assert stderr.text == "##vso[task.logissue type=warning]25%AZP25AZP25 a%0Db%0Ac\n"
    (command,) = read_azure(stderr.text).commands
    assert command == Command("task.logissue", "25%AZP25 a\rb\nc", {"type": "warning"})


def test_annotate__full_text(stderr: Stderr) -> None:
    """The page of the run shows the error's line with its exit code."""
    error = UserNotFoundError("No\nuser 100%.", hint="Look it up.", request_id="r-1")

    channel(stderr).annotate(error)

    assert stderr.text == (
        "##vso[task.logissue type=error;code=67]No\\nuser 100%AZP25. Look it up. (request id r-1)\n"
    )


@given(hostile, hostile, hostile)
def test_annotate__hostile_texts(message: str, hint: str, request_id: str) -> None:
    """Whatever an error quotes, it is one issue of one line, and no other command."""
    stderr, error = Stderr(), TemporaryError(message, hint=hint, request_id=request_id)

    channel(stderr).annotate(error)

    assert read_azure(stderr.text).commands == [
        Command("task.logissue", str(error), {"type": "error", "code": "75"})
    ]
    assert str(error).isprintable()
