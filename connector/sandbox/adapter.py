"""The sandbox inside the process: answers a requests session without a socket."""

from __future__ import annotations

import io
from http.client import responses
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from connector.sandbox.answer import Request

if TYPE_CHECKING:
    import requests

    from connector.sandbox.answer import Sandbox


class SandboxAdapter(HTTPAdapter):
    """Mounted for an address that does not exist: what is sent there is answered here.

    Faults of the bytes' way need the sandbox's server: here every answer arrives whole.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__()
        self._sandbox = sandbox

    def send(
        self, request: requests.PreparedRequest, *_args: object, **_kwargs: object
    ) -> requests.Response:
        """Return the sandbox's answer to *request*."""
        parts = urlsplit(request.url or "")
        body = request.body or b""
        answer = self._sandbox.answer(
            Request(
                method=request.method or "GET",
                target=f"{parts.path}?{parts.query}" if parts.query else parts.path,
                headers={name.lower(): str(value) for name, value in request.headers.items()},
                origin=f"{parts.scheme}://{parts.netloc}",
                body=body.encode() if isinstance(body, str) else bytes(body),
            )
        )
        raw = HTTPResponse(
            body=io.BytesIO(b"" if request.method == "HEAD" else answer.body),
            headers={**dict(answer.headers), "content-length": str(len(answer.body))},
            status=answer.status,
            reason=responses.get(answer.status, ""),
            preload_content=False,
            decode_content=False,
            request_method=request.method,
        )
        return self.build_response(request, raw)
