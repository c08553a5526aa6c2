"""Signatures: ed25519 over the pre-authentication encoding of DSSE 1.0, in its JSON envelope.

    signature = sign(PAE(UTF8(payload type), body))
    PAE(type, body) = "DSSEv1" SP length(type) SP type SP length(body) SP body

with lengths in bytes, in decimal (https://github.com/secure-systems-lab/dsse, protocol.md). The
`keyid` of a signature is a hint only: trust comes from the public key that the verifier has.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from databourse.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

SIGNING_KEY_VARIABLE = "DATABOURSE_SIGNING_KEY"
PUBLIC_KEY_VARIABLE = "DATABOURSE_PUBLIC_KEY"


class BadSignatureError(ValueError):
    """An envelope is not what the key signed; the text says how that shows."""


def pre_authentication_encoding(payload_type: str, body: bytes) -> bytes:
    """Return the bytes that are signed."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def signed_envelope(payload_type: str, body: bytes, key: Ed25519PrivateKey) -> dict[str, object]:
    """Return the JSON envelope of a body; the same body and key give the same envelope."""
    signature = key.sign(pre_authentication_encoding(payload_type, body))
    return {
        "payload": base64.b64encode(body).decode("ascii"),
        "payloadType": payload_type,
        "signatures": [
            {
                "keyid": key_id(key.public_key()),
                "sig": base64.b64encode(signature).decode("ascii"),
            }
        ],
    }


def signed_body(envelope: Mapping[str, object], payload_type: str, key: Ed25519PublicKey) -> bytes:
    """Return the body of an envelope that has a signature by a key.

    Raises:
        BadSignatureError: it has none, is of another type, or is no envelope.
    """
    from cryptography.exceptions import InvalidSignature

    body = body_of(envelope)
    if envelope.get("payloadType") != payload_type:
        raise BadSignatureError(f"has the payload type {envelope.get('payloadType')!r}")
    signatures = envelope.get("signatures")
    for each in signatures if isinstance(signatures, list) else []:
        try:
            key.verify(_decoded(each["sig"]), pre_authentication_encoding(payload_type, body))
        except (InvalidSignature, BadSignatureError, KeyError, TypeError):
            continue
        return body
    raise BadSignatureError(f"has no signature by the key {key_id(key)}")


def body_of(envelope: Mapping[str, object]) -> bytes:
    """Return what an envelope holds, whoever signed it.

    Raises:
        BadSignatureError: it is no envelope.
    """
    payload = envelope.get("payload")
    if not isinstance(payload, str):
        raise BadSignatureError("is no DSSE envelope: it has no payload")
    return _decoded(payload)


def key_ids(envelope: Mapping[str, object]) -> list[str]:
    """Return the keys that an envelope says it is signed by."""
    signatures = envelope.get("signatures")
    listed = signatures if isinstance(signatures, list) else []
    return [str(each.get("keyid")) for each in listed if isinstance(each, dict)]


def key_id(key: Ed25519PublicKey) -> str:
    """Return the sha256, in hex, of a public key in the form SubjectPublicKeyInfo (DER)."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def private_key(pem: bytes, where: str) -> Ed25519PrivateKey:
    """Return the private key in a PEM text.

    Args:
        pem: PKCS #8, without a password.
        where: what it was read from, for messages.

    Raises:
        ConfigError: it is no such key.
        MissingExtraError: cryptography is not installed.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise MissingExtraError("cryptography", "signing", "signing a manifest") from None
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None  # what the package says may quote the key
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(
            f"{where} is no ed25519 private key in PEM without a password; make one with: "
            "openssl genpkey -algorithm ed25519 -out key.pem"
        )
    return key


def public_key(pem: bytes, where: str) -> Ed25519PublicKey:
    """Return the public key in a PEM text.

    Args:
        pem: SubjectPublicKeyInfo.
        where: what it was read from, for messages.

    Raises:
        ConfigError: it is no such key.
        MissingExtraError: cryptography is not installed.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError:
        raise MissingExtraError("cryptography", "signing", "checking a signature") from None
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(
            f"{where} is no ed25519 public key in PEM; write it with: "
            "openssl pkey -in key.pem -pubout -out key.pub"
        )
    return key


def key_file(path: Path) -> bytes:
    """Return the content of a file of a key.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"the key {path} cannot be read: {error.strerror}") from error


def _decoded(text: object) -> bytes:
    """Return base64, standard or URL-safe as DSSE allows, as bytes."""
    if not isinstance(text, str):
        raise BadSignatureError("is no DSSE envelope: base64 is expected")
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadSignatureError(f"is no DSSE envelope: {error}") from error
