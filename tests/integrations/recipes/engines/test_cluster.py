"""The recipes for Argo, Tekton and Kubernetes: their containers run as processes, and leave where it is looked for what they promise."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector import errors
from connector.sandbox import ACCESS_TOKEN
from connector.schemas import load_schema
from connector.settings import SECRETS_DIR
from tests.integrations.recipes.engines.machine import (
    EXAMPLES,
    IDS,
    IMAGE,
    USER,
    expand,
    recipe,
    variables_of,
)

if TYPE_CHECKING:
    from tests.integrations.recipes.engines.conftest import StartMachine
    from tests.integrations.recipes.engines.machine import Finished, Machine

SECRETS = {"alm": {"ALM_ACCESS_TOKEN": ACCESS_TOKEN}}
JOB = {"batch.kubernetes.io/job-name": "alm-enrollments-29123456"}
IN_A_HURRY = {"ALM_DEADLINE": "9"}
BUSY = "page=1:429/60"
# The run can go better another time; some learners are left, and --resume asks for those alone; a signal.
AGAIN = {65, 69, 75, 130, 143}
ARGO = recipe("argo/workflow.yaml")
TASK, PIPELINE = recipe("tekton/task.yaml"), recipe("tekton/pipeline.yaml")
CRON, INDEXED, MERGE = (
    recipe(f"kubernetes/{name}.yaml") for name in ("cronjob", "indexed-job", "merge-job")
)
JOBS = {
    "cronjob": CRON["spec"]["jobTemplate"]["spec"],
    "indexed-job": INDEXED["spec"],
    "merge-job": MERGE["spec"],
}
FIELDS = load_schema("outputs")["properties"].keys() - {"enrollments"}
CODES = {
    kind.exit_code
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.ConnectorError)
} | {143}


def template(name: str) -> dict[str, Any]:
    """Return a template of the workflow."""
    (found,) = (each for each in ARGO["spec"]["templates"] if each["name"] == name)
    return dict(found)


def run_argo(machine: Machine, secrets: dict[str, dict[str, str]]) -> Finished:
    """Run the container of the template `read`."""
    container = template("read")["container"]
    given = {each["name"]: each["value"] for each in ARGO["spec"]["arguments"]["parameters"]}
    args = [
        re.sub(r"\{\{workflow\.parameters\.([\w-]+)\}\}", lambda found: given[found[1]], word)
        for word in container["args"]
    ]
    variables = {**IN_A_HURRY, **variables_of(container, secrets, {})}
    return machine.container(
        {**container, "args": args}, variables, {"/tmp/alm": f"{machine.folder}/alm"}
    )


def run_tekton(machine: Machine, secrets: dict[str, dict[str, str]]) -> Finished:
    """Run the task's step."""
    (step,) = TASK["spec"]["steps"]
    args = [word.replace("$(params.user-id)", USER) for word in step["args"]]
    return machine.container(
        {**step, "args": args},
        variables_of(step, secrets, {}),
        {"/tekton/results": f"{machine.folder}/results"},
    )


def test_argo__hands_on_by_a_parameter(machine: Machine) -> None:
    """The file behind the output parameter is a list of the ids, over which the next task goes."""
    read = run_argo(machine, SECRETS)
    (parameter,) = template("read")["outputs"]["parameters"]
    first, second = template("main")["dag"]["tasks"]

    value = (machine.folder / "alm" / Path(parameter["valueFrom"]["path"]).name).read_text(
        encoding="utf-8"
    )

    assert (read.code, json.loads(value)) == (0, IDS)
    assert Path(parameter["valueFrom"]["path"]).parent == Path("/tmp/alm")  # noqa: S108 - a container's own
    assert (
        second["withParam"]
        == f"{{{{tasks.{first['name']}.outputs.parameters.{parameter['name']}}}}}"
    )
    assert (second["depends"], first["template"], second["template"]) == (
        first["name"],
        "read",
        "next",
    )
    assert [each["name"] for each in second["arguments"]["parameters"]] == [
        each["name"] for each in template("next")["inputs"]["parameters"]
    ]


@pytest.mark.parametrize(
    ("faults", "token", "code", "again"),
    [
        ((BUSY,), ACCESS_TOKEN, 75, True),
        ((), "refused", 77, False),
        (("page=1:404",), ACCESS_TOKEN, 67, False),
        ((), "", 64, False),
    ],
)
def test_argo__what_is_tried_again(
    faults: tuple[str, ...], token: str, code: int, start_machine: StartMachine, *, again: bool
) -> None:
    """Argo tries again where the exit code is 75, and there alone."""
    read = run_argo(start_machine(*faults), {"alm": {"ALM_ACCESS_TOKEN": token}})
    strategy = template("read")["retryStrategy"]
    wanted = re.fullmatch(r"asInt\(lastRetry\.exitCode\) == (\d+)", strategy["expression"])

    assert (read.code, strategy["retryPolicy"]) == (code, "OnFailure")
    assert wanted is not None
    assert (int(wanted[1]) == read.code) is again


def test_tekton__hands_on_by_results(machine: Machine) -> None:
    """Every result that the task declares is there, of its type, and the pipeline goes over the ids."""
    read = run_tekton(machine, SECRETS)
    files = {
        each["name"]: (machine.folder / "results" / each["name"]).read_text(encoding="utf-8")
        for each in TASK["spec"]["results"]
    }
    first, second = PIPELINE["spec"]["tasks"]

    assert (read.code, json.loads(files["enrollment_ids"]), files["complete"]) == (0, IDS, "true")
    assert {each["name"]: each.get("type", "string") for each in TASK["spec"]["results"]} == {
        "enrollment_ids": "array",
        "complete": "string",
    }
    assert (
        second["matrix"]["params"][0]["value"]
        == f"$(tasks.{first['name']}.results.enrollment_ids[*])"
    )
    assert first["taskRef"]["name"] == TASK["metadata"]["name"]
    assert [each["name"] for each in first["params"]] == [
        each["name"] for each in TASK["spec"]["params"]
    ]
    assert "retries" not in first


def test_tekton__says_what_failed(machine: Machine) -> None:
    """A refused token fails the task, whose results then say that nothing is complete."""
    read = run_tekton(machine, {"alm": {"ALM_ACCESS_TOKEN": "refused"}})

    assert (
        read.code,
        (machine.folder / "results/complete").read_text(),
        (machine.folder / "results/enrollment_ids").read_text(),
    ) == (
        77,
        "false",
        "[]",
    )


@pytest.mark.parametrize("file", ["argo/workflow.yaml", "tekton/task.yaml", "tekton/pipeline.yaml"])
def test_templates__name_what_is_there(file: str) -> None:
    """Every parameter, result and output that is referred to is declared, and results are fields of the document."""
    text = (EXAMPLES / file).read_text(encoding="utf-8")
    declared = set(re.findall(r"- name: ([\w-]+)", text))

    assert set(re.findall(r"(?:params|parameters)\.([\w-]+)[)}]", text)) <= declared | FIELDS
    assert set(re.findall(r"name: ([a-z]+_[a-z_]+)", text)) <= FIELDS


def pod(name: str) -> dict[str, Any]:
    """Return the pod's spec of a job."""
    spec: dict[str, Any] = JOBS[name]["template"]["spec"]
    return spec


def run_pod(machine: Machine, name: str, index: int | None = None) -> list[int]:
    """Run a pod's containers one after the other, up to the first that fails, and return their exit codes."""
    spec = pod(name)
    folders = {
        mount["mountPath"] for part in spec["containers"] for mount in part["volumeMounts"]
    } - {str(SECRETS_DIR)}
    for folder in folders:
        Path(f"{machine.folder}{folder}").mkdir(exist_ok=True)
    mounts = {f"{folder}/": f"{machine.folder}{folder}/" for folder in folders}
    codes: list[int] = []
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        token = (
            {"ALM_ACCESS_TOKEN": ACCESS_TOKEN}
            if str(SECRETS_DIR) in {each["mountPath"] for each in container["volumeMounts"]}
            else {}
        )
        indexed = {} if index is None else {"JOB_COMPLETION_INDEX": str(index)}
        codes.append(
            machine.container(
                container, {**variables_of(container, {}, JOB), **indexed, **token}, mounts
            ).code
        )
        if codes[-1]:
            break
    return codes


def lay_learners(machine: Machine, *learners: str) -> None:
    """Write the file of learners where the pods have it."""
    (machine.folder / "learners").mkdir(exist_ok=True)
    (machine.folder / "learners/learners.csv").write_text(
        "\n".join(["user_id", *learners]), encoding="utf-8"
    )


def records(path: Path) -> list[dict[str, Any]]:
    """Return the records of an output file."""
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def test_cronjob__keeps_what_is_whole(machine: Machine) -> None:
    """A night's file has its job's name, and the next pod of the same job asks only for the learners that are left."""
    lay_learners(machine, "1000", "1001", "4041")
    first = run_pod(machine, "cronjob")
    file = machine.folder / f"data/{JOB['batch.kubernetes.io/job-name']}.ndjson.gz"
    before = records(file)
    lay_learners(machine, "1000", "1001", "1002")

    second = run_pod(machine, "cronjob")

    assert (first, second) == ([65], [0])
    assert {each["user_id"] for each in before} == {"1000", "1001"}
    assert records(file)[: len(before)] == before
    assert {each["user_id"] for each in records(file)} == {"1000", "1001", "1002"}


def test_indexed_job__shards_are_joined(machine: Machine) -> None:
    """Each index reads its own shard of the list, and the job after it joins their files."""
    learners = [str(number) for number in range(1000, 1016)]
    lay_learners(machine, *learners)
    count = INDEXED["spec"]["completions"]

    codes = [run_pod(machine, "indexed-job", index) for index in range(count)]
    joined = run_pod(machine, "merge-job")

    assert (codes, joined) == ([[0, 0]] * count, [0])
    assert {each["user_id"] for each in records(machine.folder / "data/all.ndjson.gz")} == set(
        learners
    )
    shares = [
        float(word.partition("=")[2])
        for word in pod("indexed-job")["containers"][0]["args"]
        if word.startswith("--quota-share=")
    ]
    assert sum(shares) * INDEXED["spec"]["parallelism"] == pytest.approx(1)


@pytest.mark.parametrize(("name", "action"), [("cronjob", "FailJob"), ("indexed-job", "FailIndex")])
def test_jobs__what_is_tried_again(name: str, action: str) -> None:
    """Of all the exit codes that there are, those that another pod cannot mend end the job, or the index, at once."""
    (rule,) = JOBS[name]["podFailurePolicy"]["rules"]

    assert (
        rule["action"],
        rule["onExitCodes"]["operator"],
        rule["onExitCodes"]["containerName"],
    ) == (action, "In", "alm")
    assert sorted(rule["onExitCodes"]["values"]) == sorted((CODES | {130}) - AGAIN)
    assert JOBS[name].get("backoffLimit", JOBS[name].get("backoffLimitPerIndex")) == 3
    assert pod(name)["restartPolicy"] == "Never"


@pytest.mark.parametrize("name", JOBS)
def test_jobs__pods_are_confined(name: str) -> None:
    """No pod is root, writes to its image or may speak to the cluster; the secrets are a folder that only the reader has."""
    spec = pod(name)
    parts = [*spec.get("initContainers", []), *spec["containers"]]

    assert (spec["automountServiceAccountToken"], spec["securityContext"]["runAsNonRoot"]) == (
        False,
        True,
    )
    assert [part["securityContext"] for part in parts] == [
        {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    ] * len(parts)
    assert {part["image"] for part in parts} == {IMAGE}
    holders = [
        part["name"]
        for part in parts
        for mount in part["volumeMounts"]
        if mount["name"] == "secrets"
    ]
    assert holders == ([] if name == "merge-job" else ["alm"])
    assert {
        mount["mountPath"]
        for part in parts
        for mount in part["volumeMounts"]
        if mount["name"] == "secrets"
    } <= {str(SECRETS_DIR)}
    assert {mount["name"] for part in parts for mount in part["volumeMounts"]} == {
        volume["name"] for volume in spec["volumes"]
    }


def test_shard__shellcheck_finds_nothing() -> None:
    """The one script in a pod is sound, and Kubernetes leaves its arithmetic alone."""
    (container,) = pod("indexed-job")["initContainers"]
    *shell, script = container["command"]

    found = subprocess.run(
        [Path(sys.executable).parent / "shellcheck", "--shell", "sh", "-"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (shell, found.stdout + found.stderr) == (["sh", "-c"], "")
    assert expand(script, {"JOB_COMPLETION_INDEX": "0"}) == script


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)/$(B)", "1/$(B)"),
        ("$$(A)", "$(A)"),
        ("$((A + 1))", "$((A + 1))"),
        ("$A ${A}", "$A ${A}"),
    ],
)
def test_expand__as_kubernetes_does(text: str, expanded: str) -> None:
    """The tests' model of Kubernetes is what its reference says of `$(NAME)` in commands and arguments."""
    assert expand(text, {"A": "1"}) == expanded


@pytest.mark.parametrize("run", [run_argo, run_tekton])
def test_containers__keep_the_token_to_themselves(run: Any, machine: Machine) -> None:
    """The token is a secret's key in the environment: no argument, no output and no file has it."""
    finished = run(machine, {"alm": {"ALM_ACCESS_TOKEN": "canary-of-the-cluster"}})
    written = [
        path.read_text(encoding="utf-8") for path in machine.folder.rglob("*") if path.is_file()
    ]

    assert finished.code == 77
    assert "canary-of-the-cluster" not in "".join([finished.stdout, finished.stderr, *written])
