"""GitHub Actions and compatible runners: outputs, masks, annotations, step summary."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from connector.channels.github_summary import summary_of
from connector.channels.interface import (
    Channel,
    ChannelContext,
    RunOutputs,
    append_atomically,
    check_appendable,
    missing_line_end,
    write_atomically,
)
from connector.channels.limits import Limit, environment_limit, size_in_utf_16
from connector.errors import error_as_dict
from connector.text import one_line, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from connector.errors import ConnectorError

# "The size is approximated based on UTF-16 encoding" (GitHub's docs, workflow syntax,
# jobs.<job_id>.outputs).
_JOB_LIMIT = Limit(
    1_048_576,
    "a job's outputs take at most 1 MB, counted in UTF-16",
    lambda name, value: size_in_utf_16(name + value),
    is_total=True,
)
# Bytes of all summaries of one step (GitHub's docs, workflow commands).
_MAX_SUMMARY = 1_048_576
_MAX_ANNOTATION_CHARACTERS = 4_096
_TITLE = "alm-enrollments"
#: The variable by which the action names the file that has its document in place of the log.
DOCUMENT_FILE = "CONNECTOR_DOCUMENT_FILE"


class _RunnerChannel(Channel):
    def warn(self, text: str) -> None:
        """Annotate the run with a warning."""
        self._command("warning", _TITLE, text)

    def _command(self, command: str, title: str, text: str) -> None:
        if len(text) > _MAX_ANNOTATION_CHARACTERS:
            text = text[: _MAX_ANNOTATION_CHARACTERS - 1] + "…"
        title = _data(title).replace(":", "%3A").replace(",", "%2C")
        self.context.write_line(f"::{command} title={title}::{_data(text)}")


class GitHub(_RunnerChannel):
    """``GITHUB_OUTPUT``, and commands on standard error."""

    name = "GITHUB_OUTPUT"

    def __init__(self, context: ChannelContext) -> None:
        super().__init__(context)
        self._masked: set[str] = set()

    @staticmethod
    def is_available(context: ChannelContext) -> bool:
        """Return whether the variable names the runner's file for outputs."""
        return bool(context.environ.get("GITHUB_OUTPUT"))

    def mask(self, secret: str) -> None:
        """Mask each line of *secret*, as the runner does, but only in the action.

        In a job's own step, standard error may be redirected to a file, which would have it.
        """
        for line in filter(None, map(str.strip, secret.splitlines())):
            self._masked.add(line)
            if self.context.is_action:
                self.context.write_line(f"::add-mask::{_data(line)}")

    def check_user_ids(self, user_ids: Iterable[str]) -> None:
        """Warn if a user id is a masked secret, or part of one."""
        for user_id in user_ids:
            if any(user_id in secret for secret in self._masked):
                self.warn(
                    "A user id is part of a masked secret: GitHub drops every job output that"
                    " contains masked text, and each enrollment's id ends in the user id."
                    " Store user ids in variables, not in secrets."
                )
                return

    def open_group(self) -> None:
        """Begin a group of log lines."""
        self.context.write_line(f"::group::{_TITLE}: messages")

    def close_group(self) -> None:
        """End the group."""
        self.context.write_line("::endgroup::")

    def annotate(self, error: ConnectorError) -> None:
        """Annotate the run with message, hint and request id."""
        lines = [one_line(error.message), f"What to do: {one_line(error.hint)}"]
        if error.request_id:
            lines.append(f"Request id: {one_line(error.request_id)}")
        self._command("error", f"{_TITLE}: exit code {error.code}", "\n".join(lines))

    @property
    def _file(self) -> Path:
        return Path(self.context.environ["GITHUB_OUTPUT"])

    def files(self) -> Iterable[Path]:
        """Return the runner's file."""
        return (self._file,)

    def prepare(self) -> None:
        """Check that outputs can be appended."""
        check_appendable(self._file)

    def write(self, outputs: RunOutputs) -> None:
        """Append the outputs."""
        environ = self.context.environ
        limits = (environment_limit(environ.get("RUNNER_OS", "")), _JOB_LIMIT)
        kept = self.select_within_limits(outputs, *limits)
        dropped = [
            name for name, value in kept.items() if any(secret in value for secret in self._masked)
        ]
        if dropped:
            self.warn(
                f"{', '.join(dropped)}: GitHub drops these job outputs, because they contain masked"
                " text. Ids end in the user id. Store user ids in variables, not in secrets."
            )
        if path := environ.get(DOCUMENT_FILE):
            kept["document_file"] = path
        self._append(kept)

    def write_failure(self, error: ConnectorError) -> None:
        """Append the outputs of a run that could not begin, and annotate it. Raises OSError."""
        self._append({"complete": "false", "error": to_json(error_as_dict(error))})
        self.annotate(error)

    def full_output_location(self, outputs: RunOutputs) -> str:
        """Name the output file, or write the document to a file of the job and name that."""
        if path := self.context.environ.get(DOCUMENT_FILE):
            return path
        folder = self.context.environ.get("RUNNER_TEMP")
        if outputs.document["output_file"] or not folder:
            return super().full_output_location(outputs)
        file = Path(folder, f"alm-enrollments-{secrets.token_hex(8)}.json")
        try:
            # It has learners' names, which are of no concern to the runner's other users.
            write_atomically(file, to_json(outputs.document) + "\n", mode=0o600)
        except OSError:
            return super().full_output_location(outputs)
        return str(file)

    def _append(self, outputs: Mapping[str, str]) -> None:
        text = ""
        for name, value in outputs.items():
            # Random, so that no value can end itself and begin another output.
            delimiter = f"alm_{secrets.token_hex(16)}"
            text += f"{name}<<{delimiter}\n{value}\n{delimiter}\n"
        append_atomically(self._file, text)


class StepSummary(_RunnerChannel):
    """``GITHUB_STEP_SUMMARY``: the run as Markdown, which the page of the run shows."""

    name = "the step summary"
    has_results = False

    @staticmethod
    def is_available(context: ChannelContext) -> bool:
        """Return whether the variables name the runner's files."""
        return GitHub.is_available(context) and bool(context.environ.get("GITHUB_STEP_SUMMARY"))

    @property
    def _file(self) -> Path:
        return Path(self.context.environ["GITHUB_STEP_SUMMARY"])

    def files(self) -> Iterable[Path]:
        """Return the runner's file."""
        return (self._file,)

    def write(self, outputs: RunOutputs) -> None:
        """Append the summary."""
        summary = summary_of(outputs)
        size = len(missing_line_end(self._file) + summary.encode())
        if self._file.is_file():
            size += self._file.stat().st_size
        if size > _MAX_SUMMARY:
            self.warn(
                f"The step summary is left out: it would have {size:,} bytes,"
                f" and GitHub accepts {_MAX_SUMMARY:,} per step."
            )
        else:
            append_atomically(self._file, summary)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
