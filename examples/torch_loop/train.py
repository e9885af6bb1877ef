"""Cross-validate a small DistilBERT in a plain PyTorch loop, and log the sweep for bakeoff."""

import json
from importlib.resources import files
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import DistilBertConfig, DistilBertForSequenceClassification, PreTrainedTokenizerFast

from bakeoff.integrations import Study, find_best, log_refit, log_trial

DATA, N_FOLDS, N_EPOCHS = Path("data"), 2, 6
SIZES = {"distil-32": 32, "distil-64": 64}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def copy_data():
    """Take the sentences and their intents from bakeoff's demo; yours are files of your own."""
    DATA.mkdir(exist_ok=True)
    for role in ("train", "test"):
        source = files("bakeoff.demo") / "data" / f"intents_{role}.jsonl"
        (DATA / f"{role}.jsonl").write_bytes(source.read_bytes())
    return [json.loads(line) for line in (DATA / "train.jsonl").read_text().splitlines()]


def make_tokenizer(texts):
    """Make a tokenizer of whole words; yours belongs to your pretrained model."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def train(backbone, rows, labels, tokenizer, learning_rate):
    """Train a model with random weights at the start; yours begins with pretrained ones."""
    torch.manual_seed(0)
    size = SIZES[backbone]
    config = DistilBertConfig(
        vocab_size=len(tokenizer),
        dim=size,
        hidden_dim=2 * size,
        n_layers=2,
        n_heads=2,
        max_position_embeddings=64,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
    )
    model = DistilBertForSequenceClassification(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    for epoch in range(N_EPOCHS):
        shuffled = torch.randperm(len(rows), generator=torch.Generator().manual_seed(epoch)).tolist()
        for start in range(0, len(rows), 16):
            batch = [rows[number] for number in shuffled[start : start + 16]]
            wanted = torch.tensor([labels.index(row["intent"]) for row in batch])
            model(**encode(batch, tokenizer), labels=wanted).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return model.eval()


def encode(rows, tokenizer):
    """Encode sentences as the model reads them."""
    encoded = tokenizer(
        [row["text"] for row in rows], padding=True, truncation=True, max_length=64, return_tensors="pt"
    )
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}


def judge(model, rows, labels, tokenizer):
    """Return the accuracy."""
    with torch.inference_mode():
        best = model(**encode(rows, tokenizer)).logits.argmax(-1).tolist()
    return sum(labels[number] == row["intent"] for number, row in zip(best, rows, strict=True)) / len(rows)


def main():
    """Search with two folds, then train the best setting of each size once more on all sentences."""
    torch.set_num_threads(1)  # models so small are no faster on more
    rows = copy_data()
    labels = sorted({row["intent"] for row in rows})
    tokenizer = make_tokenizer([row["text"] for row in rows])
    study = Study(
        "intents", metric="accuracy", data={"train": DATA / "train.jsonl"}, settings={"epochs": N_EPOCHS}
    )
    for backbone in SIZES:
        for learning_rate in (1e-3, 3e-3, 5e-3):
            folds = []
            for fold in range(N_FOLDS):
                inside = [row for number, row in enumerate(rows) if number % N_FOLDS != fold]
                outside = rows[fold::N_FOLDS]
                model = train(backbone, inside, labels, tokenizer, learning_rate)
                folds.append(judge(model, outside, labels, tokenizer))
            log_trial(study, backbone, params={"learning_rate": learning_rate}, folds=folds)
        best = find_best(study, backbone)
        model = train(backbone, rows, labels, tokenizer, best.params["learning_rate"])
        folder = Path("models", backbone)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        log_refit(best, folder)
        print(f"{backbone}: best {dict(best.params)}, accuracy {best.metric:.3f}")


if __name__ == "__main__":
    main()
