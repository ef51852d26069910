"""``python -m connector``, the same as ``alm-enrollments``."""

from __future__ import annotations

import io
import os
import signal
import sys


def run_command() -> None:
    """Run the command and end the process with its exit code."""
    # Before and after the run itself a signal ends the process as it ends any other, without a traceback.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from connector.cli import main  # noqa: PLC0415 - the line above has to come first

    if isinstance(sys.stdout, io.TextIOWrapper):
        # --help has an ellipsis, which not every terminal's encoding has.
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:], os.environ))


if __name__ == "__main__":
    run_command()
