// What the npm package @huggingface/transformers says of rows, in Node, by a folder on this disk.
// node transformers_js.mjs NODE_MODULES FOLDER PIPELINE < JSON list of texts, or of image files
import { readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";

const [modules, folder, kind] = process.argv.slice(2);
const { env, pipeline } = await import(
  join(modules, "@huggingface/transformers/dist/transformers.node.mjs")
);
env.allowRemoteModels = false;
env.localModelPath = dirname(folder);
const ask = await pipeline(kind, basename(folder));
const answers = [];
for (const row of JSON.parse(readFileSync(0, "utf8"))) {
  answers.push(await ask(row, { top_k: null }));
}
process.stdout.write("\n@@" + JSON.stringify(answers));
