"""A Kubernetes pod: Airflow's sidecar for XCom, and the message that a container leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from connector.channels.interface import Channel, Place, RunOutputs, write_whole
from connector.text import to_json

if TYPE_CHECKING:
    from connector.errors import ConnectorError

# Kubernetes cuts a longer one off.
_LONGEST_MESSAGE = 4_096


class AirflowXCom(Channel):
    """``/airflow/xcom/return.json``, which Airflow's KubernetesPodOperator pushes as XCom, also where the pod fails."""

    name = "Airflow's XCom"

    @staticmethod
    def is_there(place: Place) -> bool:
        """Return whether the sidecar's folder is mounted."""
        return (place.root / "airflow/xcom").is_dir()

    def write(self, handover: RunOutputs) -> None:
        """Write the document."""
        write_whole(self.place.root / "airflow/xcom/return.json", to_json(handover.document))


class TerminationLog(Channel):
    """``/dev/termination-log``: what ``kubectl describe`` and Airflow's exception tell of a pod that failed."""

    name = "the container's termination message"

    @staticmethod
    def is_there(place: Place) -> bool:
        """Return whether the kubelet has mounted the file."""
        return (place.root / "dev/termination-log").is_file()

    def write(self, handover: RunOutputs) -> None:
        """Write the error's one line; nothing where there is none."""
        message = _message(handover.error)
        if len(message.encode()) > _LONGEST_MESSAGE:
            self.warn(
                f"The error is left out of {self.name}: Kubernetes takes at most {_LONGEST_MESSAGE:,} bytes. Standard error has it."
            )
            message = ""
        # In place: the file is a mount, over which nothing can be renamed.
        Path(self.place.root / "dev/termination-log").write_text(message, encoding="utf-8")


def _message(error: ConnectorError | None) -> str:
    return str(error) if error else ""
