"""A plain PyTorch loop on two ranks with two worker processes each, stopped and resumed.

    python examples/torch_two_ranks.py MANIFEST FOLDER

It trains a softmax regression that tells topics apart by hashed words: small, but every part of a
real loop is there: verification before the first step, gradients averaged over ranks, weights of
examples, and a checkpoint that holds the state of the data.
"""

from __future__ import annotations

import json
import sys
import zlib
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file

import databourse

RANKS, WORKERS, BATCH, BUCKETS, STOP_AFTER = 2, 2, 4, 512, 3


def features(example: dict[str, Any]) -> dict[str, Any]:
    """Return an example with its words counted by hash; runs in the worker processes."""
    counts = torch.zeros(BUCKETS)
    for word in example["text"].lower().split():
        counts[zlib.crc32(word.encode()) % BUCKETS] += 1
    return {**example, "counts": counts / counts.sum().clamp(min=1)}


def train(rank: int, location: str, folder: str, stop_after: int | None) -> None:
    """Train one epoch on one rank, from a checkpoint if there is one."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting-{stop_after}", rank=rank, world_size=RANKS
    )
    manifest = databourse.open_manifest(location)
    if rank == 0:
        manifest.verify()
    dist.barrier()
    topics = {part.topic: index for index, part in enumerate(manifest.info.topics)}
    model = torch.nn.Linear(BUCKETS, len(topics))
    torch.nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    # rank and number of ranks are those of torch.distributed
    dataset = manifest.to_torch(seed=7, transform=features, remainder="drop")
    loader = dataset.loader(batch_size=BATCH, num_workers=WORKERS)
    checkpoint = Path(folder) / f"rank-{rank}.json"
    seen = []
    if checkpoint.exists():
        saved = json.loads(checkpoint.read_text())
        seen = saved["seen"]
        loader.load_state_dict(saved["data"])
        model.load_state_dict(load_file(Path(folder) / "model.safetensors"))
    for step, batch in enumerate(loader, start=1):
        counts = torch.stack([example["counts"] for example in batch])
        labels = torch.tensor([topics[example["topic"]] for example in batch])
        weights = torch.tensor([example["weight"] for example in batch])
        losses = torch.nn.functional.cross_entropy(model(counts), labels, reduction="none")
        optimizer.zero_grad()
        ((losses * weights).sum() / weights.sum()).backward()
        for parameter in model.parameters():
            dist.all_reduce(parameter.grad)
            parameter.grad /= RANKS
        optimizer.step()
        seen += [example["document_id"] for example in batch]
        if step == stop_after:
            break
    checkpoint.write_text(json.dumps({"seen": seen, "data": loader.state_dict()}))
    if rank == 0:
        save_file(model.state_dict(), Path(folder) / "model.safetensors")
    dist.barrier()
    dist.destroy_process_group()


def main(location: str, folder: str) -> None:
    """Stop after a few steps, go on in new processes, and show that no example came twice."""
    for stop_after in (STOP_AFTER, None):
        arguments = (location, folder, stop_after)
        mp.start_processes(train, args=arguments, nprocs=RANKS, start_method="fork")
    seen = [
        each
        for rank in range(RANKS)
        for each in json.loads((Path(folder) / f"rank-{rank}.json").read_text())["seen"]
    ]
    print(f"{len(seen)} examples, {len(set(seen))} of them different")


if __name__ == "__main__":
    main(*sys.argv[1:])
