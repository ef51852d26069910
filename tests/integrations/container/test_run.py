"""The image at work: exit codes, and every way in and out of a container."""

from __future__ import annotations

import json
import select
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.action.runner import parse_outputs
from tests.integrations.container import engine
from tests.integrations.container.conftest import open_to_all, run_image, settings
from tests.support.process import wait_until
from tests.support.sandbox import DOCUMENTED_IDS, EMBEDDED, NOTE, reaching, requested_users
from tests.support.secrets import CANARY, leaks

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integrations.container.conftest import CreateContainer
    from tests.support.sandbox import StartSandbox

HOST = ("--network=host",)


def mounted_token(folder: Path, token: str) -> str:
    """Write *token* to a file, and return the option that mounts it as a secret."""
    folder.mkdir()
    (folder / "alm_access_token").write_text(f"{token}\n", encoding="utf-8")
    return f"--volume={folder}:/run/secrets:ro"


def test_image__needs_neither_network_nor_account() -> None:
    """Locked down and without a network, the image reads the documented example."""
    finished = run_image()

    assert (finished.exit_code, finished.stderr) == (0, NOTE)
    assert finished.document["enrollment_ids"] == DOCUMENTED_IDS


@pytest.mark.parametrize(
    ("fault", "line", "exit_code"),
    [
        ("page=9:503", "--user-id 31", 0),
        ("page=9:503", "--user-id 31 --sort sideways", 64),
        ("page=9:503", "--user-id 31,4041", 65),
        ("page=9:503", "--user-id 31 --output-file /work/records.json", 73),
        ("*:429/50x*", "--user-id 31 --deadline 1", 75),
        ("*:401x*", "--user-id 31", 77),
    ],
)
def test_exit_code__is_the_commands(
    fault: str, line: str, exit_code: int, start_sandbox: StartSandbox
) -> None:
    """The container ends with the exit code in its document."""
    finished = run_image(line, HOST, **reaching(start_sandbox(fault)))

    assert finished.exit_code == exit_code, finished.stderr
    assert (finished.document["error"] or {"code": 0})["code"] == exit_code


def test_document__is_the_last_line_of_the_engine() -> None:
    """An engine that reads both streams as they come, as for Airflow, gets the document last."""
    variables = {**EMBEDDED, "ALM_USER_ID": "4041"}
    argv = ["run", "--rm", *settings(variables), engine.image()]

    def is_quiet_before_the_document() -> bool:
        with subprocess.Popen(
            engine.command(*argv),
            env=engine.environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stderr.readline() == NOTE.encode()
            assert process.stderr.readline().startswith(b"alm-enrollments: error: ALM has no user")
            is_quiet = not select.select([process.stdout], [], [], 0.02)[0]
            assert json.loads(process.stdout.read())["error"]["code"] == 67
        return is_quiet

    # On a busy machine this test itself may look too late.
    assert any(is_quiet_before_the_document() for _ in range(5))


def test_stdin__names_the_users() -> None:
    """With `-i`, the users come through standard input."""
    stdin = "20941371\n# a comment\n31\n"

    finished = run_image("--user-ids-file -", stdin=stdin, ALM_BASE_URL="sandbox")

    assert finished.document["users"] == {"requested": 2, "read": 2, "failed": []}


@pytest.mark.parametrize(("user", "exit_code"), [("20941371", 0), ("4041", 67)])
def test_xcom__and_termination_log_are_written(user: str, exit_code: int, tmp_path: Path) -> None:
    """Airflow's XCom file gets the document, and Kubernetes' termination log the error."""
    xcom, log = open_to_all(tmp_path / "xcom"), tmp_path / "termination-log"
    log.touch()
    log.chmod(0o666)
    mounts = (f"--volume={xcom}:/airflow/xcom", f"--volume={log}:/dev/termination-log")

    finished = run_image(f"--user-id {user}", ("--network=none", *mounts), ALM_BASE_URL="sandbox")

    message = log.read_text(encoding="utf-8")
    assert finished.exit_code == exit_code
    assert json.loads((xcom / "return.json").read_text()) == finished.document
    line = f"alm-enrollments: error: {message}\n" if exit_code else ""
    assert (finished.stderr, bool(message)) == (NOTE + line, exit_code != 0)


def test_volume__lets_the_next_container_resume(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    """A file on a volume belongs to the run's user, and the next container resumes it."""
    server = start_sandbox("user=32:404")
    volume = open_to_all(tmp_path / "volume")
    line = "--user-id 31,32 --format ndjson --output-file enrollments.ndjson --resume"
    mounted = (*HOST, f"--volume={volume}:/work")

    first = run_image(line, mounted, **reaching(server))
    server.requests.clear()
    second = run_image(line, mounted, **reaching(server))

    assert (first.exit_code, second.exit_code, requested_users(server)) == (65, 0, ["32"])
    owners = {(path.name, path.stat().st_uid, path.stat().st_gid) for path in volume.iterdir()}
    names = ("enrollments.ndjson", "enrollments.ndjson.users")
    assert owners == {(name, 65532, 65532) for name in names}
    records = (volume / "enrollments.ndjson").read_text(encoding="utf-8").splitlines()
    assert len(records) == second.document["enrollment_count"]


def test_volume__that_is_new_is_writable() -> None:
    """A new named volume takes the owner of the working directory."""
    volume = "alm-enrollments-test-volume"
    try:
        options = ("--network=none", f"--volume={volume}:/work")
        finished = run_image("--output-file records.json", options)
    finally:
        engine.podman("volume", "rm", volume)

    assert (finished.exit_code, finished.document["output_file"]) == (0, "records.json")


def test_secret__may_be_a_file(start_sandbox: StartSandbox, tmp_path: Path) -> None:
    """The token may be a file in /run/secrets instead of a variable."""
    server = start_sandbox()
    variables = reaching(server)
    mounted = mounted_token(tmp_path / "secrets", variables.pop("ALM_ACCESS_TOKEN"))

    finished = run_image("--user-id 31", (*HOST, mounted), **variables)

    assert (finished.exit_code, finished.stderr) == (0, "")
    headers = {request["headers"]["authorization"] for request in server.requests}
    assert headers == {"oauth <ACCESS_TOKEN>"}


def test_secret__is_not_kept_by_the_engine(
    create_container: CreateContainer, start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    """A secret from a file is in nothing that the engine keeps of a run."""
    server = start_sandbox("*:401x*")
    variables = {"ALM_BASE_URL": server.url, "ALM_USER_ID": "31", "RUNNER_DEBUG": "1"}
    name = create_container(variables, mounted_token(tmp_path / "secrets", CANARY))
    engine.podman("start", name)
    engine.podman("wait", name)

    kept = [engine.podman(command, name) for command in ("inspect", "logs", "diff")]
    kept.append(engine.podman("history", "--no-trunc", engine.image()))

    wait_until(lambda: server.requests)
    assert [leaks(text) for text in kept] == [[]] * 4


def test_action__writes_the_files_of_github(tmp_path: Path) -> None:
    """As root, which GitHub's container actions need, `action` writes the runner's files."""
    for folder in ("commands", "workspace"):
        (tmp_path / folder).mkdir()
    for name in ("output", "summary"):
        (tmp_path / "commands" / name).touch()
    options = (
        f"--volume={tmp_path}/commands:/github/commands",
        f"--volume={tmp_path}/workspace:/github/workspace",
        "--workdir=/github/workspace",
    )
    runner = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_OUTPUT": "/github/commands/output",
        "GITHUB_STEP_SUMMARY": "/github/commands/summary",
    }

    finished = run_image(
        "--output-file records.json", options, target="action", **EMBEDDED, **runner
    )

    outputs = parse_outputs((tmp_path / "commands/output").read_bytes())
    assert (finished.exit_code, json.loads(outputs["enrollment_ids"])) == (0, DOCUMENTED_IDS)
    assert "3 enrollments" in (tmp_path / "commands/summary").read_text(encoding="utf-8")
    assert len(json.loads((tmp_path / "workspace/records.json").read_text())) == 3


def test_isolation__from_the_working_directory(tmp_path: Path) -> None:
    """No module of the working directory, or of a folder in a variable, is imported."""
    tmp_path.chmod(0o755)
    for name in ("json.py", "connector.py", "sitecustomize.py"):
        (tmp_path / name).write_text("raise SystemExit(99)\n", encoding="utf-8")
    python = {"PYTHONPATH": "/work", "PYTHONSTARTUP": "/work/json.py"}

    finished = run_image(
        "", ("--network=none", f"--volume={tmp_path}:/work:ro"), **EMBEDDED, **python
    )

    assert (finished.exit_code, finished.stderr) == (0, NOTE)
