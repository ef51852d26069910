"""GitHub: outputs, masks, annotations and the summary as its runner reads them."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings

from connector.channels import ChannelContext
from connector.channels.github import DOCUMENT_FILE, GitHub, StepSummary
from connector.errors import TemporaryError, UserNotFoundError, error_as_dict
from connector.text import one_line, to_json
from tests.action.runner import (
    MAX_SUMMARY,
    Command,
    job_outputs,
    parse_outputs,
    read_github,
    read_summary,
)
from tests.unit.channels.examples import (
    OUTPUTS,
    Stderr,
    as_utf_8,
    full_disk,
    hostile,
    run_outputs,
)

TITLE = {"title": "alm-enrollments"}
UNKNOWN = UserNotFoundError("ALM has no user 4041.", hint="Look it up.", request_id="r-1")
JOB_LIMIT = "a job's outputs take at most 1 MB, counted in UTF-16"
LINUX_LIMIT = "an environment variable on Linux holds at most 131,071 bytes, its name included"


def channel(
    folder: Path,
    stderr: Stderr,
    *,
    is_action: bool = False,
    **environ: str,
) -> GitHub:
    """Return the channel with its file for outputs in *folder*."""
    environ = {"GITHUB_OUTPUT": str(folder / "output"), **environ}
    return GitHub(ChannelContext(environ, stderr.write_line, is_action=is_action))


def outputs_in(folder: Path) -> dict[str, str]:
    """Return the outputs that the runner finds in *folder*."""
    return parse_outputs((folder / "output").read_bytes())


def warnings_in(stderr: Stderr) -> list[str]:
    """Return the warnings that the runner shows."""
    return [command.data for command in read_github(stderr.text).named("warning")]


@pytest.mark.parametrize(
    ("environ", "is_available"),
    [({}, False), ({"GITHUB_OUTPUT": ""}, False), ({"GITHUB_OUTPUT": "x"}, True)],
)
def test_is_available__by_variable(
    environ: dict[str, str], *, is_available: bool, stderr: Stderr
) -> None:
    """The channel is available if a file for outputs is named, by GitHub or a compatible runner."""
    assert GitHub.is_available(ChannelContext(environ, stderr.write_line)) is is_available


def test_write__full_text(tmp_path: Path, stderr: Stderr) -> None:
    """Each field except the enrollments is appended, in the form that ends at a random line."""
    channel(tmp_path, stderr).write(run_outputs())

    text = (tmp_path / "output").read_text(encoding="utf-8")
    assert re.sub("alm_[0-9a-f]{32}", "END", text) == "".join(
        f"{name}<<END\n{value}\nEND\n" for name, value in OUTPUTS.items()
    )
    assert len(set(re.findall("<<(.*)", text))) == len(OUTPUTS)
    assert stderr.text == ""


def test_write__the_file_with_the_document(tmp_path: Path, stderr: Stderr) -> None:
    """In the action, one more output names the file that has the document instead of the log."""
    environ: dict[str, Any] = {DOCUMENT_FILE: "/work/x.json"}

    channel(tmp_path, stderr, **environ).write(run_outputs())

    assert outputs_in(tmp_path) == {**OUTPUTS, "document_file": "/work/x.json"}


def test_write__new_delimiters(tmp_path: Path, stderr: Stderr) -> None:
    """A value that contains an earlier run's delimiters stays complete, for each has its own."""
    github = channel(tmp_path, stderr)
    github.write(run_outputs())
    delimiters = re.findall("<<(.*)", (tmp_path / "output").read_text(encoding="utf-8"))
    value = "".join(f"\n{delimiter}\ncomplete=false\n" for delimiter in delimiters)

    github.write(run_outputs(output_file=value))

    assert outputs_in(tmp_path) == {**OUTPUTS, "output_file": value}


@given(hostile, hostile)
@example("2023-01-01\ud80012:00", "\udcff.json")
@settings(max_examples=150)
def test_write__hostile_values(date: str, name: str) -> None:
    """The runner finds the values as they are, and neither file nor stream has another command."""
    stderr = Stderr()
    outputs = run_outputs(
        next_since=date,
        output_file=name,
        enrollment_ids=[date, name],
        completeness={"reasons": [date]},
    )

    with TemporaryDirectory() as folder:
        channel(Path(folder), stderr).write(outputs)
        found = outputs_in(Path(folder))

    assert list(found) == list(OUTPUTS)
    assert json.loads(found["enrollment_ids"]) == [date, name]
    assert found["next_since"] == as_utf_8(date)
    assert found["output_file"] == as_utf_8(name)
    assert stderr.text == ""


@pytest.mark.parametrize(("before", "after"), [("", ""), ("a=b\n", "a=b\n"), ("a=b", "a=b\n")])
def test_write__on_a_line_of_its_own(
    before: str, after: str, tmp_path: Path, stderr: Stderr
) -> None:
    """The file keeps its text, and a last line without an end gets one."""
    (tmp_path / "output").write_text(before, encoding="utf-8")

    channel(tmp_path, stderr).write(run_outputs())

    text = (tmp_path / "output").read_text(encoding="utf-8")
    assert text.startswith(f"{after}source<<alm_")
    assert outputs_in(tmp_path).items() >= OUTPUTS.items()


@pytest.mark.parametrize("size", [3, 4, 203])
def test_write__full_disk(size: int, tmp_path: Path, stderr: Stderr) -> None:
    """A disk that fills up leaves the file as it was: half an output would fail the step."""
    (tmp_path / "output").write_text("a=b", encoding="utf-8")

    with full_disk(size), pytest.raises(OSError, match="File too large"):
        channel(tmp_path, stderr).write(run_outputs())

    assert (tmp_path / "output").read_text(encoding="utf-8") == "a=b"


def test_write__full_device(tmp_path: Path, stderr: Stderr) -> None:
    """If a device can be neither written nor truncated, the error says why it cannot be written."""
    with pytest.raises(OSError, match="No space left on device") as raised:
        channel(tmp_path, stderr, GITHUB_OUTPUT="/dev/full").write(run_outputs())

    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, "/dev/full")


def test_write__pipe(tmp_path: Path, stderr: Stderr) -> None:
    """A pipe that nobody reads is an error, without a wait; its reader gets all outputs."""
    os.mkfifo(tmp_path / "output")
    github = channel(tmp_path, stderr)

    with pytest.raises(OSError, match=os.strerror(errno.ENXIO)):
        github.write(run_outputs())

    reader = os.open(tmp_path / "output", os.O_RDONLY | os.O_NONBLOCK)
    github.prepare()
    github.write(run_outputs())
    assert parse_outputs(os.read(reader, 100_000)) == OUTPUTS


def test_write__missing_folder(tmp_path: Path, stderr: Stderr) -> None:
    """If the file's folder does not exist, the error names the file."""
    with pytest.raises(FileNotFoundError) as raised:
        channel(tmp_path / "missing", stderr).write(run_outputs())

    assert raised.value.filename == str(tmp_path / "missing" / "output")


@pytest.mark.parametrize("excess", [0, 1])
def test_write__job_limit(excess: int, tmp_path: Path, stderr: Stderr) -> None:
    """Outputs of 1 MB in UTF-16 are all kept; over it, the largest is left out."""
    others = {**OUTPUTS, "users": "y" * 200_000}
    date = "x" * (524_288 - len("".join([*others, *others.values()])) + excess)

    channel(tmp_path, stderr, RUNNER_OS="macOS").write(
        run_outputs(next_since=date, users=others["users"])
    )

    outputs = outputs_in(tmp_path)
    left_out = ["next_since"] * excess
    assert [name for name in OUTPUTS if name not in outputs] == left_out
    assert job_outputs(outputs) == {name: value for name, value in outputs.items() if value}
    size = f"{2 * len('next_since' + date):,}"
    assert warnings_in(stderr) == [
        f"Left out of GITHUB_OUTPUT: {name} ({size}), for {JOB_LIMIT}."
        " Look in the document on standard output."
        for name in left_out
    ]


def test_write__both_limits(tmp_path: Path, stderr: Stderr) -> None:
    """One warning names the outputs over the limit of a variable and over the limit of the job."""
    fields: dict[str, Any] = {f"n{number:02}": "x" * 100_000 for number in range(6)}

    channel(tmp_path, stderr, RUNNER_OS="Linux").write(
        run_outputs(next_since="x" * 131_072, **fields)
    )

    kept = {**OUTPUTS, **fields}
    del kept["next_since"], kept["n00"]
    assert outputs_in(tmp_path) == kept
    assert read_github(stderr.text).commands == [
        Command(
            "warning",
            f"Left out of GITHUB_OUTPUT: next_since (131,083), for {LINUX_LIMIT};"
            f" n00 (200,006), for {JOB_LIMIT}. Look in the document on standard output.",
            TITLE,
        )
    ]


def test_full_output_location__own_file(tmp_path: Path, stderr: Stderr) -> None:
    """The warning names a file of the job with the full document, and no other file stays."""
    outputs = run_outputs(next_since="x" * 131_072)

    channel(tmp_path, stderr, RUNNER_TEMP=str(tmp_path)).write(outputs)

    (warning,) = warnings_in(stderr)
    (name,) = re.findall(r"Look in (.*alm-enrollments-[0-9a-f]{16}\.json)\.$", warning)
    assert Path(name).read_text(encoding="utf-8") == f"{to_json(outputs.document)}\n"
    assert Path(name).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [Path(name).name, "output"]


def test_full_output_location__in_the_action(tmp_path: Path, stderr: Stderr) -> None:
    """In the action the warning names the file that has the document anyway."""
    variables = {DOCUMENT_FILE: "x.json", "RUNNER_TEMP": str(tmp_path)}

    channel(tmp_path, stderr, is_action=True, **variables).write(
        run_outputs(output_file="x" * 131_072)
    )

    (warning,) = warnings_in(stderr)
    assert warning.endswith("Look in x.json.")
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


def test_full_output_location__output_file(tmp_path: Path, stderr: Stderr) -> None:
    """If the run has an output file, which has the records already, the warning names that."""
    channel(tmp_path, stderr, RUNNER_TEMP=str(tmp_path)).write(
        run_outputs(next_since="x" * 131_072, output_file="all.json")
    )

    (warning,) = warnings_in(stderr)
    assert warning.endswith("Look in all.json.")
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


@pytest.mark.parametrize(
    ("secret", "lines"),
    [
        ("50%0A::error::%25", ["50%0A::error::%25"]),
        ("first\r\n\r\n  second \nthird\n", ["first", "second", "third"]),
        (" \n ", []),
    ],
)
def test_mask__each_line(secret: str, lines: list[str], tmp_path: Path, stderr: Stderr) -> None:
    """Each line of a secret is masked on its own, with its percent signs; empty lines are not."""
    channel(tmp_path, stderr, is_action=True).mask(secret)

    log = read_github(stderr.text)
    assert log.masks == lines
    assert log.commands == [Command("add-mask", line) for line in lines]


def test_mask__only_in_the_action(tmp_path: Path, stderr: Stderr) -> None:
    """In a job's own step no secret is written to standard error, which may go to a file."""
    channel(tmp_path, stderr).mask("canary-token")

    assert stderr.text == ""


@pytest.mark.parametrize(
    ("secrets", "user_ids", "is_warned"),
    [
        (["20941371"], ["31", "20941371"], True),
        (["a-20941371-b"], ["20941371"], True),
        (["1 2"], ["1", "2"], True),
        (["2094", "13"], ["20941371"], False),
        (["20941371"], [], False),
        ([], ["20941371"], False),
    ],
)
def test_check_user_ids__masked(
    secrets: list[str], user_ids: list[str], *, is_warned: bool, tmp_path: Path, stderr: Stderr
) -> None:
    """One warning says that a user id in a secret makes the runner drop every output."""
    github = channel(tmp_path, stderr)
    github.mask("\n".join(secrets))

    github.check_user_ids(user_ids)

    warning = (
        "A user id is part of a masked secret: GitHub drops every job output that contains masked"
        " text, and each enrollment's id ends in the user id."
        " Store user ids in variables, not in secrets."
    )
    assert warnings_in(stderr) == [warning] * is_warned


def test_write__masked_outputs(tmp_path: Path, stderr: Stderr) -> None:
    """Outputs that the runner drops between jobs are written for steps, and named in a warning."""
    github = channel(tmp_path, stderr)
    github.mask("31")

    github.write(run_outputs(enrollment_ids=["course:1_2_31"], next_since="2031-01-01"))

    outputs = outputs_in(tmp_path)
    dropped = {name for name in outputs if outputs[name]} - job_outputs(outputs, ["31"]).keys()
    assert dropped == {"enrollment_ids", "next_since"}
    (warning,) = warnings_in(stderr)
    assert warning == (
        "enrollment_ids, next_since: GitHub drops these job outputs, because they contain"
        " masked text. Ids end in the user id. Store user ids in variables, not in secrets."
    )


def test_groups__open_and_close(tmp_path: Path, stderr: Stderr) -> None:
    """A group begins with its title, and ends."""
    github = channel(tmp_path, stderr)

    github.open_group()
    github.close_group()

    assert stderr.text == "::group::alm-enrollments: messages\n::endgroup::\n"


@pytest.mark.parametrize(("request_id", "end"), [("r-1", "%0ARequest id: r-1"), (None, "")])
def test_annotate__full_text(
    request_id: str | None, end: str, tmp_path: Path, stderr: Stderr
) -> None:
    """An annotation has message, hint and request id on a line each, and the code in its title."""
    error = UserNotFoundError("No user 100%.", hint="Look: it, up.", request_id=request_id)

    channel(tmp_path, stderr).annotate(error)

    assert stderr.text == (
        "::error title=alm-enrollments%3A exit code 67::"
        f"No user 100%25.%0AWhat to do: Look: it, up.{end}\n"
    )


@given(hostile, hostile, hostile)
def test_annotate__hostile_texts(message: str, hint: str, request_id: str) -> None:
    """Whatever an error quotes, it is one annotation, and no other command."""
    stderr = Stderr()

    channel(Path(), stderr).annotate(TemporaryError(message, hint=hint, request_id=request_id))

    lines = [one_line(message), f"What to do: {one_line(hint)}"]
    lines += [f"Request id: {one_line(request_id)}"] if request_id else []
    text = "\n".join(lines)
    title = {"title": "alm-enrollments: exit code 75"}
    expected = text if len(text) <= 4_096 else f"{text[:4_095]}…"
    assert read_github(stderr.text).commands == [Command("error", expected, title)]


@pytest.mark.parametrize(("length", "end"), [(4_096, "xx"), (4_097, "x…")])
def test_annotate__limit(length: int, end: str, tmp_path: Path, stderr: Stderr) -> None:
    """A text over 4,096 characters is cut, and ends in an ellipsis."""
    hint = "x" * (length - len("\nWhat to do: "))

    channel(tmp_path, stderr).annotate(TemporaryError("", hint=hint))

    (command,) = read_github(stderr.text).commands
    assert (len(command.data), command.data[-2:]) == (4_096, end)


def test_command__escapes(tmp_path: Path, stderr: Stderr) -> None:
    """Percent signs and line ends are escaped, colons and commas in properties too."""
    text = "1%, 25%25: a\rb\nc::d%0A"

    channel(tmp_path, stderr)._command("warning", text, text)

    escaped = "1%25, 25%2525: a%0Db%0Ac::d%250A"
    title = escaped.replace(":", "%3A").replace(",", "%2C")
    assert stderr.text == f"::warning title={title}::{escaped}\n"
    assert read_github(stderr.text).commands == [Command("warning", text, {"title": text})]


def test_write_failure__outputs_and_annotation(tmp_path: Path, stderr: Stderr) -> None:
    """A run that could not begin writes ``complete`` and ``error``, and an annotation."""
    channel(tmp_path, stderr).write_failure(UNKNOWN)

    outputs = outputs_in(tmp_path)
    assert outputs == {"complete": "false", "error": to_json(error_as_dict(UNKNOWN))}
    assert [command.name for command in read_github(stderr.text).commands] == ["error"]


SUMMARY = (
    "### Enrollments from Adobe Learning Manager\n\n"
    "**✅ complete** · **0 enrollments** of user <code>31</code>"
    " · verified: 1 page, 1 request.\n"
)


def summary_after(before: str, folder: Path, stderr: Stderr) -> bytes:
    """Return the summary file of a step that had written *before*."""
    (folder / "summary").write_text(before, encoding="utf-8")
    environ = {"GITHUB_STEP_SUMMARY": str(folder / "summary")}
    StepSummary(ChannelContext(environ, stderr.write_line)).write(run_outputs(named_users=("31",)))
    return (folder / "summary").read_bytes()


@pytest.mark.parametrize(
    ("before", "begin"), [("", ""), ("# Own\n", "# Own\n"), ("# Own", "# Own\n")]
)
def test_write__summary(before: str, begin: str, tmp_path: Path, stderr: Stderr) -> None:
    """The summary is appended on a line of its own."""
    assert summary_after(before, tmp_path, stderr).decode() == begin + SUMMARY
    assert stderr.text == ""


@pytest.mark.parametrize("end", ["x\n", "xx"])
@pytest.mark.parametrize("excess", [0, 1])
def test_write__summary_limit(excess: int, end: str, tmp_path: Path, stderr: Stderr) -> None:
    """Over 1 MiB the summary is left out: GitHub would drop the step's own summary with it."""
    size = MAX_SUMMARY - len(SUMMARY.encode()) - len(f"{end.strip()}\n")
    before = "x" * (size + excess) + end

    file = summary_after(before, tmp_path, stderr)

    assert file.decode() == (before if excess else before.rstrip("\n") + "\n" + SUMMARY)
    assert read_summary(file).startswith("xxx")
    warning = (
        "The step summary is left out: it would have 1,048,577 bytes,"
        " and GitHub accepts 1,048,576 per step."
    )
    assert warnings_in(stderr) == [warning] * excess


def test_summary__is_available(stderr: Stderr) -> None:
    """A summary needs both of the runner's files."""
    names = ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
    environs = [{}, {names[0]: "a"}, {names[1]: "a"}, dict.fromkeys(names, "a")]
    contexts = [ChannelContext(environ, stderr.write_line) for environ in environs]

    assert list(map(StepSummary.is_available, contexts)) == [False, False, False, True]


@pytest.mark.parametrize(
    ("name", "error"),
    [("", IsADirectoryError), ("missing/output", NotADirectoryError), ("output", None)],
)
def test_prepare__outputs(
    name: str, error: type[OSError] | None, tmp_path: Path, stderr: Stderr
) -> None:
    """``prepare`` fails if outputs cannot be appended, and creates no file."""
    github = channel(tmp_path, stderr, GITHUB_OUTPUT=str(tmp_path / name))

    with pytest.raises(error) if error else contextlib.nullcontext():
        github.prepare()

    assert list(tmp_path.iterdir()) == []


def test_write__document_has_no_room(tmp_path: Path, stderr: Stderr) -> None:
    """If the job's folder cannot be written, a warning names the document on standard output."""
    environ: dict[str, Any] = {"RUNNER_OS": "Linux", "RUNNER_TEMP": str(tmp_path / "missing")}

    channel(tmp_path, stderr, **environ).write(run_outputs(enrollment_ids=["x" * 131_072]))

    assert warnings_in(stderr)[0].endswith(" Look in the document on standard output.")
    assert outputs_in(tmp_path)["complete"] == "true"
