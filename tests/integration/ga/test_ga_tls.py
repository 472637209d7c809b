"""Database and cache behind TLS: a certificate that is not trusted, or of another host, is refused.

The servers are doubles that speak just enough of each protocol; the certificates are made here.
"""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ga.errors import InputError
from ga.ledger import open_ledger
from ga.result_cache import open_cache

REACHED = "the startup message came through TLS"


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """Files of a certificate that is its own authority."""

    public: Path
    private: Path


def make_certificate(folder: Path, host: str) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    found = Certificate(public=folder / f"{host}.pem", private=folder / f"{host}.key")
    found.public.write_bytes(made.public_bytes(Encoding.PEM))
    found.private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return found


@contextmanager
def serving(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that talks with one client after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    # Closed: the test is over.
                    return
                # A client that refuses the certificate is gone in the middle of a talk.
                with client, suppress(OSError):
                    talk(client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def context_of(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.public, certificate.private)
    return context


def redis_double(certificate: Certificate, asked: list[bytes]) -> Callable[[socket.socket], None]:
    """Answers nil to a query of one key, and OK to everything else."""

    def talk(plain: socket.socket) -> None:
        with context_of(certificate).wrap_socket(plain, server_side=True) as client:
            lines = client.makefile("rb")
            while head := lines.readline():
                parts = []
                for _ in range(int(head[1:])):
                    size = int(lines.readline()[1:])
                    parts.append(lines.read(size + 2)[:-2])
                asked.append(parts[0])
                client.sendall(b"*1\r\n$-1\r\n" if parts[0] == b"MGET" else b"+OK\r\n")

    return talk


def postgres_double(certificate: Certificate | None) -> Callable[[socket.socket], None]:
    """Refuses TLS without a certificate; else answers the startup message with an error."""

    def talk(plain: socket.socket) -> None:
        plain.recv(8)
        if certificate is None:
            plain.sendall(b"N")
            return
        plain.sendall(b"S")
        with context_of(certificate).wrap_socket(plain, server_side=True) as client:
            client.recv(4096)
            body = b"SFATAL\0VFATAL\0C28000\0M" + REACHED.encode() + b"\0\0"
            client.sendall(b"E" + (len(body) + 4).to_bytes(4, "big") + body)

    return talk


@pytest.mark.parametrize(
    ("host", "trusted"), [("localhost", True), ("elsewhere", True), ("localhost", False)]
)
def test_cache_checks_the_certificate(
    host: str, trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_certificate(tmp_path, host)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(made.public))
    asked: list[bytes] = []
    said: list[str] = []
    with serving(redis_double(made, asked)) as port:
        cache = open_cache(f"rediss://localhost:{port}/0", warn=said.append)
        assert cache is not None
        assert cache.get_many(["key"]) == {}
        cache.close()
    right = trusted and host == "localhost"
    assert (b"MGET" in asked) == right
    assert bool(said) != right
    if not right:
        assert "certificate" in said[0].lower()


@pytest.mark.parametrize("host", ["localhost", "elsewhere"])
def test_database_checks_the_certificate(host: str, tmp_path: Path) -> None:
    made = make_certificate(tmp_path, host)
    with serving(postgres_double(made)) as port:
        url = f"postgresql://ga@localhost:{port}/ga?sslmode=verify-full&sslrootcert={made.public}"
        with pytest.raises(InputError) as refused:
            open_ledger(url, create=False, wait=False)
    assert (REACHED in str(refused.value)) == (host == "localhost")
    assert host == "localhost" or "elsewhere" in str(refused.value)


def test_database_without_tls_is_refused() -> None:
    with serving(postgres_double(None)) as port:
        url = f"postgresql://ga@localhost:{port}/ga?sslmode=require"
        with pytest.raises(InputError, match="SSL"):
            open_ledger(url, create=False, wait=False)
