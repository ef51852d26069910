"""Files that the user names: a folder with one file an output, and GitLab's dotenv report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from connector.channels.interface import (
    Channel,
    Limit,
    Place,
    RunOutputs,
    encoded,
    size_in_bytes,
    write_whole,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

# Of the 4,096 bytes of a termination message, which carries all results of a task, Tekton itself takes a part.
_TEKTON = Limit(
    3_072, "Tekton's results take at most about 3 KB together", lambda _, value: len(encoded(value))
)
# An output parameter becomes part of an annotation.
_ARGO = Limit(
    262_144,
    "an output parameter of Argo Workflows takes at most 256 KB",
    lambda _, value: len(encoded(value)),
)
# GitLab's own default, and gitlab.com's.
_GITLAB = Limit(
    5_120,
    "a dotenv report of GitLab takes at most 5 KB",
    lambda name, value: size_in_bytes(name, value) + 1,
)


class OutputFolder(Channel):
    """``--output-dir``: Tekton's results, Argo's output parameters, Concourse's outputs."""

    name = "the output folder"

    @staticmethod
    def is_there(place: Place) -> bool:
        """Return whether a folder was named."""
        return place.output_dir is not None

    @property
    def _folder(self) -> Path:
        return Path(self.place.output_dir or "")

    def prepare(self) -> None:
        """Make the folder, and see that files can be made in it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        _check_writable(self._folder)

    def write(self, handover: RunOutputs) -> None:
        """Write a file for each output, and take away the file of an earlier run for one that is left out."""
        is_tekton = self._folder.resolve().is_relative_to(self.place.root / "tekton/results")
        each = _ARGO if self.place.environ.get("ARGO_TEMPLATE") else None
        kept = self.within(handover, each=each, total=_TEKTON if is_tekton else None)
        # A run that fails on its inputs was not prepared.
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in handover.outputs():
            if name in kept:
                write_whole(self._folder / name, kept[name])
            else:
                (self._folder / name).unlink(missing_ok=True)


class Dotenv(Channel):
    """``--dotenv``: GitLab's ``artifacts:reports:dotenv``, names in upper case."""

    name = "the dotenv report"

    @staticmethod
    def is_there(place: Place) -> bool:
        """Return whether a file was named."""
        return place.dotenv is not None

    def prepare(self) -> None:
        """See that the file can be made."""
        _check_writable(Path(self.place.dotenv or "").absolute().parent)

    def write(self, handover: RunOutputs) -> None:
        """Write the report."""
        kept = self._of_one_line(self.within(handover, total=_GITLAB))
        write_whole(
            Path(self.place.dotenv or ""),
            "".join(f"{name.upper()}={value}\n" for name, value in kept.items()),
        )

    def _of_one_line(self, outputs: Mapping[str, str]) -> dict[str, str]:
        broken = [
            name
            for name, value in outputs.items()
            if not value.isprintable() or value != value.strip()
        ]
        if broken:
            self.warn(
                f"{', '.join(broken)} left out of {self.name}: a value there is one line, and loses the white space around it."
            )
        return {name: value for name, value in outputs.items() if name not in broken}


def _check_writable(folder: Path) -> None:
    if not folder.is_dir():
        raise NotADirectoryError(20, "Not a directory", str(folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(13, "Permission denied", str(folder))
