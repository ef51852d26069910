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

HOST = "127.0.0.1"
PORT = 8080
#: The variables in which platforms name the port to listen on.
PORT_VARIABLES = ("PORT", "FUNCTIONS_CUSTOMHANDLER_PORT")
THREADS = 64
# Threads that are left for requests without a run, above all a liveness probe.
_SPARE_THREADS = 4


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the attributes of this module
    if name not in ("application", "make_application"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from connector.server.app import make_application  # noqa: PLC0415 - --help does without Flask

    if name == "application":
        return globals().setdefault("application", make_application())
    return make_application


def run(host: str, port: str, threads: int, on_ready: Callable[[str], object]) -> None:
    """Serve what the environment configures until SIGINT or SIGTERM.

    An empty *port* means that of the platform, else the default. Calls *on_ready* with the
    server's URL. Raises UsageError for flags and settings, and if a library is missing.
    """
    from connector.server.settings import parse_flags  # noqa: PLC0415 - as above

    number = parse_flags(port, threads)
    for library in ("waitress", "flask"):
        if find_spec(library) is None:
            raise UsageError(
                f"serve wants {library}, which is not installed.",
                hint="pip install 'alm-enrollments-connector[serve]'",
            )
    from connector.server.app import make_application  # noqa: PLC0415
    from connector.server.listener import bind, serve  # noqa: PLC0415

    application = make_application(max_reads=threads - _SPARE_THREADS)
    with bind(host, number) as listening:
        serve(application, listening, threads, on_ready)
