"""Ed25519 keys in PEM files, and DSSE envelopes: all cryptography is securesystemslib's.

Needs the extra ``signing``. The password of an encrypted key comes from ``GA_SIGN_PASSWORD``, which
is removed from the environment at once, so that no program started later inherits it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ga.errors import InputError
from validation.evidence.errors import EvidenceError
from validation.evidence.files import read_file
from validation.signing.state import SignatureError

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

PASSWORD: Final = "GA_SIGN_PASSWORD"
_EXTRA: Final = "signatures need: pip install evolution-gate[signing]"
_MOST_BYTES: Final = 64 * 1024
"""Largest file of a key."""
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"


class PrivateKey:
    """Signs statements.

    Args:
        path: A PKCS #8 file in PEM with an Ed25519 key, which only its owner can read.

    Raises:
        InputError: the file is unusable, others can read it, the password is missing or wrong, or
            the extra is not installed.
    """

    def __init__(self, path: Path) -> None:
        password = os.environ.pop(PASSWORD, "")
        _require_extra()
        content = _content(path, "--sign", private=True)
        self._signer: Final = _private(path, content, password.encode() or None)
        self.public: Final = PublicKey(self._signer.public_key)

    def sign(self, payload: bytes) -> dict[str, Any]:
        """The envelope of a statement, as JSON-serialisable values."""
        from securesystemslib.dsse import Envelope

        envelope = Envelope(payload, PAYLOAD_TYPE, {})
        envelope.sign(self._signer)
        return dict(envelope.to_dict())


class PublicKey:
    """Checks signatures; read it from a file with ``read``."""

    def __init__(self, key: SSlibKey) -> None:
        self._key: Final = key

    @property
    def id(self) -> str:
        """SHA-256 of the key, hexadecimal."""
        return str(self._key.keyid)

    @classmethod
    def read(cls, path: Path) -> PublicKey:
        """The key of a PEM file.

        Raises:
            InputError: the file is unusable, or the extra is not installed.
        """
        _require_extra()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
        from securesystemslib.signer import SSlibKey

        content = _content(path, "--verify", private=False)
        try:
            key = load_pem_public_key(content)
        except Exception:
            # The library raises many kinds, some of which quote what they read.
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise InputError(
                f"--verify {path}: no public Ed25519 key in PEM; make it from the private key:"
                " openssl pkey -in KEY -pubout -out PUBLIC_KEY"
            )
        return cls(SSlibKey.from_crypto(key))

    def payload_of(self, fields: dict[str, Any]) -> bytes:
        """The statement of an envelope that this key signed.

        Raises:
            SignatureError: it is no envelope, or by another key, or was changed.
        """
        from securesystemslib.dsse import Envelope
        from securesystemslib.exceptions import VerificationError

        try:
            envelope = Envelope.from_dict(fields)
            there = sorted(map(str, envelope.signatures))
        except Exception as error:
            # Of a damaged envelope the library raises whatever it stumbles over.
            raise SignatureError(f"not a DSSE envelope ({type(error).__name__})") from None
        if self.id not in there:
            found = there[0][:16] if there else "nobody"
            raise SignatureError(f"signed by {found}, not by the given key {self.id[:16]}")
        if envelope.payload_type != PAYLOAD_TYPE:
            raise SignatureError(f"its type is not {PAYLOAD_TYPE}, so it is no in-toto statement")
        try:
            envelope.verify([self._key], 1)
        except (VerificationError, ValueError):
            raise SignatureError("the signature does not fit: the envelope was changed") from None
        return bytes(envelope.payload)


def _require_extra() -> None:
    try:
        import cryptography  # noqa: F401
        import securesystemslib.dsse  # noqa: F401
    except ImportError:
        raise InputError(_EXTRA) from None


def _content(path: Path, option: str, *, private: bool) -> bytes:
    try:
        return read_file(path, most=_MOST_BYTES, private=private)
    except EvidenceError as error:
        raise InputError(f"{option} {error}") from None
    except OSError as error:
        raise InputError(f"{option} {path}: {error.strerror}") from None


def _private(path: Path, content: bytes, password: bytes | None) -> CryptoSigner:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    why = "no private Ed25519 key in PEM; make one: openssl genpkey -algorithm ed25519 -out KEY"
    try:
        key = load_pem_private_key(content, password)
        if isinstance(key, Ed25519PrivateKey):
            return CryptoSigner(key)
    except TypeError:
        # Of the password only: there is none, or the key is not encrypted.
        if password is None:
            why = f"the key has a password; put it into the variable {PASSWORD}"
        else:
            why = f"the key has no password, but the variable {PASSWORD} is set"
    except Exception:
        if password is not None:
            why = f"the password in {PASSWORD} is wrong, or the file is damaged"
    # Nothing of the error is shown, because it might quote the key.
    raise InputError(f"--sign {path}: {why}")
