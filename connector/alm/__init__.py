"""Adobe Learning Manager, API v2: its language, its records, its quota, and reading it to the end."""
