"""Read every learner's enrollments with pods, in shards, and join them in one file.

Airflow needs only apache-airflow-providers-cncf-kubernetes. Create in the namespace the claim
enrollments, which contains learners.csv (ReadWriteMany if pods run on several nodes), and a secret:
``kubectl create secret generic alm --from-env-file=alm.env``, where alm.env has CREDENTIALS as
NAME=value lines. Create the pool alm with AT_ONCE slots:
``airflow pools set alm 4 'Tasks with the same ALM credentials'``.
"""

from datetime import UTC, datetime, timedelta

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.secret import Secret
from airflow.providers.common.compat.sdk import DAG
from kubernetes.client import models as k8s

IMAGE = "ghcr.io/OWNER/REPO:0.1.0"
NAMESPACE = "airflow"
CREDENTIALS = ("ALM_CLIENT_ID", "ALM_CLIENT_SECRET", "ALM_REFRESH_TOKEN")
BASE_URL = "https://learningmanager.adobe.com"
# One mapped task per shard: Airflow maps at most 1,024.
SHARDS = 8
AT_ONCE = 4

with DAG(
    "alm_enrollments_kubernetes",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=1)},
):
    pod = {
        "image": IMAGE,
        "namespace": NAMESPACE,
        # By reference: Airflow never writes the value to a template, a log or its database.
        "secrets": [Secret("env", name, "alm", name) for name in CREDENTIALS],
        "volumes": [
            k8s.V1Volume(
                name="data",
                persistent_volume_claim=k8s.V1PersistentVolumeClaimVolumeSource(
                    claim_name="enrollments"
                ),
            ),
        ],
        "volume_mounts": [k8s.V1VolumeMount(name="data", mount_path="/data")],
        # Set for the pod: the image of Airflow's XCom sidecar would run as root.
        "security_context": k8s.V1PodSecurityContext(
            run_as_non_root=True, run_as_user=65532, run_as_group=65532, fs_group=65532
        ),
        "container_security_context": k8s.V1SecurityContext(
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            capabilities=k8s.V1Capabilities(drop=["ALL"]),
        ),
        "container_resources": k8s.V1ResourceRequirements(
            requests={"cpu": "100m", "memory": "128Mi"}, limits={"memory": "256Mi"}
        ),
        "do_xcom_push": True,
        "log_pod_spec_on_failure": False,
    }

    read = KubernetesPodOperator.partial(
        task_id="read",
        # With resume, a retry reads only the learners who failed.
        arguments=[
            "--user-ids-file=/data/learners.csv",
            "--lo-types=all",
            "--format=ndjson",
            "--resume",
            "--deadline=3600",
        ],
        pool="alm",
        **pod,
    ).expand(
        env_vars=[
            {
                "ALM_BASE_URL": BASE_URL,
                "ALM_QUOTA_SHARE": str(1 / AT_ONCE),
                "ALM_SHARD": f"{n}/{SHARDS}",
                "ALM_OUTPUT_FILE": f"/data/{{{{ run_id }}}}-{n}.ndjson",
            }
            for n in range(1, SHARDS + 1)
        ]
    )

    merge = KubernetesPodOperator(
        task_id="merge",
        arguments=[
            "merge",
            "/data/{{ run_id }}.ndjson",
            *(f"/data/{{{{ run_id }}}}-{n}.ndjson" for n in range(1, SHARDS + 1)),
        ],
        # merge also joins shards in which learners failed; then it names them and fails.
        trigger_rule="all_done",
        **pod,
    )

    read >> merge
