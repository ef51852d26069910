"""The action in a workflow, run by act in place of GitHub's runner: one run for all that is asked of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connector.sandbox import ACCESS_TOKEN, Settings
from connector.sandbox.learners import enrollments_of
from connector.sandbox.server import SandboxServer
from connector.schemas import load_schema
from tests.action.conftest import CHECKOUT, once, pip_environ
from tests.action.runner import read_github
from tests.faults.book import answer, body_of, record
from tests.faults.server import FaultServer

if TYPE_CHECKING:
    from tests.faults.server import Actions, Seen

# Installed with the tests: where it is missing, starting it fails them.
ACT = Path(sys.executable).with_name("act")
WORKFLOW = "tests/action/workflows/act.yml"
PWNED = "x\n::error::pwned\r\n  ::set-output name=pwned::1\n##[error]pwned ##vso[task.complete]%0A::error::pwned"
FIELDS = [name for name in load_schema("outputs")["properties"] if name != "enrollments"]


@dataclass(frozen=True, slots=True)
class Ran:
    """What act left behind: its exit code, its log, and what the workflow's own steps saw."""

    exit_code: int
    log: list[dict[str, Any]]
    seen: dict[str, dict[str, str]]

    def of(self, job: str) -> list[dict[str, Any]]:
        """Return *job*'s part of the log."""
        return [entry for entry in self.log if entry.get("jobID") == job]

    def results_of(self, job: str) -> list[str]:
        """Return how *job* ended, once for each of its runs."""
        return [entry["jobResult"] for entry in self.of(job) if "jobResult" in entry]

    def written_by(self, job: str) -> str:
        """Return what *job*'s steps wrote, whether act obeyed it or not."""
        return "".join(
            entry.get("raw") or entry["msg"]
            for entry in self.of(job)
            if "raw" in entry or "raw_output" in entry
        )


def hostile(request: Seen) -> Actions:
    """Answer with a page, or a refusal, in which whatever can be text is commands."""
    wrong = {"status": "400", "title": PWNED, "source": {"info": PWNED}}
    names = ("state", "dateEnrolled", "enrollmentSource")
    page = {"data": [record(f"course:1_{PWNED}_31", **dict.fromkeys(names, PWNED))], "links": {}}
    refused = request.user_id == "32"
    status, body = (400, body_of(wrong)) if refused else (200, body_of(page))
    return (
        answer(
            status, body, "Content-Type: application/vnd.api+json", "X-Request-Id: ##[error]pwned"
        ),
    )


def act(folder: Path, python: Path, wheels: Path) -> None:
    """Run the workflow in a repository that holds the action, and leave what came of it in *folder*."""
    for name in ("repository", "home", "seen"):
        (folder / name).mkdir(parents=True)
    for name in ("connector", "requirements", "schemas"):
        shutil.copytree(
            CHECKOUT / name,
            folder / "repository" / name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    for name in ("action.yml", WORKFLOW):
        shutil.copy(CHECKOUT / name, folder / "repository")
    environ = {
        "HOME": str(folder / "home"),
        "XDG_CACHE_HOME": str(folder / "home"),
        "PATH": f"{python}:/usr/bin:/bin",
    }
    who = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    for command in (["init"], ["add", "."], [*who, "commit", "-m", "All"]):
        subprocess.run(
            ["git", *command],
            cwd=folder / "repository",
            env=environ,
            check=True,
            capture_output=True,
        )
    with SandboxServer(Settings(rate_per_minute=0)) as sandbox, FaultServer([], hostile) as foe:
        told: dict[str, dict[str, object]] = {
            "--env": {"SEEN": folder / "seen", **pip_environ(wheels)},
            "--secret": {"ALM_ACCESS_TOKEN": ACCESS_TOKEN},
            "--var": {"BASE_URL": sandbox.url, "HOSTILE_URL": foe.url, "USERS": '["31","32"]'},
        }
        flags = [
            word
            for flag, values in told.items()
            for name, value in values.items()
            for word in (flag, f"{name}={value}")
        ]
        finished = subprocess.run(
            [
                ACT,
                "push",
                "-W",
                Path(WORKFLOW).name,
                "-P",
                "ubuntu-latest=-self-hosted",
                "--no-cache-server",
                "--json",
                *flags,
            ],
            cwd=folder / "repository",
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    (folder / "log").write_text(finished.stdout, encoding="utf-8")
    (folder / "exit_code").write_text(str(finished.returncode), encoding="utf-8")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, python: Path, wheels: Path) -> Ran:
    """Return what came of the workflow."""
    folder = once(tmp_path_factory, "act", lambda folder: act(folder, python, wheels))
    log = [json.loads(line) for line in (folder / "log").read_text(encoding="utf-8").splitlines()]
    seen = {
        path.name: dict(
            pair.split("=", 1)
            for pair in path.read_text(encoding="utf-8").split("\0")
            if pair.startswith("SEEN_")
        )
        for path in (folder / "seen").iterdir()
    }
    return Ran(int((folder / "exit_code").read_text(encoding="utf-8")), log, seen)


def ids_of(user: str) -> list[str]:
    """Return the ids of every enrollment that the sandbox has of *user*."""
    return [one["id"] for one in enrollments_of(user)]


def test_act__outputs_reach_the_next_step(ran: Ran) -> None:
    """A next step gets every field as an output, and fromJSON reads it."""
    seen = ran.seen["read"]
    outputs = json.loads(seen["SEEN_OUTPUTS"])

    assert ran.results_of("read") == ["success"]
    assert sorted(outputs) == sorted(FIELDS)
    assert json.loads(outputs["enrollment_ids"]) == ids_of("31") + ids_of("32")
    assert seen["SEEN_FIRST_ID"] == ids_of("31")[0]
    assert (outputs["complete"], outputs["error"], outputs["output_file"]) == ("true", "", "")
    assert json.loads(outputs["users"]) == {"requested": 2, "read": 2, "failed": []}


def test_act__second_use_in_a_job(ran: Ran) -> None:
    """A second use in the job runs with the packages of the first one: no index and no wheels are there any more."""
    assert ran.seen["read"]["SEEN_SECOND"] == "success"


def test_act__failure_that_the_workflow_expects(ran: Ran) -> None:
    """With continue-on-error the workflow goes on, and branches by the exit code in the output error."""
    seen = ran.seen["read"]
    outputs = json.loads(seen["SEEN_UNKNOWN"])

    assert (seen["SEEN_OUTCOME"], seen["SEEN_CODE"]) == ("failure", "67")
    assert (
        json.loads(outputs["error"])["message"]
        == 'ALM knows no user 4041 (404: "NOT_FOUND: no user 4041").'
    )
    assert (outputs["complete"], outputs["enrollment_ids"]) == ("false", "[]")


def test_act__failure_that_it_does_not(ran: Ran) -> None:
    """Without continue-on-error the job is red, and no later step runs."""
    assert ran.results_of("red") == ["failure"]
    assert "red" not in ran.seen
    assert ran.exit_code == 1


def test_act__outputs_reach_the_next_job(ran: Ran) -> None:
    """A job's outputs reach the job that needs it."""
    seen = ran.seen["later"]

    assert json.loads(seen["SEEN_IDS"]) == ids_of("31") + ids_of("32")
    assert seen["SEEN_LAST_ID"] == ids_of("31")[1]


def test_act__matrix_over_users(ran: Ran) -> None:
    """A matrix over users has a job for each, side by side on one runner."""
    courses = {
        user: [one for one in ids_of(user) if one.startswith("course:")] for user in ("31", "32")
    }

    assert ran.results_of("each") == ["success", "success"]
    assert {user: json.loads(ran.seen[f"each-{user}"]["SEEN_IDS"]) for user in courses} == courses


def test_act__hostile_server(ran: Ran) -> None:
    """No text that a server sends becomes a command or an output, in a page or in a refusal, and ids come out as they were."""
    page, refusal = (
        json.loads(ran.seen["hostile"][name]) for name in ("SEEN_PAGE", "SEEN_REFUSAL")
    )

    assert ran.results_of("hostile") == ["success"]
    assert json.loads(page["enrollment_ids"]) == [f"course:1_{PWNED}_31"]
    assert page.keys() == refusal.keys() == set(FIELDS)
    assert json.loads(refusal["error"])["code"] == 64
    assert {
        entry["name"] for entry in ran.of("hostile") if entry.get("command") == "set-output"
    } == set(FIELDS)
    obeyed = read_github(ran.written_by("hostile")).commands
    assert [command.name for command in obeyed] == [
        "add-mask",
        "add-mask",
        "group",
        "endgroup",
        "error",
    ]
    assert obeyed[-1].data.startswith("ALM refuses the request for user 32 (400: ")
