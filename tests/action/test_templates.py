"""The templates of examples/github, run by act as their readers copy them."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from connector.formats import read_records
from connector.sandbox import ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN
from connector.sandbox.days import enrollments_on
from tests.action.test_act import ACT
from tests.support.pages import answer
from tests.support.process import CHECKOUT, PATIENCE_SECONDS
from tests.support.sandbox import unlimited_sandbox
from tests.support.server import FaultServer

if TYPE_CHECKING:
    from pathlib import Path

    from connector.sandbox.server import SandboxServer

pytestmark = pytest.mark.slow

USERS = ("1", "2", "3", "4", "5", "6")
UPLOAD = "actions/upload-artifact@043fb46d1a93c77aae656e7c1c64a875d1fc6a0a"
DOWNLOAD = "actions/download-artifact@3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c"
# Artifacts are folders of a run: GitHub's service is not within reach.
STORE = """name: store
description: Instead of GitHub's own.
inputs: {name: {}, path: {}, pattern: {}, run-id: {}}
runs:
  using: composite
  steps:
    - shell: bash
      env:
        NAME: ${{ inputs.name || inputs.pattern }}
        PATHS: ${{ inputs.path || '.' }}
        RUN_ID: ${{ inputs.run-id }}
      run: |
        SCRIPT
"""
UPLOADING = 'mkdir -p "$STORE/$RUN/$NAME"; cp -- $PATHS "$STORE/$RUN/$NAME"'
DOWNLOADING = 'mkdir -p "$PATHS"; cp -- "$STORE/${RUN_ID:-$RUN}"/$NAME/* "$PATHS"'
GH = """#!/bin/sh
[ "$1 $2 $3" = "api repos/me/mine/actions/artifacts?name=enrollments&per_page=100 --jq" ] || exit 1
exec jq --raw-output "$4" "$STORE/artifacts.json"
"""


def artifact(run: int, **changes: Any) -> dict[str, Any]:
    """Return an artifact of *run* as GitHub describes it."""
    origin = {"id": run, "repository_id": 1, "head_repository_id": 1, "head_branch": "main"}
    expired = changes.pop("expired", False)
    return {"name": "enrollments", "expired": expired, "workflow_run": origin | changes}


# The newest first. Only the first run's is trusted, and still there.
ARTIFACTS = [
    artifact(8, head_repository_id=2),
    artifact(7, head_branch="other"),
    artifact(6, expired=True),
    artifact(1),
]


@dataclass(frozen=True)
class Repository:
    """A reader's repository with a template; *root* has what replaces GitHub, too."""

    root: Path
    python: Path
    packages: Path

    def create(self, template: str) -> None:
        """Create the repository and all around it."""
        for name in ("connector", "requirements", "schemas"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(CHECKOUT / name, self.root / "action" / name, ignore=ignored)
        files = {
            "action/action.yml": (CHECKOUT / "action.yml").read_text(encoding="utf-8"),
            "upload/action.yml": STORE.replace("SCRIPT", UPLOADING),
            "download/action.yml": STORE.replace("SCRIPT", DOWNLOADING),
            "bin/gh": GH,
            "store/artifacts.json": '{"artifacts": []}',
            "home/empty": "",
            "mine/learners.csv": "\n".join(["user_id", *USERS, ""]),
            "mine/.github/workflows/template.yml": (
                CHECKOUT / "examples/github" / template
            ).read_text(encoding="utf-8"),
        }
        for name, text in files.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text, encoding="utf-8")
        (self.root / "bin/gh").chmod(0o755)
        author = ["-c", "user.name=me", "-c", "user.email=me@example.com"]
        remote = ["remote", "add", "origin", "https://github.com/me/mine.git"]
        for words in (["init", "-b", "main"], remote, ["add", "."], [*author, "commit", "-m", "x"]):
            git = ["git", *words]
            subprocess.run(
                git, cwd=self.root / "mine", env=self.environ, check=True, capture_output=True
            )

    @property
    def environ(self) -> dict[str, str]:
        """The variables of act itself."""
        home = str(self.root / "home")
        path = f"{self.root / 'bin'}:{self.python}:/usr/bin:/bin"
        return {"HOME": home, "XDG_CACHE_HOME": home, "PATH": path}

    def run(self, number: int, server: SandboxServer, **secrets: str) -> tuple[int, str]:
        """Run the template for the *number*-th time; return act's exit code and its log."""
        credentials = {
            "ALM_CLIENT_ID": CLIENT_ID,
            "ALM_CLIENT_SECRET": CLIENT_SECRET,
            "ALM_REFRESH_TOKEN": REFRESH_TOKEN,
        }
        values = [f"--var=ALM_BASE_URL={server.url}"]
        values += [f"--secret={name}={text}" for name, text in (credentials | secrets).items()]
        variables = {"STORE": self.root / "store", "RUN": number, "INSTALLED": self.packages}
        values += [f"--env={name}={value}" for name, value in variables.items()]
        replaced = {"OWNER/REPO@v0": "action", UPLOAD: "upload", DOWNLOAD: "download"}
        values += [f"--local-repository={n}={self.root / f}" for n, f in replaced.items()]
        options = ["-P", "ubuntu-latest=-self-hosted", "--no-cache-server"]
        finished = subprocess.run(
            [ACT, "workflow_dispatch", *options, *values],
            cwd=self.root / "mine",
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=3 * PATIENCE_SECONDS,
            check=False,
        )
        return finished.returncode, finished.stdout

    def artifact(self, run: int, name: str) -> dict[str, Path]:
        """Return the files of an artifact by name."""
        return {path.name: path for path in (self.root / "store" / str(run) / name).iterdir()}


@pytest.fixture
def repository(tmp_path: Path, python: Path, packages: Path) -> Repository:
    """Return a repository that is not created yet."""
    return Repository(tmp_path, python, packages)


def completed(day: int, next_day: int) -> set[str]:
    """Return the ids of the enrollments that are completed from one day to the next."""
    before, after = (
        {
            enrollment["id"]
            for user in USERS
            for enrollment in enrollments_on(number, user)
            if "dateCompleted" in enrollment["attributes"]
        }
        for number in (day, next_day)
    )
    return after - before


def test_nightly__tells_what_was_completed_since_yesterday(repository: Repository) -> None:
    """A message has exactly what was completed since the last night; without any, none is sent."""
    repository.create("nightly.yml")
    with FaultServer(otherwise=lambda _: (answer(200),)) as chat:
        webhooks = {
            "SLACK_WEBHOOK_URL": f"{chat.url}/slack",
            "TEAMS_WEBHOOK_URL": f"{chat.url}/teams",
        }
        with unlimited_sandbox(day=1) as server:
            first, log = repository.run(1, server, **webhooks)
        assert (first, chat.requests) == (0, []), log
        listed = json.dumps({"artifacts": ARTIFACTS})
        (repository.root / "store/artifacts.json").write_text(listed, encoding="utf-8")
        with unlimited_sandbox(day=2) as server:
            second, log = repository.run(2, server, **webhooks)
            (repository.root / "store/artifacts.json").write_text(
                listed.replace('"id": 1', '"id": 2'), encoding="utf-8"
            )
            third, _ = repository.run(3, server, **webhooks)

    assert (second, third) == (0, 0), log
    # The third night is the second one's day again.
    slack, teams = chat.requests
    ids = completed(1, 2)
    heading, *lines = json.loads(slack.body)["text"].splitlines()
    assert heading == f"{len(ids)} completed since the last run:"
    records = {
        record["id"]: record
        for record in read_records(repository.artifact(2, "enrollments")["enrollments.xlsx"])
    }
    assert sorted(lines) == sorted(
        f"{records[one].get('user_name') or records[one]['user_id']} completed"
        f" {records[one].get('lo_name') or one}"
        for one in ids
    )
    (card,) = json.loads(teams.body)["attachments"]
    assert [block["text"] for block in card["content"]["body"]] == [heading, *lines]
    files = {"enrollments.xlsx", "enrollments.xlsx.users", "report.html"}
    assert repository.artifact(2, "enrollments").keys() == files


def test_nightly__goes_on_without_a_learner(repository: Repository) -> None:
    """A learner who failed makes the run red, and nothing is said of that learner."""
    repository.create("nightly.yml")
    with FaultServer(otherwise=lambda _: (answer(200),)) as chat:
        with unlimited_sandbox(day=1) as server:
            repository.run(1, server)
        listed = json.dumps({"artifacts": [artifact(1)]})
        (repository.root / "store/artifacts.json").write_text(listed, encoding="utf-8")
        with unlimited_sandbox("user=4:404x*", day=2) as server:
            code, log = repository.run(2, server, SLACK_WEBHOOK_URL=chat.url)

    assert code == 1, log
    (message,) = chat.requests
    lines = json.loads(message.body)["text"].splitlines()[1:]
    assert len(lines) == len([one for one in completed(1, 2) if not one.endswith("_4")])


def test_shards__are_read_and_merged(repository: Repository) -> None:
    """Each job reads its part of the learners, and the last one joins and keeps the files."""
    repository.create("shards.yml")
    with unlimited_sandbox() as server:
        code, log = repository.run(1, server)

    assert code == 0, log
    merged = repository.artifact(1, "enrollments")
    assert merged.keys() == {"enrollments.ndjson.gz", "enrollments.ndjson.gz.users"}
    users = {record["user_id"] for record in read_records(merged["enrollments.ndjson.gz"])}
    assert users == set(USERS)
    shards = [repository.artifact(1, f"shard-{number}") for number in range(1, 5)]
    assert [len(files) for files in shards] == [2] * 4


@pytest.mark.parametrize(("token", "code"), [(REFRESH_TOKEN, 0), ("expired-token", 1)])
def test_check__tries_the_credentials(token: str, code: int, repository: Repository) -> None:
    """The job is green while the credentials are good, and red when they are not."""
    repository.create("check.yml")
    with unlimited_sandbox() as server:
        result, log = repository.run(1, server, ALM_REFRESH_TOKEN=token)

    assert result == code, log
    assert len(server.requests) == 2 - code
    assert ACCESS_TOKEN not in log
