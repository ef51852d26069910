"""docs/AIRFLOW.md is exact: its DAGs run."""

from __future__ import annotations

import json
import re
import textwrap
from typing import TYPE_CHECKING

from tests.support.process import CHECKOUT

if TYPE_CHECKING:
    from tests.integrations.airflow.conftest import Airflow

PAGE = (CHECKOUT / "docs/AIRFLOW.md").read_text(encoding="utf-8")
FIRST, NEW, POLICY = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
CONNECTION = re.findall(r"^export AIRFLOW_CONN_ALM_DEFAULT='(.*)'$", PAGE, flags=re.MULTILINE)[0]
POLICY_DAG = """
from datetime import UTC, datetime
from airflow.providers.common.compat.sdk import DAG
with DAG("policy", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
"""
# Of the first run, then of the second one.
PRINT_RUNS = """
import json
from airflow.models import xcom
from airflow.utils.session import create_session
model = getattr(xcom, "XComModel", None) or xcom.BaseXCom
runs = []
with create_session() as session:
    rows = session.query(model).filter_by(task_id="read", key="return_value")
    for row in rows.order_by(model.timestamp):
        document = json.loads(row.value) if isinstance(row.value, (str, bytes)) else row.value
        runs.append([document["enrollment_count"], document["next_since"]])
print(json.dumps(runs))
"""
PRINT_XCOM = """
import json
from airflow.models import xcom
from airflow.utils.session import create_session
model = getattr(xcom, "XComModel", None) or xcom.BaseXCom
with create_session() as session:
    value = session.query(model).filter_by(task_id="count", key="return_value").one().value
    print(json.dumps(json.loads(value) if isinstance(value, (str, bytes)) else value))
"""


def test_page__first_dag_runs(airflow: Airflow) -> None:
    """The page's first DAG, with the page's connection, reads the learner and counts records."""
    (airflow.dags / "first.py").write_text(FIRST, encoding="utf-8")

    finished = airflow.test_dag("alm_first", AIRFLOW_CONN_ALM_DEFAULT=CONNECTION)

    assert finished.exit_code == 0, finished.stdout + finished.stderr
    xcom = airflow.run("python", "-c", PRINT_XCOM).stdout.splitlines()[-1]
    assert json.loads(xcom) == {"enrollments": 3, "complete": True}


def test_page__next_run_reads_only_what_is_new(airflow: Airflow) -> None:
    """The second run of the page's hourly DAG begins where the first one was answered."""
    (airflow.dags / "new.py").write_text(NEW, encoding="utf-8")

    for hour in ("00", "01"):
        dag = ("airflow", "dags", "test", "alm_new", f"2026-01-01T{hour}:00:00")
        finished = airflow.run(*dag, AIRFLOW_CONN_ALM_DEFAULT=CONNECTION)
        assert finished.exit_code == 0, finished.stdout + finished.stderr

    (first, since), (second, _) = json.loads(
        airflow.run("python", "-c", PRINT_RUNS).stdout.splitlines()[-1]
    )
    assert (first, second) == (3, 0)
    assert since is not None


def test_page__policy_loads(airflow: Airflow) -> None:
    """Airflow 3.3 accepts the page's retry policy; only the missing class stops Airflow 2."""
    dag = POLICY_DAG + textwrap.indent(POLICY, "    ")

    finished = airflow.run("python", "-c", dag)

    if airflow.version == "3":
        assert finished.exit_code == 0, finished.stderr
    else:
        assert "RetryDecision" in finished.stderr.splitlines()[-1], finished.stderr
