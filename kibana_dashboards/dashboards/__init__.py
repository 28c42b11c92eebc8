"""Dashboards: templates, the saved objects they become, and how those read again."""

from kibana_dashboards.dashboards.saved_objects import DASHBOARDS, dashboards, saved_objects

__all__ = ["DASHBOARDS", "dashboards", "saved_objects"]
