"""No secret of the run leaves in a text, a value, an error or a log, in whichever encoding."""

from __future__ import annotations

import base64
import json
import logging
import string
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector.errors import TemporaryError, UsageError
from connector.redact import Redactor, redacted_logs
from tests.support.records import enrollment

if TYPE_CHECKING:
    from collections.abc import Iterator

# Not the asterisk: a secret that holds "***" can arise from two placeholders.
PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "*")
SECRETS = st.text(PRINTABLE, min_size=8, max_size=80)
TEXTS = st.text(max_size=20)
NUMBER_SIGNS = "ab#cd##efgh"
QUOTED = 'ab"cd\\efgh'


def redactor_of(*secrets: str) -> Redactor:
    """Return a redactor of *secrets*."""
    redactor = Redactor()
    for secret in secrets:
        redactor.add(secret)
    return redactor


def test_clean__every_form_in_one_text() -> None:
    """Raw, percent-encoded, form-encoded and JSON-escaped secrets become ``***``."""
    secret = 'a/b+c "d"~é'
    forms = [
        secret,
        secret.upper(),
        quote(secret),
        quote(secret, safe=""),
        quote(secret, safe="").lower(),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
    ]

    cleaned = redactor_of(secret).clean("".join(f"<{form}>" for form in forms))

    assert cleaned == "<***>" * len(forms)


@pytest.mark.parametrize(
    ("secrets", "text", "cleaned"),
    [
        pytest.param(["abcd1234"], "token=abcd1234", "token=***", id="in a text"),
        pytest.param(["abcd1234"], "ABCD1234 abcd1234abcd1234", "*** ******", id="several times"),
        pytest.param(["abcd12345"], '"abcd1234"', '"abcd1234"', id="a part of it"),
        pytest.param(["abcd1234"], "1\nabcd1234\n", "1\n***\n", id="two lines"),
        pytest.param(["abcd1234", "abcd123456"], "abcd123456 abcd1234", "*** ***", id="overlap"),
        pytest.param([], "a text", "a text", id="no secret"),
        pytest.param(["", "a text", "a", "is seven"], "a text", "a text", id="too short"),
        pytest.param(["abc-\udcff-efg"], "<abc-\udcff-efg>", "<***>", id="not UTF-8"),
        pytest.param(["abc-\u0130-efg"], "\u0130<ABC-\u0130-efg>", "\u0130<***>", id="dotted I"),
        pytest.param(
            ["client-0042", "secret-of-the-client"],
            "Basic " + base64.b64encode(b"client-0042:secret-of-the-client").decode(),
            "Basic ***I6***Q=",
            id="Basic authorization",
        ),
    ],
)
def test_clean__replaces_only_the_secrets(secrets: list[str], text: str, cleaned: str) -> None:
    """A text keeps everything but the secrets."""
    assert redactor_of(*secrets).clean(text) == cleaned


@given(secret=SECRETS, prefix=TEXTS, suffix=TEXTS)
@example(secret=NUMBER_SIGNS, prefix="#", suffix="#")
@example(secret=QUOTED, prefix='"', suffix="\\")
@example(secret="a+b/c~%=&?", prefix="", suffix="")
def test_clean__leaves_no_form(secret: str, prefix: str, suffix: str) -> None:
    """No encoding of a secret stays in a message, whatever is next to it."""
    encodings = (secret, quote(secret), quote(secret, safe=""), quote_plus(secret))
    forms = [*encodings, json.dumps(secret)[1:-1], repr(secret)[1:-1]]

    cleaned = redactor_of(secret).clean(" ".join(f"{prefix}{form}{suffix}" for form in forms))

    assert [form for form in forms if form in cleaned] == []


@given(secret=SECRETS, prefix=st.binary(max_size=7), suffix=st.binary(max_size=7))
def test_clean__leaves_no_base64(secret: str, prefix: bytes, suffix: bytes) -> None:
    """No group of base64 characters that encodes only bytes of a secret stays in a message."""
    encoded = base64.b64encode(prefix + secret.encode() + suffix).decode()
    first, last = -(-len(prefix) // 3), (len(prefix) + len(secret)) // 3
    core = encoded[4 * first : 4 * last]
    url_safe = str.maketrans("+/", "-_")
    texts = [encoded, encoded.translate(url_safe), quote(encoded, safe="")]

    cleaned = redactor_of(secret).clean(" ".join(texts))

    forms = [core, core.translate(url_safe), quote(core, safe="")]
    assert [form for form in forms if form in cleaned] == []


@pytest.mark.parametrize("text", ["""a"b/c'd\\e-secret""", 'ab"cdefg'])
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_clean__a_secret_in_quotes_in_quotes(depth: int, text: str) -> None:
    """A secret is found in a message that quotes a message that quotes it."""
    redactor = redactor_of(text)
    for _ in range(depth):
        text = json.dumps(text)[1:-1]

    assert redactor.clean(f"<{text}>") == "<***>"


CUTS = {
    "by the server": ("it says secret-t...", "it says ***..."),
    "by this program": ("it says secret-t…", "it says ***…"),
    "at the beginning": ("…token-of-mine", "…***"),
    "in the middle": ("…cret-token-of…", "…***…"),
    "twice": ("secret-t… and secret-to… end", "***… and ***… end"),
    "in base64": ("c2VjcmV0LXRv…", "***…"),
    "in capitals": ("SECRET-TO…", "***…"),
    "seven characters at the end": ("it says secret-", "it says secret-"),
    "seven characters": ("it says secret-…", "it says secret-…"),
    "two secrets": ("secret-token-of-mine-too-long", "***-long"),
    "escaped": (r"a\"b/c\\d-s… and secret\-token", r"***… and ***"),
    "escape of a number sign": (r"abcd\u0023efg…", "***…"),
    "number signs": (r"x#\u0023#y#\u0023#z…", "***…"),
}


@pytest.mark.parametrize(("text", "cleaned"), CUTS.values(), ids=CUTS)
def test_clean_foreign__parts_of_secrets(text: str, cleaned: str) -> None:
    """Of text from a server, parts of secrets from eight characters on are removed as well."""
    redactor = redactor_of(
        *("secret-token-of-mine", "secret-token-of-mine-too", 'a"b/c\\d-secret', "x###y###z"),
        r"abcd\u0023efgh",
    )

    assert redactor.clean_foreign(text) == cleaned


def test_clean_quoting__only_quoted_parts() -> None:
    """A part of a secret is removed between quotes only: elsewhere are this program's own words."""
    redactor = redactor_of("enrollments-prod")
    message = (
        'No enrollments: "no enrollments of enrollments-prod" \\"enrollments, enrollments-prod'
    )

    assert redactor.clean_quoting(message) == (
        'No enrollments: "no *** of ***" \\"enrollments, ***'
    )
    assert redactor.clean(message) == (
        'No enrollments: "no enrollments of ***" \\"enrollments, ***'
    )


def test_clean_value__parts_of_secrets_stay() -> None:
    """A record keeps a part of a secret, which may be an ordinary word."""
    value = ["enrollments of…", "enrollments-pro"]

    assert redactor_of("enrollments-prod").clean_value(value) == value


@given(
    secret=st.text(string.ascii_letters, min_size=8, max_size=40),
    text=st.text("0123456789 .:,;{}[]\"'\n\t#%é"),
)
def test_clean__changes_nothing_without_a_secret(secret: str, text: str) -> None:
    """A text and a value without a secret stay as they are."""
    redactor = redactor_of(secret)
    value = {text: [text]}

    assert redactor.clean(text) == text
    assert redactor.clean_value(value) is value


@given(secret=SECRETS.filter(lambda secret: not secret.isdigit()), prefix=TEXTS, suffix=TEXTS)
@example(secret=NUMBER_SIGNS, prefix="#", suffix="#")
@example(secret="#######a", prefix="#", suffix="#")
@example(secret=QUOTED, prefix="", suffix="")
@example(secret=r"\\\\\\\n", prefix="", suffix="")
@example(secret="'\"'\"'\"'\"", prefix="", suffix="")
@example(secret="ab-secret", prefix="\ud800", suffix="…")
def test_clean_value__leaves_no_secret(secret: str, prefix: str, suffix: str) -> None:
    """No text in a value holds a secret, and the rest of the value stays."""
    text = f"{prefix}{secret}{suffix}"
    value = {"message": text, "quoted": json.dumps(text), "counts": [1, None, True, 0.5]}

    cleaned = redactor_of(secret).clean_value(value)

    assert secret not in cleaned["message"]
    assert json.dumps(secret)[1:-1] not in cleaned["quoted"]
    assert (list(cleaned), cleaned["counts"]) == (list(value), value["counts"])


@pytest.mark.parametrize(
    "secret",
    ["!@$^&*()!@$^", "-_.~-_.~", "a-b-c-d-e-f-g", "12-34-ab-cd-ef", "abcd-EFG"],
)
def test_clean_value__a_secret_without_a_long_word(secret: str) -> None:
    """A secret of punctuation and short words, for which there is no fast check, is removed."""
    redactor = redactor_of(secret)

    assert redactor.clean_value(f"it is {secret}.") == "it is ***."
    assert not redactor.is_clean(f"it is {secret}.")


def test_clean_value__names_lists_and_tuples() -> None:
    """Secrets are removed at any depth, from names too; lists and tuples keep their types."""
    value = {"a-secret-0042": [("A-Secret-0042", 1), {"id": ["a-secret-0042"]}], "n": None}

    cleaned = redactor_of("a-secret-0042").clean_value(value)

    assert cleaned == {"***": [("***", 1), {"id": ["***"]}], "n": None}


@pytest.mark.parametrize("secret", ["a-secret-0042", "date_enrolled"])
def test_clean_value__records(secret: str) -> None:
    """Secrets are removed from records; one that equals a field's name changes no field's name."""
    served = [enrollment(state=secret, included={"learner": {"id": secret}}), enrollment()]

    cleaned = redactor_of(secret).clean_value(served)

    expected = msgspec.structs.replace(served[0], state="***", included={"learner": {"id": "***"}})
    assert cleaned == [expected, served[1]]


def test_clean_value__large_numbers() -> None:
    """A number of any size stays, and the secret beside it does not."""
    value = {"count": 2**70, "text": "a-secret-0042"}

    assert redactor_of("a-secret-0042").clean_value(value) == {"count": 2**70, "text": "***"}


@pytest.mark.parametrize("secret", ["20941371", "00000000"])
def test_clean_value__ids_stay(secret: str) -> None:
    """A secret that is a number may be part of any id: values keep it, messages do not."""
    redactor = redactor_of(secret)
    value = {"ids": ["course:6511020_7037048_20941371"], "failed": [{"user_id": "20941371"}]}

    assert redactor.clean_value(value) is value
    assert redactor.is_clean(secret)
    assert redactor.clean(f"<{secret}>") == "<***>"


@pytest.mark.parametrize(
    ("text", "is_clean"),
    [
        ("course:1_2_3", True),
        ("a SECRET-token", False),
        ("c2VjcmV0LXRva2Vu", False),
        ("it says secre…", True),
        ("\udfff", True),
    ],
)
def test_is_clean__is_sure(text: str, is_clean: bool) -> None:  # noqa: FBT001 - a parameter
    """A text is called clean only if it certainly holds no secret, as text or as bytes."""
    redactor = redactor_of("secret-token", "12345678")

    assert redactor.is_clean(text) is is_clean
    assert redactor.is_clean(text.encode(errors="replace")) is is_clean
    assert redactor.is_clean(b"\xff" + text.encode(errors="replace")) is is_clean


def test_clean_error__has_no_secret_anywhere() -> None:
    """A redacted error is a copy without secrets, traceback and ``Retry-After``."""
    with pytest.raises(TemporaryError) as caught:
        raise TemporaryError(
            "ALM refuses a-secret.",
            hint="a-secret is short.",
            request_id="r-a-secret",
            retry_after="a-secret",
        )

    cleaned = redactor_of("a-secret").clean_error(caught.value)

    assert type(cleaned) is TemporaryError
    assert str(cleaned) == "ALM refuses ***. *** is short. (request id r-***)"
    assert (cleaned.retry_after, cleaned.__traceback__) == (None, None)
    assert redactor_of("a").clean_error(UsageError("m", hint="h")).request_id is None


def test_clean_error__of_a_server() -> None:
    """An error that quotes a server loses parts of secrets, which the server may have cut."""
    error = UsageError('ALM refuses "a-secret…", a-secret- too.', hint="h")
    redactor = redactor_of("a-secret-0042")

    assert redactor.clean_error(error).message == error.message
    cleaned = redactor.clean_error(error, is_of_server=True)
    assert cleaned.message == 'ALM refuses "***…", a-secret- too.'


def test_repr__shows_no_secret() -> None:
    """A redactor that is printed shows no secret."""
    redactor = redactor_of("canary-0042")

    assert [repr(redactor), str(redactor)] == ["Redactor()"] * 2


def test_on_secret__is_called_once_per_secret() -> None:
    """Every callback gets each secret once, known and later ones, before anything can use them."""
    redactor = redactor_of("first-secret", "second-secret")
    early: list[str] = []
    late: list[str] = []

    redactor.on_secret(early.append)
    redactor.add("third-secret")
    redactor.on_secret(late.append)
    redactor.add("first-secret")
    redactor.add("")
    redactor.add("fourth-secret")

    assert early == late == ["first-secret", "second-secret", "third-secret", "fourth-secret"]


def test_add__while_other_threads_clean() -> None:
    """A secret can be added while other threads clean their texts."""
    redactor = Redactor()
    failures: list[RuntimeError] = []
    has_ended = threading.Event()

    def clean() -> None:
        try:
            while not has_ended.is_set():
                redactor.clean("cut…" * 10)
        except RuntimeError as error:
            failures.append(error)

    threads = [threading.Thread(target=clean) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20):
        redactor.add(f"secret-number-{number}")
    has_ended.set()
    for thread in threads:
        thread.join()

    assert failures == []


class Recorder(logging.Handler):
    """Keeps the log records that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep *record*."""
        self.records.append(record)


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    """Return the records that the logger ``connector.test`` passes to its handlers."""
    recorder, logger = Recorder(), logging.getLogger("connector.test")
    logger.addHandler(recorder)
    yield recorder.records
    logger.removeHandler(recorder)


def test_redacted_logs__message_and_arguments(logged: list[logging.LogRecord]) -> None:
    """Messages logged inside are cleaned, their arguments too; those logged outside are not."""
    logger = logging.getLogger("connector.test")

    with redacted_logs(redactor_of("secret-token"), ["connector.test"]):
        logger.warning("got %s and secret-token, %d times", "secret-token", 2)
    logger.warning("got %s", "secret-token")

    assert logger.filters == []
    assert [(record.getMessage(), record.args) for record in logged] == [
        ("got *** and ***, 2 times", ()),
        ("got secret-token", ("secret-token",)),
    ]


def test_redacted_logs__traceback(logged: list[logging.LogRecord]) -> None:
    """A traceback logged inside is cleaned text; the record no longer has the exception."""
    with redacted_logs(redactor_of("secret-token"), ["connector.test"]):
        try:
            int("secret-token")
        except ValueError:
            logging.getLogger("connector.test").exception("it failed")

    text: Any = logged[0].exc_text
    assert logged[0].exc_info is None
    assert text.startswith('Traceback (most recent call last):\n  File "')
    assert text.endswith("ValueError: invalid literal for int() with base 10: '***'\n")


@pytest.mark.parametrize(
    ("name", "level", "message"),
    [
        ("library", logging.WARNING, "cannot read a-***…"),
        ("library", logging.INFO, "cannot read a-secret-to…"),
        ("connector.test", logging.WARNING, "cannot read a-secret-to…"),
    ],
)
def test_redacted_logs__warnings_of_libraries(name: str, level: int, message: str) -> None:
    """The warnings of libraries show what a server sent: parts of secrets are removed too."""
    recorder, logger = Recorder(), logging.getLogger(name)
    logger.addHandler(recorder)
    logger.setLevel(level)
    with redacted_logs(redactor_of("secret-token"), [name]):
        logger.log(level, "cannot read a-secret-to…")
    logger.removeHandler(recorder)
    logger.setLevel(logging.NOTSET)

    assert [record.getMessage() for record in recorder.records] == [message]


def test_redacted_logs__while_another_run_ends(logged: list[logging.LogRecord]) -> None:
    """The end of another run does not let a record of this run pass unredacted."""
    other_run, log = ExitStack(), logging.getLogger("connector.test")

    class EndOtherRun(logging.Filter):
        def filter(self, _record: logging.LogRecord) -> bool:
            other_run.close()
            return True

    other_run.enter_context(redacted_logs(Redactor(), ["connector.test"]))
    end_other_run = EndOtherRun()
    log.addFilter(end_other_run)
    with redacted_logs(redactor_of("my-secret"), ["connector.test"]):
        log.warning("it is my-secret")
    log.removeFilter(end_other_run)

    assert [record.getMessage() for record in logged] == ["it is ***"]
    assert log.filters == []
