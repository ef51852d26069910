"""The provider in real Airflow environments: what they know of it, what its tests find in them, and the example that is run there."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import parquet

from connector.runner import run_given
from connector.sandbox import ACCESS_TOKEN
from tests.contract.test_secrets import CANARY, TRIPLE, leaks
from tests.integrations.airflow.conftest import CHECKOUT

if TYPE_CHECKING:
    from connector.sandbox.server import SandboxServer
    from tests.contract.conftest import StartSandbox
    from tests.integrations.airflow.conftest import Airflow

INSIDE = CHECKOUT / "tests/integrations/airflow/inside"
UNLIMITED = {"rate_per_minute": 600_000, "burst": 100_000}
LEARNERS = ["20941371", *map(str, range(1000, 1011))]
# A worker's files of secrets are in /run/secrets: there lies a token that no connection has, which nothing may take.
WITH_SECRETS = """
mount -t tmpfs tmpfs /run
mkdir /run/secrets
printf sandbox-access-token > /run/secrets/alm_access_token
chmod -R a+rX /run/secrets
exec setpriv --reuid="$1" --regid="$2" --clear-groups env -i "${@:3}"
"""


def test_inside__passes(airflow: Airflow) -> None:
    """The tests of the folder inside pass in this Airflow, run by its own pytest."""
    root = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    environ = airflow.environ(
        AIRFLOW__CORE__TEST_CONNECTION="Enabled",
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",
    )
    finished = subprocess.run(
        [
            *(
                *root,
                "unshare",
                "--mount",
                "bash",
                "-ec",
                WITH_SECRETS,
                "bash",
                str(os.getuid()),
                str(os.getgid()),
            ),
            *(f"{name}={value}" for name, value in environ.items()),
            *(
                airflow.venv / "bin/pytest",
                "-c",
                INSIDE / "pytest.ini",
                "--basetemp",
                airflow.home / "tmp",
                "--durations=10",
                INSIDE,
            ),
        ],
        cwd=airflow.home,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert finished.returncode == 0, finished.stdout[-20_000:] + finished.stderr[-5_000:]
    assert " skipped" not in finished.stdout


def test_types__strict(airflow: Airflow) -> None:
    """The package is typed as strictly as the rest of the project, by Airflow's own types."""
    # Airflow 2 has no types for what serves both versions.
    as_any = ("--allow-subclassing-any",) if airflow.version == "2" else ()

    finished = airflow.run(
        *(
            "mypy",
            "--strict",
            *as_any,
            "--python-version",
            "3.11",
            "--cache-dir",
            str(airflow.venv / "mypy"),
            "-p",
            "connector.airflow",
        )
    )

    assert (finished.exit_code, finished.stdout) == (
        0,
        "Success: no issues found in 7 source files\n",
    )


def test_provider__found_by_airflow(airflow: Airflow) -> None:
    """Airflow's own command tells the hook, and warns of nothing that is ours."""
    finished = airflow.run("airflow", "providers", "hooks", "--output", "json")

    (hook,) = (
        hook
        for hook in json.loads(finished.stdout[finished.stdout.index("[") :])
        if hook["connection_type"] == "alm"
    )
    assert hook == {
        "connection_type": "alm",
        "class": "connector.airflow.hook.AlmHook",
        "conn_id_attribute_name": "alm_conn_id",
        "package_name": "alm-enrollments-connector",
        "hook_name": "Adobe Learning Manager",
    }
    assert not re.search(r"connector|\balm", finished.stderr)


def put_example(airflow: Airflow, name: str = "alm_native", **constants: Any) -> None:
    """Put the example into Airflow's folder of DAGs, each of *constants* in place of its own."""
    text = (CHECKOUT / f"examples/airflow/{name}.py").read_text()
    for name, value in constants.items():
        text, count = re.subn(rf"^{name} = .*$", f"{name} = {value!r}", text, flags=re.MULTILINE)
        assert count == 1, name
    (airflow.dags / "example.py").write_text(text)


def connection(server: SandboxServer, **parts: Any) -> str:
    """Return a connection to *server*, as it is given to workers in their environment."""
    return json.dumps({"conn_type": "alm", "host": server.url, **parts})


@pytest.mark.parametrize("unknown", [(), ("4041",)], ids=["known", "unknown"])
def test_example__native(
    unknown: tuple[str, ...], airflow: Airflow, start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    """The example joins every learner's records in one file; one whom ALM does not know is named, and makes the run red."""
    server = start_sandbox(**UNLIMITED)
    (tmp_path / "learners.csv").write_text("\n".join(["user_id", *LEARNERS, *unknown]))
    put_example(airflow, FOLDER=str(tmp_path), LEARNERS=str(tmp_path / "learners.csv"), SHARDS=3)
    direct = {
        "user_id": LEARNERS,
        "lo_types": "all",
        "format": "ndjson",
        "output_file": str(tmp_path / "direct.ndjson"),
    }
    credentials = {"access_token": ACCESS_TOKEN, "base_url": server.url}
    document = run_given({**credentials, **direct})
    server.requests.clear()

    finished = airflow.run(
        "airflow",
        "dags",
        "test",
        "alm_enrollments_native",
        AIRFLOW_CONN_ALM_DEFAULT=connection(server, password=ACCESS_TOKEN),
    )

    (merged,) = (
        path
        for path in tmp_path.glob("manual__*.ndjson")
        if not re.search(r"-\d\.ndjson$", path.name)
    )
    assert sorted(merged.read_text().splitlines()) == sorted(
        Path(document["output_file"]).read_text().splitlines()
    )
    told = finished.stdout + finished.stderr
    assert (finished.exit_code != 0) == bool(unknown), told
    assert ("1 of 13 users could not be read: 4041 (exit code 67)." in told) == bool(unknown)
    assert len(server.requests) == document["completeness"]["requests"] + len(unknown)


def test_example__nightly(airflow: Airflow, start_sandbox: StartSandbox, tmp_path: Path) -> None:
    """The example loads each night into DuckDB, tells what was completed, and adds what is new."""
    (tmp_path / "learners.csv").write_text("\n".join(["user_id", *map(str, range(1, 7))]))
    constants = {"FOLDER": tmp_path, "LEARNERS": tmp_path / "learners.csv"}
    database = tmp_path / "enrollments.duckdb"
    values = {name: str(path) for name, path in constants.items()}
    put_example(airflow, "alm_nightly", DATABASE=str(database), **values)
    count = (
        "import duckdb, sys; print(duckdb.connect(sys.argv[1]).execute('SELECT count(*), count(DISTINCT"
        " (user_id, id)), count(date_completed) FROM enrollments').fetchone())"
    )
    rows = []

    for day in (1, 2):
        server = start_sandbox(day=day, **UNLIMITED)
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
    assert rows == ["(206, 206, 66)\n", *["(208, 208, 69)\n"] * 3]
    lines = (tmp_path / "2026-02-02-changes.ndjson").read_text().splitlines()
    assert sum(json.loads(line)["completed"] for line in lines) == 3
    assert not (tmp_path / "2026-02-01-changes.ndjson").exists()


def test_secrets__reach_no_sink(airflow: Airflow, start_sandbox: StartSandbox) -> None:
    """Whatever fails, no form of a credential is in what a run wrote: logs, database, XCom, rendered templates, both streams."""
    server = start_sandbox("user=31:429/1.2", **UNLIMITED)
    (airflow.dags / "failing.py").write_text((INSIDE / "failing_dag.py").read_text())
    triple = {"login": TRIPLE["ALM_CLIENT_ID"], "password": TRIPLE["ALM_CLIENT_SECRET"]}
    # On its own lowest level, Airflow 3's stand-in for a worker tells what it is to mask.
    all_told: dict[str, Any] = {
        "2": {"AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG"},
        "3": {"AIRFLOW__LOGGING__NAMESPACE_LEVELS": "connector=DEBUG urllib3=DEBUG"},
    }

    finished = airflow.run(
        *("airflow", "dags", "test", "failing"),
        AIRFLOW_CONN_BY_TOKEN=connection(server, password=CANARY),
        AIRFLOW_CONN_BY_TRIPLE=connection(
            server, **triple, extra={"refresh_token": TRIPLE["ALM_REFRESH_TOKEN"]}
        ),
        **all_told[airflow.version],
    )

    files = [path for path in airflow.home.rglob("*") if path.is_file()]
    written = "\n".join(
        [finished.stdout, finished.stderr, *(path.read_bytes().decode("latin-1") for path in files)]
    )
    assert leaks(written) == []
    assert leaks(repr(server.requests)) == []
    database = (airflow.home / "airflow.db").read_bytes()
    assert b"ALM refuses the access token, asked for user 20941371" in database
    assert [request["status"] for request in server.requests].count(401) >= 4
    for task in ("by_token", "by_triple", "deferred", "stored", "by_hook"):
        assert f"failing.{task}" in written
