"""A training with the Hugging Face Trainer whose first epoch is its best one, logged by its own callback."""

import os
import sys
from pathlib import Path

uri, folder = sys.argv[1], Path(sys.argv[2])
os.environ.update(
    MLFLOW_TRACKING_URI=uri, MLFLOW_EXPERIMENT_NAME="sweep", HF_MLFLOW_LOG_ARTIFACTS="1", HF_HUB_OFFLINE="1"
)

import torch  # noqa: E402
from transformers import BertConfig, BertForTokenClassification, Trainer, TrainingArguments  # noqa: E402


class Documents(torch.utils.data.Dataset):  # type: ignore[misc]
    def __len__(self) -> int:
        return 4

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        ids = torch.arange(5)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.zeros_like(ids)}


shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
backbone = folder / "backbones" / "tiny-bert"
BertForTokenClassification(BertConfig(vocab_size=32, **shape)).save_pretrained(backbone)
scores = iter((0.9, 0.6))
Trainer(
    model=BertForTokenClassification.from_pretrained(backbone),
    args=TrainingArguments(
        output_dir=str(folder / "out"),
        run_name="training",
        num_train_epochs=2,
        per_device_train_batch_size=4,
        report_to=["mlflow"],
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="f1",
        use_cpu=True,
        disable_tqdm=True,
    ),
    train_dataset=Documents(),
    eval_dataset=Documents(),
    compute_metrics=lambda _: {"f1": next(scores)},
).train()
