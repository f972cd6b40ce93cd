"""Tiny language models with a byte-level BPE tokenizer, made on the spot."""

from __future__ import annotations

from pathlib import Path

import tokenizers
import torch
import transformers as hf

SENTENCES = [
    "A man in a blue shirt is standing on a ladder.",
    "Two young girls play in the grass near a lake.",
    "The dog runs through the snow after a red ball.",
    "A woman is reading a book under a tree.",
    "Four people are sitting around a table outside.",
]
END, TURN, STOP, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
MARKED = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}"
    "{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
FAMILIES = {
    "llama": lambda size: hf.LlamaForCausalLM(
        hf.LlamaConfig(
            vocab_size=size, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, intermediate_size=48, max_position_embeddings=128,
            bos_token_id=None, eos_token_id=0, tie_word_embeddings=True,
        )
    ),
    "gpt2": lambda size: hf.GPT2LMHeadModel(
        hf.GPT2Config(
            vocab_size=size, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=0,
            eos_token_id=0,
        )
    ),
    "gpt-neox": lambda size: hf.GPTNeoXForCausalLM(
        hf.GPTNeoXConfig(
            vocab_size=size, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=48, max_position_embeddings=128, bos_token_id=0, eos_token_id=0,
        )
    ),
    "bloom": lambda size: hf.BloomForCausalLM(
        hf.BloomConfig(
            vocab_size=size, hidden_size=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0
        )
    ),
    "bert": lambda size: hf.BertLMHeadModel(
        hf.BertConfig(
            vocab_size=size, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=48, max_position_embeddings=128,
        )
    ),
}  # fmt: skip


def make(family: str, folder: Path, template: str | None = None, scale: float = 1.0) -> Path:
    """Write a checkpoint of that family with random weights, and a tokenizer, into `folder`."""
    torch.manual_seed(0)
    tokenizer = byte_tokenizer(template)
    model = FAMILIES[family](len(tokenizer))
    for parameter in model.parameters():
        if parameter.ndim > 1:  # so that attention matters, as it does after training
            parameter.data.mul_(scale)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def byte_tokenizer(template: str | None = None) -> hf.PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer, without padding as GPT-2's."""
    inner = tokenizers.Tokenizer(tokenizers.models.BPE())
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[END, TURN, STOP],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(SENTENCES * 3 + ["\n\n"] * 20, trainer)
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=END, additional_special_tokens=[TURN, STOP]
    )
    tokenizer.chat_template = template
    return tokenizer
