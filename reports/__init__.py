"""Reports of a gate's result: an offline HTML page, JUnit XML, a Markdown summary, and a page that
lists all runs.
"""

from evolution_gate.reports.writer import write, write_index

__all__ = ["write", "write_index"]
