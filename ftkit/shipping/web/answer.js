// What the exported model says of a row: the row becomes inputs as ftkit/exported/inputs.py makes
// them, and onnxruntime-web runs the file.
import * as ort from "./ort.wasm.bundle.min.js";
import { pixelsOf } from "./pixels.js";
import { countNgrams } from "./ngrams.js";

ort.env.wasm.numThreads = 1; // more need headers that a page of files alone cannot send
ort.env.wasm.wasmPaths = { wasm: new URL("./ort-wasm-simd-threaded.wasm", import.meta.url).href };

/** The settings of page.json, and the model, loaded. `progress` is told the share that is there. */
export async function openModel(progress = () => {}) {
  const settings = await (await fetched("./page.json")).json();
  const bytes = await download(`./${settings.file}`, settings.bytes, progress);
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  const about = settings.about;
  const text = about.reads === "text" || about.reads === "words";
  const tokens = text ? await openTokens(settings) : null;
  return { settings, about, answer: (row) => answer(session, about, tokens, row) };
}

async function fetched(name) {
  const response = await fetch(new URL(name, import.meta.url));
  if (!response.ok) throw new Error(`${name} cannot be loaded (${response.status})`);
  return response;
}

async function download(name, size, progress) {
  const response = await fetched(name);
  const reader = response.body.getReader();
  const parts = [];
  let there = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    there += value.length;
    progress(Math.min(1, there / size));
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function openTokens(settings) {
  const { Tokens } = await import("./tokens.js");
  const names = ["./tokenizer.json", "./tokenizer_config.json"];
  const [json, config] = await Promise.all(names.map(async (name) => (await fetched(name)).json()));
  return new Tokens(json, config, settings.about);
}

/**
 * {prediction, scores}: a class and all probabilities. Of words a list of both, null where no token
 * stands for a word.
 */
async function answer(session, about, tokens, row) {
  const { inputs, places } = await inputsOf(about, tokens, row);
  const outputs = await session.run(inputs);
  const logits = Array.from(outputs.logits.data);
  const scores = Array.from((outputs.probabilities ?? outputs.logits).data);
  const names = about.classes;
  if (about.tells === "number") return { prediction: logits[0], scores: [logits[0]] };
  if (about.tells === "tags") {
    const limit = Math.log(about.threshold / (1 - about.threshold));
    return { prediction: names.filter((_, place) => logits[place] > limit), scores };
  }
  if (about.tells === "class") return { prediction: names[largest(logits)], scores };
  const of = (all, place) => all.slice(place * names.length, (place + 1) * names.length);
  return {
    prediction: places.map((place) => (place < 0 ? null : names[largest(of(logits, place))])),
    scores: places.map((place) => (place < 0 ? null : of(scores, place))),
  };
}

const largest = (numbers) => numbers.indexOf(Math.max(...numbers));

async function inputsOf(about, tokens, row) {
  if (about.reads === "images") {
    const { levels, width, height } = await pixelsOf(row);
    return { inputs: { image: new ort.Tensor("uint8", levels, [1, height, width, 3]) } };
  }
  if (about.reads === "table") {
    const cells = Float64Array.from(about.columns, (column) => cellOf(column, row[column.name]));
    return { inputs: { features: new ort.Tensor("float64", cells, [1, cells.length]) } };
  }
  if (about.reads === "ngrams") {
    const counts = countNgrams(row, about.ngrams);
    return { inputs: { features: new ort.Tensor("float32", counts, [1, counts.length]) } };
  }
  const { inputs, places } = tokens.of(row);
  const tensor = (ids) => new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]);
  const kept = about.tokens.map((name) => [name, tensor(inputs[name])]);
  return { inputs: Object.fromEntries(kept), places };
}

const GAPS = ["", "nan", "null", "none", "na", "n/a"];

/** The number that stands for a cell, as `ftkit.exported.inputs.cell` has it. */
function cellOf(column, value) {
  const text = String(value ?? "").trim();
  if (column.words.length) return column.words.indexOf(text);
  const small = text.toLowerCase();
  if (GAPS.includes(small)) return NaN;
  if (small === "true" || small === "false") return Number(small === "true");
  if (Number.isNaN(Number(text))) throw new Error(`${column.name}: "${text}" is not a number`);
  return Number(text);
}
