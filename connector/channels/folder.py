"""Files that the user names: a folder with one file per output, and GitLab's dotenv report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from connector.channels.interface import Channel, ChannelContext, RunOutputs, write_atomically
from connector.channels.limits import Limit, size_of_assignment, size_of_value
from connector.files import check_folder_writable, check_replaceable, target_of
from connector.schemas import load_schema

if TYPE_CHECKING:
    from collections.abc import Iterable

# Tekton itself uses a part of the 4,096 bytes of a termination message, which carries all results.
TEKTON_LIMIT = Limit(
    3_072, "Tekton's results take at most about 3 KB together", size_of_value, is_total=True
)
# An output parameter becomes part of an annotation.
ARGO_LIMIT = Limit(
    262_144, "an output parameter of Argo Workflows takes at most 256 KB", size_of_value
)
# The default of GitLab, and the limit of gitlab.com. Each line has an end.
GITLAB_LIMIT = Limit(
    5_120,
    "a dotenv report of GitLab takes at most 5 KB",
    lambda name, value: size_of_assignment(name, value) + 1,
    is_total=True,
)


class OutputFolder(Channel):
    """``--output-dir``: Tekton's results, Argo's output parameters, Concourse's outputs."""

    name = "the output folder"
    flag = "--output-dir"

    @staticmethod
    def is_available(context: ChannelContext) -> bool:
        """Return whether the user named a folder."""
        return context.output_dir is not None

    @property
    def _folder(self) -> Path:
        return Path(self.context.output_dir or "")

    def files(self) -> Iterable[Path]:
        """Return the file of each output."""
        return [self._folder / name for name in load_schema("outputs")["properties"]]

    def prepare(self) -> None:
        """Create the folder, and check that each file can be created in it, or replaced."""
        self._folder.mkdir(parents=True, exist_ok=True)
        check_folder_writable(self._folder)
        for file in self.files():
            check_replaceable(file)

    def write(self, outputs: RunOutputs) -> None:
        """Write a file per output, and delete an earlier run's file of a left-out output."""
        limits = []
        if self.context.environ.get("ARGO_TEMPLATE"):
            limits.append(ARGO_LIMIT)
        if self._folder.resolve().is_relative_to(self.context.root / "tekton/results"):
            limits.append(TEKTON_LIMIT)
        kept = self.select_within_limits(outputs, *limits)
        # A run that fails on its inputs was not prepared.
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in outputs.as_text():
            if name in kept:
                write_atomically(self._folder / name, kept[name])
            else:
                (self._folder / name).unlink(missing_ok=True)


class Dotenv(Channel):
    """``--dotenv``: GitLab's ``artifacts:reports:dotenv``, with names in upper case."""

    name = "the dotenv report"
    flag = "--dotenv"

    @staticmethod
    def is_available(context: ChannelContext) -> bool:
        """Return whether the user named a file."""
        return context.dotenv is not None

    @property
    def _file(self) -> Path:
        return Path(self.context.dotenv or "")

    def files(self) -> Iterable[Path]:
        """Return the report."""
        return (self._file,)

    def prepare(self) -> None:
        """Check that the file can be created, or replaced."""
        check_folder_writable(target_of(self._file).absolute().parent)
        check_replaceable(self._file)

    def write(self, outputs: RunOutputs) -> None:
        """Write the report."""
        kept = self.select_within_limits(outputs, GITLAB_LIMIT)
        unfit = [
            name
            for name, value in kept.items()
            if not value.isprintable() or value != value.strip()
        ]
        if unfit:
            self.warn(
                f"{', '.join(unfit)} left out of {self.name}: values must be one line"
                " without white space around it."
            )
        lines = [f"{name.upper()}={kept[name]}\n" for name in kept if name not in unfit]
        write_atomically(self._file, "".join(lines))
