"""Airflow's side of the connector: a connection type, operators, and when a failed task is worth another try.

For Airflow 2.11 and 3, with ``pip install 'alm-enrollments-connector[airflow]'``. Thin over ``connector.run``.
"""
