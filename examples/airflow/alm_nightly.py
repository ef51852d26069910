"""Load all enrollments into DuckDB every night, and the new ones every hour.

For Airflow with ``alm-enrollments-connector[airflow,parquet]`` and duckdb. Needs the connection
alm_default (type Adobe Learning Manager), and two pools:
``airflow pools set alm 1 'Reads ALM'`` and ``airflow pools set duckdb 1 'Writes the database'``.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
from airflow.providers.common.compat.sdk import DAG, Asset, task

from connector.airflow.operators import AlmDiffOperator, AlmEnrollmentsOperator

# A path that every worker has.
FOLDER = "/data/enrollments"
# A list of ids, or ALM's own export of users.
LEARNERS = "/data/learners.csv"
DATABASE = "/data/enrollments/enrollments.duckdb"
# Other DAGs run when these change: schedule=[COMPLETIONS].
ENROLLMENTS = Asset("alm_enrollments")
COMPLETIONS = Asset("alm_completions")

SETTINGS = {
    "start_date": datetime(2026, 1, 1, tzinfo=UTC),
    "catchup": False,
    "max_active_runs": 1,
    "default_args": {"retries": 3, "retry_delay": timedelta(minutes=1)},
}
READING = {
    "user_ids_file": LEARNERS,
    "lo_types": "all",
    "format": "parquet",
    # A retry reads only the learners who failed.
    "resume": True,
    "deadline": 3000,
    "pool": "alm",
    "outlets": [ENROLLMENTS],
}


def insert(document, delete, parameters=()):
    """Replace rows of the table by those of a run's file."""
    with duckdb.connect(DATABASE) as database:
        rows = "CREATE TEMP TABLE new AS SELECT * FROM read_parquet(?)"
        database.execute(rows, [document["output_file"]])
        database.execute("CREATE TABLE IF NOT EXISTS enrollments AS SELECT * FROM new LIMIT 0")
        database.execute(delete, parameters)
        database.execute("INSERT INTO enrollments BY NAME SELECT * FROM new")


with DAG("alm_nightly", schedule="@daily", **SETTINGS):
    today = f"{FOLDER}/{{{{ ds }}}}.parquet"
    yesterday = f"{FOLDER}/{{{{ macros.ds_add(ds, -1) }}}}.parquet"

    # A full read: a difference needs all enrollments, not only new ones.
    read = AlmEnrollmentsOperator(task_id="read", output_file=today, **READING)

    # Also if learners failed: the table keeps what it has of them.
    @task(pool="duckdb", trigger_rule="all_done")
    def load_all(document):
        """Replace all rows, except those of learners who failed."""
        failed = [user["user_id"] for user in document["users"]["failed"]]
        insert(document, "DELETE FROM enrollments WHERE NOT list_contains(?, user_id)", [failed])

    @task.short_circuit(trigger_rule="all_done")
    def has_both(old, new):
        """Skip the comparison on the first night."""
        return Path(old).is_file() and Path(new).is_file()

    # Learners who failed on one of the nights are not compared.
    compare = AlmDiffOperator(
        task_id="compare",
        old=yesterday,
        new=today,
        output_file=f"{FOLDER}/{{{{ ds }}}}-changes.ndjson",
        outlets=[COMPLETIONS],
    )

    @task
    def report(document):
        """Put your own message here."""
        return f"{document['completed_count']} completed: {document['completed_ids']}"

    load_all(read.output)
    read >> has_both(yesterday, today) >> compare
    report(compare.output)

with DAG("alm_hourly", schedule="@hourly", **SETTINGS):
    # Five minutes before the last run began: what comes twice replaces itself.
    last = "(ti.xcom_pull(task_ids='read', include_prior_dates=True) or {})"
    new = AlmEnrollmentsOperator(
        task_id="read",
        since=f"{{{{ {last}.get('next_since') or '' }}}}",
        output_file=f"{FOLDER}/{{{{ run_id }}}}.parquet",
        **READING,
    )

    @task(pool="duckdb")
    def load_new(document):
        """Add the new rows."""
        delete = "DELETE FROM enrollments WHERE (user_id, id) IN (SELECT (user_id, id) FROM new)"
        insert(document, delete)

    load_new(new.output)
