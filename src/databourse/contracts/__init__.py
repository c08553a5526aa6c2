"""Data contracts: ODCS files in data_contracts/, judged by Great Expectations and DuckDB."""

from databourse.contracts.definition import Contract, contract_names, load_contract, read_contract
from databourse.contracts.judgement import check_contract, violating_rows
from databourse.contracts.results import ContractResult, RuleResult, enforce
from databourse.contracts.suite import compile_suite

__all__ = [
    "Contract",
    "ContractResult",
    "RuleResult",
    "check_contract",
    "compile_suite",
    "contract_names",
    "enforce",
    "load_contract",
    "read_contract",
    "violating_rows",
]
