"""Every learner's enrollments by pods, in shards, to one file: for Airflow with apache-airflow-providers-cncf-kubernetes alone.

In the namespace lie the claim enrollments (ReadWriteMany where pods run on several nodes), with learners.csv, and the
secret alm with the key access-token: ``kubectl create secret generic alm --from-file=access-token``. The pool alm has AT_ONCE slots:
``airflow pools set alm 4 'What asks ALM with one set of credentials'``.
"""

from datetime import UTC, datetime, timedelta

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.secret import Secret
from airflow.providers.common.compat.sdk import DAG
from kubernetes.client import models as k8s

IMAGE = "ghcr.io/OWNER/REPO:0.1.0"
NAMESPACE = "airflow"
BASE_URL = "https://learningmanager.adobe.com"
# Airflow maps at most 1,024 tasks: shards are batches of learners, however many there are.
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
        # A reference: the value is in no template, no log and no database of Airflow.
        "secrets": [Secret("env", "ALM_ACCESS_TOKEN", "alm", "access-token")],
        "volumes": [
            k8s.V1Volume(
                name="data",
                persistent_volume_claim=k8s.V1PersistentVolumeClaimVolumeSource(
                    claim_name="enrollments"
                ),
            ),
        ],
        "volume_mounts": [k8s.V1VolumeMount(name="data", mount_path="/data")],
        # By number for the pod: the sidecar that hands XCom on has a root user of its own.
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
        # Learners who are in the file are not asked for again: a retry reads those who failed.
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
        # A shard that lacks a learner whom ALM does not know is joined all the same; merge then names him, and is red.
        trigger_rule="all_done",
        **pod,
    )

    read >> merge
