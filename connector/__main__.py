"""``python -m connector``, the same as ``alm-enrollments``."""

from __future__ import annotations

import contextlib
import io
import os
import sys

from connector import signals


def run_command() -> None:
    """Run the command and end the process with its exit code, whatever its threads do."""
    signals.end_process()
    from connector.cli.commands import main  # noqa: PLC0415 - signals are handled from here on

    if isinstance(sys.stdout, io.TextIOWrapper):
        # --help has an ellipsis, which not every terminal's encoding has.
        sys.stdout.reconfigure(errors="backslashreplace")
    exit_code = main(sys.argv[1:], os.environ)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, AttributeError):
            stream.flush()
    # Threads may still wait for the network or standard input: Python's own end waits for locks
    # that they hold, and aborts.
    os._exit(exit_code)


if __name__ == "__main__":
    run_command()
