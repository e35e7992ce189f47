"""Registers Redline with Airflow; everything else lies in the package beside it."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin


class RedlinePlugin(AirflowPlugin):
    """Redline, as Airflow lists it under its plugins."""

    name = "redline"
