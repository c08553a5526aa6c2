"""The reasons of the ledger and of quarantine, in words."""

from __future__ import annotations

_WORDS = {
    "exact_duplicate": "the same text came in another row, which speaks for it",
    "near_duplicate": "another document says nearly the same and stands for it",
    "semantic_duplicate": "another document says the same in other words and stands for it",
    "exact_match": "it is an example of a target or of a protected set",
    "ngram_overlap": "it shares much of its wording with a protected example",
    "long_overlap": "it shares a long run of words with a protected example",
    "same_but_numbers": "but for its numbers it is a protected example, or shares much with one",
    "no_tokens": "the tokenizer finds no token in it",
    "bought": "the budget bought it at its price",
    "best_single": "alone it is worth more than everything else that the budget could buy",
    "longer_than_budget": "it costs more than the whole budget",
    "drawn": "the sample drew it, with the inclusion probability that stands beside it",
    "not_drawn": "the sample did not draw it; dearer documents are likelier, none is certain",
    "did_not_fit": "it cost more than the budget had left at its turn",
    "after_the_stop": "buying had ended before its turn, at a document that did not fit",
    "broken_csv": "the line is no valid CSV",
    "broken_json": "the line is no valid JSON",
    "broken_python": "the module cannot be parsed",
    "missing_column": "a column that the config names is not there",
    "missing_value": "a column that makes the text is empty",
    "not_an_object": "the line holds no JSON object",
    "not_text": "a value is no text",
    "nul_character": "the text holds a NUL character",
    "row_too_long": "the row is longer than max_row_bytes",
    "too_short": "the text is shorter than min_characters",
    "wrong_encoding": "the bytes are no UTF-8",
}


def reason_in_words(reason: str) -> str:
    """Return what a reason means; one that is not known is spelled out as it stands."""
    kind, _, limit = reason.rpartition("_")
    if kind and limit == "floor":
        return f"it was bought to fill the floor of its {kind}"
    if kind and limit == "cap":
        return f"the cap on its {kind} left no room for it"
    return _WORDS.get(reason, reason.replace("_", " "))
