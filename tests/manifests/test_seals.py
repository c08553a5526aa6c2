import hashlib
import json

import pytest

from databourse.manifests.seals import BrokenSealError, seal, unseal

CONTENT = {"version": 3, "name": "Größe “x”", "nested": {"self_sha256": "0" * 64}, "share": 0.1}


def test_a_sealed_file_gives_its_content_back():
    assert unseal(seal(CONTENT)) == CONTENT


def test_the_digest_is_that_of_the_file_with_its_own_digits_set_to_zero():
    data = seal(CONTENT)
    digest = json.loads(data)["self_sha256"]

    blank = data.replace(digest.encode(), b"0" * 64, 1)

    assert hashlib.sha256(blank).hexdigest() == digest


def test_every_flipped_bit_breaks_the_seal():
    data = seal(CONTENT)
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with pytest.raises(BrokenSealError):
                unseal(bytes(damaged))


@pytest.mark.parametrize("damage", [b"", b"{}", b"null", b'{\n  "self_sha256": "'])
def test_what_never_was_sealed_is_refused(damage):
    with pytest.raises(BrokenSealError):
        unseal(damage)


def test_every_truncation_and_any_added_byte_breaks_the_seal():
    data = seal(CONTENT)
    for size in range(len(data)):
        with pytest.raises(BrokenSealError):
            unseal(data[:size])
    with pytest.raises(BrokenSealError):
        unseal(data + b"\n")


def test_a_number_that_json_lacks_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        seal({"price": float("nan")})
