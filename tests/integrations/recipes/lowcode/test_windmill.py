"""Windmill's script, run with Windmill's own client, which asks a stand-in of Windmill for the resource."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from .conftest import EXAMPLES, example, newest_first

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import RunPython

SCRIPT = EXAMPLES / "windmill" / "enrollments.py"
AS_WINDMILL = f"import json, runpy, sys; print(json.dumps(runpy.run_path({str(SCRIPT)!r})['main'](**json.load(sys.stdin))))"
TOKEN = "canary-windmill-token"


@pytest.fixture
def windmill(reaching: dict[str, str]) -> Iterator[dict[str, str]]:
    """Return the variables that Windmill gives a job, in front of a workspace that has the recipe's resource."""
    resource = {**yaml.safe_load(example("windmill/account.resource.yaml"))["value"], **reaching}

    class Workspace(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_it = (
                self.path.partition("?")[0]
                == "/api/w/demo/resources/get_value_interpolated/f/alm/account"
            )
            is_allowed = self.headers["Authorization"] == f"Bearer {TOKEN}"
            self.send_response(200 if is_it and is_allowed else 404)
            self.end_headers()
            self.wfile.write(json.dumps(resource).encode())

        def log_message(self, *_: Any) -> None:
            """Write nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Workspace) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {
            "BASE_INTERNAL_URL": f"http://127.0.0.1:{server.server_port}",
            "WM_TOKEN": TOKEN,
            "WM_WORKSPACE": "demo",
        }
        server.shutdown()


def test_main__is_the_document(windmill: dict[str, str], run_python: RunPython) -> None:
    """The job's result is the document, read with the resource's credentials."""
    document = run_python(
        AS_WINDMILL, {"user_id": "20941371", "since": "2023-06-20"}, windmill
    ).document

    assert sorted(document["enrollment_ids"]) == sorted(newest_first(since="2023-06-20"))


def test_main__what_it_raises_fails_the_job(
    windmill: dict[str, str], run_python: RunPython
) -> None:
    """A learner whom ALM does not know fails the job with a message that says so."""
    raised = run_python(AS_WINDMILL, {"user_id": "4041"}, windmill).raised

    assert raised.startswith("connector.errors.UserNotFoundError: ALM knows no user 4041")


def test_requirements__are_what_is_imported() -> None:
    """The comments that Windmill installs by name the distributions of both packages that the script imports."""
    following = example("windmill/enrollments.py").partition("\n# requirements:\n")[2].splitlines()
    # Windmill's own pattern (backend/parsers/windmill-parser-py-imports); the first line that is another ends the list.
    listed = [
        found and found[1] for found in (re.match(r"^#\s?(\S+)$", line) for line in following)
    ]

    assert listed[: listed.index(None)] == ["alm-enrollments-connector", "wmill"]


def test_resource__has_the_token_by_reference() -> None:
    """The token is a secret variable's, which Windmill fills in when the job asks."""
    assert (
        yaml.safe_load(example("windmill/account.resource.yaml"))["value"]["ALM_ACCESS_TOKEN"]
        == "$var:f/alm/access_token"
    )
