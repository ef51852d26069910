"""The variables of the network, which requests reads: the proxy, and certificate authorities."""

from __future__ import annotations

import os
import re
import ssl
import stat
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from connector.text import quoted

_MAX_PORT = 65_535
# Without a scheme, requests takes whatever precedes the first colon for one: HOST of HOST:PORT.
_PROXY = re.compile(
    r"""(?:(?P<scheme>https?|socks4a?|socks5h?)://|//|(?![A-Za-z][A-Za-z0-9+-]*:|\s))
        (?:(?P<user>.*)@)?
        (?:\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[^/?\#\\\s@:\[\]]+)
        (?::(?P<port>[0-9]{0,5}))?
        (?:[/?\#][^@]*)?""",
    re.IGNORECASE | re.VERBOSE,
)


class Fault(NamedTuple):
    """What is wrong with a variable, and what to do; neither quotes a secret."""

    happened: str
    hint: str


def proxy_variable() -> str:
    """Return the name of the variable that has the proxy for https; HTTPS_PROXY without one."""
    for lower in ("https_proxy", "all_proxy"):
        names = [name for name in os.environ if name.lower() == lower and os.environ[name]]
        # As in urllib.request: the lower-case name takes precedence, also if it is empty.
        if names and os.environ.get(lower) != "":
            return max(names)
    return "HTTPS_PROXY"


def find_proxy_fault(address: str) -> Fault | None:
    """Return what keeps requests from using the proxy *address*; ``None`` if it is usable."""
    name = proxy_variable()
    match = _PROXY.fullmatch(address)
    if not match or int(match["port"] or 0) > _MAX_PORT:
        return Fault(
            f"{name} is not the address of a proxy",
            "Write it as http://HOST:PORT or http://USER:PASSWORD@HOST:PORT; socks5h:// for SOCKS.",
        )
    user = match["user"] or ""
    if re.search(r"[/?#\\]", user):
        return Fault(
            f"{name} has a character in its user name or password that must be percent-encoded",
            "Percent-encode it: %2F for /, %3F for ?, %23 for #, %5C for \\.",
        )
    try:
        unquote(user).encode("latin-1")
    except UnicodeEncodeError:
        return Fault(
            f"{name} has a character in its user name or password that HTTP cannot send",
            "Use only characters of Latin-1 in the proxy's user name and password.",
        )
    if (match["scheme"] or "").lower().startswith("socks") and find_spec("socks") is None:
        return Fault(
            f"{name} names a SOCKS proxy, which needs the package PySocks",
            "Run pip install PySocks, or set a proxy that begins with http://.",
        )
    return None


def find_authorities_fault(path: str) -> Fault | None:
    """Return why the certificate authorities in *path* cannot be read; ``None`` if they can."""
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISDIR(mode):
            next(Path(path).iterdir(), None)
        elif not stat.S_ISFIFO(mode):
            # A pipe could be read only once.
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        reason = "it has no certificate authorities in PEM"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", str(error))
    else:
        return None
    name = "REQUESTS_CA_BUNDLE" if os.environ.get("REQUESTS_CA_BUNDLE") else "CURL_CA_BUNDLE"
    return Fault(
        f"The file {quoted(path)} of {name} cannot be read: {reason}",
        f"Set {name} to a file of certificate authorities in PEM, or to a folder of them.",
    )
