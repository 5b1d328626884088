"""The API server's keys: a CA, a serving certificate, and the key that signs service account tokens."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rig import namespace


@dataclass(frozen=True)
class Keys:
    """Files of one control plane."""

    ca: Path
    certificate: Path
    key: Path
    tokens_key: Path
    tokens_public: Path


def write(folder: Path) -> Keys:
    """Make everything anew; elliptic keys, since RSA keys take a second to find."""
    folder.mkdir(parents=True)
    keys = Keys(*(folder / name for name in ("ca.crt", "tls.crt", "tls.key", "sa.key", "sa.pub")))
    ca_key, key, tokens = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    ca_name, name = _name("flowgauge-rig"), _name("kube-apiserver")
    ca = _builder(ca_name, ca_name, ca_key, ca_key, authority=True).sign(ca_key, hashes.SHA256())
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("localhost"),
            x509.DNSName("kubernetes.default.svc"),
            x509.IPAddress(IPv4Address("127.0.0.1")),
            x509.IPAddress(namespace.API_ADDRESS),
        ]
    )
    leaf = _builder(name, ca_name, key, ca_key, authority=False).add_extension(
        names, critical=False
    )
    keys.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    keys.certificate.write_bytes(
        leaf.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    keys.key.write_bytes(_private(key))
    keys.tokens_key.write_bytes(_private(tokens))
    keys.tokens_public.write_bytes(
        tokens.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return keys


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    ca_key: ec.EllipticCurvePrivateKey,
    *,
    authority: bool,
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=7))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        # Python 3.13 and newer insist on these two.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .add_extension(_usage(authority=authority), critical=True)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
