"""A gate's result for people and for tools: one offline page, JUnit XML, a Markdown summary."""

from reports.writer import write

__all__ = ["write"]
