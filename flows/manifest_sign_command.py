"""`databourse manifest sign`: a signature for a version that is published already."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from databourse.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def sign(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Folder of a pool or of one version, local.")
    ],
    *,
    key: Annotated[
        Path | None,
        typer.Option("--key", help="PEM of an ed25519 private key; else $DATABOURSE_SIGNING_KEY."),
    ] = None,
    version: Annotated[
        int | None,
        typer.Option("--version", min=1, help="Which version of the pool.", show_default="latest"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Sign a published version with ed25519; the signature lies beside it, as in-toto in DSSE.

    The version is verified first. A refresh signs by itself if its config has manifest.signing_key.

    Example: databourse manifest sign manifests/ag_news --key key.pem
    """
    from databourse.manifests import private_key, sign_manifest
    from databourse.manifests.signatures import SIGNING_KEY_VARIABLE, key_file, key_id

    if key is not None:
        signer = private_key(key_file(key), str(key))
    elif os.environ.get(SIGNING_KEY_VARIABLE):
        signer = private_key(os.environ[SIGNING_KEY_VARIABLE].encode(), f"${SIGNING_KEY_VARIABLE}")
    else:
        raise ConfigError(f"signing needs --key FILE, or a key in ${SIGNING_KEY_VARIABLE}")
    written = sign_manifest(path, signer, version="latest" if version is None else version)
    name = key_id(signer.public_key())
    if as_json:
        typer.echo(json.dumps({"path": str(written), "key_id": name}, indent=2))
        return
    typer.echo(f"signed: {written}, key {name}")


def public_key_option(path: Path | None, *, is_required: bool) -> Ed25519PublicKey | None:
    """Return the key that must have signed, or None if nobody need have.

    Raises:
        ConfigError: a signature is required and there is no key, or it is none.
    """
    from databourse.manifests import public_key
    from databourse.manifests.signatures import PUBLIC_KEY_VARIABLE, key_file

    if path is not None:
        return public_key(key_file(path), str(path))
    if not is_required:
        return None
    if not os.environ.get(PUBLIC_KEY_VARIABLE):
        raise ConfigError(
            f"--require-signature needs --public-key FILE, or a key in ${PUBLIC_KEY_VARIABLE}"
        )
    return public_key(os.environ[PUBLIC_KEY_VARIABLE].encode(), f"${PUBLIC_KEY_VARIABLE}")
