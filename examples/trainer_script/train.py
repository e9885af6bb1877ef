"""Search the learning rate of a small BERT with the Hugging Face Trainer, and log the sweep for bakeoff."""

import json
import shutil
from importlib.resources import files
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

from bakeoff.integrations import Study, find_best
from bakeoff.integrations.transformers import BakeoffCallback, BakeoffRefitCallback

DATA, BACKBONE = Path("data"), Path("backbones/bert-tiny")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def copy_data():
    """Take the sentences and their intents from bakeoff's demo; yours are files of your own."""
    DATA.mkdir(exist_ok=True)
    for role in ("train", "test"):
        source = files("bakeoff.demo") / "data" / f"intents_{role}.jsonl"
        (DATA / f"{role}.jsonl").write_bytes(source.read_bytes())
    return [json.loads(line) for line in (DATA / "train.jsonl").read_text().splitlines()]


def make_backbone(texts):
    """Make a backbone with random weights; yours is a folder with a pretrained model."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(BACKBONE)
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    config = BertConfig(vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=64, **shape)
    BertModel(config, add_pooling_layer=False).save_pretrained(BACKBONE)
    return fast


class Sentences(torch.utils.data.Dataset):
    """Encoded sentences with the number of their intent."""

    def __init__(self, rows, tokenizer, labels):
        encoded = tokenizer([row["text"] for row in rows], truncation=True, max_length=64)
        self._rows = [
            {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels.index(row["intent"])}
            for row, ids in zip(rows, encoded["input_ids"], strict=True)
        ]

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, number):
        return self._rows[number]


def make_trainer(learning_rate, train, evaluation, labels, tokenizer, *, callback):
    """Set up one training; the callback is the one line that bakeoff needs."""
    model = AutoModelForSequenceClassification.from_pretrained(
        BACKBONE, num_labels=len(labels), id2label=dict(enumerate(labels))
    )
    arguments = TrainingArguments(
        "out",
        learning_rate=learning_rate,
        num_train_epochs=6,
        per_device_train_batch_size=8,
        eval_strategy="epoch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    return Trainer(
        model,
        arguments,
        train_dataset=Sentences(train, tokenizer, labels),
        eval_dataset=Sentences(evaluation, tokenizer, labels),
        processing_class=tokenizer,
        compute_metrics=lambda found: {
            "accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())
        },
        callbacks=[callback],
    )


def main():
    """Search, then train the best setting once more on all sentences."""
    torch.set_num_threads(1)  # models so small are no faster on more
    rows = copy_data()
    labels = sorted({row["intent"] for row in rows})
    tokenizer = make_backbone([row["text"] for row in rows])
    study = Study("intents", metric="accuracy", data={"train": DATA / "train.jsonl"})
    for learning_rate in (1e-3, 3e-3, 5e-3):
        callback = BakeoffCallback(study, params={"learning_rate": learning_rate})
        make_trainer(learning_rate, rows[60:], rows[:60], labels, tokenizer, callback=callback).train()
    best = find_best(study, BACKBONE.name)
    refit = BakeoffRefitCallback(best)
    make_trainer(best.params["learning_rate"], rows, rows[:60], labels, tokenizer, callback=refit).train()
    shutil.rmtree("out", ignore_errors=True)
    print(f"best: {dict(best.params)}, accuracy {best.metric:.3f}; refit run {refit.run_id}")


if __name__ == "__main__":
    main()
