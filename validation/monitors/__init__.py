"""Monitors that watch cluster, dashboards, alerts and the harness itself during a campaign."""
