"""docs/AIRFLOW.md is exact: its DAGs run."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from .conftest import CHECKOUT

if TYPE_CHECKING:
    from .conftest import Airflow

PAGE = (CHECKOUT / "docs/AIRFLOW.md").read_text(encoding="utf-8")
FIRST, POLICY = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
CONNECTION = re.findall(r"^export AIRFLOW_CONN_ALM_DEFAULT='(.*)'$", PAGE, flags=re.MULTILINE)[0]


def test_page__the_first_dag_runs(airflow: Airflow) -> None:
    """The first DAG of the page, with the page's connection, reads the learner and hands his document on."""
    (airflow.dags / "first.py").write_text(FIRST, encoding="utf-8")

    finished = airflow.run(
        "airflow", "dags", "test", "alm_first", AIRFLOW_CONN_ALM_DEFAULT=CONNECTION
    )

    assert finished.exit_code == 0, finished.stdout + finished.stderr
    told = airflow.run("python", "-c", _XCOMS).stdout
    assert json.loads(told.splitlines()[-1]) == {"enrollments": 3, "complete": True}


def test_page__the_policy_is_taken(airflow: Airflow) -> None:
    """The page's retry policy is one that Airflow 3.3 takes; before, there is none."""
    dag = 'with DAG("policy", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):\n    DockerOperator(task_id'
    block = POLICY.replace("DockerOperator(task_id", dag)
    imports = (
        "from datetime import UTC, datetime\nfrom airflow.providers.common.compat.sdk import DAG\n"
    )
    (airflow.dags / "policy.py").write_text(imports + block, encoding="utf-8")

    finished = airflow.run("python", str(airflow.dags / "policy.py"))

    assert (finished.exit_code == 0) is (airflow.version == "3"), finished.stderr
    # Without the policies of 3.3, and for no other reason.
    assert (
        "RetryDecision" in finished.stderr.splitlines()[-1] if airflow.version == "2" else True
    ), finished.stderr


_XCOMS = """
import json
from airflow.models import xcom
from airflow.utils.session import create_session
model = getattr(xcom, "XComModel", None) or xcom.BaseXCom
with create_session() as session:
    value = session.query(model).filter_by(task_id="count", key="return_value").one().value
    print(json.dumps(json.loads(value) if isinstance(value, (str, bytes)) else value))
"""
