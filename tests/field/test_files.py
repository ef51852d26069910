"""Files that are written: mounts, links, modes, and names of what the run needs itself."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.field.conftest import WITH_MOUNTS, needs_mounts
from tests.support.sandbox import DOCUMENTED_USER, reaching

if TYPE_CHECKING:
    from connector.sandbox.server import SandboxServer
    from tests.support.process import Command
    from tests.support.sandbox import StartSandbox

IN_SANDBOX = {"ALM_BASE_URL": "sandbox"}
OWN_FILE = (
    "(allowed: a file that nothing else uses; FILE.part and FILE.users next to an output file"
    " belong to it)"
)
MOUNTED = "is mounted as a single file, which cannot be replaced; mount its folder instead"


MOUNT_FILE = (
    'mount -t tmpfs tmpfs /mnt && touch /mnt/file && file=\'{}\' && mkdir -p "$(dirname "$file")"'
    ' && touch "$file" && mount --bind /mnt/file "$file"'
)


@needs_mounts
@pytest.mark.parametrize(
    ("line", "file", "message"),
    [
        (
            "--output-file out.csv --format csv",
            "out.csv",
            f"The output file out.csv cannot be written: out.csv {MOUNTED}.",
        ),
        (
            "--output-file '/mnt/x y/o u t' --format csv --resume",
            "/mnt/x y/o u t",
            f"The output file /mnt/x y/o u t cannot be written: o u t {MOUNTED}.",
        ),
        (
            "--output-file out.csv --format csv",
            "out.csv.users",
            f"The output file out.csv cannot be written: out.csv.users {MOUNTED}.",
        ),
        (
            "--dotenv report",
            "report",
            f"The dotenv report cannot be written: report {MOUNTED} (report).",
        ),
        (
            "--output-dir out",
            "out/complete",
            f"The output folder cannot be written: complete {MOUNTED} (out/complete).",
        ),
    ],
)
def test_mounted_file(
    line: str, file: str, message: str, command: Command, sandbox: SandboxServer
) -> None:
    """A file that is mounted by itself is refused before the first request, with the way out."""
    script = f"{MOUNT_FILE.format(file)} && alm-enrollments {line}"
    variables = reaching(sandbox, ALM_USER_ID=DOCUMENTED_USER)
    finished = command.shell(script, prefix=WITH_MOUNTS, **variables)

    assert (finished.exit_code, finished.error["message"]) == (73, message)
    assert sandbox.requests == []


@needs_mounts
def test_mounted_file__of_changes(command: Command) -> None:
    """The file of a difference is refused before anything is compared, with the way out."""
    diff = "alm-enrollments diff no old --output-file changes.csv"

    finished = command.shell(f"{MOUNT_FILE.format('changes.csv')} && {diff}", prefix=WITH_MOUNTS)

    error = f"The output file changes.csv cannot be written: changes.csv {MOUNTED}."
    message = f"alm-enrollments: error: {error} Nothing was written. Fix this and run again.\n"
    assert (finished.exit_code, finished.stderr) == (73, message)


@needs_mounts
def test_mounted_file__of_xcom(command: Command) -> None:
    """A mounted ``return.json`` is refused before the first request."""
    code = (
        "from pathlib import Path; from connector.channels import *;"
        " prepare(find_channels(ChannelContext({}, print, root=Path('/mnt'))))"
    )
    script = f'{MOUNT_FILE.format("/mnt/airflow/xcom/return.json")} && {sys.executable} -c "{code}"'

    finished = command.shell(script, prefix=WITH_MOUNTS)

    message = f"Airflow's XCom cannot be written: return.json {MOUNTED} (/mnt/airflow/xcom/"
    assert message in finished.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("line", "output", "other"),
    [
        ("--user-ids-file l --output-file l --format csv", "output_file", "user_ids_file"),
        ("--user-ids-file l --output-file link.csv", "output_file", "user_ids_file"),
        ("--user-ids-file l --output-file hard.csv", "output_file", "user_ids_file"),
        ("--user-ids-file new --output-file ./new --format csv", "output_file", "user_ids_file"),
        (
            "--user-ids-file new.users --output-file new --format csv",
            "output_file",
            "user_ids_file",
        ),
        ("--user-ids-file new.part --output-file new --format csv", "output_file", "user_ids_file"),
        ("--user-id 1 --env-file l --output-file l --format csv", "output_file", "env_file"),
        ("--user-ids-file l --dotenv l", "--dotenv", "user_ids_file"),
        ("--user-id 1 --env-file l --dotenv l", "--dotenv", "env_file"),
        ("--user-id 1 --output-file x.csv --dotenv ./x.csv", "--dotenv", "output_file"),
        ("--user-id 1 --output-file x.csv --dotenv x.csv.users", "--dotenv", "output_file"),
        ("--user-id 1 --output-dir d --dotenv d/error", "--dotenv", "--output-dir"),
        (
            "--user-id 1 --output-dir d --output-file d/error --format csv",
            "--output-dir",
            "output_file",
        ),
        ("--user-ids-file users --output-dir .", "--output-dir", "user_ids_file"),
        ("--user-id 1 --output-file github --format csv", "output_file", "GITHUB_OUTPUT"),
        ("--user-id 1 --dotenv github", "--dotenv", "GITHUB_OUTPUT"),
    ],
)
def test_shared_file(line: str, output: str, other: str, command: Command) -> None:
    """No output is an input or another output, whatever its names are; nothing is touched."""
    for name in ("l", "github", "users"):
        (command.folder / name).write_text(f"ALM_STATE=\n{DOCUMENTED_USER}\n")
    (command.folder / "link.csv").symlink_to("l")
    (command.folder / "hard.csv").hardlink_to(command.folder / "l")
    before = command.files()

    finished = command(line, **IN_SANDBOX, GITHUB_OUTPUT=str(command.folder / "github"))

    name = output.replace("output_file", "output-file")
    assert f"{name} is also the file of {other} {OWN_FILE}" in finished.error["message"]
    after = command.files()
    assert (finished.exit_code, after | before) == (64, after | {"github": before["github"]})


@pytest.mark.parametrize(
    ("line", "output", "other"),
    [
        ("--user-ids-file - --output-file l --format csv < l", "output_file", "standard input"),
        ("--user-id 1 --output-file l --format csv > l", "output_file", "standard output"),
        ("--user-id 1 --dotenv l > l", "--dotenv", "standard output"),
        ("--user-id 1 --output-file l --format csv 2> l", "output_file", "standard error"),
    ],
)
def test_shared_file__redirected(line: str, output: str, other: str, command: Command) -> None:
    """A redirected stream is a file of the run, too."""
    (command.folder / "l").write_text(DOCUMENTED_USER)

    finished = command.shell(f"alm-enrollments {line}; code=$?; cat l; exit $code", **IN_SANDBOX)

    assert finished.exit_code == 64
    name = output.replace("output_file", "--output-file")
    assert f"{name} is also the file of {other} {OWN_FILE}" in finished.stdout + finished.stderr


def test_shared_file__similar_names(command: Command) -> None:
    """Files of their own are written, however much their names are alike."""
    (command.folder / "list").write_text(DOCUMENTED_USER)
    line = "--user-ids-file list --output-file list.csv --dotenv dotenv --output-dir ."

    finished = command.shell(f"alm-enrollments {line} < list", **IN_SANDBOX)

    assert (finished.exit_code, (command.folder / "list").read_text()) == (0, DOCUMENTED_USER)


@pytest.mark.parametrize("user", [DOCUMENTED_USER, "no id"])
@pytest.mark.parametrize("line", ["--dotenv pipe", "--output-dir .", "--output-file pipe"])
def test_device__is_never_replaced(line: str, user: str, command: Command) -> None:
    """What is no regular file stays, whether the run was prepared or its inputs are invalid."""
    names = ("pipe", "complete")
    for name in names:
        os.mkfifo(command.folder / name)

    finished = command(f"{line} --user-id '{user}' --format csv", **IN_SANDBOX)

    assert finished.exit_code == (64 if user == "no id" else 73)
    assert all((command.folder / name).is_fifo() for name in names)


@pytest.mark.parametrize("name", ["out.ndjson", "out.parquet", "out.csv.gz"])
@pytest.mark.parametrize("target", ["elsewhere/kept", "elsewhere/new"])
def test_link__is_followed(name: str, target: str, command: Command) -> None:
    """Of an output file that is a link, the target is written, and the journal next to that."""
    (command.folder / "elsewhere").mkdir()
    (command.folder / "elsewhere/kept").touch()
    (command.folder / "link").symlink_to(target)
    (command.folder / name).symlink_to("link")
    line = f"--format {name.split('.')[1]} --output-file {name}"

    first = command(f"{line} --user-id {DOCUMENTED_USER}", **IN_SANDBOX)
    second = command(f"{line} --resume --user-id {DOCUMENTED_USER},4041", **IN_SANDBOX)

    assert (first.exit_code, first.document["output_file"]) == (0, name)
    assert (second.exit_code, second.document["enrollment_count"]) == (65, 3)
    assert (command.folder / name).is_symlink()
    assert (command.folder / "link").is_symlink()
    others = {f"elsewhere/{path.name}" for path in (command.folder / "elsewhere").iterdir()}
    assert others - {"elsewhere/kept"} == {target, f"{target}.users"} - {"elsewhere/kept"}
    assert (command.folder / target).stat().st_size > 0


@pytest.mark.parametrize(
    "line", ["--output-file out.ndjson", "--output-file out.parquet", "--dotenv out"]
)
@pytest.mark.parametrize(
    ("umask", "before", "after"),
    [
        ("022", None, "644"),
        ("002", None, "664"),
        ("077", None, "600"),
        ("022", "600", "600"),
        ("022", "664", "664"),
        ("077", "640", "640"),
        ("022", "444", "444"),
    ],
)
def test_mode__is_kept(
    umask: str, before: str | None, after: str, line: str, command: Command
) -> None:
    """A replaced file keeps its mode; a new one has that of the umask."""
    file = command.folder / line.rsplit(maxsplit=1)[-1]
    if before:
        file.touch()
        file.chmod(int(before, 8))
    kind = f"--format {file.suffix[1:]}" if file.suffix else ""

    previous = os.umask(int(umask, 8))
    try:
        finished = command(f"--user-id {DOCUMENTED_USER} {line} {kind}", **IN_SANDBOX)
    finally:
        os.umask(previous)

    assert (finished.exit_code, f"{file.stat().st_mode & 0o7777:o}") == (0, after)


def test_mode__while_it_grows(command: Command, start_sandbox: StartSandbox) -> None:
    """What grows next to a private file is as private, after a resumed start, too."""
    (command.folder / "out.csv").touch(mode=0o600)
    server = start_sandbox("page=2:429/60x*")
    variables = reaching(server, ALM_LO_TYPES="all")
    line = "--format csv --output-file out.csv --deadline 5 --concurrency 1"

    for resume in ("", "--resume"):
        finished = command(f"{line} {resume} --user-id {DOCUMENTED_USER},31", **variables)

        assert finished.exit_code == 75
        for name in ("out.csv.part", "out.csv.users"):
            assert (command.folder / name).stat().st_mode & 0o777 == 0o600
