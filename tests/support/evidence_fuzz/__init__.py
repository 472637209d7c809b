"""Fuzzing of evidence: every edit of every field of every kind of record, judged by the gate."""
