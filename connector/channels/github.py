"""GitHub Actions, and what speaks its language: outputs, masks, annotations, the step summary."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from connector.channels.github_summary import LARGEST_SUMMARY, summary_of
from connector.channels.interface import (
    Channel,
    Limit,
    Place,
    RunOutputs,
    append_whole,
    environment_limit,
    missing_line_end,
    size_in_utf_16,
    write_whole,
)
from connector.errors import error_as_dict
from connector.text import one_line, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from connector.errors import ConnectorError

# "The size is approximated based on UTF-16 encoding" (GitHub's docs, workflow syntax, jobs.<job_id>.outputs).
_ALL_OUTPUTS = Limit(
    1_048_576,
    "a job's outputs take at most 1 MB, counted in UTF-16",
    lambda name, value: size_in_utf_16(name + value),
)
_LONGEST_ANNOTATION = 4_096
_TITLE = "alm-enrollments"


class GitHub(Channel):
    """``GITHUB_OUTPUT``, ``GITHUB_STEP_SUMMARY`` and commands, which the runner reads on standard error as on standard output."""

    name = "GITHUB_OUTPUT"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._masked: set[str] = set()

    @staticmethod
    def is_there(place: Place) -> bool:
        """Return whether the runner's file for outputs is named."""
        return bool(place.environ.get("GITHUB_OUTPUT"))

    def mask(self, secret: str) -> None:
        """Mask each line of *secret*: the runner knows no other way for what has several."""
        for line in filter(None, map(str.strip, secret.splitlines())):
            self._masked.add(line)
            self.place.say(f"::add-mask::{_data(line)}")

    def watch(self, user_ids: Iterable[str]) -> None:
        """Warn of a user id that is a masked secret, or part of one."""
        for user_id in user_ids:
            if any(user_id in secret for secret in self._masked):
                self.warn(
                    "A user id is part of a masked secret: GitHub drops every job output that holds masked text, and each"
                    " enrollment's id ends in the user id. Keep user ids in variables, not in secrets."
                )
                return

    def open_group(self) -> None:
        """Begin a group of log lines."""
        self.place.say(f"::group::{_TITLE}: what happened on the way")

    def close_group(self) -> None:
        """End the group."""
        self.place.say("::endgroup::")

    def warn(self, text: str) -> None:
        """Annotate the run with a warning."""
        self._command("warning", _TITLE, text)

    def annotate(self, error: ConnectorError) -> None:
        """Annotate the run with cause, way out and request id."""
        request = f"\nRequest id: {one_line(error.request_id)}" if error.request_id else ""
        text = f"{one_line(error.message)}\nWhat to do: {one_line(error.hint)}{request}"
        self._command("error", f"{_TITLE}: exit code {error.code}", text)

    def write(self, handover: RunOutputs) -> None:
        """Append the outputs and the summary."""
        kept = self.within(
            handover,
            each=environment_limit(self.place.environ.get("RUNNER_OS", "")),
            total=_ALL_OUTPUTS,
        )
        hidden = [
            name for name, value in kept.items() if any(secret in value for secret in self._masked)
        ]
        if hidden:
            self.warn(
                f"{', '.join(hidden)}: GitHub drops job outputs like these, for they hold masked text."
                " Ids end in the user id: keep user ids in variables, not in secrets."
            )
        self._append(kept)
        path = self.place.environ.get("GITHUB_STEP_SUMMARY")
        if path:
            self._append_summary(Path(path), handover)

    def write_failure(self, error: ConnectorError) -> None:
        """Append what is known of a run that could not even begin, and annotate it. Raises OSError."""
        self._append({"complete": "false", "error": to_json(error_as_dict(error))})
        self.annotate(error)

    def whereabouts(self, handover: RunOutputs) -> str:
        """Write the document to a file of the job's own, unless the run has an output file, and return which."""
        folder = self.place.environ.get("RUNNER_TEMP")
        if handover.document["output_file"] or not folder:
            return super().whereabouts(handover)
        path = Path(folder, f"alm-enrollments-{secrets.token_hex(8)}.json")
        write_whole(path, to_json(handover.document) + "\n")
        return str(path)

    def _append(self, outputs: Mapping[str, str]) -> None:
        append_whole(
            Path(self.place.environ["GITHUB_OUTPUT"]),
            "".join(_assignment(name, value) for name, value in outputs.items()),
        )

    def _append_summary(self, path: Path, handover: RunOutputs) -> None:
        summary = summary_of(handover)
        size = len(missing_line_end(path) + summary.encode()) + (
            path.stat().st_size if path.is_file() else 0
        )
        if size > LARGEST_SUMMARY:
            self.warn(
                f"The step summary is left out: it would have {size:,} bytes, and GitHub takes {LARGEST_SUMMARY:,} a step."
            )
            return
        append_whole(path, summary)

    def _command(self, command: str, title: str, text: str) -> None:
        shown = text if len(text) <= _LONGEST_ANNOTATION else text[: _LONGEST_ANNOTATION - 1] + "…"
        self.place.say(f"::{command} title={_property(title)}::{_data(shown)}")


def _assignment(name: str, value: str) -> str:
    # Random, so that no value can end itself and begin another output.
    delimiter = f"alm_{secrets.token_hex(16)}"
    return f"{name}<<{delimiter}\n{value}\n{delimiter}\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
