"""The provider in real Airflow environments: its discovery, its tests, types and example."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import parquet

from connector.runner import run_given
from connector.sandbox import ACCESS_TOKEN
from tests.integrations.airflow.examples import example
from tests.support.process import CHECKOUT
from tests.support.secrets import CANARY, CREDENTIALS, leaks

if TYPE_CHECKING:
    from pathlib import Path

    from connector.sandbox.server import SandboxServer
    from tests.integrations.airflow.conftest import Airflow
    from tests.support.sandbox import StartSandbox

INSIDE = CHECKOUT / "tests/integrations/airflow/inside"
LEARNERS = ["20941371", *map(str, range(1000, 1011))]
# The worker's /run/secrets has a valid token, which no run may use: no connection has it.
WITH_SECRETS = """
mount -t tmpfs tmpfs /run
mkdir /run/secrets
printf sandbox-access-token > /run/secrets/alm_access_token
chmod -R a+rX /run/secrets
exec setpriv --reuid="$1" --regid="$2" --clear-groups env -i "${@:3}"
"""


def test_inside__passes(airflow: Airflow) -> None:
    """The tests in the folder inside pass in this Airflow, run by its own pytest."""
    root = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    ids = [str(os.getuid()), str(os.getgid())]
    environ = airflow.environ(
        AIRFLOW__CORE__TEST_CONNECTION="Enabled",
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",
    )
    options = ["-c", str(INSIDE / "pytest.ini"), "--basetemp", str(airflow.home / "tmp")]

    finished = subprocess.run(
        [
            *(*root, "unshare", "--mount", "bash", "-ec", WITH_SECRETS, "bash", *ids),
            *(f"{name}={value}" for name, value in environ.items()),
            *(str(airflow.venv / "bin/pytest"), *options, "--durations=10", str(INSIDE)),
        ],
        cwd=airflow.home,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert finished.returncode == 0, finished.stdout[-20_000:] + finished.stderr[-5_000:]
    assert " skipped" not in finished.stdout


def test_types__strict(airflow: Airflow) -> None:
    """The package passes mypy --strict with Airflow's own types."""
    # Airflow 2 has no types for the classes that serve both versions.
    options = ["--allow-subclassing-any"] if airflow.version == "2" else []
    options += ["--python-version", "3.11", "--cache-dir", str(airflow.venv / "mypy")]

    finished = airflow.run("mypy", "--strict", *options, "-p", "connector.airflow")

    assert finished.stdout == "Success: no issues found in 7 source files\n"


def test_provider__is_discovered(airflow: Airflow) -> None:
    """Airflow's own command lists the hook, and warns about nothing of ours."""
    finished = airflow.run("airflow", "providers", "hooks", "--output", "json")

    hooks = json.loads(finished.stdout[finished.stdout.index("[") :])
    assert [hook for hook in hooks if hook["connection_type"] == "alm"] == [
        {
            "connection_type": "alm",
            "class": "connector.airflow.hook.AlmHook",
            "conn_id_attribute_name": "alm_conn_id",
            "package_name": "alm-enrollments-connector",
            "hook_name": "Adobe Learning Manager",
        }
    ]
    assert not re.search(r"connector|\balm", finished.stderr)


def connection(server: SandboxServer, **parts: Any) -> str:
    """Return a connection to *server*, as workers get it in their environment."""
    return json.dumps({"conn_type": "alm", "host": server.url, **parts})


@pytest.mark.parametrize("unknown", [[], ["4041"]], ids=["all known", "one unknown"])
def test_example__native(
    unknown: list[str], airflow: Airflow, start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    """The example joins every learner's records; it names an unknown learner, and fails."""
    server = start_sandbox()
    learners = tmp_path / "learners.csv"
    learners.write_text("\n".join(["user_id", *LEARNERS, *unknown]))
    dag = example("alm_native", {"FOLDER": str(tmp_path), "LEARNERS": str(learners), "SHARDS": 3})
    (airflow.dags / "example.py").write_text(dag)
    direct = tmp_path / "direct.ndjson"
    inputs = {"user_id": LEARNERS, "lo_types": "all", "output_file": str(direct)}
    credentials = {"access_token": ACCESS_TOKEN, "base_url": server.url}
    document = run_given({**credentials, **inputs, "format": "ndjson"})
    server.requests.clear()

    variables = {"AIRFLOW_CONN_ALM_DEFAULT": connection(server, password=ACCESS_TOKEN)}
    finished = airflow.test_dag("alm_enrollments_native", **variables)

    output = finished.stdout + finished.stderr
    (merged,) = tmp_path.glob("manual__*[!1-3].ndjson")
    assert sorted(merged.read_text().splitlines()) == sorted(direct.read_text().splitlines())
    assert (finished.exit_code != 0) == bool(unknown), output
    assert ("1 of 13 users could not be read: 4041 (exit code 67)." in output) == bool(unknown)
    assert len(server.requests) == document["completeness"]["requests"] + len(unknown)


def test_example__nightly(airflow: Airflow, start_sandbox: StartSandbox, tmp_path: Path) -> None:
    """The example loads each night into DuckDB, reports completions, and adds what is new."""
    (tmp_path / "learners.csv").write_text("\n".join(["user_id", *map(str, range(1, 7))]))
    database = tmp_path / "enrollments.duckdb"
    files = {"LEARNERS": tmp_path / "learners.csv", "DATABASE": database}
    constants = {"FOLDER": str(tmp_path), **{name: str(path) for name, path in files.items()}}
    (airflow.dags / "example.py").write_text(example("alm_nightly", constants))
    count = (
        "import duckdb, sys; print(duckdb.connect(sys.argv[1]).execute('SELECT count(*),"
        " count(DISTINCT (user_id, id)), count(date_completed) FROM enrollments').fetchone())"
    )
    rows = []

    for day in (1, 2):
        server = start_sandbox(day=day)
        variables = {"AIRFLOW_CONN_ALM_DEFAULT": connection(server, password=ACCESS_TOKEN)}
        dags = ["alm_nightly"] if day == 1 else ["alm_nightly", "alm_hourly", "alm_hourly"]
        for hour, dag in enumerate(dags):
            moment = f"2026-02-0{day}T0{hour}:00:00+00:00"
            finished = airflow.run("airflow", "dags", "test", dag, moment, **variables)
            assert finished.exit_code == 0, finished.stdout + finished.stderr
            rows.append(airflow.run("python", "-c", count, str(database)).stdout)

    # The second hour finds nothing new: it begins where the first one did.
    hours = sorted(tmp_path.glob("manual__*.parquet"))
    assert [parquet.read_metadata(hour).num_rows for hour in hours] == [208, 0]
    assert rows == ["(206, 206, 66)\n", *["(208, 208, 68)\n"] * 3]
    lines = (tmp_path / "2026-02-02-changes.ndjson").read_text().splitlines()
    assert sum(json.loads(line)["completed"] for line in lines) == 2
    assert not (tmp_path / "2026-02-01-changes.ndjson").exists()


def test_secrets__are_never_written(airflow: Airflow, start_sandbox: StartSandbox) -> None:
    """No failure writes any form of a credential to logs, database, XCom, templates or streams."""
    server = start_sandbox("user=31:429/1.2")
    (airflow.dags / "failing.py").write_text((INSIDE / "failing_dag.py").read_text())
    triple = {"login": CREDENTIALS["client_id"], "password": CREDENTIALS["client_secret"]}
    extra = {"refresh_token": CREDENTIALS["refresh_token"]}
    # At level DEBUG, the worker process of Airflow 3 itself logs the values that it masks.
    log_levels = {
        "2": {"AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG"},
        "3": {"AIRFLOW__LOGGING__NAMESPACE_LEVELS": "connector=DEBUG urllib3=DEBUG"},
    }

    finished = airflow.test_dag(
        "failing",
        AIRFLOW_CONN_BY_TOKEN=connection(server, password=CANARY),
        AIRFLOW_CONN_BY_TRIPLE=connection(server, **triple, extra=extra),
        **log_levels[airflow.version],
    )

    files = [path.read_bytes() for path in airflow.home.rglob("*") if path.is_file()]
    written = finished.stdout + finished.stderr + b"\n".join(files).decode("latin-1")
    assert leaks(written) == []
    assert leaks(repr(server.requests)) == []
    database = (airflow.home / "airflow.db").read_bytes()
    assert b"ALM refuses the access token while reading user 20941371" in database
    assert [request["status"] for request in server.requests].count(401) >= 4
    for task in ("by_token", "by_triple", "deferred", "stored", "by_hook"):
        assert f"failing.{task}" in written
