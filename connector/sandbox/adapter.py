"""The sandbox in the process: responds to a requests session without a socket."""

from __future__ import annotations

import io
from http.client import responses
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from connector.sandbox.service import Request

if TYPE_CHECKING:
    import requests

    from connector.sandbox.service import Sandbox


class SandboxAdapter(HTTPAdapter):
    """Responds to all requests of a session to the URL that it is mounted for.

    Faults in transit need the sandbox's server: here every response arrives complete.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__()
        self._sandbox = sandbox

    def send(
        self, request: requests.PreparedRequest, *_args: object, **_kwargs: object
    ) -> requests.Response:
        """Return the sandbox's response to *request*."""
        parts = urlsplit(request.url or "")
        body = request.body or b""
        response = self._sandbox.answer(
            Request(
                method=request.method or "GET",
                target=f"{parts.path}?{parts.query}" if parts.query else parts.path,
                headers={name.lower(): str(value) for name, value in request.headers.items()},
                origin=f"{parts.scheme}://{parts.netloc}",
                body=body.encode() if isinstance(body, str) else bytes(body),
            )
        )
        raw = HTTPResponse(
            body=io.BytesIO(b"" if request.method == "HEAD" else response.body),
            headers={**dict(response.headers), "content-length": str(len(response.body))},
            status=response.status,
            reason=responses.get(response.status, ""),
            preload_content=False,
            decode_content=False,
            request_method=request.method,
        )
        return self.build_response(request, raw)
