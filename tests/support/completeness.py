"""The values of ``completeness.status``, in one place."""

VERIFIED, CONSISTENT, INCOMPLETE, INCONSISTENT = (
    "verified",
    "consistent",
    "incomplete",
    "inconsistent",
)
