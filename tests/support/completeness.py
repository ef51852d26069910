"""The values of ``completeness.status``, in one place."""

VERIFIED, CONSISTENT, INCOMPLETE, INCONSISTENT = "proved", "consistent", "incomplete", "violated"
