"""Signing: a decision and its files as an in-toto statement in a DSSE envelope."""
