import base64
import json
import os
import shutil
import subprocess

import fsspec
import pytest

from databourse.errors import ConfigError, IntegrityError, ManifestError, MissingExtraError
from databourse.manifests import open_manifest, private_key, public_key, sign_manifest, verify
from databourse.manifests.provenance import envelope_bytes, signature_problem
from databourse.manifests.seals import seal, unseal
from databourse.manifests.signatures import (
    BadSignatureError,
    key_id,
    pre_authentication_encoding,
    signed_body,
    signed_envelope,
)
from databourse.manifests.verification import sums_text

ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
# RFC 8032, section 7.1, test 1
RFC_SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
RFC_PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


def key(index=0):
    return ed25519.Ed25519PrivateKey.from_private_bytes(bytes([index]) * 32)


@pytest.fixture
def signed(made, tmp_path):
    """Return the folder of a version that was signed when it was published."""
    staged = made.stage(tmp_path)
    return made.finish(staged, signing_key=key()).path


def bad_files(location, **options):
    return [problem.file for problem in verify(location, **options).problems]


def test_the_encoding_is_that_of_the_specification():
    assert (
        pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pre_authentication_encoding("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


def test_the_key_of_the_standard_signs_as_the_specification_says():
    secret = ed25519.Ed25519PrivateKey.from_private_bytes(RFC_SECRET)
    assert secret.public_key().public_bytes_raw() == RFC_PUBLIC

    envelope = signed_envelope("text/x", b"hello", secret)

    assert base64.b64decode(envelope["payload"]) == b"hello"
    assert envelope["payloadType"] == "text/x"
    (signature,) = envelope["signatures"]
    secret.public_key().verify(base64.b64decode(signature["sig"]), b"DSSEv1 6 text/x 5 hello")
    assert signed_body(envelope, "text/x", secret.public_key()) == b"hello"


def test_a_signature_of_another_body_type_or_key_is_refused():
    envelope = signed_envelope("text/x", b"hello", key())
    other = base64.b64encode(b"jello").decode()
    for wrong in (
        {"payload": other},
        {"signatures": []},
        {"signatures": [{"keyid": key_id(key().public_key())}]},
        {"signatures": [{"sig": "nonsense!"}]},
        {"payloadType": "text/y"},
        {"payload": None},
        {"payload": "%%%"},
    ):
        with pytest.raises(BadSignatureError):
            signed_body(envelope | wrong, "text/x", key().public_key())
    with pytest.raises(BadSignatureError, match=f"by the key {key_id(key(1).public_key())}"):
        signed_body(envelope, "text/x", key(1).public_key())


def test_url_safe_base64_and_several_signatures_are_read():
    two = [signed_envelope("text/x", b"\xff\xfe?>", key(index)) for index in (1, 0)]
    envelope = two[0] | {"signatures": [each["signatures"][0] for each in two]}
    envelope["payload"] = envelope["payload"].replace("+", "-").replace("/", "_")
    for each in envelope["signatures"]:
        each["sig"] = each["sig"].replace("+", "-").replace("/", "_")

    for index in (0, 1):
        assert signed_body(envelope, "text/x", key(index).public_key()) == b"\xff\xfe?>"


def test_a_manifest_signed_at_publication_verifies_with_its_key_alone(signed):
    report = verify(signed, public_key=key().public_key())

    assert report.ok
    assert report.info.signer == key_id(key().public_key())
    assert verify(signed).ok
    assert open_manifest(signed.parent).verify(public_key=key().public_key()).ok
    (problem,) = verify(signed, public_key=key(1).public_key()).problems
    assert problem.file == "provenance.dsse.json"
    assert "has no signature by the key" in problem.what
    subprocess.run(["sha256sum", "-c", "--quiet", "--strict", "SHA256SUMS"], cwd=signed, check=True)


def test_the_statement_is_in_toto_and_names_every_file(signed):
    envelope = json.loads((signed / "provenance.dsse.json").read_text())
    statement = json.loads(base64.b64decode(envelope["payload"]))

    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    sums = dict(
        reversed(line.split("  ")) for line in (signed / "SHA256SUMS").read_text().splitlines()
    )
    sums.pop("provenance.dsse.json")
    assert {each["name"]: each["digest"]["sha256"] for each in statement["subject"]} == sums
    assert set(statement["predicate"]) == {"buildDefinition", "runDetails"}
    assert statement["predicate"]["runDetails"]["metadata"]["invocationId"] == "run-1"


def test_openssl_verifies_the_signature(signed, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    envelope = json.loads((signed / "provenance.dsse.json").read_text())
    body = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    (tmp_path / "pae").write_bytes(b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body))
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    (tmp_path / "pub").write_bytes(public_pem())

    command = "openssl pkeyutl -verify -pubin -inkey pub -rawin -in pae -sigfile sig"
    done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, check=False)

    assert b"Signature Verified Successfully" in done.stdout


def public_pem(index=0):
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    form = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return key(index).public_key().public_bytes(*form)


def private_pem(index=0):
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    return key(index).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def damages(folder):
    """Yield what is done to a manifest, file by file, and which files must be named."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for path in files:
        data = path.read_bytes()
        for size in (0, len(data) // 2, len(data) - 1):
            yield f"truncate {path.name} to {size}", {path: data[:size]}, {path.name}
        for position in {0, 11, len(data) // 3, len(data) // 2, len(data) - 1}:
            flipped = data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]
            yield f"flip {path.name} at {position}", {path: flipped}, {path.name}
        yield f"grow {path.name}", {path: data + b"\n"}, {path.name}
        yield f"delete {path.name}", {path: None}, {path.name}
        other = folder / f"x-{path.name}"
        yield f"rename {path.name}", {path: None, other: data}, {path.name, other.name}
        yield f"add {other.name}", {other: data}, {other.name}
        for theirs in files[files.index(path) + 1 :]:
            swap = {path: theirs.read_bytes(), theirs: data}
            yield f"swap {path.name} and {theirs.name}", swap, {path.name, theirs.name}


def test_all_damage_to_any_file_of_a_signed_manifest_is_found_and_pinned_on_it(signed):
    n_damages = 0
    for what, changes, expected in damages(signed):
        before = {path: path.read_bytes() if path.exists() else None for path in changes}
        apply(changes)
        for options in ({}, {"public_key": key().public_key()}):
            assert set(bad_files(signed, **options)) == expected, (what, options)
        apply(before)
        n_damages += 1
    assert n_damages > 100
    assert verify(signed, public_key=key().public_key()).ok


def apply(changes):
    for path, data in changes.items():
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data)


def test_an_unsigned_manifest_is_refused_where_a_signature_is_required(published):
    (problem,) = verify(published, public_key=key().public_key()).problems

    assert str(problem) == "provenance.dsse.json: is missing: the manifest is not signed"
    with pytest.raises(IntegrityError, match="is not signed"):
        open_manifest(published).verify(public_key=key().public_key())


def forged(folder, **changes):
    """Rewrite a version consistently, as a forger without the key would."""
    manifest = folder / "manifest.json"
    manifest.write_bytes(seal(unseal(manifest.read_bytes()) | changes))
    digests = {path.name: sha256(path) for path in folder.iterdir() if path.name != "SHA256SUMS"}
    (folder / "SHA256SUMS").write_bytes(sums_text(digests))


def sha256(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_consistent_forgery_passes_without_the_key_and_fails_with_it(signed):
    forged(signed, run_id="mine")  # the envelope is still that of the other manifest.json
    with_key = verify(signed, public_key=key().public_key()).problems
    assert [problem.file for problem in with_key] == ["provenance.dsse.json"]
    assert "signed for another manifest: manifest.json is not the file" in with_key[0].what
    (signed / "provenance.dsse.json").unlink()
    forged(signed, signer=None)

    assert verify(signed).ok
    assert bad_files(signed, public_key=key().public_key()) == ["provenance.dsse.json"]


def test_a_statement_that_leaves_a_file_out_vouches_for_nothing(signed):
    info = open_manifest(signed).info
    digests = {path.name: sha256(path) for path in signed.iterdir() if path.name in info.files}
    part = envelope_bytes(info, dict(list(digests.items())[:1]), key())

    assert (
        signature_problem(envelope_bytes(info, digests, key()), digests, key().public_key()) is None
    )
    problem = signature_problem(part, digests, key().public_key())
    assert "was signed for another manifest" in problem
    more = signature_problem(part, {}, key().public_key())
    assert "was signed for another manifest" in more


def test_the_envelope_of_another_version_is_refused(made, signed, tmp_path):
    staged = made.stage(tmp_path, run_id="run-2", snapshot_id="other")
    other = made.finish(staged, signing_key=key()).path
    assert other != signed
    shutil.copy(other / "provenance.dsse.json", signed)

    assert bad_files(signed) == ["provenance.dsse.json"]


def test_a_version_is_signed_after_its_publication_without_touching_it(published, tmp_path):
    before = {path.name: path.read_bytes() for path in published.iterdir()}

    path = sign_manifest(published.parent, key())

    assert path == published.parent / "v000001.provenance.dsse.json"
    assert {path.name: path.read_bytes() for path in published.iterdir()} == before
    assert verify(published, public_key=key().public_key()).ok
    assert sign_manifest(published, key(), version="latest") == path
    with pytest.raises(ManifestError, match="exists already and has no signature by the key"):
        sign_manifest(published, key(1))
    data = path.read_bytes()
    for position in range(0, len(data), 41):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        assert bad_files(published) == [path.name], position
    path.write_bytes(data)
    pool = shutil.copytree(published.parent, tmp_path / "copy")
    assert verify(pool, public_key=key().public_key()).ok


def test_two_parties_may_sign(signed):
    sign_manifest(signed, key(1))

    for index in (0, 1):
        assert verify(signed, public_key=key(index).public_key()).ok
    assert verify(signed, public_key=key(2).public_key()).problems


def test_a_damaged_version_is_not_signed(published):
    (published / "report.html").unlink()

    with pytest.raises(IntegrityError, match=r"report\.html"):
        sign_manifest(published, key())
    assert not list(published.parent.glob("*.dsse.json"))


def test_a_signed_manifest_verifies_in_an_object_store(signed):
    sign_manifest(signed, key(1))
    store = fsspec.filesystem("memory")
    store.put(str(signed.parent), "/bucket/gazette", recursive=True)
    try:
        for index in (0, 1):
            assert verify("memory://bucket/gazette", public_key=key(index).public_key()).ok
    finally:
        store.rm("/bucket", recursive=True)


def test_keys_are_read_from_pem_and_nothing_else():
    assert private_key(private_pem(), "here").public_key() == key().public_key()
    assert public_key(public_pem(), "here") == key().public_key()
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    form = (Encoding.PEM, PrivateFormat.PKCS8)
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(*form, NoEncryption())
    locked = key().private_bytes(*form, BestAvailableEncryption(b"secret"))
    for pem in (other, locked, public_pem(), b"", b"secret words"):
        with pytest.raises(ConfigError, match="here is no ed25519 private key") as refusal:
            private_key(pem, "here")
        assert refusal.value.exit_code == 2
        assert "secret words" not in str(refusal.value)
    for pem in (private_pem(), b""):
        with pytest.raises(ConfigError, match="here is no ed25519 public key"):
            public_key(pem, "here")


def test_without_cryptography_the_package_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(MissingExtraError, match=r"package cryptography.*databourse\[signing\]"):
        public_key(b"", "here")


def test_a_refresh_signs_with_the_key_of_its_config_or_environment(tmp_path, monkeypatch):
    from databourse.config import load_config
    from databourse.refresh.settings import configured_signing_key

    (tmp_path / "key.pem").write_bytes(private_pem(3))
    (tmp_path / "pool.yaml").write_text(
        "pool: p\nseed: 1\nsources: [{name: s, path: a.csv, text: '{text}'}]\n"
        "signals: [rarity]\nbudget: {tokens: 9}\n"
    )

    def signer(*overrides):
        config = load_config(tmp_path / "pool.yaml", overrides)
        return configured_signing_key(config, tmp_path)

    assert signer() is None
    monkeypatch.setitem(os.environ, "DATABOURSE_SIGNING_KEY", private_pem(4).decode())
    assert signer().public_key() == key(4).public_key()
    assert signer("manifest.signing_key=key.pem").public_key() == key(3).public_key()
    with pytest.raises(ConfigError, match=r"nokey\.pem cannot be read"):
        signer("manifest.signing_key=nokey.pem")
