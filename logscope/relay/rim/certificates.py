"""TLS for a server: from files, or with a certificate made for this run."""

from __future__ import annotations

import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from logscope.errors import InputError, Place, UsageError

SELF_SIGNED = "self-signed"


def server_context(certificate: str, key: str, hostname: str, directory: Path) -> ssl.SSLContext:
    """The server's side of TLS.

    Args:
        certificate: a PEM file, or `self-signed`.
        key: its key; in the same file when empty.
        directory: of relative names.

    Raises:
        InputError: the files cannot be used.
        UsageError: a certificate cannot be made.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate == SELF_SIGNED:
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "both.pem"
            path.touch(mode=0o600)
            path.write_bytes(self_signed(hostname))
            context.load_cert_chain(path)
        return context
    try:
        context.load_cert_chain(directory / certificate, directory / key if key else None)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"no certificate with its key: {error}", place=Place(certificate)) from None
    return context


def self_signed(hostname: str) -> bytes:
    """A key and a certificate for it, good for a month, as PEM."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        hint = "pip install 'logscope[relay]', or name the files of a certificate and its key."
        raise UsageError("a self-signed certificate needs the package cryptography", hint=hint) from None
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hostname)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)
