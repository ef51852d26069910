"""``python -m connector``, the same as ``alm-enrollments``."""

from __future__ import annotations

import io
import os
import sys

from connector import signals


def run_command() -> None:
    """Run the command and end the process with its exit code."""
    signals.end_process()
    from connector.cli.commands import main  # noqa: PLC0415 - signals are handled from here on

    if isinstance(sys.stdout, io.TextIOWrapper):
        # --help has an ellipsis, which not every terminal's encoding has.
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:], os.environ))


if __name__ == "__main__":
    run_command()
