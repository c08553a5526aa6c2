"""What a contract said about a relation: one result per rule, and a stable text of it all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from databourse.digests import canonical_json
from databourse.errors import ContractViolation

Severity = Literal["critical", "warning"]

MAX_EXAMPLES = 5
"""Ids of violating rows that a result names."""


@dataclass(frozen=True)
class RuleResult:
    """What one rule found.

    Attributes:
        rule: its name, unique within the contract.
        severity: critical stops publication, warning is recorded.
        success: the rule was judged and no row violates it.
        failing_rows: violating rows, or findings where the rule is about columns or the number of
            rows. A rule that could not be judged fails on every row, since none is proven.
        example_ids: at most `MAX_EXAMPLES` keys of violating rows, the smallest; for a rule about
            the relation as a whole, what was found instead.
        observed: the value of the first example, or why the rule could not be judged; empty if
            there is nothing to say.
        description: what the rule asks for, and what to do when it fails.
    """

    rule: str
    severity: Severity
    success: bool
    failing_rows: int
    example_ids: tuple[str, ...]
    observed: str
    description: str


@dataclass(frozen=True)
class ContractResult:
    """What one contract found in one relation of `rows` rows; rules are in the contract's order."""

    contract: str
    version: str
    rows: int
    rules: tuple[RuleResult, ...]

    @property
    def success(self) -> bool:
        """Return whether every critical rule holds."""
        return not self.failed("critical")

    def failed(self, severity: Severity) -> tuple[RuleResult, ...]:
        """Return the failed rules of a severity, in the contract's order."""
        return tuple(rule for rule in self.rules if rule.severity == severity and not rule.success)

    def to_dict(self) -> dict[str, Any]:
        """Return the result in JSON types; equal data give equal results, it holds no timestamp."""
        rules = [{**asdict(rule), "example_ids": list(rule.example_ids)} for rule in self.rules]
        return {
            "contract": self.contract,
            "version": self.version,
            "success": self.success,
            "rows": self.rows,
            "rules": rules,
        }

    def to_json(self) -> str:
        """Return `to_dict` as canonical JSON."""
        return canonical_json(self.to_dict())


def enforce(result: ContractResult) -> None:
    """Stop if a critical rule failed; failed warnings stay in the result.

    Raises:
        ContractViolation: names the first failed critical rule.
    """
    for rule in result.failed("critical"):
        raise ContractViolation(result.contract, rule.rule, rule.failing_rows, rule.example_ids)
