"""The run's secrets leave no text, whichever way they are written in it."""

from __future__ import annotations

import base64
import json
import logging
import string
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector.redact import Redactor, cleaned_logs
from connector.text import to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

# An asterisk is what the placeholder is made of: a secret that holds "***" could be put together of it.
PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "*")
secrets = st.text(PRINTABLE, min_size=8, max_size=80)
texts = st.text(max_size=20)
NUMBER_SIGNS = "ab#cd##efgh"
QUOTED = 'ab"cd\\efgh'
PERCENT_ENCODED = "a+b/c~%=&?"
BACKSLASHES = r"\\\\\\n"
QUOTES = "'\"'\"'\"'\""


def knowing(*secrets: str) -> Redactor:
    """Return a redactor that knows *secrets*."""
    redactor = Redactor()
    for secret in secrets:
        redactor.add(secret)
    return redactor


def core_of_base64(prefix: bytes, secret: bytes, encoded: str) -> str:
    """Return the groups of four characters in *encoded* (*prefix*, *secret* and more) that *secret* fills alone."""
    first, last = -(-len(prefix) // 3), (len(prefix) + len(secret)) // 3
    return encoded[4 * first : 4 * last]


def test_clean__every_form_in_one_text() -> None:
    """Raw, percent-encoded in either case, form-encoded, JSON-escaped and base64: each becomes three asterisks."""
    secret = 'a/b+c "d"~é'
    redactor = knowing(secret)

    cleaned = [
        redactor.clean(f"<{form}>")
        for form in (
            secret,
            secret.upper(),
            quote(secret),
            quote(secret, safe=""),
            quote(secret, safe="").lower(),
            quote_plus(secret),
            json.dumps(secret)[1:-1],
            json.dumps(secret, ensure_ascii=False)[1:-1],
            repr(secret)[1:-1],
        )
    ]

    assert cleaned == ["<***>"] * 9


def test_clean__basic_authorization() -> None:
    """Base64 of client id and secret together shows neither of them."""
    redactor = knowing("client-0042", "secret-of-the-client")

    cleaned = redactor.clean(
        "Basic " + base64.b64encode(b"client-0042:secret-of-the-client").decode()
    )

    assert cleaned == "Basic ***I6***Q="


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("token=abc123", "token=***"),
        ("ABC123 abc123abc123", "*** ******"),
        ("abc12", "abc12"),
        ("", ""),
        ("two lines\nabc123\n", "two lines\n***\n"),
    ],
)
def test_clean__whole_texts(text: str, cleaned: str) -> None:
    """Only the secret itself is replaced, wherever it stands."""
    assert knowing("abc123").clean(text) == cleaned


def test_clean__the_longer_secret_first() -> None:
    """Where one secret begins another, nothing of the longer one stays."""
    assert knowing("abcdefgh", "abcdefghijkl").clean("abcdefghijkl abcdefgh") == "*** ***"


def test_clean__without_secrets() -> None:
    """A redactor that knows nothing changes nothing, and an empty secret is none."""
    assert Redactor().clean("a text") == "a text"
    assert Redactor().clean_document('{"a":1}') == '{"a":1}'
    assert knowing("").clean("a text") == "a text"
    assert knowing("").clean_document('{"a":1}') == '{"a":1}'


def test_repr__tells_nothing() -> None:
    """However a redactor is printed, it shows no secret."""
    redactor = knowing("canary-0042")

    assert [repr(redactor), str(redactor), f"{redactor}"] == ["Redactor()"] * 3


@given(secret=secrets, prefix=texts, suffix=texts)
@example(secret=NUMBER_SIGNS, prefix="#", suffix="#")
@example(secret=QUOTED, prefix='"', suffix="\\")
@example(secret=PERCENT_ENCODED, prefix="", suffix="")
def test_clean__leaves_no_form(secret: str, prefix: str, suffix: str) -> None:
    """A secret leaves any text, be it raw, percent-encoded, form-encoded, JSON-escaped or as Python shows it."""
    forms = [
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
    ]

    cleaned = knowing(secret).clean(" ".join(f"{prefix}{form}{suffix}" for form in forms))

    assert [form for form in forms if form in cleaned] == []


@given(secret=secrets, prefix=st.binary(max_size=7), suffix=st.binary(max_size=7))
def test_clean__leaves_no_base64(secret: str, prefix: bytes, suffix: bytes) -> None:
    """Whatever bytes stand before and after it, base64 of a secret shows no group of characters that it fills alone."""
    encoded = base64.b64encode(prefix + secret.encode() + suffix).decode()
    core = core_of_base64(prefix, secret.encode(), encoded)
    url_safe = core.replace("+", "-").replace("/", "_")

    cleaned = knowing(secret).clean(
        f"{encoded} {encoded.translate(str.maketrans('+/', '-_'))} {quote(encoded, safe='')}"
    )

    assert [form for form in (core, url_safe, quote(core, safe="")) if form in cleaned] == []


@given(
    secret=st.text(string.ascii_letters, min_size=8, max_size=40),
    text=st.text("0123456789 .:,;{}[]\"'\n\t#%é"),
)
def test_clean__text_without_secrets_is_unchanged(secret: str, text: str) -> None:
    """Text in which no secret is stays as it is, to the letter."""
    redactor = knowing(secret)

    assert redactor.clean(text) == text
    assert redactor.clean_document(text) == text


@given(secret=secrets.filter(lambda secret: not secret.isdigit()), prefix=texts, suffix=texts)
@example(secret=NUMBER_SIGNS, prefix="", suffix="")
@example(secret="#######a", prefix="#", suffix="#")
@example(secret=QUOTED, prefix="", suffix="")
@example(secret=BACKSLASHES, prefix="", suffix="")
@example(secret=QUOTES, prefix="", suffix="")
def test_clean_document__stays_json_without_the_secret(
    secret: str, prefix: str, suffix: str
) -> None:
    """The document as it is printed can be read after the cleaning, and no text in it holds the secret."""
    document = to_json({"message": f"{prefix}{secret}{suffix}", "count": 1})

    cleaned = json.loads(knowing(secret).clean_document(document))

    assert list(cleaned) == ["message", "count"]
    assert secret not in cleaned["message"]


@pytest.mark.parametrize("secret", ["ab##cdefgh", "#abcdefgh", "abcdefgh#"])
def test_clean_document__a_secret_with_number_signs(secret: str) -> None:
    r"""A secret with ``##`` in it, which the document writes ``#\u0023``, leaves the document all the same."""
    document = to_json({"hint": f"#{secret}#"})

    cleaned = json.loads(knowing(secret).clean_document(document))

    assert secret not in cleaned["hint"]


def test_clean_document__a_secret_quoted_in_a_message() -> None:
    """A secret that a message shows quoted, escapes and all, leaves the document, which escapes the message once more."""
    secret = 'ab"cd\\efgh'
    document = to_json({"message": f"user_id is {json.dumps(secret)} (allowed: digits)"})

    cleaned = json.loads(knowing(secret).clean_document(document))

    assert cleaned == {"message": 'user_id is "***" (allowed: digits)'}


@pytest.mark.parametrize("secret", ["1", "20941371", "00000000", "a", "course", "user_id"])
def test_clean_document__ids_stay(secret: str) -> None:
    """A secret that is short, or a number, may be part of any id: it takes nothing out of the document."""
    document: dict[str, Any] = {
        "enrollment_ids": ["course:6511020_7037048_20941371"],
        "users": {"failed": [{"user_id": "20941371"}]},
    }

    cleaned = knowing(secret).clean_document(to_json(document))

    assert json.loads(cleaned) == document


def test_clean_document__a_whole_document() -> None:
    """A secret in a message goes, the ids beside it stay."""
    document = to_json(
        {
            "enrollment_ids": ["course:1_2_3"],
            "error": {"message": "ALM refuses Canary-0042 (canary-0042)."},
        }
    )

    cleaned = knowing("canary-0042", "3").clean_document(document)

    assert (
        cleaned
        == '{"enrollment_ids":["course:1_2_3"],"error":{"message":"ALM refuses *** (***)."}}'
    )


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        pytest.param("it says secret-t…", "it says ***…", id="cut in the middle"),
        pytest.param("it says secret…", "it says ***…", id="six characters"),
        pytest.param("it says secre…", "it says secre…", id="five are no beginning"),
        pytest.param("secret- and more…", "secret- and more…", id="not at the cut"),
        pytest.param("secret-t… and secret-to… end", "***… and ***… end", id="two cuts"),
        pytest.param(r"it says secret-t\u2026", r"it says ***\u2026", id="cut in a document"),
        pytest.param("c2VjcmV0LXRv…", "***…", id="cut in base64"),
        pytest.param("no cut: secret-t", "no cut: secret-t", id="no cut"),
    ],
)
def test_clean__the_beginning_that_a_cut_has_left(text: str, cleaned: str) -> None:
    """What was cut is no whole secret any more, and still tells the beginning of one."""
    redactor = knowing("secret-token-of-mine")

    assert redactor.clean(text) == cleaned
    assert redactor.clean_document(text) == cleaned


def test_clean__the_longest_beginning() -> None:
    """Of two secrets that begin alike the longer beginning is taken out whole."""
    redactor = knowing("secret-one", "secret-one-and-more")

    assert redactor.clean("it says secret-one-and-m…") == "it says ***…"


class Listening(logging.Handler):
    """Keeps the records that arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep *record*."""
        self.records.append(record)


@pytest.fixture
def heard() -> Iterator[list[logging.LogRecord]]:
    """Return the records that arrive from the logger ``connector.test``."""
    listening, logger = Listening(), logging.getLogger("connector.test")
    logger.addHandler(listening)
    yield listening.records
    logger.removeHandler(listening)


def test_cleaned_logs__message_and_arguments(heard: list[logging.LogRecord]) -> None:
    """What is logged inside is cleaned whole, whether the secret is in the message or in an argument; outside it is left alone."""
    logger = logging.getLogger("connector.test")

    with cleaned_logs(knowing("secret-token"), ["connector.test"]):
        logger.warning("told %s and secret-token, %d times", "secret-token", 2)
    logger.warning("told %s", "another-token")

    assert [(record.getMessage(), record.args) for record in heard] == [
        ("told *** and ***, 2 times", ()),
        ("told another-token", ("another-token",)),
    ]


def test_cleaned_logs__traceback(heard: list[logging.LogRecord]) -> None:
    """A traceback that is logged inside is told without the secret, and carries the exception no further."""
    logger = logging.getLogger("connector.test")

    with cleaned_logs(knowing("secret-token"), ["connector.test"]):
        try:
            int("secret-token")
        except ValueError:
            logger.exception("it failed")

    assert heard[0].exc_info is None
    assert heard[0].exc_text is not None
    assert heard[0].exc_text.startswith("Traceback (most recent call last):\n")
    assert heard[0].exc_text.endswith("ValueError: invalid literal for int() with base 10: '***'\n")


def test_cleaned_logs__only_inside() -> None:
    """Afterwards the loggers are as they were."""
    logger = logging.getLogger("connector.test")

    with cleaned_logs(knowing("secret-token"), ["connector.test"]):
        assert len(logger.filters) == 1
    assert logger.filters == []


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_clean__a_quoted_secret_escaped_again_and_again(depth: int) -> None:
    """A message that quotes a message that quotes it escapes the escapes: it is known all the same."""
    text = """a"b/c'd\\e-secret"""
    redactor = knowing(text)
    for _ in range(depth):
        text = json.dumps(text)[1:-1]

    assert redactor.clean(f"<{text}>") == "<***>"


def test_announce__secrets_known_and_to_come() -> None:
    """Everyone who asks is told each secret once, those that are known already and later ones alike, and none that is empty."""
    redactor = knowing("first-secret", "second-secret")
    early: list[str] = []
    late: list[str] = []

    redactor.announce(early.append)
    redactor.add("third-secret")
    redactor.announce(late.append)
    redactor.add("first-secret")
    redactor.add("")
    redactor.add("fourth-secret")

    assert early == late == ["first-secret", "second-secret", "third-secret", "fourth-secret"]


def test_clean_document__without_any_secret() -> None:
    """Where nothing is secret every text stays as it is, whatever is in it."""
    assert Redactor().clean_document("\u00e9") == "\u00e9"


def test_clean_document__a_cut_beginning_alone() -> None:
    """The beginning of a secret that a cut has left is taken out, although nothing else of it is there."""
    cleaned = knowing("eea25e6e1e03c379c46e5ccc29932899").clean_document(
        '{"message":"token eea25e6e1e03\\u2026"}'
    )

    assert cleaned == '{"message":"token ***\\u2026"}'


def test_clean_document__every_form_at_once() -> None:
    """A text that has a secret in every form that it can have loses all of them."""
    secret = "eea25e6e1e03c379c46e5ccc29932899"
    encoded = [base64.b64encode(b"x" * shift + secret.encode()).decode() for shift in range(3)]

    cleaned = knowing(secret).clean_document(" ".join([secret, secret.upper(), *encoded]))

    assert "eea25e6e1e03" not in cleaned.lower()
    assert cleaned.count("***") == 5


@pytest.mark.parametrize("secret", ["!@$^&*()!@$^", "a-b-c-d-e-f-g", "12-34-ab-cd-ef"])
def test_clean_document__a_secret_without_a_long_word(secret: str) -> None:
    """A secret of marks, or of words too short to tell it by, is found all the same."""
    assert knowing(secret).clean_document(f"it is {secret}.") == "it is ***."


def test_cleaned_logs__while_another_run_ends(heard: list[logging.LogRecord]) -> None:
    """A run that ends while another one's record is on its way does not let that record pass uncleaned."""
    mine, others = Redactor(), ExitStack()
    mine.add("my-secret")
    log = logging.getLogger("connector.test")

    class Ending(logging.Filter):
        def filter(self, _record: logging.LogRecord) -> bool:
            others.close()
            return True

    others.enter_context(cleaned_logs(Redactor(), ["connector.test"]))
    ending = Ending()
    log.addFilter(ending)
    with cleaned_logs(mine, ["connector.test"]):
        log.warning("it is my-secret")
    log.removeFilter(ending)

    assert [record.getMessage() for record in heard] == ["it is ***"]
    assert log.filters == []


def test_add__while_others_clean() -> None:
    """A secret may be learned while other threads clean their texts."""
    redactor = Redactor()
    failures: list[RuntimeError] = []
    learned = threading.Event()

    def clean() -> None:
        while not learned.is_set():
            try:
                redactor.clean("cut…" * 50)
            except RuntimeError as error:
                failures.append(error)
                return

    cleaners = [threading.Thread(target=clean) for _ in range(4)]
    for cleaner in cleaners:
        cleaner.start()
    for number in range(40):
        redactor.add(f"secret-number-{number}")
    learned.set()
    for cleaner in cleaners:
        cleaner.join()

    assert failures == []
