"""Azure Pipelines: output variables, masks and issues, as logging commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.channels.interface import Channel, Place, RunOutputs, environment_limit

if TYPE_CHECKING:
    from connector.errors import ConnectorError


class AzurePipelines(Channel):
    """``##vso[…]`` commands, which the agent reads on standard error as on standard output."""

    name = "the output variables of Azure Pipelines"

    @staticmethod
    def is_there(place: Place) -> bool:
        """Return whether an agent of Azure Pipelines runs this."""
        return bool(place.environ.get("TF_BUILD"))

    def mask(self, secret: str) -> None:
        """Have the agent take each line of *secret* out of its log."""
        for line in filter(None, map(str.strip, secret.splitlines())):
            self.place.say(f"##vso[task.setsecret]{_data(line)}")

    def open_group(self) -> None:
        """Begin a group of log lines."""
        self.place.say("##[group]alm-enrollments: what happened on the way")

    def close_group(self) -> None:
        """End the group."""
        self.place.say("##[endgroup]")

    def warn(self, text: str) -> None:
        """Show a warning on the run's page."""
        self.place.say(f"##vso[task.logissue type=warning]{_data(text)}")

    def annotate(self, error: ConnectorError) -> None:
        """Show the error on the run's page."""
        self.place.say(f"##vso[task.logissue type=error;code={error.code}]{_data(str(error))}")

    def write(self, handover: RunOutputs) -> None:
        """Set a variable for each output, which later jobs read as ``dependencies.JOB.outputs['STEP.NAME']``."""
        for name, value in self.within(
            handover, each=environment_limit(self.place.environ.get("AGENT_OS", ""))
        ).items():
            self.place.say(f"##vso[task.setvariable variable={name};isoutput=true]{_data(value)}")


def _data(text: str) -> str:
    return text.replace("%", "%AZP25").replace("\r", "%0D").replace("\n", "%0A")
