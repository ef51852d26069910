"""Every learner's enrollments by the image, in shards, to one file: for Airflow with apache-airflow-providers-docker alone.

On Docker's host lies FOLDER, with learners.csv, which user 65532 may write to, and SECRETS, whose file alm_access_token
he may read. The pool alm has AT_ONCE slots: ``airflow pools set alm 4 'What asks ALM with one set of credentials'``.
"""

from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG
from airflow.providers.docker.operators.docker import DockerOperator
from docker.types import Mount

IMAGE = "ghcr.io/OWNER/REPO:0.1.0"
NETWORK = "bridge"
FOLDER = "/srv/enrollments"
SECRETS = "/srv/alm-secrets"
BASE_URL = "https://learningmanager.adobe.com"
# Airflow maps at most 1,024 tasks: shards are batches of learners, however many there are.
SHARDS = 8
AT_ONCE = 4

with DAG(
    "alm_enrollments_docker",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=1)},
):
    container = {
        "image": IMAGE,
        "network_mode": NETWORK,
        # The token is a file of the container: neither Airflow nor `docker inspect` sees it.
        "mounts": [
            Mount("/data", FOLDER, type="bind"),
            Mount("/run/secrets", SECRETS, type="bind", read_only=True),
        ],
        "mount_tmp_dir": False,
        "auto_remove": "force",
    }

    read = DockerOperator.partial(
        task_id="read",
        # Learners who are in the file are not asked for again: a retry reads those who failed.
        command="--user-ids-file /data/learners.csv --lo-types all --format ndjson --resume --deadline 3600",
        pool="alm",
        **container,
    ).expand(
        environment=[
            {
                "ALM_BASE_URL": BASE_URL,
                "ALM_QUOTA_SHARE": str(1 / AT_ONCE),
                "ALM_SHARD": f"{n}/{SHARDS}",
                "ALM_OUTPUT_FILE": f"/data/{{{{ run_id }}}}-{n}.ndjson",
            }
            for n in range(1, SHARDS + 1)
        ]
    )

    merge = DockerOperator(
        task_id="merge",
        command=[
            "merge",
            "/data/{{ run_id }}.ndjson",
            *(f"/data/{{{{ run_id }}}}-{n}.ndjson" for n in range(1, SHARDS + 1)),
        ],
        # A shard that lacks a learner whom ALM does not know is joined all the same; merge then names him, and is red.
        trigger_rule="all_done",
        **container,
    )

    read >> merge
