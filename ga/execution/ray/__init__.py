"""Evaluation on a Ray cluster: coordinator's side, driver process, and dispatcher."""
