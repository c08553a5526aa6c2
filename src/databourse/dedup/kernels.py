# mypy: disable-error-code="arg-type, assignment, no-any-return, return-value"
# (numba has one signed integer, where Python and numpy have two types; ndarray rows are Any)
# ruff: noqa: PLR0912, PLR0915, PLR0917 - compiled code has no keywords, and its calls are not free
"""The compiled loops of near dedup (numba): from UTF-8 bytes to shingles, signatures, survivors.

What the loops compute is told where they are called: `databourse.dedup.shingles`, `minhash` and
`near`. Every loop releases the GIL and writes rows of its own, so that threads may share the work
and their number changes nothing.

Machine code is kept beside the byte code of this module, or in the user's cache where that folder
cannot be written, or nowhere. Its age is judged by this file alone, so no kernel may call compiled
code of another file. Importing numba takes most of a second: import this module inside functions.

All arithmetic is on 64-bit unsigned integers that wrap around; a signed operand would turn it into
floating point, hence the constants below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Function = TypeVar("Function", bound=Callable[..., object])
Bytes = npt.NDArray[np.uint8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt32 = npt.NDArray[np.uint32]
UInt64 = npt.NDArray[np.uint64]

WORD, SINGLE, DIGIT, SPACE, SIGN, WORD_OR_UNDERSCORE, CASED_BY_CONTEXT = (
    1,
    2,
    4,
    8,
    16,
    32,
    64,
)
"""Flags of a character: see `databourse.dedup.characters`."""

_WORD_START = np.uint64(0xCBF29CE484222325)
_WORD_FACTOR = np.uint64(0x100000001B3)
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd: the splitmix64 increment
_SHORT = np.uint64(0xD6E8FEB86659FD93)
_WORDLESS = np.uint64(0xA0761D6478BD642F)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_30, _27, _31, _32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)
_ZERO, _ONE, _ASCII = np.uint64(0), np.uint64(1), np.uint64(128)
_MOST = np.uint32(0xFFFFFFFF)
_AT_ONCE = 8  # keys hashed in one pass over the functions: enough to hide their loads


def _compiled(function: Function) -> Function:
    """Return the function compiled at its first call."""
    try:
        made = numba.njit(cache=True, nogil=True, boundscheck=False)(function)
    except RuntimeError:  # numba finds no folder that it may write machine code into
        made = numba.njit(nogil=True, boundscheck=False)(function)
    return cast("Function", made)


@_compiled
def _mixed(value: np.uint64) -> np.uint64:
    """Return the splitmix64 finaliser."""
    value ^= value >> _30
    value *= _MIX_1
    value ^= value >> _27
    value *= _MIX_2
    value ^= value >> _31
    return value


@_compiled
def _character(data: Bytes, at: int) -> tuple[int, int]:
    """Return the code point that begins at a byte of UTF-8, and its length in bytes."""
    first = np.int64(data[at])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        return ((first & 0x1F) << 6) | (np.int64(data[at + 1]) & 0x3F), 2
    if first < 0xF0:
        return (
            ((first & 0x0F) << 12)
            | ((np.int64(data[at + 1]) & 0x3F) << 6)
            | (np.int64(data[at + 2]) & 0x3F),
            3,
        )
    return (
        ((first & 0x07) << 18)
        | ((np.int64(data[at + 1]) & 0x3F) << 12)
        | ((np.int64(data[at + 2]) & 0x3F) << 6)
        | (np.int64(data[at + 3]) & 0x3F),
        4,
    )


@_compiled
def _is_sign_word(data: Bytes, at: int, end: int, flags: Bytes, lower: Int32) -> bool:
    """Return whether, from a byte on, spaces and then a digit or a one-letter name follow."""
    while at < end:
        code, size = _character(data, at)
        kind = flags[lower[code]]
        if not kind & SPACE:
            break
        at += size
    if at >= end:
        return False
    if kind & DIGIT:
        return True
    if not kind & WORD_OR_UNDERSCORE or code == 0x5F:
        return False
    at += size
    if at >= end:
        return True
    code, size = _character(data, at)
    return not flags[lower[code]] & WORD_OR_UNDERSCORE


@_compiled
def _words(
    data: Bytes, begin: int, end: int, flags: Bytes, lower: Int32, words: UInt64
) -> tuple[int, int]:
    """Write the hashes of a text's words; return the number of words and of characters.

    The latter is -1 if the text has a character whose lower case no table can tell.
    """
    n_words, characters, unknown = np.uint64(0), np.uint64(0), False
    state, inside = _WORD_START, False
    at, stop = np.uint64(begin), np.uint64(end)  # unsigned: no index can count from the end
    while at < stop:
        code = np.uint64(data[at])
        if code < _ASCII:
            at += _ONE
        else:
            wide, size = _character(data, np.int64(at))
            code = np.uint64(wide)
            at += np.uint64(size)
            unknown |= (flags[code] & CASED_BY_CONTEXT) != 0
        characters += _ONE
        code = np.uint64(lower[code])
        kind = flags[code]
        if kind & WORD:
            state = (state ^ code) * _WORD_FACTOR
            inside = True
            continue
        if inside:
            words[n_words] = _mixed(state)
            n_words += _ONE
            state, inside = _WORD_START, False
        if kind & SINGLE or (kind & SIGN and _is_sign_word(data, np.int64(at), end, flags, lower)):
            words[n_words] = _mixed((_WORD_START ^ code) * _WORD_FACTOR)
            n_words += _ONE
    if inside:
        words[n_words] = _mixed(state)
        n_words += _ONE
    return np.int64(n_words), np.int64(-1) if unknown else np.int64(characters)


@_compiled
def _wordless(data: Bytes, begin: int, end: int, flags: Bytes, lower: Int32) -> np.uint64:
    """Return the hash of a text without words: of its characters, runs of spaces being one."""
    state, separated = _WORDLESS, True
    at = begin
    while at < end:
        code, size = _character(data, at)
        at += size
        code = np.int64(lower[code])
        if flags[code] & SPACE:
            separated = True
            continue
        if separated:
            state = (state ^ np.uint64(0x110000)) * _WORD_FACTOR  # no character
            separated = False
        state = (state ^ np.uint64(code)) * _WORD_FACTOR
    return _mixed(state)


@_compiled
def _shingles(
    data: Bytes,
    begin: int,
    end: int,
    flags: Bytes,
    lower: Int32,
    ngram: int,
    words: UInt64,
    shingles: UInt64,
) -> tuple[int, int]:
    """Write the shingles of a text, repeated ones too; return how many, and as `_words` does."""
    n_words, characters = _words(data, begin, end, flags, lower, words)
    if n_words == 0:
        shingles[0] = _wordless(data, begin, end, flags, lower)
        return 1, characters
    width = min(n_words, ngram)
    n_shingles = n_words - width + 1
    for place in range(n_shingles):
        shingles[place] = _ZERO if width == ngram else _SHORT
    factor = _ONE
    for position in range(width):
        for place in range(n_shingles):
            shingles[place] += words[place + position] * factor
        factor *= _BASE
    for place in range(n_shingles):
        shingles[place] = _mixed(shingles[place])
    return n_shingles, characters


@_compiled
def _signature(
    hashes: UInt64, count: int, multipliers: UInt32, increments: UInt32, keys: UInt32, out: UInt32
) -> None:
    """Write the least value of each function over the upper halves of some hashes, at least one.

    `keys` has room for `count` keys and seven more.
    """
    for place in range(count):
        keys[place] = hashes[place] >> _32
    padded = (count + _AT_ONCE - 1) // _AT_ONCE * _AT_ONCE
    for place in range(count, padded):
        keys[place] = keys[count - 1]  # the minimum does not mind a key twice
    for function in range(len(out)):
        out[function] = _MOST
    for place in range(0, padded, _AT_ONCE):
        one, two, three, four = keys[place], keys[place + 1], keys[place + 2], keys[place + 3]
        five, six, seven, eight = keys[place + 4], keys[place + 5], keys[place + 6], keys[place + 7]
        for function in range(len(out)):
            factor, shift = multipliers[function], increments[function]
            first = min(np.uint32(one * factor + shift), np.uint32(two * factor + shift))
            second = min(np.uint32(three * factor + shift), np.uint32(four * factor + shift))
            third = min(np.uint32(five * factor + shift), np.uint32(six * factor + shift))
            fourth = min(np.uint32(seven * factor + shift), np.uint32(eight * factor + shift))
            out[function] = min(out[function], first, second, third, fourth)


@_compiled
def _band_keys(signature: UInt32, rows: int, keys: UInt64) -> None:
    """Write one key per band of a signature."""
    for band in range(len(keys)):
        key = _ZERO
        for row in range(rows):
            key = _mixed(key + np.uint64(signature[band * rows + row]) + np.uint64(row + 1))
        keys[band] = key


@_compiled
def sketch_sets(
    hashes: UInt64,
    starts: Int64,
    multipliers: UInt32,
    increments: UInt32,
    signatures: UInt32,
) -> None:
    """Write the signatures of sets of shingles."""
    longest = 0
    for text in range(len(starts) - 1):
        longest = max(longest, starts[text + 1] - starts[text])
    keys = np.empty(longest + _AT_ONCE, np.uint32)
    for text in range(len(starts) - 1):
        own = hashes[starts[text] : starts[text + 1]]
        _signature(own, len(own), multipliers, increments, keys, signatures[text])


@_compiled
def cut_bands(signatures: UInt32, rows: int, keys: UInt64) -> None:
    """Write the band keys of signatures."""
    for text in range(len(signatures)):
        _band_keys(signatures[text], rows, keys[text])


@_compiled
def sketch_texts(
    data: Bytes,
    starts: Int64,
    first: int,
    last: int,
    flags: Bytes,
    lower: Int32,
    ngram: int,
    multipliers: UInt32,
    increments: UInt32,
    rows: int,
    keys: UInt64,
    characters: Int64,
    kept: UInt64,
    counts: Int64,
) -> int:
    """Write the band keys and the characters of texts first to last - 1, -1 as `_words` does.

    Their shingles, repeated ones too, go into `kept` from starts[first] + first on, one text after
    the other, unless it is empty; returns how many they are. A text has at most as many shingles
    as bytes, or one.
    """
    longest = 1
    for text in range(first, last):
        longest = max(longest, starts[text + 1] - starts[text])
    words = np.empty(longest, np.uint64)
    shingles = np.empty(longest, np.uint64)
    halves = np.empty(longest + _AT_ONCE, np.uint32)
    signature = np.empty(len(multipliers), np.uint32)
    total = starts[first] + first
    for text in range(first, last):
        count, characters[text] = _shingles(
            data, starts[text], starts[text + 1], flags, lower, ngram, words, shingles
        )
        counts[text] = count
        if len(kept):
            kept[total : total + count] = shingles[:count]
        total += count
        _signature(shingles, count, multipliers, increments, halves, signature)
        _band_keys(signature, rows, keys[text])
    return total - starts[first] - first


@_compiled
def distinct_of(hashes: UInt64, starts: Int64, wanted: Int64, out: UInt64, counts: Int64) -> int:
    """Write the ascending distinct hashes of some sets one after the other; return how many.

    The sets are sorted where they are.
    """
    total = 0
    for place in range(len(wanted)):
        own = hashes[starts[wanted[place]] : starts[wanted[place] + 1]]
        own.sort()
        before = total
        for at in range(len(own)):
            if at == 0 or own[at] != own[at - 1]:
                out[total] = own[at]
                total += 1
        counts[place] = total - before
    return total


@_compiled
def distinct_shingles(
    data: Bytes,
    starts: Int64,
    first: int,
    last: int,
    flags: Bytes,
    lower: Int32,
    ngram: int,
    hashes: UInt64,
    counts: Int64,
) -> int:
    """Write the ascending distinct shingles of texts first to last - 1; return how many in all.

    -1 if `_words` says so of any text. A text has at most as many shingles as bytes, or one;
    `hashes` has room for both.
    """
    longest = 1
    for text in range(first, last):
        longest = max(longest, starts[text + 1] - starts[text])
    words = np.empty(longest, np.uint64)
    shingles = np.empty(longest, np.uint64)
    total = 0
    for text in range(first, last):
        count, characters = _shingles(
            data, starts[text], starts[text + 1], flags, lower, ngram, words, shingles
        )
        if characters < 0:
            return -1
        own = shingles[:count]
        own.sort()
        before = total
        for place in range(count):
            if place == 0 or own[place] != own[place - 1]:
                hashes[total] = own[place]
                total += 1
        counts[text] = total - before
    return total


@_compiled
def common_hashes(one: UInt64, other: UInt64, needed: int) -> int:
    """Return how many hashes two ascending arrays share; -1 once `needed` is out of reach."""
    left, right = np.uint64(0), np.uint64(0)
    n_left, n_right = np.uint64(len(one)), np.uint64(len(other))
    common = np.int64(0)
    allowed = np.int64(len(one) + len(other) - 2 * needed)  # that the other side lacks
    while left < n_left and right < n_right:
        mine, its = one[left], other[right]
        left += np.uint64(mine <= its)
        right += np.uint64(its <= mine)
        common += np.int64(mine == its)
        if np.int64(left + right) - 2 * common > allowed:
            return -1
    return common


@_compiled
def repeated_keys(keys: UInt64, once: UInt64, twice: UInt64, places: Int64) -> int:
    """Write the places of keys that may come more than once, all that do among them; how many.

    `once` and `twice` are bits, zero at the start and cleared at the end, a power of two of words:
    a key is known by its low bits, so that few others are mistaken for a repeated one.
    """
    mask = np.uint64(len(once) * 64 - 1)
    six, last = np.uint64(6), np.uint64(63)
    for place in range(len(keys)):
        bit = keys[place] & mask
        word, flag = bit >> six, _ONE << (bit & last)
        twice[word] |= once[word] & flag
        once[word] |= flag
    found = 0
    for place in range(len(keys)):
        bit = keys[place] & mask
        if twice[bit >> six] & (_ONE << (bit & last)):
            places[found] = place
            found += 1
    once[:] = _ZERO
    twice[:] = _ZERO
    return found


@_compiled
def choose_survivors(
    buckets: Int32,
    sizes: Int32,
    begins: Int64,
    lengths: Int64,
    hashes: UInt64,
    threshold: float,
    bucket_survivors: int,
    comparisons: int,
    representatives: Int64,
    similarities: npt.NDArray[np.float64],
    limited: Bytes,
) -> int:
    """Write who stands for whom, documents coming in order; return the comparisons made.

    Args:
        buckets: shape (documents, bands): the bucket of each band, -1 where nobody shares it.
        sizes: documents of each bucket.
        begins: where a document's ascending distinct shingles begin in `hashes`.
        lengths: how many they are.
        hashes: of shingles.
        threshold: least Jaccard, to 6 decimals.
        bucket_survivors: how many survivors a bucket remembers: its last ones.
        comparisons: survivors that a document is compared with at most.
        representatives: written: the survivor that stands for a document, -1 for survivors.
        similarities: written: their Jaccard, 0 for survivors.
        limited: written: 1 where a limit kept a document from a survivor of its buckets.
    """
    n_documents, n_bands = buckets.shape
    room = np.empty(len(sizes) + 1, np.int64)
    room[0] = 0
    for bucket in range(len(sizes)):
        room[bucket + 1] = room[bucket] + min(sizes[bucket], bucket_survivors)
    remembered = np.empty(room[-1], np.int32)
    entered = np.zeros(len(sizes), np.int32)
    shared = np.zeros(n_documents, np.int16)
    near = np.empty(n_bands * bucket_survivors, np.int64)
    keep_share = threshold - 1e-6  # of what is rounded to the threshold
    made = 0
    for own in range(n_documents):
        n_near = 0
        limited[own] = 0
        for band in range(n_bands):
            bucket = buckets[own, band]
            if bucket < 0:
                continue
            if entered[bucket] > bucket_survivors:
                limited[own] = 1
            first = room[bucket]
            for place in range(first, first + min(entered[bucket], room[bucket + 1] - first)):
                other = remembered[place]
                if shared[other] == 0:
                    near[n_near] = other
                    n_near += 1
                shared[other] += 1
        n_like = 0  # of a size that allows the threshold: Jaccard <= smaller / larger set
        for place in range(n_near):
            other = near[place]
            smaller, larger = lengths[own], lengths[other]
            if smaller > larger:
                smaller, larger = larger, smaller
            if smaller >= keep_share * larger:
                near[n_like] = (n_bands - shared[other]) * n_documents + (own - other)
                n_like += 1
            shared[other] = 0
        if n_like > comparisons:
            near[:n_like].sort()
            n_like = comparisons
            limited[own] = 1
        best, best_similarity = -1, 0.0
        mine = hashes[begins[own] : begins[own] + lengths[own]]
        for place in range(n_like):
            other = own - near[place] % n_documents
            its = hashes[begins[other] : begins[other] + lengths[other]]
            both = len(mine) + len(its)
            needed = np.int64(np.floor(keep_share / (1.0 + keep_share) * both))
            common = common_hashes(mine, its, needed)
            made += 1
            if common < 0:
                continue
            similarity = np.round(common / (both - common), 6)
            if similarity >= threshold and (
                similarity > best_similarity or (similarity == best_similarity and other < best)
            ):
                best, best_similarity = other, similarity
        representatives[own], similarities[own] = best, best_similarity
        if best < 0:
            for band in range(n_bands):
                bucket = buckets[own, band]
                if bucket >= 0:
                    capacity = room[bucket + 1] - room[bucket]
                    remembered[room[bucket] + entered[bucket] % capacity] = own
                    entered[bucket] += 1
    return made
