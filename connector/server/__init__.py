"""The HTTP API.

``application`` is for any WSGI server. It is made from the environment when it is first used.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from connector.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from connector.server.app import Application, make_application

    application: Application

__all__ = ["application", "make_application", "run"]

# Threads that are left for requests without a run, above all a liveness probe.
_SPARE_THREADS = 4


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the attributes of this module
    if name not in ("application", "make_application"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from connector.server.app import make_application  # noqa: PLC0415 - --help does without Flask

    if name == "application":
        return globals().setdefault("application", make_application())
    return make_application


def run(host: str, port: int, threads: int, on_ready: Callable[[str], object]) -> None:
    """Serve what the environment configures until SIGINT or SIGTERM.

    Calls *on_ready* with the server's URL. Raises UsageError for settings and an address that
    cannot be used, and if a library is missing.
    """
    for library in ("waitress", "flask"):
        if find_spec(library) is None:
            raise UsageError(
                f"alm-enrollments serve needs {library}, which is not installed.",
                hint="pip install 'alm-enrollments-connector[serve]'",
            )
    from connector.server.app import make_application  # noqa: PLC0415 - as above
    from connector.server.listener import bind, serve  # noqa: PLC0415

    application = make_application(max_reads=threads - _SPARE_THREADS)
    with bind(host, port) as listening:
        serve(application, listening, threads, on_ready)
