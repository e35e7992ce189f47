"""Alerts: what the published evenings have to tell people, as files and through channels."""

from __future__ import annotations

from redline.alerts.delivery import Delivered, deliver, go_on
from redline.alerts.files import write_alerts

__all__ = ["Delivered", "deliver", "go_on", "write_alerts"]
