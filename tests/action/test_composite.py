"""The action is what the schemas say, and its one step runs in bash as on a runner: with nothing but what action.yml maps."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from connector.sandbox import ACCESS_TOKEN
from connector.sandbox.learners import enrollments_of
from connector.schemas import load_schema
from scripts.tables import updated_action
from tests.action.conftest import ACTION, STEP, TEXT, Finished, Job, fake_command, fake_pip
from tests.action.runner import Command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from connector.sandbox.server import SandboxServer

INPUTS = load_schema("inputs")
CREDENTIALS = INPUTS["$defs"]["credentials"]["properties"]
OUTPUTS = load_schema("outputs")
SANDBOX = {"base-url": "sandbox", "user-id": "20941371"}
IDS = [
    "course:6511020_7037048_20941371",
    "course:7236650_7877507_20941371",
    "course:7236827_7877699_20941371",
]
NO_PYTHON = "This runner has no Python 3.11 or newer."
PUT_PYTHON = (
    "Nothing was sent. Put actions/setup-python before this step, with python-version 3.13."
)


def error_of(finished: Finished) -> dict[str, Any]:
    """Return the output ``error``, judged by its schema."""
    error: dict[str, Any] = json.loads(finished.outputs["error"])
    jsonschema.Draft202012Validator({"$ref": "#/$defs/error", "$defs": OUTPUTS["$defs"]}).validate(
        error
    )
    return error


def test_action__is_what_the_schemas_say() -> None:
    """Inputs, defaults, outputs and descriptions are those that the schemas give (`make docs` writes them)."""
    assert updated_action(TEXT) == TEXT


def test_action__has_every_input_once() -> None:
    """Every input and credential is an input, is handed on as its variable, and nothing else is; none is required by GitHub's word."""
    names = [*INPUTS["properties"], *CREDENTIALS]

    assert list(ACTION["inputs"]) == [name.replace("_", "-") for name in names]
    assert STEP["env"] == {
        f"ALM_{name.upper()}": f"${{{{ inputs.{name.replace('_', '-')} }}}}" for name in names
    }
    assert [TEXT.count(f"${{{{ inputs.{name} }}}}") for name in ACTION["inputs"]] == [1] * len(
        names
    )
    assert {key for rule in ACTION["inputs"].values() for key in rule} == {"description", "default"}


def test_action__has_every_output() -> None:
    """Every field of the document is an output, but for the enrollments, which no variable could hold."""
    names = [name for name in OUTPUTS["properties"] if name != "enrollments"]

    assert {name: rule["value"] for name, rule in ACTION["outputs"].items()} == {
        name: f"${{{{ steps.run.outputs.{name} }}}}" for name in names
    }


def test_action__is_one_step_of_its_own() -> None:
    """The action is one step in bash that uses no other action, pastes no value into its script, and has a face in the marketplace."""
    assert (ACTION["runs"]["using"], STEP["id"], STEP["shell"]) == ("composite", "run", "bash")
    assert set(STEP) == {"id", "shell", "env", "run"}
    assert "${{" not in STEP["run"]
    assert ACTION["branding"] == {"icon": "download-cloud", "color": "red"}


def test_step__hands_on_every_field(job: Job, start_sandbox: Callable[..., SandboxServer]) -> None:
    """What a server has becomes the outputs, each a field of the document; strings as they are, null as nothing, all else JSON."""
    server = start_sandbox()
    finished = job.run(
        {"base-url": server.url, "access-token": ACCESS_TOKEN, "user-id": "31", "lo-types": "all"}
    )

    document = json.loads(finished.stdout)
    of_document = {name: value for name, value in document.items() if name != "enrollments"}
    plain = {
        name: value or "" for name, value in of_document.items() if isinstance(value, str | None)
    }
    assert (finished.exit_code, finished.stderr) == (0, f"::add-mask::{ACCESS_TOKEN}\n")
    assert document["enrollment_ids"] == [one["id"] for one in enrollments_of("31")]
    assert finished.outputs.keys() == of_document.keys()
    assert {
        name: plain.get(name) or json.loads(value or "null")
        for name, value in finished.outputs.items()
    } == of_document
    assert server.requests[0]["headers"]["authorization"] == "oauth <ACCESS_TOKEN>"


def test_step__without_a_server(job: Job) -> None:
    """The embedded sandbox needs neither network nor credentials, and the step's summary shows what it has."""
    finished = job.run(SANDBOX)

    assert (finished.exit_code, finished.stderr) == (0, "")
    assert json.loads(finished.outputs["enrollment_ids"]) == IDS
    assert finished.summary.startswith("### Enrollments from Adobe Learning Manager\n")


def test_step__unknown_user(job: Job) -> None:
    """A user whom ALM does not know ends the step with 67, one annotation, and outputs that say so."""
    finished = job.run({**SANDBOX, "user-id": "4041"})

    assert finished.exit_code == 67
    (annotation,) = [command for command in finished.commands if command.name == "error"]
    assert annotation.properties == {"title": "alm-enrollments: exit code 67"}
    assert annotation.data == (
        'ALM knows no user 4041 (404: "NOT_FOUND: no user 4041").\n'
        "What to do: Check the id, and that base_url is the region of this account.\nRequest id: sandbox-1"
    )
    assert error_of(finished)["code"] == 67
    assert (finished.outputs["complete"], finished.outputs["enrollment_ids"]) == ("false", "[]")


def test_step__tells_every_problem_at_once(job: Job) -> None:
    """Whatever is wrong with the inputs is told in one go, and nothing was sent."""
    finished = job.run({"user-id": "me", "sort": "date", "page-limit": "99", "resume": "perhaps"})

    assert finished.exit_code == 64
    assert error_of(finished)["message"] == (
        '5 inputs are not valid: user_id is "me" (allowed: ALM user ids, decimal digits each);'
        ' sort is "date" (allowed: dateEnrolled, -dateEnrolled);'
        ' page_limit is 99 (allowed: a whole number from 1 to 10); resume is "perhaps" (allowed: true or false);'
        " ALM_ACCESS_TOKEN is missing (allowed: it, or ALM_CLIENT_ID, ALM_CLIENT_SECRET, ALM_REFRESH_TOKEN together)."
    )
    assert json.loads(finished.outputs["completeness"])["requests"] == 0


HOSTILE = (
    "$(touch pwned)`touch pwned`'; touch pwned #" + '"; touch pwned # ${{ github.token }} \\ $HOME'
)


def test_step__hostile_inputs(job: Job) -> None:
    """Whatever stands in an input is a value: neither bash nor the runner obeys any of it, there or where it is quoted."""
    inputs = {
        "state": f"x\ntouch pwned\n{HOSTILE}",
        "include": "x\n::error::pwned",
        "user-ids-file": HOSTILE,
        "user-id": "##[error]pwned",
    }

    finished = job.run({**SANDBOX, **inputs})

    assert finished.exit_code == 64
    assert error_of(finished)["message"].startswith("4 inputs are not valid: ")
    assert [command.name for command in finished.commands] == ["group", "endgroup", "error"]
    assert [*job.workspace.iterdir()] == []


def test_step__what_lies_in_the_workspace(new_job: Job) -> None:
    """Nothing of the workspace is imported or read, at the first use of a job either, whatever Python's own variables say."""
    trap = f"open({str(new_job.root / 'pwned')!r}, 'a').write(__name__)\nraise RuntimeError\n"
    for module in (
        "json",
        "requests",
        "sitecustomize",
        "usercustomize",
        "pip/__init__",
        "pip/__main__",
        "connector/__init__",
    ):
        fake_command(new_job.workspace / f"{module}.py", "")
        (new_job.workspace / f"{module}.py").write_text(trap, encoding="utf-8")
    (new_job.workspace / ".env").write_text("ALM_STATE=pwned\n", encoding="utf-8")
    here = str(new_job.workspace)

    finished = new_job.run(
        SANDBOX, PYTHONPATH=here, PYTHONHOME=here, PYTHONSTARTUP=f"{here}/json.py"
    )

    assert not (new_job.root / "pwned").exists()
    assert (finished.exit_code, finished.stderr) == (0, "")


def test_step__goes_before_what_python_has(job: Job) -> None:
    """The lock's packages and the action's own code are used, whichever of the name the runner's Python has."""
    own = fake_pip(job.root / "python", "")
    for module in ("requests", "connector"):
        trap = next((job.root / "python").rglob("site-packages")) / f"{module}.py"
        trap.write_text("raise RuntimeError\n", encoding="utf-8")

    finished = job.run(SANDBOX, PATH=str(own))

    assert (finished.exit_code, finished.stderr) == (0, "")


def test_step__leaves_the_users_python_alone(new_job: Job, python: Path) -> None:
    """The packages go into a folder of the job's own; the Python that installs them stays without them, and so does its user."""
    before = [*python.parent.rglob("site-packages/*"), *new_job.root.glob("home/**/*")]

    finished = new_job.run(SANDBOX)

    assert finished.exit_code == 0
    assert [*python.parent.rglob("site-packages/*"), *new_job.root.glob("home/**/*")] == before
    assert len([*(new_job.root / "temp").iterdir()]) == 1


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_step__is_cancelled(
    number: signal.Signals, exit_code: int, job: Job, start_sandbox: Callable[..., SandboxServer]
) -> None:
    """A signal to the process that the runner started reaches the command, which ends within two seconds and says so."""
    server = start_sandbox("*:stall-headersx*")
    process = job.start({"base-url": server.url, "access-token": ACCESS_TOKEN, "user-id": "31"})
    while not server.requests:
        time.sleep(0.05)

    process.send_signal(number)
    began = time.monotonic()
    stdout, _ = process.communicate(timeout=20)

    assert time.monotonic() - began < 2
    assert process.returncode == exit_code
    assert json.loads(stdout)["error"]["code"] == exit_code


def test_step__is_cancelled_while_it_installs(new_job: Job) -> None:
    """A signal that comes before the command began ends the step as any process, without a traceback."""
    slow = fake_pip(
        new_job.root / "slow",
        "import os, time\nopen(os.environ['STARTED'], 'w').close()\ntime.sleep(5)\n",
    )
    process = new_job.start(SANDBOX, PATH=str(slow), STARTED=str(new_job.root / "started"))
    while not (new_job.root / "started").exists():
        time.sleep(0.05)

    process.send_signal(signal.SIGINT)
    process.wait(timeout=2)
    os.killpg(process.pid, signal.SIGKILL)

    assert process.communicate() == ("", "")
    assert process.returncode == -signal.SIGINT


def test_step__killed_installation(new_job: Job) -> None:
    """An installation that was killed leaves nothing that the next use takes for whole."""
    process = new_job.start(SANDBOX)
    while not [*(new_job.root / "temp").iterdir()]:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

    finished = new_job.run(SANDBOX)

    assert (finished.exit_code, finished.stderr) == (0, "")


def test_step__read_only_tools(new_job: Job, used: Path) -> None:
    """A runner whose tools are read-only fetches the wheels into the job's own folder."""
    (made,) = (used / "tools" / "alm-enrollments").iterdir()
    kept = new_job.root / "tools" / "alm-enrollments" / made.name
    kept.mkdir(parents=True)
    kept.chmod(0o555)
    as_anybody = () if os.geteuid() else ("setpriv", "--bounding-set", "-dac_override")

    finished = new_job.run(SANDBOX, prefix=as_anybody)

    assert (finished.exit_code, finished.stderr) == (0, "")
    assert [*kept.iterdir()] == []


def test_step__full_disk(new_job: Job) -> None:
    """Packages that the disk does not take end the step with 69 and one line that says why; the outputs say so too."""
    finished = new_job.run(SANDBOX, prefix=("prlimit", "--fsize=100000"))

    assert (finished.exit_code, finished.stdout) == (69, "")
    assert len(finished.stderr.splitlines()) == 2
    assert error_of(finished)["message"] == (
        "The action's packages cannot be installed: pip itself failed with OSError: [Errno 27] File too large."
    )
    assert finished.outputs["complete"] == "false"


def test_step__outputs_that_cannot_be_written(new_job: Job) -> None:
    """Where not even the outputs can be written, the step tells that too, after why it failed, with the same exit code."""
    without_pip = fake_pip(new_job.root / "python", "")

    finished = new_job.run(SANDBOX, PATH=str(without_pip), GITHUB_OUTPUT="/dev/full")

    told, unwritten, _ = finished.stderr.splitlines()
    assert finished.exit_code == 69
    assert told.startswith("alm-enrollments: error: The action's packages cannot be installed: ")
    assert (
        unwritten
        == "alm-enrollments: error: GITHUB_OUTPUT cannot be written: No space left on device."
    )
    assert [command.name for command in finished.commands] == ["error"]


def old_python(folder: Path) -> str:
    """Make a ``python3`` in *folder* that says that it is 3.10, and return the folder."""
    code = "import sys; sys.version_info = (3, 10, 13);"
    fake_command(
        folder / "python3",
        f'[ "$2" != -c ] || exec {sys.executable} -I -c "{code} $3"\nexec {sys.executable} "$@"',
    )
    return str(folder)


@pytest.mark.parametrize("is_old", [True, False], ids=["too old", "none"])
def test_step__no_python(is_old: bool, job: Job) -> None:  # noqa: FBT001 - a parameter of the test
    """A runner whose Python is too old, or has none, ends the step with 69, one annotation, and outputs that say what to do."""
    finished = job.run(SANDBOX, PATH=old_python(job.root / "bin") if is_old else str(job.workspace))

    assert (finished.exit_code, finished.stdout) == (69, "")
    assert finished.stderr.splitlines()[0] == f"alm-enrollments: error: {NO_PYTHON} {PUT_PYTHON}"
    assert finished.commands == [
        Command(
            "error",
            f"{NO_PYTHON}\nWhat to do: {PUT_PYTHON}",
            {"title": "alm-enrollments: exit code 69"},
        )
    ]
    assert error_of(finished) == {
        "code": 69,
        "message": NO_PYTHON,
        "hint": PUT_PYTHON,
        "http_status": None,
        "request_id": None,
        "retry_at": None,
    }
    assert finished.outputs == {"complete": "false", "error": finished.outputs["error"]}


@pytest.mark.parametrize(
    "place",
    ["bin/python", "tools/Python/3.13.1/x64/bin/python3", "tools/Python/3.12.9/x64/python.exe"],
)
def test_step__finds_python(place: str, job: Job, python: Path) -> None:
    """Python is found under its other name, and among the runner's tools, where the first one found is too old."""
    fake_command(job.root / place, f'exec {python}/python3 "$@"')

    finished = job.run(SANDBOX, PATH=old_python(job.root / "bin"))

    assert (finished.exit_code, finished.stderr) == (0, "")
