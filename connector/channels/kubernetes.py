"""A Kubernetes pod: Airflow's sidecar for XCom, and the container's termination message."""

from __future__ import annotations

from connector.channels.interface import Channel, ChannelContext, RunOutputs, write_atomically
from connector.channels.limits import fit_into_xcom
from connector.text import one_line, to_json

# Bytes; Kubernetes cuts off the rest of a longer message.
_MAX_TERMINATION_MESSAGE = 4_096


class AirflowXCom(Channel):
    """``/airflow/xcom/return.json``, which KubernetesPodOperator pushes, also if the pod fails."""

    name = "Airflow's XCom"

    @staticmethod
    def is_available(context: ChannelContext) -> bool:
        """Return whether the sidecar's folder is mounted."""
        return (context.root / "airflow/xcom").is_dir()

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
        path = self.context.root / "airflow/xcom/return.json"
        write_atomically(path, to_json(document), mode=0o644)


class TerminationLog(Channel):
    """``/dev/termination-log``, which ``kubectl describe`` and Airflow show of a failed pod."""

    name = "the container's termination message"

    @staticmethod
    def is_available(context: ChannelContext) -> bool:
        """Return whether the kubelet has mounted the file."""
        return (context.root / "dev/termination-log").is_file()

    def write(self, outputs: RunOutputs) -> None:
        """Write the error's line, or an empty message if the run succeeded."""
        message = ""
        if outputs.error:
            message = str(outputs.error)
        if len(message.encode()) > _MAX_TERMINATION_MESSAGE:
            self.warn(
                f"The error is left out of {self.name}: Kubernetes takes at most"
                f" {_MAX_TERMINATION_MESSAGE:,} bytes. Standard error has it."
            )
            message = ""
        # Written in place: the file is a mount, which no other file can replace.
        (self.context.root / "dev/termination-log").write_text(message, encoding="utf-8")
