"""Read every learner's enrollments with the image, in shards, and join them in one file.

Airflow needs only apache-airflow-providers-docker. On Docker's host, user 65532 must be able to
write to FOLDER, which contains learners.csv, and to read the files alm_client_id, alm_client_secret
and alm_refresh_token in SECRETS. Create the pool alm with AT_ONCE slots:
``airflow pools set alm 4 'Tasks with the same ALM credentials'``.
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
# One mapped task per shard: Airflow maps at most 1,024.
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
        # As files, neither Airflow nor `docker inspect` shows the credentials.
        "mounts": [
            Mount("/data", FOLDER, type="bind"),
            Mount("/run/secrets", SECRETS, type="bind", read_only=True),
        ],
        "mount_tmp_dir": False,
        "auto_remove": "force",
    }

    read = DockerOperator.partial(
        task_id="read",
        # With resume, a retry reads only the learners who failed.
        command="--user-ids-file /data/learners.csv --lo-types all --format ndjson"
        " --resume --deadline 3600",
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
        # merge also joins shards in which learners failed; then it names them and fails.
        trigger_rule="all_done",
        **container,
    )

    read >> merge
