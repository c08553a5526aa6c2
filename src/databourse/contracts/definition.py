"""Data contracts as files: ODCS v3.1, read so that nothing written in them goes unheard.

Two things that ODCS leaves to its users are custom properties of the schema object here:

- `relation`: the SELECT that gives the rows under judgement, with values as `$parameters`;
- `columnFamilies`: columns whose names only a run knows, `{pattern, physicalType}` each.

A property with the custom property `optional: true` may be absent from the relation; `required`
speaks of nulls, as ODCS says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from databourse.errors import ConfigError, MissingExtraError, UnknownNameError
from databourse.queries import contracts_root

if TYPE_CHECKING:
    from open_data_contract_standard.model import (
        CustomProperty,
        DataQuality,
        OpenDataContractStandard,
        SchemaObject,
        SchemaProperty,
    )

SUFFIX = ".odcs.yaml"
_COLUMN_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Column:
    """A column that a contract describes; `physical_type` is spelled as DuckDB spells it."""

    name: str
    physical_type: str
    logical_type: str
    description: str
    is_optional: bool
    is_required: bool
    is_unique: bool
    options: Mapping[str, Any]
    allowed_values: tuple[Any, ...]
    quality: tuple[DataQuality, ...]

    @property
    def is_nested(self) -> bool:
        """Return whether its values are arrays or objects, which are judged in DuckDB alone."""
        return self.logical_type in {"array", "object"}


@dataclass(frozen=True)
class ColumnFamily:
    """Columns known by the pattern of their name, all of one type."""

    pattern: str
    physical_type: str


@dataclass(frozen=True)
class Contract:
    """What a relation promises to those who read it.

    Attributes:
        relation: the SELECT of the rows under judgement; values are `$parameters`.
        key: columns that tell rows apart, in order; they are the ids of violating rows.
        quality: the rules about the relation as a whole.
    """

    name: str
    version: str
    relation: str
    columns: tuple[Column, ...]
    families: tuple[ColumnFamily, ...]
    key: tuple[str, ...]
    quality: tuple[DataQuality, ...]


def contract_names() -> list[str]:
    """Return the names of all contracts, sorted."""
    return sorted(path.name.removesuffix(SUFFIX) for path in contracts_root().glob(f"*{SUFFIX}"))


def load_contract(name: str) -> Contract:
    """Return the contract `data_contracts/NAME.odcs.yaml`.

    Raises:
        UnknownNameError: there is no such contract.
        ConfigError: it cannot be read; see `read_contract`.
        MissingExtraError: open-data-contract-standard is not installed.
    """
    if name not in contract_names():
        raise UnknownNameError("contract", name, contract_names(), where=str(contracts_root()))
    contract = read_contract(contracts_root() / f"{name}{SUFFIX}")
    if contract.name != name:
        raise ConfigError(f"{name}{SUFFIX} must have the name {name!r}, got {contract.name!r}")
    return contract


def read_contract(path: Path) -> Contract:
    """Return the contract in a file.

    Raises:
        ConfigError: the file is no ODCS v3.1 contract, holds a key that ODCS does not know, or
            lacks something that judging a relation needs.
        MissingExtraError: open-data-contract-standard is not installed.
    """
    document = _document(path)
    if document.apiVersion != "v3.1.0" or document.kind != "DataContract":
        raise ConfigError(
            f"{path} must have apiVersion v3.1.0 and kind DataContract, "
            f"got {document.apiVersion!r} and {document.kind!r}"
        )
    if not document.schema_ or len(document.schema_) != 1:
        raise ConfigError(f"{path} must describe exactly one schema object")
    return _contract(path, document, document.schema_[0])


def _document(path: Path) -> OpenDataContractStandard:
    try:
        from open_data_contract_standard.model import OpenDataContractStandard
    except ImportError as error:
        raise MissingExtraError(
            "open-data-contract-standard", "pipeline", "reading contracts"
        ) from error
    try:
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
        document = OpenDataContractStandard.model_validate(written)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read contract {path}: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path} is no ODCS contract: {place}: {first['msg']}") from error
    unheard = _unheard(written, document.model_dump(by_alias=True, exclude_unset=True))
    if unheard:
        raise ConfigError(f"{path}: ODCS knows no {unheard}; it would be ignored")
    return document


def _unheard(written: object, understood: object) -> str:
    """Return the place of the first key that was written and not understood, or nothing."""
    if isinstance(written, Mapping) and isinstance(understood, Mapping):
        for key, value in written.items():
            rest = _unheard(value, understood[key]) if key in understood else str(key)
            if rest:
                return rest if key not in understood else f"{key}.{rest}"
    elif isinstance(written, list) and isinstance(understood, list):
        for index, (one, other) in enumerate(zip(written, understood, strict=True)):
            if rest := _unheard(one, other):
                return f"{index}.{rest}"
    return ""


def _contract(path: Path, document: OpenDataContractStandard, rows: SchemaObject) -> Contract:
    custom = _custom(rows.customProperties)
    _refuse_unknown(path, custom, {"relation", "columnFamilies"})
    properties = rows.properties or []
    contract = Contract(
        name=document.name or "",
        version=document.version or "",
        relation=str(custom.get("relation") or ""),
        columns=tuple(_column(path, each) for each in properties),
        families=tuple(_family(path, each) for each in custom.get("columnFamilies", ())),
        key=tuple(
            str(each.name)
            for each in sorted(properties, key=lambda each: each.primaryKeyPosition or 0)
            if each.primaryKey
        ),
        quality=tuple(rows.quality or ()),
    )
    missing = [
        what for what in ("name", "version", "relation", "key") if not getattr(contract, what)
    ]
    if missing:
        raise ConfigError(f"{path} lacks its {' and '.join(missing)}")
    return contract


def _column(path: Path, each: SchemaProperty) -> Column:
    custom = _custom(each.customProperties)
    _refuse_unknown(path, custom, {"optional"})
    name = each.name or ""
    if not _COLUMN_NAME.fullmatch(name) or not each.physicalType or not each.logicalType:
        raise ConfigError(
            f"{path}: a property needs a snake_case name, a physicalType and a logicalType, "
            f"got {each.name!r}, {each.physicalType!r}, {each.logicalType!r}"
        )
    return Column(
        name=name,
        physical_type=each.physicalType,
        logical_type=each.logicalType,
        description=(each.description or "").strip(),
        is_optional=custom.get("optional") is True,
        is_required=bool(each.required or each.primaryKey),
        is_unique=bool(each.unique),
        options=each.logicalTypeOptions or {},
        allowed_values=tuple(entry.value for entry in each.enum or ()),
        quality=tuple(each.quality or ()),
    )


def _family(path: Path, entry: object) -> ColumnFamily:
    if not isinstance(entry, Mapping) or set(entry) != {"pattern", "physicalType"}:
        raise ConfigError(f"{path}: a column family needs pattern and physicalType, got {entry!r}")
    return ColumnFamily(str(entry["pattern"]), str(entry["physicalType"]))


def _custom(properties: Sequence[CustomProperty] | None) -> dict[str, Any]:
    return {str(each.property): each.value for each in properties or ()}


def _refuse_unknown(path: Path, custom: Mapping[str, Any], known: set[str]) -> None:
    for name in custom:
        if name not in known:
            raise UnknownNameError("custom property", name, sorted(known), where=str(path))
