"""Foreign text inside Markdown: it cannot open tags, links, columns or lines."""

from __future__ import annotations

import re


def escaped(text: str) -> str:
    """Text for a line or a table cell."""
    flat = " ".join(text.split())
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", flat).replace("<", "&lt;").replace(">", "&gt;")


def code(text: str) -> str:
    """Text as code."""
    flat = " ".join(text.split()).replace("`", "'")
    return f"`{flat}`"
