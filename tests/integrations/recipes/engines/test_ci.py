"""The recipes for GitLab, Azure Pipelines, CircleCI and Kestra: their scripts run, and hand on what they promise."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector.sandbox import ACCESS_TOKEN
from tests.integrations.recipes.engines.machine import IDS, PACKAGE, USER, recipe
from tests.integrations.recipes.engines.test_jenkins import jenkins_scripts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integrations.recipes.engines.conftest import StartMachine
    from tests.integrations.recipes.engines.machine import Finished, Machine

STORE = {"ALM_ACCESS_TOKEN": ACCESS_TOKEN}
INSTALLED = f"pip install --quiet {PACKAGE}"
# A wait that would cross the deadline ends a run with 75 at once.
IN_A_HURRY = {"ALM_DEADLINE": "9"}
BUSY = "page=1:429/60"
GITLAB = recipe("gitlab/.gitlab-ci.yml")
AZURE = recipe("azure-pipelines/azure-pipelines.yml")
CIRCLECI = recipe("circleci/config.yml")
KESTRA = recipe("kestra/alm-enrollments.yaml")


def gitlab_script(name: str) -> str:
    """Return what GitLab runs for a job."""
    job = {**GITLAB.get(GITLAB[name].get("extends", ""), {}), **GITLAB[name]}
    return "\n".join([*job.get("before_script", []), *job["script"]])


def azure_steps(name: str) -> list[dict[str, Any]]:
    """Return the steps of a job that run a script."""
    (job,) = (job for job in AZURE["jobs"] if job["job"] == name)
    return [step for step in job["steps"] if "bash" in step]


def circleci_commands(name: str, when: str = "on_success") -> list[str]:
    """Return the commands of a job that CircleCI runs *when* the ones before went well, or failed."""
    runs = [step["run"] for step in CIRCLECI["jobs"][name]["steps"] if "run" in step]
    full = [run if isinstance(run, dict) else {"command": run} for run in runs]
    return [run["command"] for run in full if run.get("when", "on_success") == when]


def kestra_script() -> str:
    """Return what Kestra runs for the task."""
    return "\n".join([*KESTRA["tasks"][0]["beforeCommands"], *KESTRA["tasks"][0]["commands"]])


def run_azure(machine: Machine, store: dict[str, str]) -> Finished:
    """Run the steps of the job `read`, with the secrets that they map."""
    install, read = azure_steps("read")
    mapped = {
        name: re.sub(r"\$\((\w+)\)", lambda found: store[found[1]], value)
        for name, value in read["env"].items()
    }
    machine.script(install["bash"], {})
    return machine.script(
        read["bash"], {"TF_BUILD": "True", "AGENT_OS": "Linux", **IN_A_HURRY, **mapped}
    )


def run_circleci(machine: Machine, store: dict[str, str]) -> Finished:
    """Run the commands of the job `read`, with the secrets of its context."""
    install, read = circleci_commands("read")
    machine.script(install, {})
    return machine.script(read, {**IN_A_HURRY, **store})


def run_kestra(machine: Machine, store: dict[str, str]) -> Finished:
    """Run the task's commands, with the secrets that it maps."""
    pattern = re.compile(r"\{\{ secret\('(\w+)'\) \}\}")
    mapped = {
        name: pattern.sub(lambda found: store[found[1]], value)
        for name, value in KESTRA["tasks"][0]["env"].items()
    }
    return machine.script(kestra_script(), {**IN_A_HURRY, **mapped}, interpreter="sh")


LOOPS = {"azure": run_azure, "circleci": run_circleci, "kestra": run_kestra}


def test_gitlab__hands_on_by_dotenv(machine: Machine) -> None:
    """The report has the ids as a variable, and the next job gets it."""
    read = machine.script(gitlab_script("enrollments"), STORE)
    report = machine.folder / GITLAB["enrollments"]["artifacts"]["reports"]["dotenv"]
    variables = dict(line.split("=", 1) for line in report.read_text(encoding="utf-8").splitlines())

    told = machine.script(gitlab_script("next"), variables)

    assert (read.code, told.code, machine.log) == (0, 0, [INSTALLED])
    assert (
        told.stdout == f"3 enrollments, complete=true, {json.dumps(IDS, separators=(',', ':'))}\n"
    )
    assert [
        json.loads((machine.folder / path).read_text())["enrollment_ids"]
        for path in GITLAB["enrollments"]["artifacts"]["paths"]
    ] == [IDS]


@pytest.mark.parametrize(
    ("faults", "token", "code", "retried", "green"),
    [
        ((BUSY,), ACCESS_TOKEN, 75, True, False),
        ((), "refused", 77, False, False),
        (("page=1:404",), ACCESS_TOKEN, 67, False, False),
        ((), "", 64, False, False),
    ],
)
def test_gitlab__what_is_tried_again(
    faults: tuple[str, ...],
    token: str,
    code: int,
    start_machine: StartMachine,
    *,
    retried: bool,
    green: bool,
) -> None:
    """Another try is for what another try can mend; the document is there all the same."""
    machine = start_machine(*faults)

    read = machine.script(gitlab_script("enrollments"), {**IN_A_HURRY, "ALM_ACCESS_TOKEN": token})

    assert (read.code, read.code in GITLAB[".alm"]["retry"]["exit_codes"]) == (code, retried)
    assert (read.code in GITLAB[".alm"]["allow_failure"]["exit_codes"]) is green
    assert json.loads((machine.folder / "enrollments.json").read_text())["error"]["code"] == code
    assert GITLAB["enrollments"]["artifacts"]["when"] == "always"


def test_gitlab__shards_are_joined(machine: Machine) -> None:
    """Each of the parallel jobs reads its shard, and the job after them joins what their artifacts bring."""
    learners, count = [str(number) for number in range(1000, 1020)], GITLAB["shards"]["parallel"]
    codes = []
    for index in range(1, count + 1):
        folder = machine.folder / str(index)
        folder.mkdir()
        (folder / "learners.csv").write_text(
            "\n".join(["user_id", *learners, "4041"]), encoding="utf-8"
        )
        node = {"CI_NODE_INDEX": str(index), "CI_NODE_TOTAL": str(count)}
        codes.append(machine.script(gitlab_script("shards"), {**STORE, **node}, folder=folder).code)
        for kept in (
            path
            for pattern in GITLAB["shards"]["artifacts"]["paths"]
            for path in folder.glob(pattern)
        ):
            shutil.copy(kept, machine.folder)

    joined = machine.script(gitlab_script("merged"), STORE)

    assert sorted(codes) == [0] * (count - 1) + GITLAB[".alm"]["allow_failure"]["exit_codes"]
    document = json.loads(joined.stdout)
    assert (
        joined.code,
        document["users"]["read"],
        [each["user_id"] for each in document["users"]["failed"]],
    ) == (65, 20, ["4041"])
    assert (machine.folder / GITLAB["merged"]["artifacts"]["paths"][0]).is_file()
    assert float(
        re.findall(r"--quota-share (\S+)", gitlab_script("shards"))[0]
    ) * count == pytest.approx(1)


def test_azure__hands_on_by_output_variables(machine: Machine) -> None:
    """The step sets output variables under its name, and the next job maps the ids from there."""
    read = run_azure(machine, STORE)
    name = azure_steps("read")[1]["name"]
    pattern = re.compile(
        r"^##vso\[task\.setvariable variable=(\w+);isoutput=true\](.*)$", re.MULTILINE
    )
    outputs = {
        f"{name}.{key}": value.replace("%AZP25", "%") for key, value in pattern.findall(read.stderr)
    }
    (job,) = (job for job in AZURE["jobs"] if job["job"] == "next")
    mapped = {
        key: outputs[found[1]]
        for key, value in job["variables"].items()
        if (
            found := re.fullmatch(
                rf"\$\[ dependencies\.{job['dependsOn']}\.outputs\['(.+)'\] \]", value
            )
        )
    }

    told = machine.script(azure_steps("next")[0]["bash"], mapped)

    assert (read.code, told.stdout.splitlines(), machine.log) == (0, IDS, [INSTALLED])
    (published,) = (step["publish"] for step in AZURE["jobs"][0]["steps"] if "publish" in step)
    assert json.loads((machine.folder / published).read_text())["enrollment_ids"] == IDS


def test_circleci__hands_on_by_the_workspace(machine: Machine) -> None:
    """What the first job persists is what the next one reads."""
    read = run_circleci(machine, STORE)
    (kept,) = (
        step["persist_to_workspace"]
        for step in CIRCLECI["jobs"]["read"]["steps"]
        if "persist_to_workspace" in step
    )
    other = machine.folder.parent / "next"
    other.mkdir()
    for path in kept["paths"]:
        subprocess.run(["cp", "-r", machine.folder / kept["root"] / path, other], check=True)

    told = machine.script(circleci_commands("next")[0], {}, folder=other)

    assert (read.code, told.stdout.splitlines(), machine.log) == (0, IDS, [INSTALLED])
    assert CIRCLECI["workflows"]["enrollments"]["jobs"] == [
        {"read": {"context": "alm"}},
        {"next": {"requires": ["read"]}},
    ]


def test_circleci__tells_what_went_wrong(machine: Machine) -> None:
    """Where the job has failed, its log says why, with the cause's own words."""
    run_circleci(machine, {"ALM_ACCESS_TOKEN": "refused"})

    told = machine.script(circleci_commands("read", "on_fail")[0], {})

    assert json.loads(told.stdout)["code"] == 77


def test_kestra__hands_on_by_output_files(machine: Machine) -> None:
    """The files that the task names are there, and the loop goes over the ids in one of them."""
    read = run_kestra(machine, STORE)
    task, loop = KESTRA["tasks"]
    named = re.fullmatch(
        rf"\{{\{{ read\(outputs\.{task['id']}\.outputFiles\['(.+)'\]\) \}}\}}", loop["values"]
    )

    assert (read.code, machine.log) == (0, [INSTALLED])
    assert named is not None
    assert named[1] in task["outputFiles"]
    assert json.loads((machine.folder / named[1]).read_text(encoding="utf-8")) == IDS
    assert [path for path in task["outputFiles"] if not (machine.folder / path).is_file()] == []


@pytest.mark.parametrize("run", LOOPS.values(), ids=LOOPS)
def test_loop__tries_75_again(
    run: Callable[[Machine, dict[str, str]], Finished], start_machine: StartMachine
) -> None:
    """Where ALM is busy the script waits and tries again, and ends well when ALM does."""
    machine = start_machine(f"{BUSY}x2")

    finished = run(machine, STORE)

    assert (finished.code, machine.log) == (0, [INSTALLED, "sleep 60", "sleep 300"])
    assert json.loads((machine.folder / "enrollments.json").read_text())["enrollment_ids"] == IDS


@pytest.mark.parametrize("run", LOOPS.values(), ids=LOOPS)
def test_loop__ends_with_75(
    run: Callable[[Machine, dict[str, str]], Finished], start_machine: StartMachine
) -> None:
    """Where ALM stays busy the third try is the last, and its exit code the script's."""
    machine = start_machine(f"{BUSY}x*")

    finished = run(machine, STORE)

    assert (finished.code, machine.log) == (75, [INSTALLED, "sleep 60", "sleep 300"])


@pytest.mark.parametrize("run", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize(
    ("faults", "token", "code"),
    [((), "refused", 77), (("page=1:404",), ACCESS_TOKEN, 67), ((), "", 64)],
)
def test_loop__tries_nothing_else_again(
    run: Callable[[Machine, dict[str, str]], Finished],
    faults: tuple[str, ...],
    token: str,
    code: int,
    start_machine: StartMachine,
) -> None:
    """What another try cannot mend ends the script at once."""
    machine = start_machine(*faults)

    finished = run(machine, {"ALM_ACCESS_TOKEN": token})

    assert (finished.code, machine.log) == (code, [INSTALLED])


SCRIPTS = {
    **{
        f"gitlab {name}": ("bash", gitlab_script(name))
        for name in GITLAB
        if not name.startswith(".")
    },
    **{
        f"azure {job['job']} {n}": ("bash", step["bash"])
        for job in AZURE["jobs"]
        for n, step in enumerate(azure_steps(job["job"]))
    },
    **{
        f"circleci {name} {when} {n}": ("bash", command)
        for name in CIRCLECI["jobs"]
        for when in ("on_success", "on_fail")
        for n, command in enumerate(circleci_commands(name, when))
    },
    **{f"jenkins {n}": ("sh", script) for n, script in enumerate(jenkins_scripts())},
    "kestra": ("sh", kestra_script()),
}


@pytest.mark.parametrize(("shell", "script"), SCRIPTS.values(), ids=SCRIPTS)
def test_scripts__shellcheck_finds_nothing(shell: str, script: str) -> None:
    """Every script is sound in the shell that runs it, and takes no secret as an argument."""
    tool = Path(sys.executable).parent / "shellcheck"

    found = subprocess.run(
        [tool, "--shell", shell, "-"],
        input=f"set -e\n{script}",
        capture_output=True,
        text=True,
        check=False,
    )

    assert found.stdout + found.stderr == ""
    assert re.search(r"TOKEN|SECRET|CLIENT_ID|set -x|\$\{\{", script) is None


def test_recipes__name_the_same_learner() -> None:
    """Each recipe reads the documented learner, by the flag that the command has for it."""
    scripts = [
        gitlab_script("enrollments"),
        azure_steps("read")[1]["bash"],
        circleci_commands("read")[1],
        jenkins_scripts()[1],
    ]

    assert [re.findall(r"--user-id (\d+)", script) for script in [*scripts, kestra_script()]] == [
        [USER]
    ] * 5
