"""Return the enrollments of a learner as the result of a Windmill script."""

# requirements:
# alm-enrollments-connector
# wmill

import os

import wmill

import connector


def main(user_id: str, lo_types: str = "all", since: str = "") -> dict:
    """Return the document of one run; what it raises fails the job."""
    os.environ.update(wmill.get_resource("f/alm/account"))
    return connector.run(user_id=user_id, lo_types=lo_types, since=since)
