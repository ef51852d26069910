"""The action matches the schemas, and its step runs in bash as on a runner."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from connector.sandbox import ACCESS_TOKEN
from connector.schemas import load_schema
from scripts.tables import updated_action
from tests.action.conftest import ACTION, STEP, TEXT, fake_command, fake_pip
from tests.action.runner import Command
from tests.support.process import PATIENCE_SECONDS, valid_document, wait_until
from tests.support.sandbox import DOCUMENTED_IDS, DOCUMENTED_USER, NOTE, ids_of

if TYPE_CHECKING:
    import subprocess

    from connector.sandbox.server import SandboxServer
    from tests.action.conftest import Finished, Job
    from tests.support.sandbox import StartSandbox

IN_GROUP = f"::group::alm-enrollments: messages\n{NOTE}::endgroup::\n"

INPUTS = load_schema("inputs")
OUTPUTS = load_schema("outputs")
FIELDS = [*(name for name in OUTPUTS["properties"] if name != "enrollments"), "document_file"]
SANDBOX = {"base-url": "sandbox", "user-id": DOCUMENTED_USER}
# Two seconds are promised; a busy machine gets five times as many.
MAX_SECONDS = 10.0
NO_PYTHON = "This runner has no Python 3.11 or newer."
PUT_PYTHON = (
    "Nothing was sent. Put actions/setup-python before this step, with python-version 3.13;"
    " or install one, such as python3.12, on the runner or in its container."
)


def error_of(finished: Finished) -> dict[str, Any]:
    """Return the output ``error``, validated by its schema."""
    error: dict[str, Any] = json.loads(finished.outputs["error"])
    schema = {"$ref": "#/$defs/error", "$defs": OUTPUTS["$defs"]}
    jsonschema.Draft202012Validator(schema).validate(error)
    return error


def test_action__matches_the_schemas() -> None:
    """Inputs, defaults, outputs and descriptions are those of the schemas (`make docs`)."""
    schemas = (INPUTS, INPUTS["$defs"]["credentials"])
    names = ["command", "files", *(name for schema in schemas for name in schema["properties"])]
    inputs = {name: name.replace("_", "-") for name in names}

    assert updated_action(TEXT) == TEXT
    assert list(ACTION["inputs"]) == list(inputs.values())
    variables = {f"ALM_{name.upper()}": f"${{{{ inputs.{inputs[name]} }}}}" for name in names}
    assert STEP["env"] == variables
    fields = dict.fromkeys([*FIELDS, *load_schema("diff")["properties"]])
    values = {name: f"${{{{ steps.run.outputs.{name} }}}}" for name in fields}
    assert {name: rule["value"] for name, rule in ACTION["outputs"].items()} == values
    # GitHub does not enforce `required`.
    keys = {key for rule in ACTION["inputs"].values() for key in rule}
    assert keys == {"description", "default"}


def test_action__is_one_step_without_other_actions() -> None:
    """The action is one step in bash that uses no other action, and pastes no value into it."""
    assert (ACTION["runs"]["using"], STEP["id"], STEP["shell"]) == ("composite", "run", "bash")
    assert set(STEP) == {"id", "shell", "env", "run"}
    assert "${{" not in STEP["run"]
    assert ACTION["branding"] == {"icon": "download-cloud", "color": "red"}


def test_step__returns_every_field(job: Job, sandbox: SandboxServer) -> None:
    """Every field is an output: strings as they are, null as nothing, everything else as JSON."""
    account = {"base-url": sandbox.url, "access-token": ACCESS_TOKEN}

    finished = job.run({**account, "user-id": "31", "lo-types": "all"})

    document = finished.document
    assert (finished.exit_code, finished.stderr) == (0, f"::add-mask::{ACCESS_TOKEN}\n")
    assert document["enrollment_ids"] == ids_of(["31"])
    assert list(finished.outputs) == FIELDS
    for name, output in list(finished.outputs.items())[:-1]:
        is_text = isinstance(document[name], str)
        assert document[name] == (output if is_text else json.loads(output or "null"))
    assert sandbox.requests[0]["headers"]["authorization"] == "oauth <ACCESS_TOKEN>"


def test_step__keeps_the_document_out_of_the_log(job: Job) -> None:
    """The document is in a file of the job that only its user may read: the log may be public."""
    finished = job.run({**SANDBOX, "names": "true", "user-id": "31"})

    path = Path(finished.outputs["document_file"])
    assert (finished.exit_code, finished.stdout, finished.stderr) == (0, "", IN_GROUP)
    assert (path.parent, path.stat().st_mode & 0o777) == (job.temp, 0o600)
    assert finished.document["enrollments"][0]["user_email"] == "user31@example.com"
    assert "user31" not in finished.summary + str(finished.outputs).replace(str(path), "")


@pytest.mark.parametrize("names", ["true", "false"])
def test_step__shows_names_only_if_asked(names: str, job: Job) -> None:
    """The summary, which everybody who reads the run sees, has names only with the input names."""
    finished = job.run({**SANDBOX, "names": names, "include": "learner,learningObject"})

    record = finished.document["enrollments"][0]
    assert (record["user_name"] in finished.summary) == (names == "true")


def test_step__writes_records_to_the_file_too(job: Job) -> None:
    """Records that the command would print are in the file, too, and not in the log."""
    finished = job.run({**SANDBOX, "format": "csv", "columns": "id"})

    assert (finished.exit_code, finished.stdout) == (0, "")
    text = Path(finished.outputs["document_file"]).read_text(encoding="utf-8")
    assert text.splitlines() == ["id", *DOCUMENTED_IDS]


def test_step__needs_no_account_for_the_sandbox(job: Job) -> None:
    """The embedded sandbox needs neither network nor credentials; the summary shows its content."""
    finished = job.run(SANDBOX)

    assert (finished.exit_code, finished.stderr) == (0, IN_GROUP)
    assert json.loads(finished.outputs["enrollment_ids"]) == DOCUMENTED_IDS
    assert finished.summary.startswith("### Enrollments from Adobe Learning Manager\n")


def test_step__reports_an_unknown_user(job: Job) -> None:
    """An unknown user ends the step with 67, one annotation, and outputs that say so."""
    finished = job.run({**SANDBOX, "user-id": "4041"})

    (annotation,) = [command for command in finished.commands if command.name == "error"]
    assert (finished.exit_code, error_of(finished)["code"]) == (67, 67)
    assert annotation.properties == {"title": "alm-enrollments: exit code 67"}
    assert annotation.data == (
        'ALM has no user 4041 (404: "NOT_FOUND: no user 4041").\n'
        "What to do: Check the id, and that `base-url` is the region of this account.\n"
        "Request id: mock-1"
    )
    assert (finished.outputs["complete"], finished.outputs["enrollment_ids"]) == ("false", "[]")


def test_step__reports_every_invalid_input_at_once(job: Job) -> None:
    """Every invalid input is reported at once, and nothing is sent."""
    finished = job.run({"user-id": "me", "sort": "date", "page-limit": "99", "resume": "perhaps"})

    assert finished.exit_code == 64
    assert error_of(finished)["message"] == (
        '5 inputs are not valid: user-id is "me" (allowed: ALM user ids, decimal digits each);'
        ' sort is "date" (allowed: dateEnrolled, -dateEnrolled);'
        " page-limit is 99 (allowed: a whole number from 1 to 10);"
        ' resume is "perhaps" (allowed: true or false); access-token is missing.'
    )
    assert json.loads(finished.outputs["completeness"])["requests"] == 0


def test_step__list_that_was_not_checked_out(job: Job) -> None:
    """The hint of a list that does not exist names the step that is probably missing."""
    error = error_of(job.run({"user-ids-file": "learners.csv", "base-url": "sandbox"}))

    assert error["message"] == (
        '1 input is not valid: user-ids-file is "learners.csv", which cannot be read:'
        " No such file or directory (allowed: a readable file)."
    )
    assert error["hint"].endswith("run actions/checkout before this step.")


def test_step__merges_and_compares(job: Job) -> None:
    """The action runs every command; files come from its inputs, one path per line."""
    files = {}
    for day, name in (("1", "-old.ndjson"), ("2", "new file.ndjson")):
        for shard in ("1/2", "2/2"):
            files[shard] = f"{day}{shard[0]}.ndjson"
            inputs = {"user-id": "1,2,3,4,5,6", "lo-types": "all", "format": "ndjson"}
            output = {"shard": shard, "output-file": files[shard]}
            job.run({**SANDBOX, **inputs, **output}, ALM_SANDBOX_DAY=day)
        listed = {"files": "\n".join([*files.values(), "", ""]), "output-file": name}
        assert job.run({"command": "merge", **listed}).exit_code == 0

    listed = {"files": " -old.ndjson\n\n new file.ndjson \n", "output-file": "changes.csv"}
    finished = job.run({"command": "diff", **listed})

    ids = json.loads(finished.outputs["completed_ids"])
    completed = [
        "certification:7739920_55700011_4",
        "course:2802581_70500032_6",
    ]
    assert (finished.exit_code, sorted(ids)) == (0, completed)
    assert finished.outputs["output_file"] == "changes.csv"
    assert (job.workspace / "changes.csv").read_text().startswith("change,user_id,id,")
    assert finished.summary.count("### What changed in Adobe Learning Manager\n") == 1


def test_step__checks_the_token(job: Job) -> None:
    """The command check reports what works, and has no outputs."""
    finished = job.run({**SANDBOX, "command": "check"})

    assert (finished.exit_code, finished.outputs) == (0, {})
    assert "inputs     valid: 1 user; course" in finished.stdout


@pytest.mark.parametrize(
    ("inputs", "problems"),
    [
        (
            {"command": "dif"},
            'command is "dif" (allowed: fetch, check, merge, diff; did you mean diff?)',
        ),
        (
            {"files": "a.ndjson"},
            "files is set for fetch (allowed: only for merge and diff)",
        ),
        ({"command": "merge", "files": "a"}, "output-file is missing (allowed: the file to write)"),
    ],
)
def test_step__refuses_commands(inputs: dict[str, str], problems: str, job: Job) -> None:
    """An unknown command, or files for a command that takes none, is refused."""
    finished = job.run(inputs)

    message = f"1 input is not valid: {problems}."
    assert (finished.exit_code, error_of(finished)["message"]) == (64, message)
    assert [command.name for command in finished.commands] == ["error"]


HOSTILE = (
    "$(touch pwned)`touch pwned`'; touch pwned #" + '"; touch pwned # ${{ github.token }} \\ $HOME'
)


def test_step__treats_inputs_as_values(job: Job) -> None:
    """Neither bash nor the runner obeys the text of an input, even if a message quotes it."""
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
    assert list(job.workspace.iterdir()) == []


TRAPS = ("json", "requests", "sitecustomize", "usercustomize", "pip/__main__", "connector/__init__")


def test_step__imports_nothing_from_the_workspace(new_job: Job) -> None:
    """No file of the workspace is imported or read, even at a job's first use of the action."""
    trap = f"open({str(new_job.root / 'pwned')!r}, 'a').write(__name__)\nraise RuntimeError\n"
    for module in TRAPS:
        path = new_job.workspace / f"{module}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(trap, encoding="utf-8")
    (new_job.workspace / ".env").write_text("ALM_STATE=pwned\n", encoding="utf-8")
    here = str(new_job.workspace)
    variables = {"PYTHONPATH": here, "PYTHONHOME": here, "PYTHONSTARTUP": f"{here}/json.py"}

    finished = new_job.run(SANDBOX, **variables)

    assert not (new_job.root / "pwned").exists()
    assert (finished.exit_code, finished.stderr) == (0, IN_GROUP)


def test_step__prefers_its_own_packages(job: Job) -> None:
    """The lock's packages and the action's code have precedence over those of the Python."""
    own = fake_pip(job.root / "python", "")
    site = next((job.root / "python").rglob("site-packages"))
    for module in ("requests", "connector"):
        (site / f"{module}.py").write_text("raise RuntimeError\n", encoding="utf-8")

    finished = job.run(SANDBOX, PATH=str(own))

    assert (finished.exit_code, finished.stderr) == (0, IN_GROUP)


def test_step__changes_nothing_outside_the_jobs_folder(new_job: Job, python: Path) -> None:
    """The first use adds one folder to the job's own files, and none to the Python or the user."""
    before = [*python.parent.rglob("site-packages/*"), *new_job.root.glob("home/**/*")]

    finished = new_job.run(SANDBOX)

    assert finished.exit_code == 0
    assert [*python.parent.rglob("site-packages/*"), *new_job.root.glob("home/**/*")] == before
    # And the file with the document.
    assert len(list(new_job.temp.iterdir())) == 2


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_step__can_be_cancelled(
    number: signal.Signals, exit_code: int, job: Job, start_sandbox: StartSandbox
) -> None:
    """A signal to the process that the runner started ends the command soon, with its exit code."""
    server = start_sandbox("*:stall-headersx*")
    process = job.start({"base-url": server.url, "access-token": ACCESS_TOKEN, "user-id": "31"})
    wait_until(lambda: server.requests)

    process.send_signal(number)
    began = time.monotonic()
    process.communicate(timeout=PATIENCE_SECONDS)

    assert time.monotonic() - began < MAX_SECONDS
    (path,) = job.temp.glob("*.json")
    error = valid_document(path.read_text(encoding="utf-8"))["error"]
    assert (process.returncode, error["code"]) == (exit_code, exit_code)


# Writes a package that is not complete, says so, and never ends.
STUCK_PIP = """
import os, sys, time
if "install" in sys.argv:
    target = sys.argv[sys.argv.index("--target") + 1]
    open(os.path.join(target, "requests.py"), "w").close()
    open(os.environ["STARTED"], "w").close()
    time.sleep(600)
"""


def start_installation(job: Job) -> subprocess.Popen[str]:
    """Start a step whose installation never ends, and return the process."""
    stuck = fake_pip(job.root / "stuck", STUCK_PIP)
    started = job.root / "started"
    process = job.start(SANDBOX, PATH=str(stuck), STARTED=str(started))
    wait_until(started.exists)
    return process


def test_step__can_be_cancelled_while_it_installs(new_job: Job) -> None:
    """A signal before the command starts ends the step like any process, without a traceback."""
    process = start_installation(new_job)

    process.send_signal(signal.SIGINT)
    process.wait(timeout=PATIENCE_SECONDS)
    os.killpg(process.pid, signal.SIGKILL)

    assert process.communicate() == ("", "")
    assert process.returncode == -signal.SIGINT


def test_step__ignores_an_unfinished_installation(new_job: Job) -> None:
    """The next use ignores what an installation left that was killed."""
    process = start_installation(new_job)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

    finished = new_job.run(SANDBOX)

    assert (finished.exit_code, finished.stderr) == (0, IN_GROUP)


def test_step__works_with_read_only_tools(new_job: Job, packages: Path) -> None:
    """A runner whose tools are read-only keeps no wheels, and the step works."""
    kept = new_job.root / "tools/alm-enrollments" / packages.name.removeprefix("alm-enrollments-")
    kept.mkdir(parents=True)
    kept.chmod(0o555)
    unprivileged = () if os.geteuid() else ("setpriv", "--bounding-set", "-dac_override")

    finished = new_job.run(SANDBOX, prefix=unprivileged)

    assert (finished.exit_code, finished.stderr) == (0, IN_GROUP)
    assert list(kept.iterdir()) == []


def old_python(folder: Path) -> str:
    """Create a ``python3`` in *folder* that calls itself 3.10, and return the folder."""
    code = "import sys; sys.version_info = (3, 10, 13);"
    check = f'[ "$2" != -c ] || exec {sys.executable} -I -c "{code} $3" "$4"'
    fake_command(folder / "python3", f'{check}\nexec {sys.executable} "$@"')
    return str(folder)


@pytest.mark.parametrize("is_old", [True, False], ids=["too old", "missing"])
def test_step__needs_python(is_old: bool, job: Job) -> None:  # noqa: FBT001 - a test's parameter
    """Without a recent Python the step ends with 69, and every output says what to do."""
    finished = job.run(SANDBOX, PATH=old_python(job.root / "bin") if is_old else str(job.workspace))

    nothing = dict.fromkeys(("http_status", "request_id", "retry_at"))
    title = {"title": "alm-enrollments: exit code 69"}
    annotation = Command("error", f"{NO_PYTHON}\nWhat to do: {PUT_PYTHON}", title)
    assert (finished.exit_code, finished.stdout) == (69, "")
    assert finished.stderr.splitlines()[0] == f"alm-enrollments: error: {NO_PYTHON} {PUT_PYTHON}"
    assert finished.commands == [annotation]
    error = {"code": 69, "message": NO_PYTHON, "hint": PUT_PYTHON, **nothing}
    assert error_of(finished) == error
    assert finished.outputs == {"complete": "false", "error": finished.outputs["error"]}


@pytest.mark.parametrize(
    "path",
    [
        "bin/python",
        "bin/python3.12",
        "tools/Python/3.13.1/x64/bin/python3",
        "tools/Python/3.12.9/x64/python.exe",
    ],
)
def test_step__finds_another_python(path: str, job: Job, python: Path) -> None:
    """If the first Python is too old, one of another name or of the runner's tools is used."""
    fake_command(job.root / path, f'exec {python}/python3 "$@"')

    finished = job.run(SANDBOX, PATH=old_python(job.root / "bin"))

    assert (finished.exit_code, finished.stderr) == (0, IN_GROUP)
