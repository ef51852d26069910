"""The model of the runners, against their own sources, documentation and tests."""

from __future__ import annotations

import pytest

from tests.action.runner import (
    Command,
    RejectedError,
    job_outputs,
    lines_of,
    parse_outputs,
    read_azure,
    read_github,
    read_summary,
)

OUTPUTS = [
    pytest.param(b"", {}, id="nothing"),
    pytest.param(b"a=b\n", {"a": "b"}, id="a line"),
    pytest.param(b"\n\na=b\n\nc=d", {"a": "b", "c": "d"}, id="empty lines, and no last line end"),
    pytest.param(b"a=b=c<<d\n", {"a": "b=c<<d"}, id="the first sign counts"),
    pytest.param(b"a=\n", {"a": ""}, id="an empty value"),
    pytest.param(b"a=b\na=c\n", {"a": "c"}, id="the last one counts"),
    pytest.param(b"a<<E\nb\n\nc=d\nE\nf=g\n", {"a": "b\n\nc=d", "f": "g"}, id="several lines"),
    pytest.param(b"a<<E\nE\n", {"a": ""}, id="no line"),
    pytest.param(b"a<<E\n\nE\n", {"a": ""}, id="an empty line"),
    pytest.param(b"a<<E\nb\nE", {"a": "b"}, id="a delimiter at the end"),
    pytest.param(b"a<<E=F\nb\nE=F\n", {"a": "b"}, id="a delimiter with the other sign"),
    pytest.param(
        b"a<<E\n E\nE \nE\r\nE\n", {"a": " E\nE \nE\r"}, id="only the very delimiter ends it"
    ),
    pytest.param(b"a<<E\n\xff\r\nE\n", {"a": "\ufffd\r"}, id="what is no UTF-8 is replaced"),
]


@pytest.mark.parametrize(("file", "outputs"), OUTPUTS)
def test_parse_outputs__well_formed(file: bytes, outputs: dict[str, str]) -> None:
    """An output is NAME=VALUE or NAME<<DELIMITER; the first of both signs decides."""
    assert parse_outputs(file) == outputs


@pytest.mark.parametrize(
    "file",
    [
        b"a\n",
        b"=b\n",
        b"=b=c\n",
        b"<<E=b\n",
        b"<<E\nE\n",
        b"a<<\n\n",
        b"a<<E\nb\n",
        b"a<<E\nb\nE \n",
        b"a<<E\nbE\n",
        b"a<<E",
    ],
)
def test_parse_outputs__malformed(file: bytes) -> None:
    """A line without a name or a sign, or a value without its end, fails the step."""
    with pytest.raises(RejectedError, match="Invalid"):
        parse_outputs(file)


def test_job_outputs__empty_and_masked() -> None:
    """Later jobs get no output that is empty or contains a masked text."""
    outputs = {"ids": '["course:1_2_31"]', "count": "3", "error": ""}

    assert job_outputs(outputs) == {"ids": '["course:1_2_31"]', "count": "3"}
    assert job_outputs(outputs, ["31"]) == {"count": "3"}


def test_job_outputs__one_megabyte() -> None:
    """Names and values may have 1 MB in total, each character two bytes or four."""
    assert len(job_outputs({"a": "x" * 524_286, "b": ""})["a"]) == 524_286
    for value in ("x" * 524_287, "😀" * 262_144):
        with pytest.raises(RejectedError, match="1 MB"):
            job_outputs({"a": value, "b": ""})


def test_read_summary__masked_and_limited() -> None:
    """A summary is masked line by line, and dropped over 1 MiB."""
    assert read_summary(b"a secret\r\nb", ["secret"]) == "a ***\nb\n"
    assert len(read_summary(b"x" * 1_048_575 + b"\n")) == 1_048_576
    with pytest.raises(RejectedError, match="1024k"):
        read_summary(b"x" * 1_048_577)


def test_lines_of__as_dot_net_reads() -> None:
    """LF, CRLF and a lone CR end a line, and nothing else does."""
    assert lines_of("a\nb\r\nc\rd\u2028e\x85f\x0bg\n\nh") == [
        "a",
        "b",
        "c",
        "d\u2028e\x85f\x0bg",
        "",
        "h",
    ]


COMMANDS = [
    ("::warning file=a.js,line=1::told", Command("warning", "told", {"file": "a.js", "line": "1"})),
    (" \t::error::told", Command("error", "told")),
    ("::ERROR::told", Command("error", "told")),
    (
        "::error title=a%3Ab%2Cc%25%0D%0A::a%3A%2C%250A%0D%0Ab::c",
        Command("error", "a%3A%2C%0A\r\nb::c", {"title": "a:b,c%\r\n"}),
    ),
    ("::error title=,=a,b=c::", Command("error", "", {"b": "c"})),
    ("::add-mask::told", Command("add-mask", "told")),
    ("##[add-mask]told", Command("add-mask", "told")),
    (
        "in the middle ##[set-output name=a%3Bb%5D;c=d]%25%3B%0Atold",
        Command("set-output", "%;\ntold", {"name": "a;b]", "c": "d"}),
    ),
    ("::nothing:: ##[error]told", Command("error", "told")),
]


@pytest.mark.parametrize(("line", "command"), COMMANDS)
def test_read_github__command(line: str, command: Command) -> None:
    """``::`` at the beginning or ``##[`` anywhere is a command; its escapes are undone once."""
    assert read_github(f"{line}\n").commands == [command]


@pytest.mark.parametrize(
    "line",
    [
        "a ::error::told",
        "::error told",
        ":error::told",
        "::erroneous::told",
        "::::told",
        "# #[error]told",
        "##[error told",
        "##[x]told",
    ],
)
def test_read_github__text(line: str) -> None:
    """A line that only resembles a command is text."""
    log = read_github(f"{line}\n")

    assert (log.commands, log.lines) == ([], [line])


def test_read_github__masks_and_groups() -> None:
    """A mask applies to later lines of both streams, within a line; groups are counted."""
    log = read_github(
        "s3cret\n::add-mask::s3cret\n::add-mask::a%0Ab\n::add-mask:: \n"
        "::group::s3cret\rs3cret a\nb\n",
        "s3cret\n::endgroup::\n",
    )

    assert log.lines == ["s3cret", "*** a", "b", "***"]
    assert log.masks == ["s3cret", "a\nb"]
    assert log.named("group") == [Command("group", "***")]
    assert log.open_groups == 0
    assert read_github("::group::a\n").open_groups == 1


AZURE_COMMANDS = [
    (
        "##vso[task.setvariable variable=a;isoutput=true]b]%AZP25%AZP250A%25%0A%5D%3B",
        Command("task.setvariable", "b]%%0A%25\n];", {"variable": "a", "isoutput": "true"}),
    ),
    (
        "in the middle ##vso[Task.LogIssue type=error;code=6%3B7]told",
        Command("task.logissue", "told", {"type": "error", "code": "6;7"}),
    ),
    (
        "##vso[task.setvariable variable=a]##[endgroup]##vso[task.x]told",
        Command("task.setvariable", "##[endgroup]##vso[task.x]told", {"variable": "a"}),
    ),
    ("##[group]told", Command("group", "told")),
    ("##vso[task]##[group]told", Command("group", "told")),
]


@pytest.mark.parametrize(("line", "command"), AZURE_COMMANDS)
def test_read_azure__command(line: str, command: Command) -> None:
    """The agent obeys the first command in a line; all text behind its bracket is data."""
    assert read_azure(f"{line}\n").commands == [command]


@pytest.mark.parametrize(
    "line",
    [
        "#vso[task.x]told",
        "##vso[task]told",
        "##vso[task.x told",
        "##vso[a.b.c]told",
        "::error::told",
    ],
)
def test_read_azure__text(line: str) -> None:
    """A line that only resembles a command is text."""
    assert read_azure(f"{line}\n").lines == [line]


def test_read_azure__masks_and_groups() -> None:
    """A secret is masked in later lines, and groups are counted."""
    log = read_azure("##vso[task.setsecret]s3cret\n##[group]a\ns3cret\n##[endgroup]\n")

    assert (log.masks, log.lines, log.open_groups) == (["s3cret"], ["***"], 0)
