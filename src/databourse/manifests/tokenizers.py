"""Which tokenizer a training uses: its fingerprint, as in `tokenizer.id` of manifest.json.

Documents are counted without special tokens, so what a tokenizer adds around a text (its post
processor) does not change a count. Wrapping a tokenizer in a class of transformers may rewrite that
part and no other; therefore the fingerprints with it, without it, and with that of the file that
the tokenizer was loaded from, all stand for the same counts.
"""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

from databourse.errors import ConfigError
from databourse.tokenization import TOKENIZER_FILE, load_tokenizer, tokenizer_fingerprint

_NOT_COUNTED = frozenset({"post_processor", "truncation", "padding"})


def trainer_fingerprints(tokenizer: object) -> tuple[str, ...]:
    """Return the fingerprints that stand for the counts of a tokenizer, its own first.

    Args:
        tokenizer: a path to a tokenizer.json or to a folder that holds one, a
            `tokenizers.Tokenizer`, or a fast tokenizer of transformers.

    Raises:
        ConfigError: it is none of these.
        MissingExtraError: a path was given, and the package tokenizers is not installed.
    """
    if isinstance(tokenizer, (str, PathLike)):
        path = Path(tokenizer).absolute()
        if not path.exists():
            raise ConfigError(f"there is no tokenizer at {path}; give a tokenizer.json or a folder")
        return (load_tokenizer(str(path)).tokenizer_id.rpartition("@")[2],)
    backend: Any = getattr(tokenizer, "backend_tokenizer", tokenizer)
    to_text = getattr(backend, "to_str", None)
    if not callable(to_text):
        raise ConfigError(
            f"a {type(tokenizer).__name__} does not say what it does as a tokenizer.json would; "
            "give a tokenizer.json, its folder, a tokenizers.Tokenizer or a fast tokenizer"
        )
    content = json.loads(to_text())
    found = [content, {**content, "post_processor": None}]
    file = Path(str(getattr(tokenizer, "name_or_path", ""))) / TOKENIZER_FILE
    if file.is_file():
        loaded = json.loads(file.read_text(encoding="utf-8"))
        if _counted(loaded) == _counted(content):
            found.append({**content, "post_processor": loaded.get("post_processor")})
    return tuple(dict.fromkeys(tokenizer_fingerprint(json.dumps(each)) for each in found))


def _counted(content: dict[str, object]) -> dict[str, object]:
    """Return what decides how many tokens a text has."""
    return {key: value for key, value in content.items() if key not in _NOT_COUNTED}
