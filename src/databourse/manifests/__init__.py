"""Manifests: published selections of training data.

For training teams: `open_manifest`, `verify`, `list_manifests`. For the pipeline: `stage`, then
`publish` or `abandon`. The file formats are in `model` (and data_contracts/manifest.schema.json),
the identity of a manifest in `identity`, the order of events of a publication in `publication`.
"""

from __future__ import annotations

from databourse.manifests.catalogue import (
    PoolListing,
    VersionListing,
    list_manifests,
    recent_manifests,
)
from databourse.manifests.differences import ManifestDiff, diff_manifests, diff_record
from databourse.manifests.export_formats import Format
from databourse.manifests.exports import Export, export_manifest
from databourse.manifests.identity import manifest_identity
from databourse.manifests.mirroring import Mirrored, check_mirror, mirror_pool
from databourse.manifests.model import (
    Budget,
    ContractResult,
    Counts,
    Latest,
    ManifestFacts,
    ManifestInfo,
    MarketRecord,
    SelectionRecord,
    SignalRecord,
    SourceSupply,
    Tokenizer,
    TopicMarket,
    Withdrawal,
    manifest_json_schema,
)
from databourse.manifests.progress_states import merge_states
from databourse.manifests.publication import Publication, next_version, publish
from databourse.manifests.reader import Document, Manifest, open_manifest
from databourse.manifests.signatures import private_key, public_key
from databourse.manifests.signing import sign_manifest
from databourse.manifests.staging import (
    StagedManifest,
    abandon,
    add_file,
    load_staged,
    stage,
    sweep_staging,
)
from databourse.manifests.verification import Problem, VerificationReport, verify
from databourse.manifests.withdrawals import WithdrawalOutcome, withdraw

__all__ = [
    "Budget",
    "ContractResult",
    "Counts",
    "Document",
    "Export",
    "Format",
    "Latest",
    "Manifest",
    "ManifestDiff",
    "ManifestFacts",
    "ManifestInfo",
    "MarketRecord",
    "Mirrored",
    "PoolListing",
    "Problem",
    "Publication",
    "SelectionRecord",
    "SignalRecord",
    "SourceSupply",
    "StagedManifest",
    "Tokenizer",
    "TopicMarket",
    "VerificationReport",
    "VersionListing",
    "Withdrawal",
    "WithdrawalOutcome",
    "abandon",
    "add_file",
    "check_mirror",
    "diff_manifests",
    "diff_record",
    "export_manifest",
    "list_manifests",
    "load_staged",
    "manifest_identity",
    "manifest_json_schema",
    "merge_states",
    "mirror_pool",
    "next_version",
    "open_manifest",
    "private_key",
    "public_key",
    "publish",
    "recent_manifests",
    "sign_manifest",
    "stage",
    "sweep_staging",
    "verify",
    "withdraw",
]
