// Texts, pairs or lists of words as tokens, cut as the tokenizers of Python cut them.
import { Tokenizer } from "./tokenizers.min.js";

export class Tokens {
  constructor(json, config, about) {
    this.about = about;
    this.cut = json.truncation ?? { max_length: about.max_tokens, direction: "Right" };
    this.tokenizer = new Tokenizer(json, config);
  }

  /** {inputs, places}: lists by name, and of words where the first token of each stands, or -1. */
  of(row) {
    if (this.about.reads === "words") return this.ofWords(row);
    const [text, pair] = this.about.pair ? row : [row, null];
    return { inputs: this.inputs(text, pair) };
  }

  encoded(text, special, pair = null) {
    const how = { add_special_tokens: special, text_pair: pair, return_token_type_ids: true };
    const { ids, token_type_ids } = this.tokenizer.encode(text, how);
    return { ids, types: token_type_ids ?? ids.map(() => 0) };
  }

  inputs(text, pair) {
    const whole = this.encoded(text, true, pair);
    const more = whole.ids.length - this.cut.max_length;
    if (more <= 0) return named(whole.ids, whole.types);
    // the tokens of each text without those that stand around them
    const own = [text, pair].filter((one) => one !== null).map((one) => this.bare(one));
    const room = this.cut.max_length - (whole.ids.length - own.reduce((n, one) => n + one.length, 0));
    const lengths = own.length === 1 ? [room] : shortened(own[0].length, own[1].length, room);
    const gone = new Set();
    let from = 0;
    own.forEach((tokens, which) => {
      const start = placeOf(tokens, whole.ids, from);
      const first = this.cut.direction === "Left" ? start : start + lengths[which];
      for (let n = 0; n < tokens.length - lengths[which]; n++) gone.add(first + n);
      from = start + tokens.length;
    });
    const kept = (list) => list.filter((_, place) => !gone.has(place));
    return named(kept(whole.ids), kept(whole.types));
  }

  bare(text) {
    return this.encoded(text, false).ids;
  }

  ofWords(words) {
    const example = words[0] ?? "a";
    const around = this.encoded(example, true).ids;
    const inside = this.bare(example);
    const start = placeOf(inside, around, 0);
    const room = this.cut.max_length - (around.length - inside.length);
    const every = words.flatMap((word, n) => this.bare(word).map((id) => [id, n]));
    const left = this.cut.direction === "Left";
    const kept = left ? every.slice(Math.max(0, every.length - room)) : every.slice(0, room);
    const places = words.map((_, n) => {
      const place = kept.findIndex(([, of]) => of === n);
      return place < 0 ? -1 : place + start;
    });
    const after = around.slice(start + inside.length);
    const ids = [...around.slice(0, start), ...kept.map(([id]) => id), ...after];
    return { inputs: named(ids, ids.map(() => 0)), places };
  }
}

function named(ids, types) {
  return { input_ids: ids, attention_mask: ids.map(() => 1), token_type_ids: types };
}

function placeOf(part, whole, from) {
  for (let start = from; start + part.length <= whole.length; start++) {
    if (part.every((id, n) => whole[start + n] === id)) return start;
  }
  throw new Error("the tokenizer writes a text otherwise between its special tokens");
}

/** How long two texts may be together, as the tokenizers library shortens the longest first. */
function shortened(first, second, room) {
  let [short, long] = [Math.min(first, second), Math.max(first, second)];
  long = short > room ? short : Math.max(short, room - short);
  if (short + long > room) {
    short = Math.floor(room / 2);
    long = short + (room % 2);
  }
  return first > second ? [long, short] : [short, long];
}
