"""A Kubernetes pod: Airflow's sidecar for XCom, and the container's termination message."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from connector.channels.interface import Channel, ChannelContext, RunOutputs, write_atomically
from connector.channels.limits import fit_into_xcom
from connector.files import check_folder_writable, check_replaceable
from connector.text import one_line, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# Bytes; Kubernetes cuts off the rest of a longer message.
_MAX_TERMINATION_MESSAGE = 4_096


class AirflowXCom(Channel):
    """``/airflow/xcom/return.json``, which KubernetesPodOperator pushes, also if the pod fails."""

    name = "Airflow's XCom"

    @staticmethod
    def is_available(context: ChannelContext) -> bool:
        """Return whether the sidecar's folder is mounted."""
        # A folder above that this user may not enter belongs to another program.
        with contextlib.suppress(PermissionError):
            return (context.root / "airflow/xcom").is_dir()
        return False

    @property
    def _file(self) -> Path:
        return self.context.root / "airflow/xcom/return.json"

    def files(self) -> Iterable[Path]:
        """Return the file that the sidecar reads."""
        return (self._file,)

    def prepare(self) -> None:
        """Check that the file can be created or replaced."""
        check_folder_writable(self._file.parent)
        check_replaceable(self._file)

    def write(self, outputs: RunOutputs) -> None:
        """Write the document, without what exceeds XCom's limit."""
        document, left_out = fit_into_xcom(outputs.document)
        if left_out:
            # Of an output file, that document has the failed users.
            location = "the document on standard output"
            if outputs.document["output_file"]:
                location = f"{outputs.document['output_file']}, and in {location}"
            self.warn(one_line(f"Left out of {self.name}: {left_out}. Look in {location}."))
        # The sidecar may run as another user.
        write_atomically(self._file, to_json(document), mode=0o644)


class TerminationLog(Channel):
    """``/dev/termination-log``, which ``kubectl describe`` and Airflow show of a failed pod."""

    name = "the container's termination message"
    has_results = False

    @staticmethod
    def is_available(context: ChannelContext) -> bool:
        """Return whether the kubelet has mounted the file."""
        with contextlib.suppress(PermissionError):
            return (context.root / "dev/termination-log").is_file()
        return False

    def files(self) -> Iterable[Path]:
        """Return the file that the kubelet reads."""
        return (self.context.root / "dev/termination-log",)

    def write(self, outputs: RunOutputs) -> None:
        """Write the error's line, or an empty message if the run succeeded."""
        message = ""
        if outputs.error:
            message = str(outputs.error)
        if len(message.encode()) > _MAX_TERMINATION_MESSAGE:
            self.warn(
                f"The error is left out of {self.name}: Kubernetes accepts at most"
                f" {_MAX_TERMINATION_MESSAGE:,} bytes. Standard error has it."
            )
            message = ""
        # Written in place: the file is a mount, which no other file can replace.
        (self.context.root / "dev/termination-log").write_text(message, encoding="utf-8")
