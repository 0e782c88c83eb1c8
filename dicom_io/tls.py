"""DICOM over TLS: what our listener shows and asks for, what we ask of other nodes.

TLS 1.2 and 1.3 with the library's default ciphers, as the BCP 195 profiles of PS3.15 annex B ask for.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from pathlib import Path

from workflow.domain.errors import ConfigurationError

# A caller that stops talking in the middle of a handshake or a PDU is let go after this.
_SILENCE_S = 60.0


class _Socket(ssl.SSLSocket):
    """Can be shut down when the other end is gone: pynetdicom closes only what it could shut down."""

    def shutdown(self, how: int) -> None:
        with contextlib.suppress(OSError):
            super().shutdown(how)


class _ListenerContext(ssl.SSLContext):
    """Leaves the handshake to the first read, in the association's own thread.

    pynetdicom wraps a connection in the loop that accepts all of them: a caller that connects and says
    nothing would keep everyone else out.
    """

    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        sock.settimeout(_SILENCE_S)
        return super().wrap_socket(sock, server_side, False, suppress_ragged_eofs, server_hostname, session)


def listener_context(certificate: Path, key: Path | None = None, ca: Path | None = None) -> ssl.SSLContext:
    """Make what our listener speaks TLS with.

    Parameters
    ----------
    certificate
        PEM file: our certificate, then its chain.
    key
        PEM file of its private key, without a passphrase; None if it is in `certificate`.
    ca
        PEM file of who signs callers' certificates. If given, a caller without one is refused.

    Raises
    ------
    ConfigurationError
        If a file is missing, unreadable or not what it should be.
    """
    context = _ListenerContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = _Socket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_certificate(context, certificate, key)
    if ca is not None:
        _load_ca(context, ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def node_context(
    ca: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Make what we call a node with: its certificate must be trusted and name it.

    Parameters
    ----------
    ca
        PEM file of who signs the node's certificate (or that certificate, if it is self-signed); None: whom
        this machine trusts.
    certificate, key
        PEM files of ours, for a node that asks for one.

    Raises
    ------
    ConfigurationError
        If a file is missing, unreadable or not what it should be.
    """
    context = ssl.create_default_context() if ca is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = _Socket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is not None:
        _load_ca(context, ca)
    if certificate is not None:
        _load_certificate(context, certificate, key)
    return context


def _load_certificate(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    def no_passphrase() -> str:
        raise ConfigurationError(
            f"the TLS key {key or certificate} has a passphrase; services can't be asked for one: "
            "keep the key without, readable by their user alone"
        )

    try:
        context.load_cert_chain(certificate, key, no_passphrase)
    except OSError as error:  # ssl.SSLError too
        files = f"{certificate} with key {key}" if key else f"{certificate} (which must hold the key too)"
        raise ConfigurationError(f"the TLS certificate {files} can't be used: {_why(error)}") from error


def _load_ca(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(ca)
    except OSError as error:
        raise ConfigurationError(f"the TLS certificates in {ca} can't be used: {_why(error)}") from error


def _why(error: OSError) -> str:
    return (isinstance(error, ssl.SSLError) and error.reason) or error.strerror or str(error)
