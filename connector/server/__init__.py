"""The HTTP door: ``application`` is for any WSGI server, and made from the environment when it is first asked for.

``make_application(environ)`` makes another one, from whatever environment it is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connector.server.app import Application, make_application

    application: Application

__all__ = ["application", "make_application"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the module's own attributes
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import os  # noqa: PLC0415

    from connector.server.app import make_application  # noqa: PLC0415 - serve --help has no use for it

    globals()["make_application"] = make_application
    if name == "application":
        globals()["application"] = make_application(os.environ)
    return globals()[name]
