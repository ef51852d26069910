"""Every enrollment of a learner, as the export of a Pipedream step."""

# pipedream add-package alm-enrollments-connector
import connector


def handler(pd: "pipedream"):
    """Return the document of one run; what it raises fails the step."""
    asked = pd.steps["trigger"]["event"]["body"]
    return connector.run(
        user_id=asked["user_id"], since=asked.get("since"), lo_types="all", deadline=250
    )
