"""``python -m connector``, the same as ``alm-enrollments``."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType


def run_command() -> None:
    """Run the command and end the process with its exit code."""
    # Before and after the run itself a signal ends the process as it ends any other, without a traceback.
    # From a container's first process the kernel keeps every signal that has no handler (pid_namespaces(7)).
    ending = _end if os.getpid() == 1 else signal.SIG_DFL
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, ending)
    from connector.cli import main  # noqa: PLC0415 - the lines above have to come first

    if isinstance(sys.stdout, io.TextIOWrapper):
        # --help has an ellipsis, which not every terminal's encoding has.
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:], os.environ))


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)


if __name__ == "__main__":
    run_command()
