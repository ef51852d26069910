"""The paths of files: records as csv and xlsx, errors as documents like everywhere."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from connector.formats import read_records
from connector.formats.interface import flat_columns
from tests.support.sandbox import DOCUMENTED_IDS, DOCUMENTED_USER
from tests.unit.server.conftest import KEY, get, message

if TYPE_CHECKING:
    from pathlib import Path

    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from tests.support.sandbox import StartSandbox
    from tests.unit.server.conftest import MakeClient

TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


def get_file(client: FlaskClient, name: str, **inputs: str) -> TestResponse:
    """Return the response to a request for a file."""
    path = f"/v1/enrollments.{name}"
    return client.get(path, query_string=inputs, headers={"X-API-Key": KEY})


@pytest.mark.parametrize("name", TYPES)
def test_file__has_the_records_of_the_document(
    name: str, make_client: MakeClient, tmp_path: Path
) -> None:
    """A file has the records that the same request gets as a document, newest first."""
    client = make_client()
    document = get(client, user_id=DOCUMENTED_USER, names="true").get_json()

    response = get_file(client, name, user_id=DOCUMENTED_USER, names="true")

    (tmp_path / f"x.{name}").write_bytes(response.get_data())
    records = list(read_records(tmp_path / f"x.{name}"))
    assert response.status_code == 200
    assert {
        header: response.headers[header]
        for header in ("Content-Type", "Content-Disposition", "X-Complete", "Cache-Control")
    } == {
        "Content-Type": TYPES[name],
        "Content-Disposition": f"attachment; filename=enrollments.{name}",
        "X-Complete": "true",
        "Cache-Control": "no-store",
    }
    assert [record["id"] for record in records] == document["enrollment_ids"]
    assert {record["lo_name"] for record in records} == {
        record["lo_name"] for record in document["enrollments"]
    }


def test_file__columns(make_client: MakeClient) -> None:
    """A request for a file selects columns; by default it has the flat ones."""
    client = make_client()

    selected = get_file(
        client, "csv", user_id=DOCUMENTED_USER, columns="state,id", sort="dateEnrolled"
    )
    usual = get_file(client, "csv", user_id=DOCUMENTED_USER)

    assert selected.text.splitlines() == [
        "state,id",
        *(f"ENROLLED,{name}" for name in DOCUMENTED_IDS),
    ]
    assert usual.text.splitlines()[0] == ",".join(flat_columns(()))


def test_file__without_records(make_client: MakeClient) -> None:
    """A file without records has its header all the same."""
    response = get_file(
        make_client(), "csv", user_id=DOCUMENTED_USER, completed_since="yesterday", columns="id"
    )

    assert (response.status_code, response.text) == (200, "id\r\n")


@pytest.mark.parametrize("name", TYPES)
def test_file__with_the_key_as_excel_sends_it(name: str, make_client: MakeClient) -> None:
    """Excel's From Web sends the key as a password; no key is 401, with the challenge for one."""
    client = make_client()
    password = base64.b64encode(f"any:{KEY}".encode()).decode()
    url = f"/v1/enrollments.{name}?user_id={DOCUMENTED_USER}"

    allowed = client.get(url, headers={"Authorization": f"Basic {password}"})
    refused = client.get(url)

    assert (allowed.status_code, refused.status_code) == (200, 401)
    assert 'Basic realm="alm-enrollments", charset="UTF-8"' in refused.headers.getlist(
        "WWW-Authenticate"
    )


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize(
    ("inputs", "status", "code", "text"),
    [
        ({"user_id": "4041"}, 404, 67, "ALM has no user 4041"),
        ({"user_id": "x"}, 400, 64, 'user_id is "x"'),
        ({"user_id": "1", "format": "html"}, 400, 64, "format is not an input of this request"),
        ({"user_id": "1", "columns": "nme"}, 400, 64, 'columns is "nme"'),
        (
            {"user_id": "1", "columns": "lo_name"},
            400,
            64,
            'columns is "lo_name", which ALM sends only',
        ),
        ({"user_id": "31,4041"}, 404, 65, "1 of 2 users could not be read"),
    ],
)
def test_file__errors_are_documents(
    name: str, inputs: dict[str, str], status: int, code: int, text: str, make_client: MakeClient
) -> None:
    """Whatever fails is a document in JSON with the usual status, and never part of a file."""
    response = get_file(make_client(), name, **inputs)

    document = response.get_json()
    assert (response.status_code, document["error"]["code"]) == (status, code)
    assert response.headers["Content-Type"] == "application/json"
    assert text in message(response)


def test_document__has_no_columns(make_client: MakeClient) -> None:
    """A request for the document cannot select columns."""
    response = get(make_client(), user_id="1", columns="id")

    assert (response.status_code, response.get_json()["error"]["code"]) == (400, 64)
    assert "columns is not an input of this request" in message(response)


def test_file__incomplete(make_client: MakeClient, start_sandbox: StartSandbox) -> None:
    """A file that a request allows to be incomplete says so in a header."""
    client = make_client(start_sandbox("page=2:schemax*"))

    response = get_file(
        client, "csv", user_id="31", lo_types="all", allow_incomplete="true", columns="id"
    )

    assert (response.status_code, response.headers["X-Complete"]) == (200, "false")
    assert len(response.text.splitlines()) == 11
