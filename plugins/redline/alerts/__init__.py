"""Alerts: what the published evenings have to tell people, as one JSON Lines file per evening."""

from __future__ import annotations

from redline.alerts.files import write_alerts

__all__ = ["write_alerts"]
