"""The question of Ask-LLM around a document that cannot leave its place in it.

Source: Sachdeva et al. 2024 (arXiv 2402.09668), section 3 and figure 3. Theirs: the order of the
parts (a line of three hash marks, the document, the marks again, one question, one sentence of
criteria, the header OPTIONS: and a bulleted list, yes first), nothing after the list, and the score
P("yes"). Our choices, because the paper does not say: the wording of question and criteria (they
say what the paper's say; give the figure's own sentences for an exact replication), the truncation,
which spellings count as an answer, the removal of delimiters from documents, the chat template
around the prompt, and the prompt for causal models, which need the options on one line and a cue
after them.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from databourse.digests import digest_of
from databourse.errors import InputError

_REVISION = 1  # of the assembly and the cleaning: raise it when prompts change
_CHARACTERS_PER_TOKEN = 8  # how much of a long text is tokenized at first; changes only the work
_LEAST_HEAD_TAIL_TOKENS = 16  # the ellipsis is seven bytes: no tokenizer makes more tokens of it
ELLIPSIS = "\n[...]\n"
"""What stands between the head and the tail of a document of which both are kept."""

Truncation = Literal["head", "head_tail"]
Wrap = Literal["plain", "chat_template"]

QUESTION = (
    "Is the paragraph above, between the two lines of {delimiter}, an informative example for "
    "pre-training a large language model?"
)
CRITERIA = (
    "An informative example is well formatted, holds knowledge of the world that can be used, and "
    "must have no harmful, racist, sexist or similar content."
)

# Shapes that readers and models may take for the character on the left, beside those that Unicode
# itself calls compatible (such as the full-width #). Our choice, after Unicode's confusables.
_LOOK_ALIKES = {
    "#": "\u266f\u2317\u22d5\u29e3\u29e4\u29e5",
    "*": "\u2217\u204e\u2731\u066d",
    "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043",
    "<": "\u2039\u2329\u27e8\u02c2\u1438\u276e",
    "=": "\u2550\u2e40\ua78a",
    ">": "\u203a\u232a\u27e9\u02c3\u1433\u276f",
    "`": "\u02cb\u1fef\u2035",
    "|": "\u01c0\u2223\u2502\u2758",
    "~": "\u223c\u02dc\u1fc0",
}


class _Shapes(dict[int, str]):
    """Code point to what it looks like, filled when asked; a table for str.translate."""

    def __missing__(self, code_point: int) -> str:
        parts = unicodedata.normalize("NFKD", chr(code_point))
        seen = "".join(_BY_LOOK_ALIKE.get(part, part) for part in parts if not _is_unseen(part))
        self[code_point] = seen.casefold()
        return self[code_point]


def _is_unseen(character: str) -> bool:
    """Tell whether a character is invisible, or only a mark on another one."""
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return True
    if unicodedata.category(character) == "Cc":
        return not character.isspace()
    return character in "\u115f\u1160\u17b4\u17b5\u3164\uffa0\u2800"  # fillers: letters, yet blank


_BY_LOOK_ALIKE = {alike: plain for plain, all_alike in _LOOK_ALIKES.items() for alike in all_alike}
_SHAPES = _Shapes()


def _shape(text: str) -> str:
    return text.translate(_SHAPES)


TokenSpans = Callable[[str], Sequence[tuple[int, int]]]
"""From a text to the half-open span of characters of each of its tokens, in order."""


@dataclass(frozen=True, kw_only=True)
class PromptSettings:
    """How a model is asked; the defaults are the paper's prompt in our words.

    Attributes:
        delimiter: the line before and after the document; has no spaces.
        question: one sentence; `{delimiter}` in it stands for the delimiter.
        criteria: one sentence that follows the question.
        options: 'bullets' lists the answers one per line (the paper), 'inline' on one line.
        cue: what comes after the options; the paper has nothing.
        yes: spellings whose probabilities add up to P(yes); the first one is shown as an option.
        no: likewise for P(no).
        max_document_tokens: documents are cut to so many tokens; with the default a T5 prompt stays
            within the 512 tokens it was trained on.
        truncate: 'head' keeps the beginning of a longer document, 'head_tail' as much of its
            beginning as of its end, with a line [...] between them that counts as well.
        wrap: 'plain' asks with the prompt as it is, 'chat_template' with the prompt as the message
            of a user, in the model's own chat template; for a causal model of our own.
    """

    delimiter: str = "###"
    question: str = QUESTION
    criteria: str = CRITERIA
    options: Literal["bullets", "inline"] = "bullets"
    cue: str = ""
    yes: tuple[str, ...] = ("yes", "Yes")
    no: tuple[str, ...] = ("no", "No")
    max_document_tokens: int = 384
    truncate: Truncation = "head"
    wrap: Wrap = "plain"

    def __post_init__(self) -> None:
        shape = _shape(self.delimiter)
        if not shape or any(map(str.isspace, shape + self.delimiter)):
            raise InputError(
                f"delimiter must be visible characters without spaces, got {self.delimiter!r}"
            )
        if self.options not in ("bullets", "inline"):
            raise InputError(f"options must be 'bullets' or 'inline', got {self.options!r}")
        if not isinstance(self.max_document_tokens, int) or self.max_document_tokens < 1:
            raise InputError(f"max_document_tokens must be >= 1, got {self.max_document_tokens!r}")
        self._check_truncation()
        if self.wrap not in ("plain", "chat_template"):
            raise InputError(f"wrap must be 'plain' or 'chat_template', got {self.wrap!r}")
        for side, words in (("yes", self.yes), ("no", self.no)):
            if type(words) is not tuple or not words or any(not w or w != w.strip() for w in words):
                raise InputError(
                    f"{side} must be a tuple of words without outer spaces, got {words!r}"
                )
        both = sorted(set(self.yes) & set(self.no))
        if both:
            raise InputError(f"{both[0]!r} cannot be an answer for both yes and no")

    def _check_truncation(self) -> None:
        if self.truncate not in ("head", "head_tail"):
            raise InputError(f"truncate must be 'head' or 'head_tail', got {self.truncate!r}")
        if self.truncate == "head":
            return
        if self.max_document_tokens < _LEAST_HEAD_TAIL_TOKENS:
            raise InputError(
                f"truncate 'head_tail' needs max_document_tokens >= {_LEAST_HEAD_TAIL_TOKENS}, "
                f"got {self.max_document_tokens!r}"
            )
        if without_delimiters(ELLIPSIS, self.delimiter) != ELLIPSIS:
            raise InputError(
                f"delimiter {self.delimiter!r} is part of the line {ELLIPSIS.strip()} of truncate "
                "'head_tail'; give another one"
            )

    @property
    def digest(self) -> str:
        """Return 16 hex digits of everything that decides the prompt of a document."""
        return digest_of({**dataclasses.asdict(self), "revision": _REVISION})[:16]


PAPER_PROMPT = PromptSettings()
CAUSAL_PROMPT = PromptSettings(options="inline", cue="ANSWER:")


def build_prompt(document: str, settings: PromptSettings) -> str:
    """Return the prompt of a document: exactly two lines of it can be read as the delimiter.

    Args:
        document: any text, already cut; delimiters in it are removed, see `without_delimiters`.
        settings: the other parts.
    """
    head, tail = prompt_frame(settings)
    return head + without_delimiters(document, settings.delimiter) + tail


def prompt_frame(settings: PromptSettings) -> tuple[str, str]:
    """Return what stands before a document in its prompt, and what after it."""
    question = settings.question.replace("{delimiter}", settings.delimiter)
    yes, no = settings.yes[0], settings.no[0]
    options = f"\n- {yes}\n- {no}" if settings.options == "bullets" else f" {yes} / {no}"
    cue = f"\n{settings.cue}" if settings.cue else ""
    ask = " ".join(part for part in (question, settings.criteria) if part)
    return (
        f"{settings.delimiter}\n",
        f"\n{settings.delimiter}\n\n{ask}\n\nOPTIONS:{options}{cue}",
    )


def without_delimiters(text: str, delimiter: str) -> str:
    """Return a text in which nothing looks like the delimiter: each occurrence becomes one space.

    Case, accents, invisible and control characters, compatible forms and look-alikes are seen
    through; anything else of the text stays as it is. Longer runs of the delimiter's character go
    as a whole. The space keeps parts apart that would make a new delimiter; the delimiter itself
    has none, so once is enough. A law: the result of the result is the result.
    """
    wanted = _shape(delimiter)
    if wanted not in text.translate(_SHAPES):
        return text
    shape: list[str] = []
    origin: list[int] = []
    for position, character in enumerate(text):
        seen = _SHAPES[ord(character)]
        shape.append(seen)
        origin += [position] * len(seen)
    run = f"{re.escape(wanted[0])}{{{len(wanted)},}}"
    pattern = run if len(set(wanted)) == 1 else re.escape(wanted)
    kept: list[str] = []
    start = 0
    for match in re.finditer(pattern, "".join(shape)):
        first, last = origin[match.start()], origin[match.end() - 1]
        kept += [text[start:first], " "]
        start = max(start, last + 1)
    return "".join([*kept, text[start:]])


def cut_document(
    text: str, max_tokens: int, *, token_spans: TokenSpans, truncate: Truncation = "head"
) -> str:
    """Return a document cut to at most `max_tokens` tokens by itself; the text if it is so short.

    Args:
        text: cleaned already, so that its parts are clean too.
        max_tokens: >= 1.
        token_spans: the tokenizer, special tokens left out.
        truncate: 'head' keeps the longest head found. 'head_tail' keeps a head, the line [...] and
            a tail; both get half of the tokens that the line leaves, the head the odd one.

    Returns:
        A part never ends or begins inside a character. Each is at most one token shorter than it
        could be, unless a word splits otherwise once it is cut.

    Raises:
        InputError: `max_tokens` is below 1, or leaves no token for the head and the tail each.
    """
    if max_tokens < 1:
        raise InputError(f"max_tokens must be >= 1, got {max_tokens!r}")
    head = _longest_head(text, max_tokens, token_spans)
    if truncate == "head" or head == text:
        return head
    available = max_tokens - len(token_spans(ELLIPSIS))
    for n_kept in range(available, 1, -1):
        n_tail = n_kept // 2
        head = _longest_head(text, n_kept - n_tail, token_spans)
        tail = _longest_tail(text[len(head) + 1 :], n_tail, token_spans)
        both = f"{head}{ELLIPSIS}{tail}"
        if len(token_spans(both)) <= max_tokens:  # the joints may take tokens of their own
            return both
    raise InputError(
        f"max_tokens must leave a token for a head and a tail beside the line "
        f"{ELLIPSIS.strip()}, got {max_tokens!r}"
    )


def _longest_head(text: str, max_tokens: int, token_spans: TokenSpans) -> str:
    length = max_tokens * _CHARACTERS_PER_TOKEN
    spans = token_spans(text[:length])
    while len(spans) <= max_tokens and length < len(text):
        length *= 4
        spans = token_spans(text[:length])
    head = text[:length]
    while len(spans) > max_tokens:
        # the next token may begin before this one ends: both are bytes of one character
        end = min(spans[max_tokens - 1][1], spans[max_tokens][0], len(head) - 1)
        head = head[:end]
        spans = token_spans(head)
    return head


def _longest_tail(text: str, max_tokens: int, token_spans: TokenSpans) -> str:
    length = max_tokens * _CHARACTERS_PER_TOKEN
    spans = token_spans(text[-length:])
    while len(spans) <= max_tokens and length < len(text):
        length *= 4
        spans = token_spans(text[-length:])
    tail = text[-length:]
    while len(spans) > max_tokens:
        start = max(spans[-max_tokens][0], spans[-max_tokens - 1][1], 1)
        tail = tail[start:]
        spans = token_spans(tail)
    return tail


def spans_by_bytes(bytes_per_token: float) -> TokenSpans:
    """Return spans for where no tokenizer is known: so many UTF-8 bytes are taken for a token.

    An estimate (English is near 4), for an endpoint that keeps its tokenizer to itself.

    Raises:
        InputError: `bytes_per_token` is not a number >= 1.
    """
    if not 1 <= bytes_per_token < 1 << 20:
        raise InputError(f"bytes_per_token must be >= 1, got {bytes_per_token!r}")

    def spans(text: str) -> list[tuple[int, int]]:
        starts: list[int] = []
        n_bytes = 0
        for position, character in enumerate(text):
            if n_bytes >= len(starts) * bytes_per_token:
                starts.append(position)
            n_bytes += len(character.encode("utf-8", "surrogatepass"))
        return list(zip(starts, [*starts[1:], len(text)], strict=True))

    return spans
