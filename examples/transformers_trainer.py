"""Fine-tuning with transformers.Trainer on a manifest.

    python examples/transformers_trainer.py MANIFEST MODEL FOLDER

MODEL is a causal language model with its tokenizer. The manifest's budget was counted in tokens of
one tokenizer: if MODEL has another, nothing is trained and both fingerprints are shown.

With several processes, leave rank=0, ranks=1 as it is: Trainer itself gives every process its part
of an IterableDataset.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

import databourse

LONGEST, STEPS, BATCH = 64, 6, 4


class WeightedTrainer(Trainer):
    """A trainer in whose loss every document counts by the weight that the manifest gives it."""

    def compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, Any], **_: object
    ) -> torch.Tensor:
        """Return the weighted mean over documents of the mean loss over their tokens."""
        weights = inputs.pop("weights")
        logits = model(**inputs).logits[:, :-1]
        targets = inputs["input_ids"][:, 1:]
        mask = inputs["attention_mask"][:, 1:].float()
        losses = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), targets, reduction="none"
        )
        by_document = (losses * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        return (by_document * weights).sum() / weights.sum()


def main(location: str, model_name: str, folder: str) -> None:
    """Verify, check the tokenizer, train."""
    manifest = databourse.open_manifest(location)
    manifest.verify()
    tokenizer = AutoTokenizer.from_pretrained(model_name)
    print("tokens counted by", manifest.check_tokenizer(tokenizer))
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token

    def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
        texts = [example["text"] for example in examples]
        batch = tokenizer(
            texts, truncation=True, max_length=LONGEST, padding=True, return_tensors="pt"
        )
        weights = torch.tensor([example["weight"] for example in examples])
        return {
            "input_ids": batch["input_ids"],
            "attention_mask": batch["attention_mask"],
            "weights": weights,
        }

    trainer = WeightedTrainer(
        model=AutoModelForCausalLM.from_pretrained(model_name),
        args=TrainingArguments(
            output_dir=folder,
            max_steps=STEPS,
            per_device_train_batch_size=BATCH,
            remove_unused_columns=False,
            report_to=[],
            save_strategy="no",
            use_cpu=not torch.cuda.is_available(),
            disable_tqdm=True,
            dataloader_pin_memory=torch.cuda.is_available(),
        ),
        train_dataset=manifest.to_torch(seed=7, rank=0, ranks=1),
        data_collator=collate,
    )
    result = trainer.train()
    trainer.save_model(folder)
    print(f"{result.global_step} steps, loss {result.training_loss:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
