"""MosaicML streaming over an export of a manifest.

    databourse manifest export MANIFEST --format mds --to EXPORT
    python examples/mosaicml_streaming.py EXPORT

mosaicml-streaming wants an environment of its own, for it excludes the transformers that
databourse's pipeline needs; databourse itself need not be installed there.
"""

from __future__ import annotations

import sys

from streaming import StreamingDataset


def main(folder: str) -> None:
    """Print how many samples there are, and their weights and tokens in all."""
    dataset = StreamingDataset(local=folder, batch_size=1, shuffle=False)
    samples = [dataset[index] for index in range(len(dataset))]
    weight = sum(float(sample["weight"]) for sample in samples)
    tokens = sum(int(sample["tokens"]) for sample in samples)
    characters = sum(len(sample["text"]) for sample in samples)
    print(f"{len(samples)} samples, {tokens} tokens, {characters} characters, weight {weight:g}")


if __name__ == "__main__":
    main(*sys.argv[1:])
