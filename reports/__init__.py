"""A gate's result for people and for tools: one offline page, JUnit XML, a Markdown summary, and a
page that lists all runs."""

from evolution_gate.reports.writer import write, write_index

__all__ = ["write", "write_index"]
