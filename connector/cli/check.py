"""Tries everything that a run needs with a read of one record, and tells what it saw. Hands no enrollment on."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from connector.alm.rate_limit import ASSUMED
from connector.alm.records import read_enrollments
from connector.cli.progress import duration
from connector.runner import open_client, request_for
from connector.settings.problems import SANDBOX
from connector.settings.users import read_user_ids

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from connector.alm.rate_limit import Quota
    from connector.clock import Clock
    from connector.redact import Redactor
    from connector.settings import Credentials, Inputs

# How many enrollments a learner has is known only once they are read: the estimate is given for few, some and many.
_ENROLLMENTS_EACH = (10, 50, 200)
_MINUTE = 60


def check(
    inputs: Inputs, credentials: Credentials, redactor: Redactor, *, clock: Clock, stdin: TextIO
) -> Iterator[str]:
    """Yield a line for each thing that is in order; the first that is not raises its ConnectorError."""
    listed = read_user_ids(inputs, stdin)
    first = next(listed.ids, None)
    # Of a pipe the rest is read to be counted: nothing else is to read it.
    count = (
        listed.total
        if listed.total is not None
        else (first is not None) + sum(1 for _ in listed.ids)
    )
    users = _counted(count, "user")
    yield f"inputs     valid: {users}; {', '.join(inputs.lo_types)}; sort {inputs.sort}; {inputs.base_url}"
    if first is None:
        yield "           none of the users is in this shard: nothing was asked"
        return
    client = open_client(inputs, credentials, redactor, clock)
    try:
        began = clock.monotonic()
        page = client.fetch(request_for(first, replace(inputs, page_limit=1)))
        seconds = clock.monotonic() - began
    finally:
        client.close()
    enrollments = read_enrollments(page, inputs.include)
    yield f"token      {'none needed' if inputs.base_url == SANDBOX else 'accepted'}"
    yield f"quota      {_told(client.quota)}"
    read = f"{_counted(len(enrollments), 'enrollment')} of user {first} in {seconds * 1000:.0f} ms"
    more = "more follow" if page.next_link else "no more follow"
    yield f"read       {read}, {more}; request id {page.request_id}"
    quota = client.quota or ASSUMED
    for each in _ENROLLMENTS_EACH:
        requests = count * math.ceil(each / inputs.page_limit)
        needed = quota.share(inputs.quota_share).seconds_for(requests)
        late = (
            f": longer than the deadline of {inputs.deadline:g} s"
            if needed > inputs.deadline
            else ""
        )
        asked = _counted(requests, "request")
        yield f"full read  {users} of {each} enrollments: {asked}, at least {duration(needed)} at this quota{late}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _told(quota: Quota | None) -> str:
    if quota is None:
        return f"not told by ALM; taken to be {ASSUMED.rate * _MINUTE:g} requests a minute, burst {ASSUMED.burst:g}"
    return f"{quota.rate * _MINUTE:g} requests a minute, burst {quota.burst:g}"
