"""Registers Redline with Airflow; everything else lies in the package beside it."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from redline.deadline import PublishedBy


class RedlinePlugin(AirflowPlugin):
    """Redline, as Airflow lists it under its plugins."""

    name = "redline"
    deadline_references = [PublishedBy]  # noqa: RUF012 - as Airflow asks for it
