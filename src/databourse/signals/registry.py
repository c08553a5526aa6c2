"""Every signal there is, and how an entry of the config becomes one. Cheap to import.

A new signal is one file that defines `SIGNAL: SignalSpec`, plus one line in `SIGNALS`. The file is
imported when the signal is asked for; it must import heavy packages inside its functions.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from databourse.digests import digest_of
from databourse.errors import ConfigError, UnknownNameError, nearest_names
from databourse.signals.specification import SignalParameters, SignalSpec

SIGNALS: dict[str, str] = {
    "ask_llm": "databourse.signals.ask_llm",
    "ask_llm_distilled": "databourse.signals.ask_llm_distilled",
    "completion_loss": "databourse.signals.completion_loss",
    "datamodel": "databourse.signals.datamodel",
    "density": "databourse.signals.density",
    "diversity": "databourse.signals.diversity",
    "dsir": "databourse.signals.dsir",
    "el2n": "databourse.signals.el2n",
    "euds": "databourse.signals.euds",
    "generative_entropy": "databourse.signals.generative_entropy",
    "ifd": "databourse.signals.ifd",
    "influence": "databourse.signals.influence",
    "information_entropy": "databourse.signals.information_entropy",
    "length": "databourse.signals.length",
    "less": "databourse.signals.less",
    "neighbour_agreement": "databourse.signals.neighbour_agreement",
    "perplexity": "databourse.signals.perplexity",
    "quad": "databourse.signals.quad",
    "quality_classifier": "databourse.signals.quality_classifier",
    "rarity": "databourse.signals.rarity",
    "semantic_entropy": "databourse.signals.semantic_entropy",
    "surprisal": "databourse.signals.surprisal",
    "trak": "databourse.signals.trak",
    "uncertainty": "databourse.signals.uncertainty",
}
"""Name of each signal and the module that defines it."""


def signal_names() -> tuple[str, ...]:
    """Return the names of all signals, sorted."""
    return tuple(sorted(SIGNALS))


def signal_spec(name: str) -> SignalSpec[SignalParameters]:
    """Return what a signal declares about itself.

    Raises:
        UnknownNameError: there is no signal of that name.
    """
    if name not in SIGNALS:
        raise UnknownNameError("signal", name, signal_names())
    spec: SignalSpec[SignalParameters] = importlib.import_module(SIGNALS[name]).SIGNAL
    return spec


def parse_signal(
    entry: str | Mapping[str, object],
) -> tuple[SignalSpec[SignalParameters], SignalParameters]:
    """Return the signal and the parameters that an entry of the config asks for.

    Args:
        entry: a name (`rarity`: every parameter at its default), or a mapping with the key `name`
            and parameters beside it (`{name: rarity, k: 20}`).

    Raises:
        UnknownNameError: no such signal, or no such parameter; lists the nearest names.
        ConfigError: another form of entry, or a value outside the parameter's range.
    """
    name, values = _name_and_values(entry)
    spec = signal_spec(name)
    for key in values:
        if key not in spec.parameters.model_fields:
            known = sorted(spec.parameters.model_fields)
            raise UnknownNameError("parameter", key, known, where=f"signal {name!r}")
    try:
        return spec, spec.parameters.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_describe(spec, error)) from None


def signal_id(
    spec: SignalSpec[SignalParameters],
    parameters: SignalParameters,
    *,
    model_fingerprint: str,
    input_ids: Mapping[str, str],
) -> str:
    """Return the version of a signal: its name and 16 hex digits of all that decides its values.

    Args:
        spec: the signal.
        parameters: with defaults filled in.
        model_fingerprint: from `computation.model_fingerprint`.
        input_ids: identity of each input beside the documents, such as
            `{"neighbours": neighbours_id}`; a change of one makes another version.
    """
    identity = {
        "parameters": parameters.model_dump(mode="json"),
        "model": model_fingerprint,
        "revision": spec.revision,
        "inputs": dict(input_ids),
    }
    return f"{spec.name}:{digest_of(identity)[:16]}"


def _name_and_values(entry: str | Mapping[str, object]) -> tuple[str, dict[str, object]]:
    if isinstance(entry, str):
        return entry, {}
    values = {str(key): value for key, value in entry.items()}
    name = values.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(
            "a signal is a name or a mapping with its name and parameters, such as rarity or "
            f"{{name: rarity, k: 20}}; got {dict(entry)!r}"
        )
    return name, values


def _describe(spec: SignalSpec[SignalParameters], error: ValidationError) -> str:
    first = error.errors()[0]
    field = str(first["loc"][0]) if first["loc"] else "parameters"
    schema = spec.parameters.model_json_schema()["properties"].get(field, {})
    line = f"signal {spec.name!r}: {field} must be {_range(schema)}, got {first['input']!r}"
    if "enum" in schema and isinstance(first["input"], str):
        return f"{line}; {nearest_names(first['input'], schema['enum'])}"
    return line


def _range(schema: Mapping[str, Any]) -> str:
    """Return the values that a JSON schema allows, in words."""
    if "items" in schema:
        return f"a list, each {_range(schema['items'])}"
    if "enum" in schema:
        return "one of " + ", ".join(map(repr, schema["enum"]))
    kind = {"integer": "an integer", "number": "a number", "boolean": "true or false"}
    bounds = {
        "minimum": ">= {}",
        "exclusiveMinimum": "> {}",
        "maximum": "<= {}",
        "exclusiveMaximum": "< {}",
    }
    parts = [text.format(schema[key]) for key, text in bounds.items() if key in schema]
    return " ".join([kind.get(schema.get("type", ""), "valid"), " and ".join(parts)]).strip()
