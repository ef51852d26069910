"""Azure Pipelines: output variables, masks and issues as logging commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.channels.interface import Channel, ChannelContext, RunOutputs
from connector.channels.limits import environment_limit

if TYPE_CHECKING:
    from connector.errors import ConnectorError


class AzurePipelines(Channel):
    """``##vso[…]`` commands, which the agent reads on standard error as on standard output."""

    name = "the output variables of Azure Pipelines"

    @staticmethod
    def is_available(context: ChannelContext) -> bool:
        """Return whether an agent of Azure Pipelines runs this process."""
        return bool(context.environ.get("TF_BUILD"))

    def open_group(self) -> None:
        """Begin a group of log lines."""
        self.context.write_line("##[group]alm-enrollments: messages")

    def close_group(self) -> None:
        """End the group."""
        self.context.write_line("##[endgroup]")

    def warn(self, text: str) -> None:
        """Show a warning on the page of the run."""
        self.context.write_line(f"##vso[task.logissue type=warning]{_data(text)}")

    def annotate(self, error: ConnectorError) -> None:
        """Show the error on the page of the run."""
        self.context.write_line(
            f"##vso[task.logissue type=error;code={error.code}]{_data(str(error))}"
        )

    def write(self, outputs: RunOutputs) -> None:
        """Set a variable per output, for later jobs: ``dependencies.JOB.outputs['STEP.NAME']``."""
        limit = environment_limit(self.context.environ.get("AGENT_OS", ""))
        for name, value in self.select_within_limits(outputs, limit).items():
            self.context.write_line(
                f"##vso[task.setvariable variable={name};isoutput=true]{_data(value)}"
            )


def _data(text: str) -> str:
    return text.replace("%", "%AZP25").replace("\r", "%0D").replace("\n", "%0A")
