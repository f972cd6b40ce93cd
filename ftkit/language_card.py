"""What the card of a language model says."""

from __future__ import annotations

import json

from ftkit.card_words import HERE, Wording, wording
from ftkit.recipe import LanguageModelling, Recipe

TRAINED = {
    "full": "every parameter was trained",
    "lora": "low-rank updates (LoRA) were trained",
}


@wording.register
def _(task: LanguageModelling, recipe: Recipe, label_names: tuple[str, ...]) -> Wording:
    talks = task.text is None
    how = (
        "It answers in conversations, in the chat template saved with its tokenizer; the loss was "
        "on the answers alone"
        if talks
        else "It goes on with a text; the loss was on every token but a text's first"
    )
    return Wording(
        trained=TRAINED[recipe.strategy.kind],
        answers=f"{how}. The row `perplexity before` is the backbone's own on the same texts.",
        any_input=f"{'an answer' if talks else 'a continuation'}, be it true or not",
        picture="Perplexity",
        same="loss for each text" + (", and the same answers" if talks and task.answers else ""),
        snippet=_snippet(recipe, talks),
    )


def _snippet(recipe: Recipe, talks: bool) -> str:
    prompt = '[{"role": "user", "content": "Who are you?"}]' if talks else '"Once upon a time"'
    if recipe.strategy.kind == "lora" and not recipe.strategy.merge:
        return f"""from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

base = AutoModelForCausalLM.from_pretrained({json.dumps(recipe.backbone.id)})
model = PeftModel.from_pretrained(base, "{HERE}")
tokenizer = AutoTokenizer.from_pretrained("{HERE}")
write = pipeline("text-generation", model=model, tokenizer=tokenizer)
answer = write({prompt}, max_new_tokens=40, do_sample=False, return_full_text=False)
print(answer[0]["generated_text"])"""
    return f"""from transformers import pipeline

write = pipeline("text-generation", model="{HERE}")
answer = write({prompt}, max_new_tokens=40, do_sample=False, return_full_text=False)
print(answer[0]["generated_text"])"""
