"""The recipes that run the command: each script runs once, and passes its ids on."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import sys
from typing import TYPE_CHECKING, Any

import pytest

from connector import __version__, errors
from connector.sandbox import ACCESS_TOKEN
from connector.sandbox.days import enrollments_on
from tests.action.runner import read_azure
from tests.integrations.recipes.conftest import example, recipe
from tests.support.process import CHECKOUT
from tests.support.sandbox import DOCUMENTED_IDS, DOCUMENTED_USER, reaching

if TYPE_CHECKING:
    from pathlib import Path

    from connector.sandbox.server import SandboxServer
    from tests.support.process import Command, Finished
    from tests.support.sandbox import StartSandbox

GITLAB = recipe("gitlab/.gitlab-ci.yml")
AZURE = recipe("azure-pipelines/azure-pipelines.yml")["jobs"]
CIRCLECI = recipe("circleci/config.yml")["jobs"]
KESTRA = recipe("kestra/alm-enrollments.yaml")["tasks"]
JENKINS = example("jenkins/Jenkinsfile")
DOCKERFILE = (CHECKOUT / "Dockerfile").read_text(encoding="utf-8")
ARGO = {part["name"]: part for part in recipe("argo/workflow.yaml")["spec"]["templates"]}
TASK, PIPELINE = recipe("tekton/task.yaml")["spec"], recipe("tekton/pipeline.yaml")["spec"]
JOBS = {
    "cronjob": recipe("kubernetes/cronjob.yaml")["spec"]["jobTemplate"]["spec"],
    "indexed-job": recipe("kubernetes/indexed-job.yaml")["spec"],
    "merge-job": recipe("kubernetes/merge-job.yaml")["spec"],
    "nightly": recipe("kubernetes/nightly-cronjob.yaml")["spec"]["jobTemplate"]["spec"],
}
NIGHTLY = recipe("gitlab/nightly.gitlab-ci.yml")
# Instead of installing or waiting, these write to `log`; Jenkins wants the package in a folder.
TOOLS = f"""
pip() {{
  echo "pip $*" >> log
  if [ "$3" = --target ]; then mkdir "$4" && ln -s {CHECKOUT}/connector {CHECKOUT}/schemas "$4"; fi
}}
sleep() {{ echo "sleep $*" >> log; }}
python() {{ {sys.executable} "$@"; }}
set -e
"""
# Another attempt may succeed, or resumes with what is left; or a signal ended the run.
RETRIED = {65, 69, 75, 130, 143}


def circleci(name: str, position: int) -> str:
    """Return a command of a CircleCI job."""
    run = [step["run"] for step in CIRCLECI[name]["steps"] if "run" in step][position]
    return str(run["command"] if isinstance(run, dict) else run)


def jenkins() -> tuple[str, ...]:
    """Return the scripts of the pipeline's steps, as Groovy reads them."""
    found = re.findall(r"(?:\bsh |script: )'((?:[^'\\]|\\.)*)'", JENKINS)
    return tuple(re.sub(r"\\(.)", r"\1", text) for text in found)


# Of each platform: the installation, the script that reads, and what runs next.
STEPS: dict[str, tuple[str, ...]] = {
    "gitlab": (
        GITLAB[".alm"]["before_script"][0],
        GITLAB["enrollments"]["script"][0],
        GITLAB["next"]["script"][0],
    ),
    "azure": (
        AZURE[0]["steps"][1]["bash"],
        AZURE[0]["steps"][2]["bash"],
        AZURE[1]["steps"][1]["bash"],
    ),
    "circleci": (circleci("read", 0), circleci("read", 1), circleci("next", 0)),
    "kestra": (KESTRA[0]["beforeCommands"][0], KESTRA[0]["commands"][0], ""),
    "jenkins": jenkins(),
}
IN_SH = ("kestra", "jenkins")
SCRIPTS = {
    **{
        f"{name} {position}": ("sh" if name in IN_SH else "bash", script)
        for name, scripts in STEPS.items()
        for position, script in enumerate(scripts)
    },
    "gitlab shards": ("bash", GITLAB["shards"]["script"][0]),
    "gitlab merged": ("bash", GITLAB["merged"]["script"][0]),
    "circleci on failure": ("bash", circleci("read", 2)),
    "gitlab nightly": ("sh", "\n".join(NIGHTLY["nightly"]["script"])),
    "gitlab report": ("sh", NIGHTLY["report"]["script"][0]),
    "kubernetes nightly": ("sh", JOBS["nightly"]["template"]["spec"]["containers"][0]["args"][0]),
    "kubernetes shard": (
        "sh",
        JOBS["indexed-job"]["template"]["spec"]["initContainers"][0]["command"][2],
    ),
}


def passed_on(name: str, read: Finished, files: dict[str, str]) -> dict[str, str]:
    """Return the variables that the platform makes for the next step."""
    if name == "gitlab":
        return dict(line.split("=", 1) for line in files["enrollments.env"].splitlines())
    if name == "azure":
        log = read_azure(read.stderr, read.stdout)
        outputs = {one.properties["variable"]: one.data for one in log.named("task.setvariable")}
        return {"ENROLLMENT_IDS": outputs["enrollment_ids"]}
    return {"ENROLLMENT_IDS": files["alm/enrollment_ids"]}


@pytest.mark.parametrize("name", STEPS)
def test_script__passes_the_ids_on(name: str, command: Command, sandbox: SandboxServer) -> None:
    """The script writes the document, and passes the ids to the next step."""
    install, script, following = STEPS[name]

    read = command.shell(f"{TOOLS}{install}\n{script}", **reaching(sandbox, TF_BUILD="True"))
    files = command.files()
    variables = passed_on(name, read, files)
    shown = command.shell(following, **variables).stdout

    assert read.exit_code == 0
    assert re.fullmatch(r"pip install --quiet (.* )?alm-enrollments-connector\n", files["log"])
    assert json.loads(files["enrollments.json"])["enrollment_ids"] == DOCUMENTED_IDS
    assert json.loads(variables["ENROLLMENT_IDS"]) == DOCUMENTED_IDS
    assert [one for one in DOCUMENTED_IDS if one not in shown] == (following == "") * DOCUMENTED_IDS
    assert f"--user-id {DOCUMENTED_USER}" in script


def test_recipes__refer_to_what_is_passed_on() -> None:
    """Each platform's references name the files and outputs that its script writes."""
    gitlab = GITLAB["enrollments"]["artifacts"]
    persisted = CIRCLECI["read"]["steps"][3]["persist_to_workspace"]["paths"]

    assert (gitlab["reports"]["dotenv"], gitlab["when"]) == ("enrollments.env", "always")
    azure = {"ENROLLMENT_IDS": "$[ dependencies.read.outputs['alm.enrollment_ids'] ]"}
    assert (AZURE[0]["steps"][2]["name"], AZURE[1]["variables"]) == ("alm", azure)
    assert persisted == ["alm", "enrollments.json"]
    assert KESTRA[0]["outputFiles"] == ["alm/enrollment_ids", "enrollments.json"]
    assert KESTRA[1]["values"] == "{{ read(outputs.read.outputFiles['alm/enrollment_ids']) }}"
    assert "env.ENROLLMENT_IDS = readFile('alm/enrollment_ids')" in JENKINS


@pytest.mark.parametrize(
    ("fault", "token", "exit_code", "waits"),
    [
        ("page=1:429/60x2", ACCESS_TOKEN, 0, 2),
        ("page=1:429/60x*", ACCESS_TOKEN, 75, 2),
        ("page=9:503", "refused-token", 77, 0),
    ],
)
def test_script__repeats_only_after_75(
    fault: str,
    token: str,
    exit_code: int,
    waits: int,
    command: Command,
    start_sandbox: StartSandbox,
) -> None:
    """A script waits twice if ALM is busy, and ends at once with any other exit code."""
    variables = reaching(start_sandbox(fault), ALM_DEADLINE="9") | {"ALM_ACCESS_TOKEN": token}
    scripts = [STEPS[name][1] for name in ("azure", "circleci", "kestra")]

    finished = command.shell(f"{TOOLS}{scripts[0]}", **variables)

    log = command.files().get("log", "").splitlines()
    assert (finished.exit_code, log) == (exit_code, ["sleep 60", "sleep 300"][:waits])
    assert len({script.replace(" --output-dir alm", "") for script in scripts}) == 1


def test_recipes__repeat_what_another_attempt_can_read() -> None:
    """Platforms that know exit codes repeat 75, pass over 65, and end at once with the others."""
    kinds = [value for value in vars(errors).values() if isinstance(value, type)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, errors.ConnectorError)}
    names = ("cronjob", "nightly", "indexed-job")
    rules = [JOBS[name]["podFailurePolicy"]["rules"][0] for name in names]

    assert [rule["action"] for rule in rules] == ["FailJob", "FailJob", "FailIndex"]
    assert [set(rule["onExitCodes"]["values"]) for rule in rules] == [codes - RETRIED] * 3
    assert GITLAB[".alm"]["retry"] == {"max": 2, "exit_codes": [75]}
    assert GITLAB[".alm"]["allow_failure"] == {"exit_codes": [65]}
    assert ARGO["read"]["retryStrategy"]["expression"] == "asInt(lastRetry.exitCode) == 75"
    assert re.findall(r"code == (\d+)", JENKINS) == ["75", "65"]


def test_gitlab__jobs_read_their_shards(command: Command, sandbox: SandboxServer) -> None:
    """Each of the parallel jobs reads its shard, and the last job merges the files."""
    learners = [str(number) for number in range(1000, 1012)]
    list_learners(command, *learners)
    shard, merge = GITLAB["shards"]["script"][0], GITLAB["merged"]["script"][0]
    script = f"for CI_NODE_INDEX in 1 2 3 4; do {shard} > /dev/null; done\n{merge}"

    finished = command.shell(f"set -e\n{script}", **reaching(sandbox, CI_NODE_TOTAL="4"))

    assert (finished.exit_code, finished.document["users"]["read"]) == (0, len(learners))
    assert (GITLAB["shards"]["parallel"], "--quota-share 0.25" in shard) == (4, True)


def list_learners(command: Command, *learners: str) -> None:
    """Write the file of learners that the recipes read."""
    text = "\n".join(["user_id", *learners, ""])
    (command.folder / "learners.csv").write_text(text, encoding="utf-8")


def run_container(
    command: Command, container: dict[str, Any], replaced: dict[str, str], **variables: str
) -> Finished:
    """Run the command with the arguments of *container*, in which *replaced* is replaced."""
    line = shlex.join(container["args"])
    for old, new in replaced.items():
        line = line.replace(old, new)
    return command(line, **variables)


def container_of(job: str) -> dict[str, Any]:
    """Return the container of a job of Kubernetes."""
    container: dict[str, Any] = JOBS[job]["template"]["spec"]["containers"][0]
    return container


def users_of(path: Path) -> set[str]:
    """Return the users of a compressed output file."""
    return {json.loads(line)["user_id"] for line in gzip.decompress(path.read_bytes()).splitlines()}


ARGO_FOLDER = "/tmp/alm"  # noqa: S108 - inside the container
CONTAINERS = {
    "argo": (ARGO["read"]["container"], "{{workflow.parameters.user-id}}"),
    "tekton": (TASK["steps"][0], "$(params.user-id)"),
}


@pytest.mark.parametrize(("container", "user"), CONTAINERS.values(), ids=CONTAINERS)
def test_container__writes_a_file_per_result(
    container: dict[str, Any], user: str, command: Command, sandbox: SandboxServer
) -> None:
    """The container writes the files that the next task reads; a secret has its token."""
    folders = {ARGO_FOLDER: "results", "/tekton/results": "results"}

    finished = run_container(
        command, container, {user: DOCUMENTED_USER, **folders}, **reaching(sandbox)
    )

    files = command.files()
    assert (finished.exit_code, files["results/complete"]) == (0, "true")
    assert json.loads(files["results/enrollment_ids"]) == DOCUMENTED_IDS
    assert container["envFrom"] == [{"secretRef": {"name": "alm"}}]


def test_results__are_those_that_the_next_task_reads() -> None:
    """The next tasks of Argo and Tekton refer to declared results, which are fields."""
    read, following = ARGO["main"]["dag"]["tasks"]
    first, second = PIPELINE["tasks"]

    path = {"name": "enrollment_ids", "valueFrom": {"path": f"{ARGO_FOLDER}/enrollment_ids"}}
    assert ARGO["read"]["outputs"]["parameters"] == [path]
    assert following["withParam"] == "{{tasks.read.outputs.parameters.enrollment_ids}}"
    assert (read["name"], following["depends"]) == ("read", "read")
    assert TASK["results"] == [{"name": "enrollment_ids", "type": "array"}, {"name": "complete"}]
    value = "$(tasks.read.results.enrollment_ids[*])"
    assert second["matrix"]["params"] == [{"name": "enrollment", "value": value}]
    assert (first["name"], first["taskRef"]["name"]) == ("read", "alm-enrollments")


def test_cronjob__resumes_its_own_file(command: Command, sandbox: SandboxServer) -> None:
    """The next pod of the same job requests only the learners that are left."""
    replaced = {"/learners/": "", "/data/": "", "$(JOB_NAME)": "alm-29123456"}
    codes = []

    for learner in ("4041", "1002"):
        list_learners(command, "1000", "1001", learner)
        finished = run_container(command, container_of("cronjob"), replaced, **reaching(sandbox))
        codes.append(finished.exit_code)

    assert codes == [65, 0]
    assert users_of(command.folder / "alm-29123456.ndjson.gz") == {"1000", "1001", "1002"}


def test_indexed_job__shards_are_merged(command: Command, sandbox: SandboxServer) -> None:
    """Each index reads its shard, and the job after them merges the files."""
    learners = [str(number) for number in range(1000, 1016)]
    list_learners(command, *learners)
    _, choose_shard = SCRIPTS["kubernetes shard"]
    folders = {"/learners/": "", "/data/": "", "/shard/": ""}
    container = container_of("indexed-job")
    codes = []

    for index in ("0", "1", "2", "3"):
        command.shell(choose_shard.replace("/shard/", ""), JOB_COMPLETION_INDEX=index)
        replaced = {**folders, "$(JOB_COMPLETION_INDEX)": index}
        codes.append(run_container(command, container, replaced, **reaching(sandbox)).exit_code)
    codes.append(run_container(command, container_of("merge-job"), folders).exit_code)

    assert (JOBS["indexed-job"]["completions"], codes) == (4, [0] * 5)
    assert users_of(command.folder / "all.ndjson.gz") == set(learners)
    assert "--quota-share=0.25" in container["args"]


COMPARED = ("1", "2", "3", "5", "6")


def nights(command: Command, start_sandbox: StartSandbox, name: str) -> list[Finished]:
    """Run a nightly script for three days; user 4 fails on the second one."""
    list_learners(command, *COMPARED, "4")
    finished = []
    for day in (1, 2, 3):
        server = start_sandbox(*["user=4:404x*"] * (day == 2), day=day)
        finished.append(night(command, name, day, reaching(server)))
    return finished


def night(command: Command, name: str, day: int, variables: dict[str, str]) -> Finished:
    """Run a nightly script once."""
    _, script = SCRIPTS[name]
    for folder in ("/data/", "/learners/"):
        script = script.replace(folder, "")
    script = script.replace("/opt/alm-enrollments/bin/python3 -I", sys.executable)
    own = {"JOB_NAME": f"alm-{day}", "CI_PIPELINE_SOURCE": "schedule"}
    return command.shell(f"set -eu\n{script}", **variables, **own)


def completed(day: int) -> set[str]:
    """Return the ids of what users who are compared have completed on a day of the sandbox."""
    before, after = (
        {
            enrollment["id"]
            for user in COMPARED
            for enrollment in enrollments_on(number, user)
            if "dateCompleted" in enrollment["attributes"]
        }
        for number in (day - 1, day)
    )
    return after - before


def test_kubernetes__compares_each_night_with_the_last(
    command: Command, start_sandbox: StartSandbox
) -> None:
    """From the second night on there are the changes since the last one."""
    first, *later = nights(command, start_sandbox, "kubernetes nightly")

    files = command.files()
    assert (first.exit_code, first.stdout.count("\n")) == (0, 1)
    assert (files["last"], "alm-1-changes.csv" in files) == ("alm-3.ndjson.gz\n", False)
    for day, finished in enumerate(later, 2):
        document = json.loads(finished.stdout.splitlines()[-1])
        assert (finished.exit_code, document["not_comparable_users"]) == (0, ["4"])
        assert set(document["completed_ids"]) == completed(day)
        assert document["output_file"] == f"alm-{day}-changes.csv"


def test_gitlab__compares_each_night_with_the_last(
    command: Command, start_sandbox: StartSandbox
) -> None:
    """The cache has the last night's file, and the next job the outputs of the comparison."""
    codes = [finished.exit_code for finished in nights(command, start_sandbox, "gitlab nightly")]

    files = command.files()
    report = dict(line.split("=", 1) for line in files["changes.env"].splitlines())
    reported = command.shell(SCRIPTS["gitlab report"][1], **report)
    nothing = command.shell(SCRIPTS["gitlab report"][1])
    ids = json.loads(files["changes.json"])["completed_ids"]
    assert (codes, set(ids)) == ([0, 0, 0], completed(3))
    assert reported.stdout == f"{len(ids)} completed, {json.dumps(ids, separators=(',', ':'))}\n"
    assert (nothing.stdout, NIGHTLY["nightly"]["cache"]["paths"]) == ("", ["last"])
    assert NIGHTLY["nightly"]["artifacts"]["reports"]["dotenv"] == "changes.env"


@pytest.mark.parametrize("name", ["kubernetes nightly", "gitlab nightly"])
def test_nightly__ends_with_the_exit_code_of_the_read(name: str, command: Command) -> None:
    """If the read fails, the platform sees its exit code, which decides about another attempt."""
    list_learners(command, *COMPARED)

    assert night(command, name, 1, {"ALM_BASE_URL": "ftp://nowhere"}).exit_code == 64


@pytest.mark.parametrize("name", JOBS)
def test_pods__are_confined(name: str) -> None:
    """No pod is root, writes to its image or reaches the cluster; one container has the secrets."""
    spec = JOBS[name]["template"]["spec"]
    containers = [*spec.get("initContainers", []), *spec["containers"]]
    mounts = [(part["name"], mount) for part in containers for mount in part["volumeMounts"]]

    assert (spec["automountServiceAccountToken"], spec["restartPolicy"]) == (False, "Never")
    assert spec["securityContext"]["runAsNonRoot"] is True
    # The image's own user must be able to write to the volume.
    (user,) = re.findall(r"^USER (\d+):", DOCKERFILE, flags=re.MULTILINE)
    assert spec["securityContext"]["fsGroup"] == int(user)
    for part in containers:
        assert part["image"] == f"ghcr.io/OWNER/REPO:{__version__}"
        assert part["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    claims = [part["persistentVolumeClaim"] for part in spec["volumes"] if part["name"] == "data"]
    assert claims == [{"claimName": recipe("kubernetes/claim.yaml")["metadata"]["name"]}]
    holders = [(part, mount["mountPath"]) for part, mount in mounts if mount["name"] == "secrets"]
    assert holders == ([] if name == "merge-job" else [("alm", "/run/secrets")])


def test_pods__read_the_account_of_the_secret() -> None:
    """The secret of `alm.env` has the region too, if the file names it."""
    key = {"name": "alm", "key": "ALM_BASE_URL", "optional": True}
    source = {"name": "ALM_BASE_URL", "valueFrom": {"secretKeyRef": key}}
    readers = [container_of(name) for name in JOBS if name != "merge-job"]

    assert [source in container["env"] for container in readers] == [True] * 3
