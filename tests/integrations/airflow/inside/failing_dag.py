"""Fail with a refused credential in every way, for the test that searches for credentials."""

import os
from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, task

from connector.airflow.hook import AlmHook
from connector.airflow.operators import AlmEnrollmentsOperator


def by_hook(conn_id: str) -> None:
    """Fail with the exception itself."""
    AlmHook(conn_id).run(user_id="20941371")


with DAG("failing", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
    task(by_hook)("by_token")
    AlmEnrollmentsOperator(task_id="by_token", alm_conn_id="by_token", user_id="20941371")
    AlmEnrollmentsOperator(task_id="by_triple", alm_conn_id="by_triple", user_id="20941371")
    AlmEnrollmentsOperator(
        task_id="deferred",
        alm_conn_id="by_token",
        user_id="31",
        deadline=1,
        retries=1,
        retry_delay=timedelta(0),
    )
    AlmEnrollmentsOperator(
        task_id="stored",
        alm_conn_id="by_triple",
        user_id=["20941371", "32"],
        format="ndjson",
        output_file=f"file://{os.environ['AIRFLOW_HOME']}/out.ndjson",
        resume=True,
    )
