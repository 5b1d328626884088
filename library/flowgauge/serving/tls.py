"""TLS for the endpoint. Loaded only where it is configured, since `ssl` is dear to import."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from flowgauge.serving.changes import Watched
from flowgauge.serving.connection import READ, WRITE, BlockedError, Transport

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Certificate and key of the endpoint: PEM files, which are read again when they change.

    `certificate` may hold intermediate certificates after its own. With `client_ca` only clients with a certificate
    of that authority are served. `minimum` is the lowest version of TLS.

    Raises:
        ValueError: a file cannot be used; the message names field and remedy.

    """

    certificate: str | os.PathLike[str]
    key: str | os.PathLike[str]
    client_ca: str | os.PathLike[str] = ""
    minimum: Literal["1.2", "1.3"] = "1.2"

    def __post_init__(self) -> None:
        if self.minimum not in _VERSIONS:
            raise ValueError(f"tls minimum is {self.minimum!r}, must be '1.2' or '1.3'")
        for name in ("certificate", "key"):
            if not os.fspath(getattr(self, name)):
                raise ValueError(
                    f"tls {name} is missing; give certificate and key, or leave tls out"
                )
        self._context()

    def transports(self) -> Callable[[socket.socket], Transport]:
        """Make the function that puts TLS on an accepted socket, with the certificate as it is at that moment.

        Raises:
            ValueError: a file cannot be used.

        """
        files = [os.fspath(file) for file in (self.certificate, self.key, self.client_ca)]
        watched = Watched("tls", [file for file in files if file], self._context)
        return lambda sock: SecureTransport(sock, watched.value())

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _VERSIONS[self.minimum]
        # Renegotiation would let a client ask for handshakes without end.
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.set_alpn_protocols(["http/1.1"])
        certificate, key = _readable("certificate", self.certificate), _readable("key", self.key)
        try:
            # Without a password function OpenSSL asks on the terminal, and the program hangs.
            context.load_cert_chain(certificate, key, password=self._refuse)
        except ssl.SSLError as error:
            raise ValueError(self._explained(error)) from None
        if self.client_ca:
            self._trust(context)
        return context

    def _trust(self, context: ssl.SSLContext) -> None:
        authority = _readable("client_ca", self.client_ca)
        try:
            context.load_verify_locations(cafile=authority)
        except ssl.SSLError as error:
            raise ValueError(
                f"tls client_ca {authority!r} has no certificate ({error.reason}); give a PEM file of the authority"
            ) from None
        context.verify_mode = ssl.CERT_REQUIRED

    def _refuse(self) -> str:
        raise ValueError(
            f"tls key {os.fspath(self.key)!r} has a passphrase; store it without one, readable for this process only"
        )

    def _explained(self, error: ssl.SSLError) -> str:
        certificate, key = os.fspath(self.certificate), os.fspath(self.key)
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"tls key {key!r} does not belong to the certificate {certificate!r}; give the pair that was issued together"
        return f"tls certificate {certificate!r} or key {key!r} is no PEM file ({error.reason}); give both in PEM form"


class SecureTransport(Transport):
    """A TLS connection that never blocks: a silent client costs its place and nothing else."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._secured = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        super().__init__(self._secured)

    def shake(self) -> None:
        """Do the next part of the handshake."""
        try:
            self._secured.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise _blocked(error) from None

    def receive(self, size: int) -> bytes:
        """What has come, decrypted."""
        try:
            return self._secured.recv(size)
        except BlockingIOError:  # after `finish` there is no TLS any more
            raise BlockedError(READ) from None
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise _blocked(error) from None

    def send(self, data: memoryview) -> int:
        """Encrypt and send the beginning of `data`."""
        try:
            return self._secured.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise _blocked(error) from None

    def finish(self) -> None:
        """Say goodbye in TLS, then in TCP; what the client still sends comes undecrypted."""
        with contextlib.suppress(OSError, ValueError):  # it need not answer, and often has gone
            self._secured.unwrap()
        super().finish()


def _blocked(error: ssl.SSLError) -> BlockedError:
    return BlockedError(READ if isinstance(error, ssl.SSLWantReadError) else WRITE)


def _readable(name: str, file: str | os.PathLike[str]) -> str:
    # Opened here, because OpenSSL's own error does not tell which of the files it was.
    try:
        with Path(file).open("rb"):
            return os.fspath(file)
    except OSError as error:
        raise ValueError(
            f"tls {name} {os.fspath(file)!r} cannot be read ({error.strerror}); give a file that this process may read"
        ) from None
