"""The values of ``completeness.status``."""

VERIFIED = "verified"
CONSISTENT = "consistent"
INCOMPLETE = "incomplete"
INCONSISTENT = "inconsistent"
