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
FIRST, POLICY = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
CONNECTION = re.findall(r"^export AIRFLOW_CONN_ALM_DEFAULT='(.*)'$", PAGE, flags=re.MULTILINE)[0]
POLICY_DAG = """
from datetime import UTC, datetime
from airflow.providers.common.compat.sdk import DAG
with DAG("policy", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
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


def test_page__policy_loads(airflow: Airflow) -> None:
    """Airflow 3.3 accepts the page's retry policy; only the missing class stops Airflow 2."""
    dag = POLICY_DAG + textwrap.indent(POLICY, "    ")

    finished = airflow.run("python", "-c", dag)

    if airflow.version == "3":
        assert finished.exit_code == 0, finished.stderr
    else:
        assert "RetryDecision" in finished.stderr.splitlines()[-1], finished.stderr
