"""Try everything that a run needs with a read of one record, and estimate a complete read."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from connector.alm.rate_limit import ASSUMED
from connector.alm.records import read_enrollments
from connector.cli.progress import format_duration
from connector.clock import Deadline
from connector.errors import ConnectorError
from connector.output.results import name_of
from connector.runner.all_users import within_deadline
from connector.runner.connection import open_client, request_for
from connector.settings import SANDBOX
from connector.settings.users import is_address, read_user_ids
from connector.text import counted, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from connector.alm.client import Client
    from connector.alm.rate_limit import Quota
    from connector.clock import Clock
    from connector.redact import Redactor
    from connector.settings import Credentials, Inputs
    from connector.settings.users import Users

# How many enrollments a user has is not known before they are read: few, some and many.
_ENROLLMENTS_PER_USER = (10, 50, 200)


def check(
    inputs: Inputs, credentials: Credentials, redactor: Redactor, *, clock: Clock, stdin: TextIO
) -> Iterator[str]:
    """Yield a line for everything that works. Raises the ConnectorError of the first that fails."""
    deadline = Deadline(clock, inputs.deadline)

    def read_list() -> tuple[Users, str | None, int, int]:
        users = read_user_ids(inputs, stdin)
        first, total, addresses = None, 0, 0
        # A pipe is read to its end to be counted.
        for user in users.ids:
            first = first or user
            total += 1
            addresses += is_address(user)
        return users, first, total, addresses

    users, first, total, addresses = within_deadline(read_list, deadline)
    skipped = ""
    if users.deleted:
        skipped = f" ({counted(users.deleted, 'deleted user')} skipped)"
    lo_types = ", ".join(inputs.lo_types)
    yield (
        f"inputs     valid: {counted(total, 'user')}{skipped}; {lo_types}; sort {inputs.sort};"
        f" {inputs.base_url}"
    )
    if first is None:
        yield "           this shard has no user: nothing was sent"
        return
    client = open_client(inputs, credentials, redactor, deadline)
    try:
        read = within_deadline(lambda: _read_first(first, inputs, client, clock), deadline)
    except ConnectorError as error:
        raise client.redacted(error) from error.__cause__
    finally:
        client.close()
    yield f"token      {'none needed' if inputs.base_url == SANDBOX else 'accepted'}"
    quota, guess = client.quota or ASSUMED, ""
    if client.unread_rate:
        guess = f"{quoted(client.unread_rate)} cannot be used as it is; assumed to be "
    elif client.quota is None:
        guess = "not reported by ALM; assumed to be "
    yield f"quota      {guess}{quota}"
    yield f"read       {read}"
    at_quota = "at this quota, which is a guess" if guess else "at this quota"
    for enrollments in _ENROLLMENTS_PER_USER:
        requests = total * math.ceil(enrollments / inputs.page_limit) + addresses
        yield (
            f"full read  {counted(total, 'user')} of {enrollments} enrollments:"
            f" {counted(requests, 'request')}, {_estimate(requests, quota, at_quota, inputs)}"
        )


def _estimate(requests: int, quota: Quota, at_quota: str, inputs: Inputs) -> str:
    seconds = quota.share(inputs.quota_share).seconds_for(requests)
    time = f"at least {format_duration(seconds)}" if seconds >= 1 else "less than 1 s"
    if seconds > inputs.deadline:
        return f"{time} {at_quota}: longer than the deadline of {inputs.deadline:g} s"
    return f"{time} {at_quota}"


def _read_first(user: str, inputs: Inputs, client: Client, clock: Clock) -> str:
    """Read one record of *user*, and return in words what that brought."""
    user_id, email = user, None
    if is_address(user):
        user_id, email = client.find_user(user), user
    started_at = clock.monotonic()
    page = client.fetch(request_for(user_id, replace(inputs, page_limit=1)))
    milliseconds = (clock.monotonic() - started_at) * 1000
    read = counted(len(read_enrollments(page, inputs.include)), "enrollment")
    more = "more follow" if page.next_link else "no more follow"
    request_id = f"request id {page.request_id}" if page.request_id else "ALM sent no request id"
    return (
        f"{read} of user {name_of(user_id, email)} in {milliseconds:.0f} ms, {more}; {request_id}"
    )
