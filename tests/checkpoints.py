"""Tiny checkpoints of real architectures, so that the real `from_pretrained` runs in every test."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers as hf
from safetensors.torch import save_file

SIDE = 32
CLASSES = 5  # of the pretrained head, which is replaced

TRANSFORMERS = {
    "vit": lambda: hf.ViTForImageClassification(
        hf.ViTConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            image_size=SIDE, patch_size=8, num_labels=CLASSES, hidden_dropout_prob=0.1,
        )
    ),
    "deit": lambda: hf.DeiTForImageClassification(
        hf.DeiTConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            image_size=SIDE, patch_size=8, num_labels=CLASSES,
        )
    ),
    "swin": lambda: hf.SwinForImageClassification(
        hf.SwinConfig(
            embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=2, image_size=SIDE,
            patch_size=4, num_labels=CLASSES,
        )
    ),
    "convnext": lambda: hf.ConvNextForImageClassification(
        hf.ConvNextConfig(
            hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], image_size=SIDE, num_labels=CLASSES
        )
    ),
    "dinov2": lambda: hf.Dinov2ForImageClassification(
        hf.Dinov2Config(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE,
            patch_size=8, num_labels=CLASSES,
        )
    ),
    "resnet": lambda: hf.ResNetForImageClassification(
        hf.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1],
            layer_type="basic", num_labels=CLASSES,
        )
    ),
    "regnet": lambda: hf.RegNetForImageClassification(
        hf.RegNetConfig(
            embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1],
            groups_width=8, num_labels=CLASSES,
        )
    ),
}  # fmt: skip
SMALL = {"vocab_size": 64, "num_labels": CLASSES, "pad_token_id": 0}
TEXTS = {
    "bert": lambda: hf.BertForSequenceClassification(
        hf.BertConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=64, **SMALL,
        )
    ),
    "distilbert": lambda: hf.DistilBertForSequenceClassification(
        hf.DistilBertConfig(
            dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=64, **SMALL
        )
    ),
    "roberta": lambda: hf.RobertaForSequenceClassification(
        hf.RobertaConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=66, **SMALL,
        )
    ),
    "gpt2": lambda: hf.GPT2ForSequenceClassification(
        hf.GPT2Config(
            n_embd=16, n_layer=2, n_head=2, n_positions=64, vocab_size=64, num_labels=CLASSES
        )
    ),
}  # fmt: skip
LAYERS = {
    "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
    "max_position_embeddings": 64,
}  # fmt: skip
TRANSLATORS = {
    "t5": (
        lambda **about: hf.T5ForConditionalGeneration(
            hf.T5Config(
                d_model=16,
                d_kv=8,
                d_ff=32,
                num_layers=1,
                num_heads=2,
                decoder_start_token_id=0,
                **about,
            )
        ),
        lambda: hf.T5Tokenizer(vocab=[*_pieces("<pad>", "</s>", "<unk>")], extra_ids=0),
    ),
    "marian": (
        lambda **about: hf.MarianMTModel(
            hf.MarianConfig(**LAYERS, decoder_start_token_id=about["pad_token_id"], **about)
        ),
        lambda: _characters(),
    ),
    "bart": (
        lambda **about: hf.BartForConditionalGeneration(
            hf.BartConfig(**LAYERS, forced_bos_token_id=about["bos_token_id"], **about)
        ),
        lambda: _characters("<s>"),
    ),
    "mbart": (
        lambda **about: hf.MBartForConditionalGeneration(hf.MBartConfig(**LAYERS, **about)),
        lambda: hf.MBartTokenizer(
            vocab=[*_pieces("<s>", "<pad>", "</s>", "<unk>"), ("en_XX", 0.0), ("de_DE", 0.0)]
        ),
    ),
    "mbart50": (
        lambda **about: hf.MBartForConditionalGeneration(hf.MBartConfig(**LAYERS, **about)),
        lambda: hf.MBart50Tokenizer(
            vocab=[*_pieces("<s>", "<pad>", "</s>", "<unk>"), ("en_XX", 0.0), ("de_DE", 0.0)]
        ),
    ),
    "nllb": (
        lambda **about: hf.M2M100ForConditionalGeneration(
            hf.M2M100Config(**LAYERS, decoder_start_token_id=about["eos_token_id"], **about)
        ),
        lambda: hf.NllbTokenizer(
            vocab={p: i for i, (p, _) in enumerate(_pieces("<s>", "<pad>", "</s>", "<unk>"))},
            merges=[],
            extra_special_tokens=["eng_Latn", "deu_Latn", "fra_Latn"],
        ),
    ),
}
"""Of each family a model for a vocabulary, and a tokenizer of single characters."""
CHARACTERS = "abcdefghijklmnopqrstuvwxyzäöüßABCDEFGHIJKLMNOPQRSTUVWXYZ .,:"
WORDS = ["apple", "pear", "plum", "cherry", "iron", "gold", "tin", "lead", "and", "more", "word"]
WORDS += ["a", "text", "another"]
TIMM = {
    "timm-resnet": "test_resnet",
    "timm-vit": "test_vit",
    "timm-efficientnet": "test_efficientnet",
}
FAMILIES = (*TRANSFORMERS, *TIMM)


def make(family: str, folder: Path) -> Path:
    """Write a checkpoint of that family with random weights into `folder`."""
    torch.manual_seed(0)
    if family in TIMM:
        return _make_timm(TIMM[family], folder)
    if family in TEXTS:
        TEXTS[family]().save_pretrained(folder)
        _tokenizer(family).save_pretrained(folder)
        return folder
    if family in TRANSLATORS:
        model, tokenizer = TRANSLATORS[family]
        words = tokenizer()
        special = ("pad_token_id", "eos_token_id", "bos_token_id")
        about = {name: getattr(words, name) for name in special if getattr(words, name) is not None}
        words.save_pretrained(folder)
        model(vocab_size=len(words), **about).save_pretrained(folder)
        return folder
    model = TRANSFORMERS[family]()
    _shake_statistics(model)
    model.save_pretrained(folder)
    processor = hf.ConvNextImageProcessor if family == "convnext" else hf.ViTImageProcessor
    size = {"shortest_edge": SIDE} if family == "convnext" else {"height": SIDE, "width": SIDE}
    processor(size=size).save_pretrained(folder)
    return folder


def _tokenizer(family: str) -> hf.PreTrainedTokenizerFast:
    """Return a tokenizer of whole words; as GPT-2's it has no padding token."""
    import tokenizers

    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, "[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    limit = {"model_max_length": 64, "unk_token": "[UNK]"}
    if family == "gpt2":
        return hf.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="[SEP]", **limit)
    words.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    named = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return hf.PreTrainedTokenizerFast(tokenizer_object=words, **named, **limit)


def _pieces(*special: str) -> list[tuple[str, float]]:
    """Return pieces with their scores as SentencePiece has them: these and single characters."""
    return [(piece, 0.0) for piece in special] + [(c, -2.0) for c in "▁" + CHARACTERS.strip()]


def _characters(first: str | None = None) -> hf.PreTrainedTokenizerFast:
    """Return a tokenizer of characters that ends texts with </s>, and may begin them too."""
    import tokenizers

    vocabulary = {
        piece: number for number, (piece, _) in enumerate(_pieces("<pad>", "</s>", "<s>", "<unk>"))
    }
    letters = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [], unk_token="<unk>"))
    letters.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    letters.decoder = tokenizers.decoders.Metaspace()
    letters.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{first} $A </s>" if first else "$A </s>", special_tokens=[("<s>", 2), ("</s>", 1)]
    )
    named = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    bos = {"bos_token": first} if first else {}
    return hf.PreTrainedTokenizerFast(tokenizer_object=letters, **named, **bos)


def _make_timm(architecture: str, folder: Path) -> Path:
    """Write a checkpoint as timm's Hub repositories have it: no model_type, a pretrained_cfg."""
    import timm

    model = timm.create_model(architecture, pretrained=False, num_classes=CLASSES)
    _shake_statistics(model)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    settings = {
        key: model.pretrained_cfg[key] for key in ("mean", "std", "interpolation", "crop_pct")
    }
    config = {
        "architecture": architecture,
        "num_classes": CLASSES,
        "pretrained_cfg": {**settings, "input_size": model.pretrained_cfg["input_size"]},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _shake_statistics(model: torch.nn.Module) -> None:
    """Give BatchNorm statistics that a forward pass on other images would visibly move."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.5, 2)


def with_own_code(folder: Path, mark: Path) -> Path:
    """Give a BERT checkpoint Python code of its own, which leaves a file wherever it runs."""
    (folder / "mine.py").write_text(f"""
from transformers import BertConfig, BertForSequenceClassification

open({str(mark)!r}, "w").close()


class MineConfig(BertConfig):
    model_type = "mine"


class MineModel(BertForSequenceClassification):
    config_class = MineConfig
""")
    classes = {"AutoConfig": "MineConfig", "AutoModelForSequenceClassification": "MineModel"}
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {k: f"mine.{v}" for k, v in classes.items()}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder
