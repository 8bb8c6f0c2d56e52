"""A run's page: what a clipflow task did, served by Airflow's own server.

Only that server imports what is in here; see `clipflow_airflow.plugin`.
"""
