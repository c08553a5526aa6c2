"""Identity of content."""

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from databourse.digests import canonical_json, canonical_text, digest_of, document_id, file_sha256


def test_the_same_text_in_other_bytes_has_the_same_id():
    composed, decomposed = "caf\u00e9\r\nau lait", "cafe\u0301\nau lait \n"
    assert document_id(canonical_text(composed)) == document_id(canonical_text(decomposed))


def test_a_document_id_is_128_bits_of_blake2b():
    expected = hashlib.blake2b(b"abc", digest_size=16).hexdigest()
    assert document_id("abc") == expected
    assert len(expected) == 32


@given(st.text())
@settings(derandomize=True, deadline=None)
def test_canonical_text_is_a_projection(text):
    once = canonical_text(text)
    assert canonical_text(once) == once


def test_digests_ignore_the_order_of_keys_and_nothing_else():
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1})
    assert digest_of({"a": [1, 2]}) != digest_of({"a": [2, 1]})
    assert canonical_json({"b": None, "a": "\u00e9"}) == '{"a":"\u00e9","b":null}'


def test_a_file_digest_is_that_of_its_bytes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3_000_000)
    assert file_sha256(path) == hashlib.sha256(b"x" * 3_000_000).hexdigest()
