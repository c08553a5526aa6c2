"""Ask-LLM: an instruction-tuned model is asked whether a document is worth training on."""

from databourse.ask_llm.prompt import CAUSAL_PROMPT, PAPER_PROMPT, PromptSettings
from databourse.ask_llm.results import Cost, Interval, QualityScore, ScoreFailure

__all__ = [
    "CAUSAL_PROMPT",
    "PAPER_PROMPT",
    "Cost",
    "Interval",
    "PromptSettings",
    "QualityScore",
    "ScoreFailure",
]
