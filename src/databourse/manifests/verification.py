"""Verification: every byte of a manifest is covered, and the file that is wrong is named.

`manifest.json` carries its own digest and those of the documents and further files. `SHA256SUMS`
follows from it byte for byte. So each of the two can be told damaged or whole without the other.
When all files are whole, the rows are checked against what `manifest.json` says about them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from databourse.digests import document_id
from databourse.errors import IntegrityError, ManifestError
from databourse.manifests.folders import (
    LATEST_FILE,
    MANIFEST_FILE,
    SUMS_FILE,
    Folder,
    Location,
    folder_at,
    is_pool,
    is_version,
    parse_latest,
    parse_manifest,
    version_name,
    version_number,
    version_numbers,
    withdrawal_name,
    withdrawal_of,
)
from databourse.manifests.identity import manifest_identity
from databourse.manifests.model import (
    Counts,
    Latest,
    ManifestInfo,
    SourceTotals,
    TopicTotals,
    Withdrawal,
)
from databourse.manifests.provenance import (
    PROVENANCE_FILE,
    is_envelope_of,
    seal_problem,
    signature_name,
    signature_problem,
)
from databourse.manifests.seals import BrokenSealError
from databourse.manifests.shards import (
    OPTIONAL,
    order_problem,
    row_groups,
    row_problem,
    shard_name,
    shard_schema,
    traders_of,
)
from databourse.manifests.totals import counts_by

if TYPE_CHECKING:
    import pyarrow as pa
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_SUMS_LINE = re.compile(r"([0-9a-f]{64})  ([^/\n]+)")
_UNREADABLE = "cannot be read"
_NOTHING = Counts(documents=0, tokens=0)
Version = int | Literal["latest"]


@dataclass(frozen=True)
class Problem:
    """Something wrong with one file of a manifest."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


@dataclass(frozen=True)
class VerificationReport:
    """What verification found; the manifest is good if there is no problem."""

    location: str
    info: ManifestInfo | None
    problems: tuple[Problem, ...]
    withdrawal: Withdrawal | None = None
    """Why the version was withdrawn: its bytes may be good, its use is not."""

    @property
    def ok(self) -> bool:
        """Return whether every byte and every total is as published."""
        return not self.problems

    def require_ok(self) -> None:
        """Do nothing if the manifest is good.

        Raises:
            IntegrityError: it is not; every bad file is named.
        """
        if self.problems:
            found = "; ".join(str(problem) for problem in self.problems)
            raise IntegrityError(
                f"the manifest at {self.location} is damaged: {found}. "
                "Copy it again, or publish it again with: databourse run CONFIG"
            )


def verify(
    location: Location,
    *,
    version: Version = "latest",
    public_key: Ed25519PublicKey | None = None,
) -> VerificationReport:
    """Return whether a manifest is byte for byte what was published, and its rows what it says.

    Args:
        location: folder of a version or of a pool; a local path or fsspec URI.
        version: which version of a pool.
        public_key: whose signature the manifest must have; None: none need be there.

    Raises:
        ManifestError: there is no manifest, or a newer databourse wrote it.
    """
    folder = folder_at(location)
    if is_version(folder):
        check_version_asked(folder, version)
        report = verify_version(folder)
    elif not is_pool(folder):
        raise no_manifest(folder)
    elif version != "latest":
        folder = version_of(folder, version)
        report = verify_version(folder)
    else:
        report = _verify_latest(folder)
        folder = folder_at(report.location)
    return _with_neighbours(report, folder, public_key)


def _with_neighbours(
    report: VerificationReport, folder: Folder, public_key: Ed25519PublicKey | None
) -> VerificationReport:
    """Add what the files beside a version say of it, and whether it is signed."""
    info = report.info
    if info is None:
        return report
    problems = list(report.problems)
    withdrawal = None
    try:
        withdrawal = withdrawal_of(folder, info)
    except IntegrityError as error:
        problems.append(Problem(withdrawal_name(info.version), str(error)))
    beside = signature_name(info.version)
    places = [(folder, PROVENANCE_FILE)] if info.signer is not None else []
    if folder.parent.has(beside):
        places.append((folder.parent, beside))
        damage = seal_problem(folder.parent, beside)
        if damage:
            problems.append(Problem(beside, damage))
    if public_key is not None and not problems:
        problems += _signature_problems(folder, info, places, public_key)
    return replace(report, problems=tuple(problems), withdrawal=withdrawal)


def _signature_problems(
    folder: Folder,
    info: ManifestInfo,
    places: list[tuple[Folder, str]],
    public_key: Ed25519PublicKey,
) -> list[Problem]:
    """Return why no envelope says, by a key, that these files are the manifest."""
    digests = {**expected_digests(info), MANIFEST_FILE: folder.sha256(MANIFEST_FILE)}
    found = []
    for where, name in places:
        problem = signature_problem(where.read(name), digests, public_key)
        if problem is None:
            return []
        found.append(Problem(name, problem))
    return found or [Problem(PROVENANCE_FILE, "is missing: the manifest is not signed")]


def verify_version(folder: Folder) -> VerificationReport:
    """Return what is wrong with the folder of one version."""
    info, problems = check_files(folder)
    if info is not None and not problems:
        problems = _row_problems(folder, info)
    return VerificationReport(str(folder), info, tuple(problems))


def check_files(folder: Folder) -> tuple[ManifestInfo | None, list[Problem]]:
    """Return a version's manifest, if it is whole, and which files are not what was published."""
    sizes = folder.files()
    found = {name: _digest(folder, name) for name in sorted(sizes)}
    info, broken = _manifest_of(folder, found)
    sums = b""
    if SUMS_FILE in found and found[SUMS_FILE] != _UNREADABLE:
        sums = folder.read(SUMS_FILE)
    listed = parse_sums(sums)
    if info is None and listed is None:
        how = "is not a list of sha256 sums" if SUMS_FILE in found else "is missing"
        return None, [Problem(SUMS_FILE, f"{how}; no other file can be checked"), broken]
    if info is None:
        problems, expected = [broken], dict(listed or {})
    else:
        expected = expected_digests(info)
        if info.signer is not None:
            expected[PROVENANCE_FILE] = _provenance_digest(folder, info, found, listed or {})
        problems = _odd_one_out(found, sums, expected)
        if any(problem.file == MANIFEST_FILE for problem in problems):
            info, expected = None, dict(listed or {})
    problems += _differences(found, expected, _recorded_sizes(info), sizes)
    return info, sorted(problems, key=lambda problem: problem.file)


def _provenance_digest(
    folder: Folder, info: ManifestInfo, found: Mapping[str, str], listed: Mapping[str, str]
) -> str:
    """Return the digest of the envelope, which signs manifest.json and so is not in it.

    A whole envelope of this manifest proves itself; any other is held against SHA256SUMS.
    """
    digest = found.get(PROVENANCE_FILE, _UNREADABLE)
    if digest != _UNREADABLE:
        data = folder.read(PROVENANCE_FILE)
        if is_envelope_of(data, info, found[MANIFEST_FILE]):
            return digest
    return listed.get(PROVENANCE_FILE, "")


def _digest(folder: Folder, name: str) -> str:
    if name.endswith("/"):
        return "a folder"
    try:
        return folder.sha256(name)
    except OSError:
        return _UNREADABLE


def expected_digests(info: ManifestInfo) -> dict[str, str]:
    """Return the sha256 of every file that manifest.json vouches for, by name."""
    return {shard.name: shard.sha256 for shard in info.shards} | info.files


def sums_text(digests: Mapping[str, str]) -> bytes:
    """Return the content of SHA256SUMS, as `sha256sum -c` reads it, in order of name."""
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode("utf-8")


def parse_sums(data: bytes) -> dict[str, str] | None:
    """Return the digests in SHA256SUMS by name, or None if it is not exactly such a list."""
    lines = data.decode("utf-8", errors="replace").removesuffix("\n").split("\n")
    matches = [_SUMS_LINE.fullmatch(line) for line in lines]
    digests = {match[2]: match[1] for match in matches if match is not None}
    return digests if sums_text(digests) == data and digests else None


def check_version_asked(folder: Folder, version: Version) -> None:
    """Do nothing if the folder of a version is the one that was asked for.

    Raises:
        ManifestError: another number was asked for.
    """
    if version not in {"latest", version_number(folder.name) or version}:
        raise ManifestError(
            f"{folder} is one version, not version {version}; "
            "give the folder of its pool, or leave the version out"
        )


def version_of(pool: Folder, version: int) -> Folder:
    """Return the folder of one version of a pool.

    Raises:
        ManifestError: the pool has no such version.
    """
    folder = pool.child(version_name(version))
    if not folder.entries():
        there = ", ".join(str(number) for number in version_numbers(pool)) or "none"
        raise ManifestError(f"{pool} has no version {version}; there: {there}")
    return folder


def no_manifest(folder: Folder) -> ManifestError:
    """Return the error that says what lies at a place that is neither version nor pool."""
    entries = folder.entries()
    pools = [
        name
        for name, entry in entries.items()
        if entry["type"] == "directory" and is_pool(folder.child(name))
    ]
    if pools:
        return ManifestError(f"{folder} holds the pools {', '.join(pools)}: add one to the path")
    what = "holds no manifest" if entries else "does not exist or is empty"
    return ManifestError(
        f"{folder} {what}; expected a folder with {MANIFEST_FILE}, or one with {LATEST_FILE}"
    )


def _verify_latest(pool: Folder) -> VerificationReport:
    latest, broken = _latest_of(pool)
    if latest is None:
        return VerificationReport(str(pool), None, (broken,))
    folder = pool.child(latest.path)
    if not folder.entries():
        missing = Problem(latest.path, f"is missing, but {LATEST_FILE} points at it")
        return VerificationReport(str(pool), None, (missing,))
    report = verify_version(folder)
    if report.info is not None and folder.sha256(MANIFEST_FILE) != latest.manifest_sha256:
        other = Problem(MANIFEST_FILE, f"is not the one that {LATEST_FILE} was written for")
        return VerificationReport(str(folder), report.info, (*report.problems, other))
    return report


def _latest_of(pool: Folder) -> tuple[Latest | None, Problem]:
    try:
        return parse_latest(pool.read(LATEST_FILE)), Problem(LATEST_FILE, "is whole")
    except FileNotFoundError:
        return None, Problem(LATEST_FILE, "is missing")
    except BrokenSealError as error:
        return None, Problem(LATEST_FILE, str(error))


def _manifest_of(folder: Folder, found: Mapping[str, str]) -> tuple[ManifestInfo | None, Problem]:
    if MANIFEST_FILE not in found:
        return None, Problem(MANIFEST_FILE, "is missing")
    if found[MANIFEST_FILE] == _UNREADABLE:
        return None, Problem(MANIFEST_FILE, _UNREADABLE)
    try:
        info = parse_manifest(folder.read(MANIFEST_FILE), f"{folder}/{MANIFEST_FILE}")
    except BrokenSealError as error:
        return None, Problem(MANIFEST_FILE, str(error))
    return info, Problem(MANIFEST_FILE, "is whole")


def _odd_one_out(
    found: Mapping[str, str], sums: bytes, expected: Mapping[str, str]
) -> list[Problem]:
    """Return whether SHA256SUMS or a whole manifest.json does not belong to the other files."""
    if sums == sums_text({**expected, MANIFEST_FILE: found[MANIFEST_FILE]}):
        return []
    if SUMS_FILE not in found:
        return [Problem(SUMS_FILE, "is missing")]
    listed = {**(parse_sums(sums) or {})}
    listed.pop(MANIFEST_FILE, None)
    if listed and _agree(found, listed) and not _agree(found, expected):
        return [Problem(MANIFEST_FILE, "belongs to another manifest: the other files agree")]
    return [Problem(SUMS_FILE, f"is not the list that follows from {MANIFEST_FILE}")]


def _agree(found: Mapping[str, str], expected: Mapping[str, str]) -> bool:
    return all(found.get(name) == digest for name, digest in expected.items())


def _recorded_sizes(info: ManifestInfo | None) -> dict[str, int]:
    return {shard.name: shard.bytes for shard in info.shards} if info else {}


def _differences(
    found: Mapping[str, str],
    expected: Mapping[str, str],
    recorded_sizes: Mapping[str, int],
    sizes: Mapping[str, int],
) -> list[Problem]:
    problems = []
    for name in sorted({*found, *expected} - {MANIFEST_FILE, SUMS_FILE}):
        if name not in expected:
            problems.append(Problem(name, "is not part of the manifest"))
        elif name not in found:
            elsewhere = _elsewhere(found, expected[name])
            problems.append(Problem(name, f"is missing{elsewhere}"))
        elif found[name] == _UNREADABLE:
            problems.append(Problem(name, _UNREADABLE))
        elif found[name] != expected[name]:
            size, wanted = sizes[name], recorded_sizes.get(name, sizes[name])
            how = f"has {size:,} of {wanted:,} bytes" if size != wanted else "has other bytes"
            owners = [other for other in sorted(expected) if expected[other] == found[name]]
            whose = f", those of {owners[0]}" if owners else ""
            problems.append(Problem(name, f"{how}{whose} (sha256 differs)"))
    return problems


def _elsewhere(found: Mapping[str, str], digest: str) -> str:
    names = [name for name in sorted(found) if found[name] == digest]
    return f"; its bytes are in {names[0]}" if names else ""


class _BadRowsError(Exception):
    def __init__(self, file: str, what: str) -> None:
        super().__init__(file, what)
        self.problem = Problem(file, what)


@dataclass
class _Audit:
    """Totals of the rows read so far."""

    topics: dict[str, Counts] = field(default_factory=dict)
    sources: dict[str, Counts] = field(default_factory=dict)
    last_id: str | None = None

    def add(self, table: pa.Table) -> None:
        for name, totals in (("topic", self.topics), ("source", self.sources)):
            for value, counts in counts_by([table], name).items():
                before = totals.get(value, _NOTHING)
                totals[value] = Counts(
                    documents=before.documents + counts.documents,
                    tokens=before.tokens + counts.tokens,
                )
        self.last_id = table.column("document_id")[-1].as_py()


def _row_problems(folder: Folder, info: ManifestInfo) -> list[Problem]:
    audit = _Audit()
    try:
        manifest_id = manifest_identity(
            _audited_rows(folder, info, audit),
            pool=info.pool,
            snapshot_id=info.snapshot_id,
            tokenizer_id=info.tokenizer.id,
            budget=info.budget,
            market=info.market,
            selection=info.selection,
        )
    except _BadRowsError as error:
        return [error.problem]
    problems = _total_problems(info, audit)
    if manifest_id != info.manifest_id:
        problems.append(f"manifest_id is {info.manifest_id}, but its rows give {manifest_id}")
    return [Problem(MANIFEST_FILE, what) for what in problems]


def _audited_rows(folder: Folder, info: ManifestInfo, audit: _Audit) -> Iterator[pa.Table]:
    """Yield every row group, after checking it as far as one row group can be checked."""
    import pyarrow as pa

    for index, shard in enumerate(info.shards):
        if shard.name != shard_name(index):
            raise _BadRowsError(MANIFEST_FILE, f"lists {shard.name} as shard number {index}")
        rows = 0
        try:
            for table in row_groups(folder, [shard.name]):
                what = _table_problem(table, audit.last_id)
                if what:
                    raise _BadRowsError(shard.name, what)
                audit.add(table)
                rows += table.num_rows
                yield table
        except pa.ArrowException as error:
            raise _BadRowsError(shard.name, f"is not a Parquet file: {error}") from error
        if rows != shard.rows:
            raise _BadRowsError(shard.name, f"has {rows:,} rows, not {shard.rows:,}")


def _table_problem(table: pa.Table, last_id: str | None) -> str | None:
    schema = shard_schema(
        traders_of(table.column_names), optional=OPTIONAL & set(table.column_names)
    )
    for wanted in schema:
        if wanted.name not in table.column_names:
            return f"has no column {wanted.name}"
        came = table.schema.field(wanted.name).type
        if came != wanted.type:
            return f"has column {wanted.name} of type {came}, not {wanted.type}"
    table = table.select(schema.names).cast(schema)
    ids = table.column("document_id")
    return row_problem(table) or order_problem(ids, last_id) or _text_problem(table)


def _text_problem(table: pa.Table) -> str | None:
    if "text" not in table.column_names:
        return None
    pairs = zip(
        table.column("document_id").to_pylist(), table.column("text").to_pylist(), strict=True
    )
    for expected, text in pairs:
        if document_id(text) != expected:
            return f"document {expected} has a text whose id is {document_id(text)}"
    return None


def _total_problems(info: ManifestInfo, audit: _Audit) -> list[str]:
    problems = []
    spent = Counts(
        documents=sum(counts.documents for counts in audit.sources.values()),
        tokens=sum(counts.tokens for counts in audit.sources.values()),
    )
    if spent != info.spent:
        problems.append(f"says {_counts_text(info.spent)}, but its rows are {_counts_text(spent)}")
    limits = info.budget
    if limits.limit_tokens is not None and spent.tokens > limits.limit_tokens:
        problems.append(f"spends {spent.tokens:,} of {limits.limit_tokens:,} tokens")
    if limits.limit_documents is not None and spent.documents > limits.limit_documents:
        problems.append(f"spends {spent.documents:,} of {limits.limit_documents:,} documents")
    problems += _limit_problems(info)
    said_topics = {part.topic: _selected(part) for part in info.topics}
    said_sources = {part.source: _selected(part) for part in info.sources}
    for kind, said, rows in (
        ("topic", said_topics, audit.topics),
        ("source", said_sources, audit.sources),
    ):
        wrong = [
            name
            for name in sorted({*said, *rows})
            if said.get(name, _NOTHING) != rows.get(name, _NOTHING)
        ]
        if wrong:
            problems.append(f"does not say what its rows say about {kind} {wrong[0]!r}")
    return problems


def _limit_problems(info: ManifestInfo) -> list[str]:
    """Return which floors and caps do not hold; they count what the budget counts."""
    problems = []
    parts: list[TopicTotals | SourceTotals] = [*info.topics, *info.sources]
    for part in parts:
        name = part.topic if isinstance(part, TopicTotals) else part.source
        by_documents = info.budget.kind == "documents"
        spent = part.selected_documents if by_documents else part.selected_tokens
        if part.floor is not None and spent < part.floor:
            problems.append(f"spends {spent:,} on {name!r}, below its floor of {part.floor:,}")
        if part.cap is not None and spent > part.cap:
            problems.append(f"spends {spent:,} on {name!r}, above its cap of {part.cap:,}")
    return problems


def _selected(part: TopicTotals | SourceTotals) -> Counts:
    return Counts(documents=part.selected_documents, tokens=part.selected_tokens)


def _counts_text(counts: Counts) -> str:
    return f"{counts.documents:,} documents and {counts.tokens:,} tokens"
