"""``python -m connector``, the same as ``alm-enrollments``."""

from __future__ import annotations

import contextlib
import io
import os
import sys

from connector import signals


def run_command(*, is_action: bool = False) -> None:
    """Run the command and end the process with its exit code, whatever its threads do.

    *is_action* is whether the GitHub Action has started it, so that no other program sees its
    standard error before the runner.
    """
    signals.end_process()
    _refuse_core_dumps()
    from connector.cli.commands import main  # noqa: PLC0415 - signals are handled from here on

    if isinstance(sys.stdout, io.TextIOWrapper):
        # --help has an ellipsis, which not every terminal's encoding has.
        sys.stdout.reconfigure(errors="backslashreplace")
    exit_code = main(sys.argv[1:], os.environ, is_action=is_action)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, AttributeError):
            stream.flush()
    # Threads may still wait for the network or standard input: Python's own end waits for locks
    # that they hold, and aborts.
    os._exit(exit_code)


def _refuse_core_dumps() -> None:
    """Let nobody find the credentials in a file after a crash."""
    # Windows has no such limit.
    with contextlib.suppress(ImportError):
        import resource  # noqa: PLC0415 - see above

        # The limit 1 also holds for dumps that Linux pipes to a program; 0 does not (coredump.c).
        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (min(1, hard) if hard >= 0 else 1, hard))


if __name__ == "__main__":
    run_command()
