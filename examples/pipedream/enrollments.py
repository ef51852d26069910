"""Return the enrollments of a learner as the export of a Pipedream step."""

# pipedream add-package alm-enrollments-connector
import connector


def handler(pd: "pipedream"):
    """Return the document of one run; what it raises fails the step."""
    event = pd.steps["trigger"]["event"]["body"]
    return connector.run(
        user_id=event["user_id"], since=event.get("since"), lo_types="all", deadline=250
    )
