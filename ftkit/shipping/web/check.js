// Drives the page as a visitor would, row by row, and tells what it answered. It is not published.
const frame = document.querySelector("iframe");
const wait = async (is) => {
  while (!is()) await new Promise((go) => setTimeout(go, 5));
};

async function ask(row) {
  const { document: page, DataTransfer, File } = frame.contentWindow;
  page.body.dataset.state = "asked";
  const find = (id) => page.getElementById(id);
  if (row.file) {
    const content = await (await fetch(`/rows/${row.file}`)).blob();
    const given = new DataTransfer();
    given.items.add(new File([content], row.name));
    find("image").files = given.files;
    find("image").dispatchEvent(new frame.contentWindow.Event("change"));
  } else {
    row.values.forEach((value, n) => ((find(`text${n}`) ?? find(`column${n}`)).value = value));
    find("go").click();
  }
  if (page.body.dataset.state === "asked") return { error: "the page does not take the row" };
  await wait(() => ["answered", "wrong"].includes(page.body.dataset.state));
  if (page.body.dataset.state === "wrong") return { error: find("wrong").textContent };
  return JSON.parse(find("answer").dataset.answer);
}

async function check() {
  const page = () => frame.contentWindow.document.body?.dataset;
  await wait(() => page()?.state);
  if (page().state === "wrong") {
    return { error: frame.contentWindow.document.getElementById("wrong").textContent };
  }
  const answers = [];
  for (const row of await (await fetch("/rows.json")).json()) answers.push(await ask(row));
  return { answers };
}

const tell = (found) => fetch("/answers", { method: "POST", body: JSON.stringify(found) });
check().then(tell, (error) => tell({ error: String(error) }));
