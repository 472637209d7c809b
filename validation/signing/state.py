"""What an output says about the signature of a decision."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_SHOWN: Final = 16
"""Digits of a key's id in a text; JSON has all of them."""


class SignatureError(ValueError):
    """A signature is missing, by another key, or over other bytes; there is no decision then."""


class State(StrEnum):
    """How much is known of a signature."""

    UNSIGNED = "unsigned"
    NOT_CHECKED = "not checked"
    """There is one, and nobody named a key to check it with."""
    SIGNED = "signed"
    """It is being made now, with a key that this process holds."""
    VERIFIED = "verified"


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The signature of one decision."""

    state: State = State.UNSIGNED
    key_id: str = ""
    """Hexadecimal, or empty: unsigned, or the envelope names no key."""

    @property
    def text(self) -> str:
        """It in words."""
        if self.state is State.UNSIGNED:
            return "unsigned"
        by = f"signed by {self.key_id[:_SHOWN] or 'an unknown key'}"
        extra = {State.NOT_CHECKED: ", signature not checked", State.VERIFIED: ", verified"}
        return by + extra.get(self.state, "")
