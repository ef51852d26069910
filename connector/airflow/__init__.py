"""The connector in Airflow: a connection type, operators, and a retry policy.

For Airflow 2.11 and 3, with ``pip install 'alm-enrollments-connector[airflow]'``. A thin layer
over ``connector.run``.
"""
