"""Trainings with the Hugging Face Trainer, and a search with its own method, logged by its own callback."""

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


def arguments(name: str, **more: object) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder / name),
        run_name=name,
        num_train_epochs=2,
        per_device_train_batch_size=4,
        report_to=["mlflow"],
        eval_strategy="epoch",
        use_cpu=True,
        disable_tqdm=True,
        **more,
    )


def load(trial: object = None) -> BertForTokenClassification:
    return BertForTokenClassification.from_pretrained(backbone)


for number, rate in enumerate((1e-3, 2e-3, 3e-3)):
    Trainer(
        model=load(),
        args=arguments(f"training-{number}", learning_rate=rate, save_strategy="epoch"),
        train_dataset=Documents(),
        eval_dataset=Documents(),
        compute_metrics=lambda _, score=0.5 + number / 10: {"f1": score},
    ).train()

os.environ["HF_MLFLOW_LOG_ARTIFACTS"] = "0"
Trainer(
    model_init=load,
    args=arguments("search", save_strategy="no"),
    train_dataset=Documents(),
    eval_dataset=Documents(),
    compute_metrics=lambda _: {"f1": 0.1},
).hyperparameter_search(
    hp_space=lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2)},
    n_trials=2,
    backend="optuna",
)
