"""Read every learner's enrollments with the native operator, in shards, and join them in one file.

Airflow needs alm-enrollments-connector[airflow]. Create the connection alm_default (type Adobe
Learning Manager) and the pool alm with AT_ONCE slots:
``airflow pools set alm 4 'Tasks with the same ALM credentials'``.
"""

from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG

from connector.airflow.operators import AlmEnrollmentsOperator, AlmMergeOperator

# A path that every worker can reach, or object storage: s3://aws_default@bucket/enrollments
FOLDER = "/data/enrollments"
# A list of ids, or ALM's own export of users.
LEARNERS = "/data/learners.csv"
# One mapped task per shard: Airflow maps at most 1,024.
SHARDS = 8
AT_ONCE = 4

with DAG(
    "alm_enrollments_native",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=10)},
):
    read = AlmEnrollmentsOperator.partial(
        task_id="read",
        user_ids_file=LEARNERS,
        lo_types="all",
        format="ndjson",
        # With resume, a retry reads only the learners who failed.
        resume=True,
        deadline=3600,
        quota_share=1 / AT_ONCE,
        pool="alm",
    ).expand_kwargs(
        [
            {"shard": f"{n}/{SHARDS}", "output_file": f"{FOLDER}/{{{{ run_id }}}}-{n}.ndjson"}
            for n in range(1, SHARDS + 1)
        ]
    )

    merge = AlmMergeOperator(
        task_id="merge",
        output_file=f"{FOLDER}/{{{{ run_id }}}}.ndjson",
        files=[f"{FOLDER}/{{{{ run_id }}}}-{n}.ndjson" for n in range(1, SHARDS + 1)],
        # merge also joins shards in which learners failed; then it names them and fails.
        trigger_rule="all_done",
    )

    read >> merge
