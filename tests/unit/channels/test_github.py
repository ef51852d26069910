"""GitHub's files and commands, as its runner reads them: every output whole, every secret masked, and no text obeyed."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings

from connector.channels import Place
from connector.channels.github import GitHub
from connector.errors import TemporaryError, UserNotFoundError
from connector.text import one_line, to_json
from tests.action.runner import (
    LARGEST_SUMMARY,
    Command,
    job_outputs,
    parse_outputs,
    read_github,
    read_summary,
)
from tests.unit.channels.made import Stderr, document, full_disk, handover, hostile

TITLE = {"title": "alm-enrollments"}
TRUTH = '{"status":"proved","reasons":[],"pages":1,"requests":1}'
USERS = '{"requested":1,"read":1,"failed":[]}'
OUTPUTS = {
    "enrollment_ids": "[]",
    "resource_grade_ids": "[]",
    "enrollment_count": "0",
    "complete": "true",
    "completeness": TRUTH,
    "latest_date_enrolled": "",
    "users": USERS,
    "output_file": "",
    "error": "",
}
UNKNOWN = UserNotFoundError(
    "ALM knows no user 4041.", hint="Look it up.", http_status=404, request_id="r-1"
)
PART = "GitHub drops job outputs like these, for they hold masked text. Ids end in the user id: keep user ids in variables, not in secrets."


def channel(folder: Path, stderr: Stderr, **environ: str) -> GitHub:
    """Return GitHub with its outputs in *folder*."""
    return GitHub(Place({"GITHUB_OUTPUT": str(folder / "output"), **environ}, stderr.say))


def outputs_in(folder: Path) -> dict[str, str]:
    """Return the outputs that the runner finds in *folder*."""
    return parse_outputs((folder / "output").read_bytes())


def as_read(text: str) -> str:
    """Return *text* as a file of UTF-8 can have it: half a surrogate pair by its number, and a byte of a file's name as what it is."""
    numbered = re.sub("[\ud800-\udc7f\udd00-\udfff]", lambda half: f"\\u{ord(half[0]):x}", text)
    return numbered.encode(errors="surrogateescape").decode(errors="replace")


def warnings_in(stderr: Stderr) -> list[str]:
    """Return the warnings that the runner shows."""
    return [command.data for command in read_github(stderr.text).named("warning")]


def test_is_there__by_the_file_for_outputs(stderr: Stderr) -> None:
    """The channel is there where the file for outputs is named, whoever names it."""
    environs: list[dict[str, str]] = [{}, {"GITHUB_OUTPUT": ""}, {"GITHUB_OUTPUT": "x"}]

    assert [GitHub.is_there(Place(environ, stderr.say)) for environ in environs] == [
        False,
        False,
        True,
    ]


def test_write__whole_text(tmp_path: Path, stderr: Stderr) -> None:
    """Each field but the enrollments is appended, a null as nothing, in the form that ends at a line of its own; nothing is said."""
    channel(tmp_path, stderr).write(handover())

    text = (tmp_path / "output").read_text(encoding="utf-8")
    assert re.sub("alm_[0-9a-f]{32}", "END", text) == "".join(
        f"{name}<<END\n{value}\nEND\n" for name, value in OUTPUTS.items()
    )
    assert len(set(re.findall("<<(.*)", text))) == len(OUTPUTS)
    assert stderr.text == ""


def test_write__no_value_knows_its_end(tmp_path: Path, stderr: Stderr) -> None:
    """A value that holds the ends of an earlier run's values stays whole: each end is made up anew."""
    github = channel(tmp_path, stderr)
    github.write(handover())
    ends = re.findall("<<(.*)", (tmp_path / "output").read_text(encoding="utf-8"))
    value = "".join(f"\n{end}\ncomplete=false\n" for end in ends)

    github.write(handover(output_file=value))

    assert outputs_in(tmp_path) == {**OUTPUTS, "output_file": value}


@given(hostile, hostile)
@example("2023-01-01\ud80012:00", "\udcff.json")
@settings(max_examples=150)
def test_write__hostile_values(date: str, name: str) -> None:
    """Whatever the values hold, the runner finds the same outputs, and neither file nor standard error has another command."""
    stderr = Stderr()
    given = document(
        latest_date_enrolled=date,
        output_file=name,
        enrollment_ids=[date, name],
        completeness={"reasons": [date]},
    )
    with TemporaryDirectory() as folder:
        channel(Path(folder), stderr).write(handover(**given))

        outputs = outputs_in(Path(folder))

    assert list(outputs) == list(OUTPUTS)
    assert json.loads(outputs["enrollment_ids"]) == [date, name]
    assert (outputs["latest_date_enrolled"], outputs["output_file"]) == (
        as_read(date),
        as_read(name),
    )
    assert stderr.text == ""


@pytest.mark.parametrize(("before", "after"), [("", ""), ("a=b\n", "a=b\n"), ("a=b", "a=b\n")])
def test_write__on_a_line_of_its_own(
    before: str, after: str, tmp_path: Path, stderr: Stderr
) -> None:
    """What stands in the file already stays, and a last line that was not ended is ended."""
    (tmp_path / "output").write_text(before, encoding="utf-8")

    channel(tmp_path, stderr).write(handover())

    assert (
        (tmp_path / "output").read_text(encoding="utf-8").startswith(f"{after}enrollment_ids<<alm_")
    )
    assert outputs_in(tmp_path) == {**({"a": "b"} if before else {}), **OUTPUTS}


@pytest.mark.parametrize("room", [0, 1, 200])
def test_write__cut_short(room: int, tmp_path: Path, stderr: Stderr) -> None:
    """A disk that is full in the middle leaves the file as it was: half an output would fail the step, whatever became of it."""
    (tmp_path / "output").write_text("a=b", encoding="utf-8")

    with full_disk(3 + room), pytest.raises(OSError, match="File too large"):
        channel(tmp_path, stderr).write(handover())

    assert (tmp_path / "output").read_text(encoding="utf-8") == "a=b"


def test_write__full_device(stderr: Stderr) -> None:
    """What is no file and cannot be cut either tells why it could not be written, and not why it could not be cut."""
    with pytest.raises(OSError, match="No space left on device") as raised:
        GitHub(Place({"GITHUB_OUTPUT": "/dev/full"}, stderr.say)).write(handover())

    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, "/dev/full")


def test_write__missing_folder(tmp_path: Path, stderr: Stderr) -> None:
    """A file in a folder that is not there is told with its name."""
    with pytest.raises(FileNotFoundError) as raised:
        channel(tmp_path / "gone", stderr).write(handover())

    assert raised.value.filename == str(tmp_path / "gone" / "output")


# The name of the output and the sign behind it count.
LINUX = 131_071 - len("latest_date_enrolled=")
WINDOWS = 32_767 - len("latest_date_enrolled=")
TOLD = {
    "Linux": "an environment variable on Linux holds at most 131,071 bytes, its name included",
    "Windows": "an environment variable on Windows holds at most 32,767 characters, its name included",
}
AT_THE_LIMIT = [
    ("Linux", "x" * LINUX),
    ("Linux", "é" * (LINUX // 2)),
    ("Windows", "x" * WINDOWS),
    ("Windows", "😀" * (WINDOWS // 2)),
]
SIZES_OVER_IT = ["131,072", "131,073", "32,768", "32,769"]


@pytest.mark.parametrize(("system", "value"), AT_THE_LIMIT, ids=SIZES_OVER_IT)
def test_write__at_the_single_limit(
    system: str, value: str, tmp_path: Path, stderr: Stderr
) -> None:
    """A value that fills an environment variable, its name included, stays whole."""
    channel(tmp_path, stderr, RUNNER_OS=system).write(handover(latest_date_enrolled=value))

    assert outputs_in(tmp_path) == {**OUTPUTS, "latest_date_enrolled": value}
    assert stderr.text == ""


@pytest.mark.parametrize(
    ("system", "value", "size"),
    [(*each, size) for each, size in zip(AT_THE_LIMIT, SIZES_OVER_IT, strict=True)],
    ids=SIZES_OVER_IT,
)
def test_write__over_the_single_limit(
    system: str, value: str, size: str, tmp_path: Path, stderr: Stderr
) -> None:
    """With one character more it is left out, with a warning that names size and limit, and never cut."""
    channel(tmp_path, stderr, RUNNER_OS=system).write(
        handover(latest_date_enrolled=value + value[-1])
    )

    assert outputs_in(tmp_path) == {
        name: told for name, told in OUTPUTS.items() if name != "latest_date_enrolled"
    }
    told = f"Left out of GITHUB_OUTPUT: latest_date_enrolled ({size}), for {TOLD[system]}. Look in the document on standard output."
    assert read_github(stderr.text).commands == [Command("warning", told, TITLE)]


def test_write__no_single_limit_on_macos(tmp_path: Path, stderr: Stderr) -> None:
    """On macOS a single variable may be of any size."""
    channel(tmp_path, stderr, RUNNER_OS="macOS").write(handover(latest_date_enrolled="x" * 200_000))

    assert outputs_in(tmp_path)["latest_date_enrolled"] == "x" * 200_000
    assert stderr.text == ""


@pytest.mark.parametrize(("more", "left_out"), [(0, []), (1, ["latest_date_enrolled"])])
def test_write__total_limit(more: int, left_out: list[str], tmp_path: Path, stderr: Stderr) -> None:
    """Outputs of just 1 MB in UTF-16 are all kept; a character more, and the largest is left out, which is enough."""
    others = {**OUTPUTS, "users": "y" * 200_000}
    room = 524_288 - len("".join([*others, *others.values()]))

    channel(tmp_path, stderr, RUNNER_OS="macOS").write(
        handover(latest_date_enrolled="x" * (room + more), users="y" * 200_000)
    )

    outputs = outputs_in(tmp_path)
    assert [name for name in OUTPUTS if name not in outputs] == left_out
    assert outputs["users"] == "y" * 200_000
    assert job_outputs(outputs).keys() == {name for name, value in outputs.items() if value}
    size = f"{2 * (room + more + len('latest_date_enrolled')):,}"
    end = "for a job's outputs take at most 1 MB, counted in UTF-16. Look in the document on standard output."
    assert warnings_in(stderr) == [
        f"Left out of GITHUB_OUTPUT: {name} ({size}), {end}" for name in left_out
    ]


def test_write__both_limits(tmp_path: Path, stderr: Stderr) -> None:
    """What is too large by itself is left out first, then the largest of what is too much together, and one warning tells both."""
    many: dict[str, Any] = {f"n{number:02}": "x" * 100_000 for number in range(6)}

    channel(tmp_path, stderr, RUNNER_OS="Linux").write(
        handover(latest_date_enrolled="x" * 131_072, **many)
    )

    left_out = ("latest_date_enrolled", "n00")
    assert outputs_in(tmp_path) == {
        name: value for name, value in {**OUTPUTS, **many}.items() if name not in left_out
    }
    (told,) = warnings_in(stderr)
    assert told == (
        f"Left out of GITHUB_OUTPUT: latest_date_enrolled (131,093), for {TOLD['Linux']};"
        " n00 (200,006), for a job's outputs take at most 1 MB, counted in UTF-16. Look in the document on standard output."
    )


def test_write__what_is_left_out_is_in_a_file(tmp_path: Path, stderr: Stderr) -> None:
    """The warning names a file of the job's own that has the whole document, for others to read, and no other file is left."""
    given = handover(latest_date_enrolled="x" * 131_072)

    channel(tmp_path, stderr, RUNNER_TEMP=str(tmp_path)).write(given)

    (told,) = warnings_in(stderr)
    (name,) = re.findall(r"Look in (.*alm-enrollments-[0-9a-f]{16}\.json)\.$", told)
    assert Path(name).read_text(encoding="utf-8") == f"{to_json(given.document)}\n"
    assert Path(name).stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in tmp_path.iterdir()) == [Path(name).name, "output"]


def test_write__what_is_left_out_is_in_the_output_file(tmp_path: Path, stderr: Stderr) -> None:
    """A run with an output file has the records there already, and the warning names it."""
    channel(tmp_path, stderr, RUNNER_TEMP=str(tmp_path)).write(
        handover(latest_date_enrolled="x" * 131_072, output_file="all.json")
    )

    (told,) = warnings_in(stderr)
    assert told.endswith("Look in all.json.")
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


@pytest.mark.parametrize(
    ("secret", "lines"),
    [
        ("s3cret-value", ["s3cret-value"]),
        ("50%0A::error::%25", ["50%0A::error::%25"]),
        ("first\r\n\r\n  second \nthird\n", ["first", "second", "third"]),
        (" \n ", []),
    ],
)
def test_mask__each_line(secret: str, lines: list[str], tmp_path: Path, stderr: Stderr) -> None:
    """Each line of a secret is masked by itself, as the runner meets it, percent signs and all, and none that is empty."""
    channel(tmp_path, stderr).mask(secret)

    log = read_github(stderr.text)
    assert log.masks == lines
    assert log.commands == [Command("add-mask", line) for line in lines]


@pytest.mark.parametrize(
    ("secrets", "user_ids", "times"),
    [
        (["20941371"], ["31", "20941371"], 1),
        (["a-20941371-b"], ["20941371"], 1),
        (["2094", "13"], ["20941371"], 0),
        (["20941371"], [], 0),
        ([], ["20941371"], 0),
        (["1 2"], ["1", "2"], 1),
    ],
)
def test_watch__user_ids_that_are_masked(
    secrets: list[str], user_ids: list[str], times: int, tmp_path: Path, stderr: Stderr
) -> None:
    """A user id that is a masked secret, or part of one, is warned of once, for it takes every output along."""
    github = channel(tmp_path, stderr)
    github.mask("\n".join(secrets))

    github.watch(user_ids)

    told = (
        "A user id is part of a masked secret: GitHub drops every job output that holds masked text, and each"
        " enrollment's id ends in the user id. Keep user ids in variables, not in secrets."
    )
    assert warnings_in(stderr) == [told] * times


def test_write__masked_outputs(tmp_path: Path, stderr: Stderr) -> None:
    """The outputs that the runner would drop are written for the job's own steps, and warned of by name."""
    github = channel(tmp_path, stderr)
    github.mask("31")

    github.write(
        handover(
            enrollment_ids=["course:1_2_31"], enrollment_count=1, latest_date_enrolled="2031-01-01"
        )
    )

    outputs = outputs_in(tmp_path)
    dropped = [
        name
        for name, value in outputs.items()
        if value and name not in job_outputs(outputs, ["31"])
    ]
    assert dropped == ["enrollment_ids", "latest_date_enrolled"]
    assert warnings_in(stderr) == [f"{', '.join(dropped)}: {PART}"]


def test_groups__open_and_closed(tmp_path: Path, stderr: Stderr) -> None:
    """A group begins with what it has, and ends."""
    github = channel(tmp_path, stderr)

    github.open_group()
    github.close_group()

    log = read_github(stderr.text)
    assert log.commands == [
        Command("group", "alm-enrollments: what happened on the way"),
        Command("endgroup", ""),
    ]
    assert log.open_groups == 0


@pytest.mark.parametrize(("request_id", "told"), [("r-1", "\nRequest id: r-1"), (None, "")])
def test_annotate__whole_text(
    request_id: str | None, told: str, tmp_path: Path, stderr: Stderr
) -> None:
    """An annotation has cause, way out and request id, each on its line, and the exit code in its title."""
    channel(tmp_path, stderr).annotate(
        UserNotFoundError("ALM knows no user 100%.", hint="Look: it, up.", request_id=request_id)
    )

    assert stderr.text.startswith(
        "::error title=alm-enrollments%3A exit code 67::ALM knows no user 100%25.%0AWhat to do: Look: it, up."
    )
    assert read_github(stderr.text).commands == [
        Command(
            "error",
            f"ALM knows no user 100%.\nWhat to do: Look: it, up.{told}",
            {"title": "alm-enrollments: exit code 67"},
        )
    ]


@given(hostile, hostile, hostile)
def test_annotate__hostile_texts(message: str, hint: str, request_id: str) -> None:
    """Whatever an error quotes, there is one annotation, three lines at most, and no other command."""
    stderr = Stderr()

    channel(Path(), stderr).annotate(TemporaryError(message, hint=hint, request_id=request_id))

    told = [
        one_line(message),
        f"What to do: {one_line(hint)}",
        *([f"Request id: {one_line(request_id)}"] if request_id else []),
    ]
    whole = "\n".join(told)
    (command,) = read_github(stderr.text).commands
    assert (command.name, command.properties) == (
        "error",
        {"title": "alm-enrollments: exit code 75"},
    )
    assert command.data == (whole if len(whole) <= 4_096 else f"{whole[:4_095]}…")


@pytest.mark.parametrize(("length", "end"), [(4_096, "xx"), (4_097, "x…")])
def test_annotate__longest(length: int, end: str, tmp_path: Path, stderr: Stderr) -> None:
    """An annotation of 4,096 characters is whole; a longer one is cut there, and says so by an ellipsis."""
    channel(tmp_path, stderr).annotate(
        TemporaryError("", hint="x" * (length - len("\nWhat to do: ")))
    )

    (command,) = read_github(stderr.text).commands
    assert (len(command.data), command.data[-2:]) == (4_096, end)


def test_command__escapes(tmp_path: Path, stderr: Stderr) -> None:
    """Percent signs and line ends are escaped in a command, colons and commas in its properties too, and all comes back as it was."""
    github, text = channel(tmp_path, stderr), "1%, 25%25: a\rb\nc::d%0A"

    github._command("warning", text, text)

    escaped = "1%25, 25%2525: a%0Db%0Ac::d%250A"
    assert (
        stderr.text
        == f"::warning title={escaped.replace(':', '%3A').replace(',', '%2C')}::{escaped}\n"
    )
    assert read_github(stderr.text).commands == [Command("warning", text, {"title": text})]


def test_write_failure__before_anything_began(tmp_path: Path, stderr: Stderr) -> None:
    """A run that could not even begin leaves what is known of it, and an annotation."""
    channel(tmp_path, stderr).write_failure(UNKNOWN)

    told = {
        "code": 67,
        "message": "ALM knows no user 4041.",
        "hint": "Look it up.",
        "http_status": 404,
        "request_id": "r-1",
        "retry_at": None,
    }
    outputs = outputs_in(tmp_path)
    assert list(outputs) == ["complete", "error"]
    assert (outputs["complete"], json.loads(outputs["error"])) == ("false", told)
    assert [command.name for command in read_github(stderr.text).commands] == ["error"]


def summary_in(folder: Path, before: str, stderr: Stderr) -> bytes:
    """Return the summary file of a run behind *before*."""
    (folder / "summary").write_text(before, encoding="utf-8")
    channel(folder, stderr, GITHUB_STEP_SUMMARY=str(folder / "summary")).write(
        handover(named_users=("31",))
    )
    return (folder / "summary").read_bytes()


SUMMARY = (
    "### Enrollments from Adobe Learning Manager\n\n"
    "**✅ complete** · **0 enrollments** of user <code>31</code> · proved from 1 page, 1 request.\n"
)


@pytest.mark.parametrize(
    ("before", "begins"), [("", ""), ("# Own\n", "# Own\n"), ("# Own", "# Own\n")]
)
def test_write__summary(before: str, begins: str, tmp_path: Path, stderr: Stderr) -> None:
    """The summary is appended, on a line of its own, to what the step has written of its own."""
    assert summary_in(tmp_path, before, stderr).decode() == begins + SUMMARY
    assert stderr.text == ""


@pytest.mark.parametrize("end", ["x\n", "xx"])
@pytest.mark.parametrize("over", [0, 1])
def test_write__largest_summary(over: int, end: str, tmp_path: Path, stderr: Stderr) -> None:
    """A summary that fills the step's 1 MiB is appended; a byte more, and it is left out, for GitHub would drop the step's own too."""
    room = LARGEST_SUMMARY - len(SUMMARY.encode()) - (len(end.encode()) + (not end.endswith("\n")))
    before = "x" * (room + over) + end

    file = summary_in(tmp_path, before, stderr)

    assert file.decode() == (before if over else before.rstrip("\n") + "\n" + SUMMARY)
    assert read_summary(file).startswith("xxx")
    assert warnings_in(stderr) == [
        "The step summary is left out: it would have 1,048,577 bytes, and GitHub takes 1,048,576 a step."
        for _ in range(over)
    ]


def test_write__summary_cannot_be_written(tmp_path: Path, stderr: Stderr) -> None:
    """A summary that cannot be written is an error of the channel, and the outputs are there."""
    github = channel(tmp_path, stderr, GITHUB_STEP_SUMMARY=str(tmp_path / "gone" / "summary"))

    with pytest.raises(FileNotFoundError):
        github.write(handover())

    assert outputs_in(tmp_path) == OUTPUTS
