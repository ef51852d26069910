"""The values of ``completeness.status``, in one place."""

VERIFIED = "verified"
CONSISTENT = "consistent"
INCOMPLETE = "incomplete"
INCONSISTENT = "inconsistent"
