"""The command ``alm-enrollments``."""
