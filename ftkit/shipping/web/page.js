// The page: what is asked, and what is shown of the answer.
import { openModel } from "./answer.js";

const find = (id) => document.getElementById(id);
const status = find("status");
const SHOWN = 10;

/** An element with these properties, and what is in it. */
function make(tag, properties = {}, ...inside) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...inside);
  return element;
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** Put the fields of a row onto the page, and return the function that reads them. */
function fieldsOf(about) {
  if (about.reads === "images") return imageField();
  if (about.reads === "table") return tableFields(about.columns);
  const names = about.pair ? ["First text", "Second text"] : ["Text"];
  const areas = names.map((name, n) => {
    const area = make("textarea", { id: `text${n}` });
    find("fields").append(make("label", { htmlFor: area.id, textContent: name }), area);
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) find("ask").requestSubmit();
    });
    return area;
  });
  if (about.pair) return () => areas.map((area) => area.value);
  if (about.reads === "words") return () => areas[0].value.split(/\s+/u).filter(Boolean);
  return () => areas[0].value;
}

function imageField() {
  const input = make("input", { type: "file", accept: "image/*", id: "image" });
  const label = make("label", { htmlFor: "image", textContent: "Image: choose, drop or paste it" });
  const drop = make("div", { className: "drop" }, label, input);
  find("fields").append(drop);
  find("go").hidden = true; // an image is answered as soon as it is given
  const give = (files) => {
    if (!files.length || find("go").disabled) return;
    const given = new DataTransfer();
    given.items.add(files[0]);
    input.files = given.files;
    input.dispatchEvent(new Event("change"));
  };
  input.addEventListener("change", () => input.files.length && find("ask").requestSubmit());
  for (const [kind, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", over);
      if (kind === "drop") give(event.dataTransfer.files);
    });
  }
  document.addEventListener("paste", (event) => give(event.clipboardData.files));
  return () => {
    const file = input.files[0];
    const shown = find("preview").querySelector("img");
    if (shown) URL.revokeObjectURL(shown.src);
    const image = make("img", { src: URL.createObjectURL(file), alt: `Your image ${file.name}` });
    image.addEventListener("error", () => image.remove());
    find("preview").replaceChildren(image);
    return file;
  };
}

function tableFields(columns) {
  const fields = columns.map((column, n) => {
    const id = `column${n}`;
    const field = column.words.length
      ? make("select", { id }, make("option", { value: "", textContent: "(another, or none)" }),
          ...column.words.map((word) => make("option", { value: word, textContent: word })))
      : make("input", { id, inputMode: "decimal", autocomplete: "off", placeholder: "none" });
    const label = make("label", { htmlFor: id, textContent: column.name });
    return [column.name, field, make("div", {}, label, field)];
  });
  const boxes = fields.map(([, , box]) => box);
  find("fields").append(make("div", { className: "fields" }, ...boxes));
  return () => Object.fromEntries(fields.map(([name, field]) => [name, field.value]));
}

/** Show an answer, in words for screen readers too. */
function show(about, row, { prediction, scores }) {
  const bars = find("bars");
  find("answer").hidden = false;
  find("answer").dataset.answer = JSON.stringify({ prediction, scores });
  bars.replaceChildren();
  if (about.tells === "number") {
    bars.append(make("li", { className: "told", textContent: String(Number(prediction.toPrecision(6))) }));
    return `Answer: ${Number(prediction.toPrecision(6))}`;
  }
  if (about.tells === "words") {
    row.forEach((word, n) => bars.append(bar(word, prediction[n] ?? "not read", Math.max(...(scores[n] ?? [0])))));
    return `${row.length} words answered`;
  }
  const told = new Set([prediction].flat());
  const order = scores.map((score, place) => [about.classes[place], score]);
  order.sort((one, two) => two[1] - one[1]);
  for (const [name, score] of order.slice(0, SHOWN)) bars.append(bar(name, "", score, told.has(name)));
  if (order.length > SHOWN) {
    bars.append(make("li", { className: "soft", textContent: `and ${order.length - SHOWN} more` }));
  }
  if (about.tells === "class") return `Answer: ${prediction}, ${percent(order[0][1])}`;
  return `Answer: ${prediction.length ? prediction.join(", ") : "none of the classes"}`;
}

function bar(name, said, score, told = false) {
  const end = said ? `${said}, ${percent(score)}` : percent(score);
  const line = make("div", { className: "line" }, make("span", { textContent: name }), make("span", { textContent: end }));
  const filled = make("i");
  filled.style.width = percent(score).replace(" ", "");
  const drawn = make("div", { className: "bar" }, filled);
  drawn.setAttribute("aria-hidden", "true");
  return make("li", { className: told ? "told" : "" }, line, drawn);
}

function fail(error) {
  status.textContent = "";
  find("wrong").textContent = error.message ?? String(error);
  document.body.dataset.state = "wrong";
}

async function start() {
  status.textContent = "Loading the model …";
  const model = await openModel((share) => {
    status.textContent = `Loading the model … ${Math.round(100 * share)} %`;
  });
  const { title, source } = model.settings;
  document.title = title;
  find("title").textContent = title;
  find("source").textContent = source;
  const read = fieldsOf(model.about);
  find("ask").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (document.body.dataset.state === "busy") return;
    find("wrong").textContent = "";
    find("answer").hidden = true;
    find("go").disabled = true;
    document.body.dataset.state = "busy";
    status.textContent = "Answering …";
    try {
      const row = read();
      const began = performance.now();
      const answer = await model.answer(row);
      const took = `${((performance.now() - began) / 1000).toFixed(2)} s`;
      status.textContent = `${show(model.about, row, answer)} (${took})`;
      document.body.dataset.state = "answered";
    } catch (error) {
      fail(error);
    }
    find("go").disabled = false;
  });
  find("go").disabled = false;
  status.textContent = "Ready.";
  document.body.dataset.state = "ready";
}

start().catch(fail);
