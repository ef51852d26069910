"""The image at work: exit codes, and every way in and out that a container has."""

from __future__ import annotations

import json
import select
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.action.runner import parse_outputs
from tests.integrations.container import engine
from tests.integrations.container.conftest import DOCUMENTED, open_to_all

if TYPE_CHECKING:
    from pathlib import Path

    from tests.contract.conftest import Reaching, StartSandbox
    from tests.integrations.container.conftest import CreateContainer, RunImage

HOST = ("--network=host",)
CANARY = "canary/t0ken+A%b=="
READ = [
    "course:6511020_7037048_20941371",
    "course:7236650_7877507_20941371",
    "course:7236827_7877699_20941371",
]


def secrets_folder(folder: Path, **secrets: str) -> str:
    """Write *secrets* as files into *folder*, and return the option that mounts it."""
    folder.mkdir()
    for name, secret in secrets.items():
        (folder / name).write_text(f"{secret}\n", encoding="utf-8")
    return f"--volume={folder}:/run/secrets:ro"


def test_run__of_the_embedded_sandbox(run_image: RunImage) -> None:
    """Locked down, without a network and without an account, the documented example is read whole, and nothing else is said."""
    finished = run_image()

    assert (finished.exit_code, finished.stderr) == (0, "")
    assert finished.document["complete"]
    assert finished.document["enrollment_ids"] == READ


@pytest.mark.parametrize(
    ("fault", "variables", "exit_code"),
    [
        ((), {"ALM_USER_ID": "31"}, 0),
        ((), {"ALM_USER_ID": "31", "ALM_SORT": "sideways"}, 64),
        ((), {"ALM_USER_ID": "31", "ALM_ACCESS_TOKEN": ""}, 64),
        ((), {"ALM_USER_ID": "31,4041"}, 65),
        ((), {"ALM_USER_ID": "4041"}, 67),
        ((), {"ALM_USER_ID": "31", "ALM_BASE_URL": "http://127.0.0.1:9", "ALM_DEADLINE": "2"}, 69),
        (
            (),
            {
                "ALM_USER_ID": "31",
                "ALM_FORMAT": "ndjson",
                "ALM_OUTPUT_FILE": "/work/records.ndjson",
            },
            73,
        ),
        (("*:429/50x*",), {"ALM_USER_ID": "31", "ALM_DEADLINE": "1"}, 75),
        (("*:schemax*",), {"ALM_USER_ID": "31"}, 76),
        ((), {"ALM_USER_ID": "31", "ALM_ACCESS_TOKEN": "another-token"}, 77),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
def test_run__exit_codes(
    fault: tuple[str, ...],
    variables: dict[str, str],
    exit_code: int,
    run_image: RunImage,
    start_sandbox: StartSandbox,
    reaching: Reaching,
) -> None:
    """The container ends with the command's own exit code, over real HTTP too, and its document says the same."""
    server = start_sandbox(*fault)

    finished = run_image(variables=reaching(server, **variables), options=HOST)

    assert finished.exit_code == exit_code, finished.stderr
    assert (finished.document["error"] or {"code": 0})["code"] == exit_code


def test_run__the_document_is_the_engines_last_line() -> None:
    """An engine that reads both streams as it comes to them has the messages before the document: Airflow takes the last line."""
    options = ("--env=ALM_USER_ID=4041", "--env=ALM_BASE_URL=sandbox")

    def has_time_between() -> bool:
        with subprocess.Popen(
            engine.command("run", "--rm", *options, engine.image()),
            env=engine.environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stderr.readline().startswith(
                b"alm-enrollments: error: ALM knows no user"
            )
            is_quiet = not select.select([process.stdout], [], [], 0.02)[0]
            assert json.loads(process.stdout.read())["error"]["code"] == 67
            assert process.stderr.read() == b""
        return is_quiet

    # On a busy machine this test itself may come too late to see it.
    assert any(has_time_between() for _ in range(5))


def test_run__ids_from_standard_input(run_image: RunImage) -> None:
    """With `-i`, the learners come through standard input."""
    finished = run_image(
        "--user-ids-file",
        "-",
        variables={"ALM_BASE_URL": "sandbox"},
        stdin="20941371\n# not this one\n31\n",
    )

    assert finished.exit_code == 0
    assert finished.document["users"] == {"requested": 2, "read": 2, "failed": []}


@pytest.mark.parametrize(("user", "exit_code"), [("20941371", 0), ("4041", 67)])
def test_run__xcom_and_termination_message(
    user: str, exit_code: int, run_image: RunImage, tmp_path: Path
) -> None:
    """Airflow's XCom file gets the document, and the kubelet's file the error's line; where the run fails, too."""
    xcom, message = open_to_all(tmp_path / "xcom"), tmp_path / "termination-log"
    message.touch()
    message.chmod(0o666)

    finished = run_image(
        variables={**DOCUMENTED, "ALM_USER_ID": user},
        options=(f"--volume={xcom}:/airflow/xcom", f"--volume={message}:/dev/termination-log"),
    )

    assert finished.exit_code == exit_code
    assert json.loads((xcom / "return.json").read_text(encoding="utf-8")) == finished.document
    told = message.read_text(encoding="utf-8")
    assert bool(told) == (exit_code != 0)
    assert finished.stderr == (f"alm-enrollments: error: {told}\n" if told else "")


def test_run__output_file_on_a_volume_goes_on(
    run_image: RunImage, start_sandbox: StartSandbox, reaching: Reaching, tmp_path: Path
) -> None:
    """A file on a volume is the run user's own, and the next container goes on with it: whoever is whole is not asked for again."""
    server = start_sandbox("user=32:404")
    volume = open_to_all(tmp_path / "volume")
    wanted = reaching(
        server, ALM_USER_ID="31,32", ALM_FORMAT="ndjson", ALM_OUTPUT_FILE="enrollments.ndjson"
    )
    mounted = (*HOST, f"--volume={volume}:/work")

    first = run_image("--resume", variables=wanted, options=mounted)
    asked = len(server.requests)
    second = run_image("--resume", variables=wanted, options=mounted)

    assert (first.exit_code, second.exit_code) == (65, 0)
    assert {(path.name, path.stat().st_uid, path.stat().st_gid) for path in volume.iterdir()} == {
        ("enrollments.ndjson", 65532, 65532),
        ("enrollments.ndjson.users", 65532, 65532),
    }
    assert not [entry for entry in server.requests[asked:] if "/users/31/" in entry["target"]]
    assert (
        len((volume / "enrollments.ndjson").read_text(encoding="utf-8").splitlines())
        == second.document["enrollment_count"]
    )


def test_run__new_volume_is_writable(run_image: RunImage) -> None:
    """On an empty named volume the output file can be written as it stands: the volume takes over the folder's owner."""
    volume = "alm-enrollments-test-volume"
    try:
        finished = run_image("--output-file", "records.json", options=(f"--volume={volume}:/work",))
    finally:
        engine.podman("volume", "rm", volume)

    assert (finished.exit_code, finished.document["output_file"]) == (0, "records.json")


def test_run__credentials_from_files(
    run_image: RunImage, start_sandbox: StartSandbox, reaching: Reaching, tmp_path: Path
) -> None:
    """The token may come as a file in /run/secrets, and no variable has it then."""
    server = start_sandbox()
    variables = reaching(server, ALM_USER_ID="31")
    mounted = secrets_folder(
        tmp_path / "secrets", alm_access_token=variables.pop("ALM_ACCESS_TOKEN")
    )

    finished = run_image(variables=variables, options=(*HOST, mounted))

    assert (finished.exit_code, finished.stderr) == (0, "")
    assert {entry["headers"]["authorization"] for entry in server.requests} == {
        "oauth <ACCESS_TOKEN>"
    }


def test_run__engine_keeps_no_secret(
    create_container: CreateContainer,
    start_sandbox: StartSandbox,
    reaching: Reaching,
    tmp_path: Path,
) -> None:
    """A secret from a file is in nothing that the engine keeps of a run: what it was told, what it logged, what the image is."""
    server = start_sandbox("*:htmlx*")
    variables = {
        **reaching(server, ALM_USER_ID="31", ALM_DEADLINE="1", RUNNER_DEBUG="1"),
        "ALM_ACCESS_TOKEN": "",
    }
    name = create_container(
        variables, secrets_folder(tmp_path / "secrets", alm_access_token=CANARY)
    )
    engine.podman("start", name)
    engine.podman("wait", name)

    kept = [
        engine.podman("inspect", name),
        engine.podman("logs", name),
        engine.podman("diff", name),
        engine.podman("history", "--no-trunc", engine.image()),
    ]

    assert server.requests != []
    assert [text for text in kept if "canary" in text.lower()] == []


def test_action__writes_what_github_reads(run_image: RunImage, tmp_path: Path) -> None:
    """As root, which GitHub's container actions need, `action` writes outputs and summary into the runner's folders."""
    commands, workspace = tmp_path / "file_commands", tmp_path / "workspace"
    for folder in (commands, workspace):
        folder.mkdir(mode=0o755)
    for name in ("output", "summary"):
        (commands / name).touch(mode=0o644)
    runner = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_OUTPUT": "/github/file_commands/output",
        "GITHUB_STEP_SUMMARY": "/github/file_commands/summary",
    }

    finished = run_image(
        "--output-file",
        "records.json",
        variables={**DOCUMENTED, **runner},
        options=(
            f"--volume={commands}:/github/file_commands",
            f"--volume={workspace}:/github/workspace",
            "--workdir=/github/workspace",
        ),
        target="action",
    )

    assert finished.exit_code == 0
    assert json.loads(parse_outputs((commands / "output").read_bytes())["enrollment_ids"]) == READ
    assert "3 enrollments" in (commands / "summary").read_text(encoding="utf-8")
    assert len(json.loads((workspace / "records.json").read_text(encoding="utf-8"))) == 3


def test_isolation__of_the_working_directory(run_image: RunImage, tmp_path: Path) -> None:
    """A module that lies in the working directory, or that a variable names, is not imported."""
    tmp_path.chmod(0o755)
    for name in ("json.py", "connector.py", "sitecustomize.py"):
        (tmp_path / name).write_text("raise SystemExit(99)\n", encoding="utf-8")

    finished = run_image(
        variables={**DOCUMENTED, "PYTHONPATH": "/work", "PYTHONSTARTUP": "/work/json.py"},
        options=(f"--volume={tmp_path}:/work:ro",),
    )

    assert (finished.exit_code, finished.stderr) == (0, "")
