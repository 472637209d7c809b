"""Stages of a campaign: each works, injects faults or measures, and writes evidence."""
