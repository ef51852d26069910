"""E-mail addresses in lists of users, and users whom ALM has deleted."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from connector.errors import UsageError
from connector.settings.users import Users, is_in_shard, read_user_ids
from tests.support.inputs import inputs_of

if TYPE_CHECKING:
    from pathlib import Path

ADA, BEN = "ada@example.com", "ben@example.com"


def users_of(text: str, shard: str | None = None) -> Users:
    """Return the users of a list on standard input."""
    inputs = inputs_of(user_id=None, user_ids_file="-", shard=shard)
    return read_user_ids(inputs, io.StringIO(text))


@pytest.mark.parametrize(
    ("text", "users"),
    [
        (f"{ADA}\n31\n  {BEN} # a comment\n", [ADA, "31", BEN]),
        (f"{ADA}\nADA@Example.com\n031\n31\n", [ADA, "031"]),
        ("o'brien+x@sub.example.co.uk\nzoë@exämple.com\n", None),
        *(
            (f"name,{column}\nAda,{ADA}\nBen,{BEN}\n", [ADA, BEN])
            for column in ("user_email", "userEmail", "email", " E-Mail ".replace("-", ""))
        ),
        (f"email,user_id\n{ADA},31\n", ["31"]),
        (f"email;internalUserID\n{ADA};\n{BEN};32\n", [ADA, "32"]),
        (f"email\n#team@example.com\n{BEN}\n", [BEN]),
        (f"name,email\n#1 Ada,{ADA}\n", [ADA]),
    ],
)
def test_file__addresses(text: str, users: list[str] | None) -> None:
    """A line, or a cell of a usual column, may be an address; an id in the same row wins."""
    found = users_of(text)

    assert list(found.ids) == (users or text.split())


@pytest.mark.parametrize("text", ["ada@", "@example.com", "a@b@c", "a b@c", "Ada <a@b.c>", "a@b,c"])
def test_file__no_address(text: str) -> None:
    """A line that is neither an id nor one address is refused by its number."""
    with pytest.raises(UsageError, match="without an id in line 2"):
        users_of(f"31\n{text}\n")


def test_file__deleted_users() -> None:
    """Rows of ALM's own user report about deleted users are skipped and counted."""
    report = (
        "internalUserID,userEmail,state\n"
        f"31,{ADA},ACTIVE\n32,{BEN},DELETED\n33,c@x.org, deleted \n34,d@x.org,\n35\n"
    )
    users = users_of(report)

    assert (list(users.ids), users.total, users.deleted) == (["31", "34", "35"], 3, 2)


def test_file__only_deleted_users() -> None:
    """A list of deleted users only is refused, as an empty one is."""
    with pytest.raises(UsageError, match="no id in standard input but those of 1 deleted users"):
        users_of("user_id,state\n31,DELETED\n")


def test_shard__of_an_address() -> None:
    """An address is in one shard, however it is written, the same on every machine."""
    shards = [number for number in (1, 2, 3, 4) if is_in_shard("Ada@Example.COM", number, 4)]

    assert shards == [number for number in (1, 2, 3, 4) if is_in_shard(ADA, number, 4)] == [1]


def test_user_email__named() -> None:
    """Addresses can be named, each once."""
    inputs = inputs_of(user_id=None, user_email=f"{ADA}, {BEN} {ADA.upper()}")

    users = read_user_ids(inputs, io.StringIO())

    assert (list(users.ids), users.total) == ([ADA, BEN], 2)


def test_claim__a_user_listed_before() -> None:
    """The id of an address that the list has had is not to be read again."""
    users = users_of(f"31\n{ADA}\n")
    assert list(users.ids) == ["31", ADA]

    assert (users.claim("031"), users.repeats) == (False, 1)


def test_claim__a_user_listed_later() -> None:
    """An id that follows its address in the list is not yielded, and not counted."""
    users = users_of(f"{ADA}\n31\n31\n32\n")

    assert next(users.ids) == ADA
    assert users.claim("31")
    assert list(users.ids) == ["32"]
    assert (users.total, users.repeats) == (3, 1)


def test_claim__two_addresses_of_one_user() -> None:
    """Of two addresses of one user the first counts."""
    users = users_of(f"{ADA}\n{BEN}\n")
    assert len(list(users.ids)) == 2

    assert [users.claim("31"), users.claim("31"), users.repeats] == [True, False, 1]


def test_claim__in_a_pipe(tmp_path: Path) -> None:
    """The end of a pipe counts what it has yielded: an id that is left out is not in it."""
    path = tmp_path / "users"
    path.write_text(f"{ADA}\n31\n")
    users = Users(path.read_text().split())

    assert next(users.ids) == ADA
    assert users.claim("31")
    assert (list(users.ids), users.total, users.repeats) == ([], None, 0)
