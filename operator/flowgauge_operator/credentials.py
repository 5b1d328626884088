"""Where the API server is and who we are there: found in the pod or in a kubeconfig, kept as one plain record.

Called once at start by operator and command line. `kubeconfig` reads the files; `Bearer` keeps the token fresh.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# A projected token is renewed long before it expires; client-go looks once a minute as well.
TOKEN_SECONDS = 60.0


class CredentialsError(Exception):
    """Report that no usable credentials were found; the message names file and remedy."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Hold what a client needs to talk to one API server.

    Data fields are PEM text. `fetch_token` runs a credential plugin and may take seconds.
    """

    server: str
    namespace: str = "default"
    ca_file: Path | None = None
    ca_data: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    fetch_token: Callable[[], str | None] | None = field(default=None, repr=False)
    cert_file: Path | None = None
    cert_data: str | None = field(default=None, repr=False)
    key_file: Path | None = None
    key_data: str | None = field(default=None, repr=False)
    verify: bool = True
    proxy: str | None = None

    def tls(self) -> ssl.SSLContext:
        """Return the TLS context; raise CredentialsError where a file cannot be used."""
        try:
            return self._tls()
        except (OSError, ssl.SSLError) as error:
            raise CredentialsError(f"the certificates for {self.server}: {error}") from error

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca_file, cadata=self.ca_data)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert_file and self.key_file:
            context.load_cert_chain(self.cert_file, self.key_file)
        elif self.cert_data and self.key_data:
            # Python's ssl reads certificates from files only; this one lives for a moment.
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:
                pair.write(f"{self.cert_data}\n{self.key_data}\n")
                pair.flush()
                context.load_cert_chain(pair.name)
        return context


class Bearer:
    """Hand out the current bearer token of some credentials, reading its source again when due."""

    def __init__(
        self, credentials: Credentials, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._credentials = credentials
        self._clock = clock
        self._token = credentials.token
        self._read_at: float | None = None

    async def token(self, *, fresh: bool = False) -> str | None:
        """Return the token, or None without one; `fresh` reads it again now, as after a 401.

        Raise CredentialsError when it cannot be read and none is known.
        """
        if self._credentials.token_file is not None:
            self._refresh_file(self._credentials.token_file, fresh=fresh)
        elif self._credentials.fetch_token is not None and (fresh or self._token is None):
            self._token = await asyncio.to_thread(self._credentials.fetch_token)
        return self._token

    def _refresh_file(self, path: Path, *, fresh: bool) -> None:
        now = self._clock()
        if not fresh and self._read_at is not None and now - self._read_at < TOKEN_SECONDS:
            return
        try:
            self._token = path.read_text().strip()
        except OSError as error:
            if self._token is None:
                raise CredentialsError(f"cannot read the token in {path}: {error}") from error
        self._read_at = now


def load(
    env: Mapping[str, str],
    *,
    context: str | None = None,
    path: Path | None = None,
    service_account: Path = SERVICE_ACCOUNT,
) -> Credentials:
    """Find the credentials: the pod's service account first, else a kubeconfig.

    A context or path that is named skips the service account. Raise CredentialsError.
    """
    from flowgauge_operator import kubeconfig  # noqa: PLC0415 - it needs this module's record

    named = context is not None or path is not None
    if not named and env.get("KUBERNETES_SERVICE_HOST") and (service_account / "token").exists():
        return _in_cluster(env, service_account)
    return kubeconfig.load(env, context=context, path=path)


def _in_cluster(env: Mapping[str, str], account: Path) -> Credentials:
    host = env["KUBERNETES_SERVICE_HOST"]
    port = env.get("KUBERNETES_SERVICE_PORT", "443")
    namespace = account / "namespace"
    return Credentials(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
        ca_file=account / "ca.crt",
        token_file=account / "token",
    )


def pem(data: str) -> str:
    """Return the PEM text of a base64 `...-data` field; raise ValueError for anything else."""
    return base64.b64decode(data, validate=True).decode()
