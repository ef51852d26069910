"""The action in a workflow, run by act instead of GitHub's runner: one run for all tests."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector.sandbox import ACCESS_TOKEN
from tests.action.runner import read_github
from tests.action.test_composite import FIELDS
from tests.support.pages import answer, body_of, record
from tests.support.process import CHECKOUT, PATIENCE_SECONDS
from tests.support.sandbox import ids_of, unlimited_sandbox
from tests.support.server import FaultServer

if TYPE_CHECKING:
    from tests.support.server import Actions, Request

# Installed with the tests.
ACT = Path(sys.executable).with_name("act")
WORKFLOW = "tests/action/workflows/act.yml"
PWNED = (
    "x\n::error::pwned\r\n  ::set-output name=pwned::1\n"
    "##[error]pwned ##vso[task.complete]%0A::error::pwned"
)


@dataclass(frozen=True, slots=True)
class Ran:
    """What act left: its exit code, its log, and the variables that the workflow's steps saw."""

    exit_code: int
    log: list[dict[str, Any]]
    seen: dict[str, dict[str, str]]

    def of(self, job: str) -> list[dict[str, Any]]:
        """Return the part of the log that is about *job*."""
        return [entry for entry in self.log if entry.get("jobID") == job]

    def results_of(self, job: str) -> list[str]:
        """Return how *job* ended, once per run."""
        return [entry["jobResult"] for entry in self.of(job) if "jobResult" in entry]

    def written_by(self, job: str) -> str:
        """Return what the steps of *job* wrote, whether act obeyed it or not."""
        lines = [entry for entry in self.of(job) if "raw" in entry or "raw_output" in entry]
        return "".join(entry.get("raw") or entry["msg"] for entry in lines)


def hostile(request: Request) -> Actions:
    """Answer with a page or an error in which every text is a command."""
    names = ("state", "dateEnrolled", "enrollmentSource")
    page = {"data": [record(f"course:1_{PWNED}_31", **dict.fromkeys(names, PWNED))], "links": {}}
    error = {"status": "400", "title": PWNED, "source": {"info": PWNED}}
    status, body = (400, error) if request.user_id == "32" else (200, page)
    return (answer(status, body_of(body), "X-Request-Id: ##[error]pwned"),)


def copy_checkout(repository: Path, environ: dict[str, str]) -> None:
    """Create a repository with the action and the workflow."""
    for name in ("connector", "requirements", "schemas"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / name, repository / name, ignore=ignored)
    for name in ("action.yml", WORKFLOW):
        shutil.copy(CHECKOUT / name, repository)
    author = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    for command in (["init"], ["add", "."], [*author, "commit", "-m", "All"]):
        git = ["git", *command]
        subprocess.run(git, cwd=repository, env=environ, check=True, capture_output=True)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, python: Path, packages: Path) -> Ran:
    """Run the workflow, and return what it left."""
    folder = tmp_path_factory.mktemp("act")
    home, seen, repository = (folder / name for name in ("home", "seen", "repository"))
    for path in (home, seen, repository):
        path.mkdir()
    environ = {"HOME": str(home), "XDG_CACHE_HOME": str(home), "PATH": f"{python}:/usr/bin:/bin"}
    copy_checkout(repository, environ)
    with unlimited_sandbox() as sandbox, FaultServer([], hostile) as foe:
        values = [
            *("--env", f"SEEN={seen}", "--env", f"INSTALLED={packages}"),
            *("--secret", f"ALM_ACCESS_TOKEN={ACCESS_TOKEN}"),
            *("--var", f"BASE_URL={sandbox.url}", "--var", f"HOSTILE_URL={foe.url}"),
            *("--var", 'USERS=["31","32"]'),
        ]
        platform = ["-P", "ubuntu-latest=-self-hosted", "--no-cache-server", "--json"]
        finished = subprocess.run(
            [ACT, "push", "-W", Path(WORKFLOW).name, *platform, *values],
            cwd=repository,
            env=environ,
            capture_output=True,
            text=True,
            timeout=3 * PATIENCE_SECONDS,
            check=False,
        )
    log = [json.loads(line) for line in finished.stdout.splitlines()]
    return Ran(finished.returncode, log, {path.name: variables(path) for path in seen.iterdir()})


def variables(file: Path) -> dict[str, str]:
    """Return the variables ``SEEN_…`` that a step wrote to *file*."""
    pairs = [pair.split("=", 1) for pair in file.read_text(encoding="utf-8").split("\0") if pair]
    return {name: value for name, value in pairs if name.startswith("SEEN_")}


def test_act__outputs_reach_the_next_step(ran: Ran) -> None:
    """A next step has every field as an output that fromJSON reads."""
    seen = ran.seen["read"]
    outputs = json.loads(seen["SEEN_OUTPUTS"])

    assert ran.results_of("read") == ["success"]
    assert set(FIELDS) <= set(outputs)
    assert json.loads(outputs["enrollment_ids"]) == ids_of(["31", "32"])
    assert seen["SEEN_FIRST_ID"] == ids_of(["31"])[0]
    assert (outputs["complete"], outputs["error"], outputs["output_file"]) == ("true", "", "")
    assert json.loads(outputs["users"]) == {"requested": 2, "read": 2, "failed": []}


def test_act__second_use_needs_no_installation(ran: Ran) -> None:
    """A second use in a job runs with the packages of the first one, without any index."""
    assert ran.seen["read"]["SEEN_SECOND"] == "success"


def test_act__workflow_branches_by_the_exit_code(ran: Ran) -> None:
    """With continue-on-error the workflow goes on, and reads the exit code from ``error``."""
    seen = ran.seen["read"]
    outputs = json.loads(seen["SEEN_UNKNOWN"])

    message = 'ALM has no user 4041 (404: "NOT_FOUND: no user 4041").'
    assert (seen["SEEN_OUTCOME"], seen["SEEN_CODE"]) == ("failure", "67")
    assert json.loads(outputs["error"])["message"] == message
    assert (outputs["complete"], outputs["enrollment_ids"]) == ("false", "[]")


def test_act__failure_stops_the_job(ran: Ran) -> None:
    """Without continue-on-error the job is red, and no later step runs."""
    assert (ran.results_of("red"), ran.exit_code) == (["failure"], 1)
    assert "red" not in ran.seen


def test_act__outputs_reach_the_next_job(ran: Ran) -> None:
    """A job's outputs reach the job that needs it."""
    seen = ran.seen["later"]

    assert json.loads(seen["SEEN_IDS"]) == ids_of(["31", "32"])
    assert seen["SEEN_LAST_ID"] == ids_of(["31"])[1]


def test_act__matrix_has_a_job_per_user(ran: Ran) -> None:
    """A matrix over users has a job per user, in parallel on one runner."""
    found = {user: json.loads(ran.seen[f"each-{user}"]["SEEN_IDS"]) for user in ("31", "32")}

    assert ran.results_of("each") == ["success", "success"]
    assert found == {user: ids_of([user], "course:") for user in found}


def test_act__text_of_a_server_is_no_command(ran: Ran) -> None:
    """No text of a server becomes a command or an output, and ids are returned as they are."""
    seen = ran.seen["hostile"]
    page, refusal = json.loads(seen["SEEN_PAGE"]), json.loads(seen["SEEN_REFUSAL"])

    assert ran.results_of("hostile") == ["success"]
    assert json.loads(page["enrollment_ids"]) == [f"course:1_{PWNED}_31"]
    assert page.keys() == refusal.keys() >= set(FIELDS)
    assert json.loads(refusal["error"])["code"] == 64
    outputs = [entry["name"] for entry in ran.of("hostile") if entry.get("command") == "set-output"]
    assert set(outputs) >= set(FIELDS)
    obeyed = read_github(ran.written_by("hostile")).commands
    names = [command.name for command in obeyed]
    assert names == ["add-mask", "add-mask", "group", "endgroup", "error"]
    assert obeyed[-1].data.startswith("ALM refuses the request for user 32 (400: ")
