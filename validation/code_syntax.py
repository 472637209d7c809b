"""The syntax of a Python program as text, equal on every Python that reads the source.

It uses nothing but ``ast``: the tests run it on Pythons that have none of the dependencies.
"""

from __future__ import annotations

import ast


def syntax(node: object) -> str:
    """A syntax tree as text, without docstrings, and equal on every Python that reads the source.

    ``ast.dump`` differs between Pythons: a newer one has more fields. They are empty for the syntax
    that an older one knows too, so empty fields are left out.
    """
    if isinstance(node, ast.AST):
        fields = (
            f"{name}={syntax(value)}"
            for name, value in ast.iter_fields(node)
            if _is_stated(node, name, value)
        )
        return f"{type(node).__name__}({','.join(fields)})"
    if isinstance(node, list):
        return f"[{','.join(syntax(item) for item in node if not _is_docstring(item))}]"
    # ASCII: which other characters ``repr`` escapes depends on Python's version of Unicode.
    return f"{type(node).__name__}:{node!a}"


def _is_stated(node: ast.AST, name: str, value: object) -> bool:
    """Whether a field is part of the program. ``kind`` is the ``u`` of ``u"text"``."""
    if isinstance(node, ast.Constant | ast.MatchSingleton):
        return name == "value"
    return value is not None and value != []


def _is_docstring(item: object) -> bool:
    """Whether a statement is text alone: of a module, class, function or field; it does nothing."""
    return (
        isinstance(item, ast.Expr)
        and isinstance(item.value, ast.Constant)
        and isinstance(item.value.value, str)
    )
