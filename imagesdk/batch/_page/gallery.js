"use strict";
// The gallery of a batch. Only the rows that can be seen are in the document, whatever the number of images;
// all text goes in as text, never as HTML.
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (selector) => document.querySelector(selector);
const main = $("main"), holder = $("#rows"), dialog = $("dialog");

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else if (name === "style") element.style.cssText = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== "" && child !== null && child !== undefined));
  return element;
}

// Records -----------------------------------------------------------------------------------------

const words = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
const address = (path) => path.split("/").map(encodeURIComponent).join("/");
const one = (value) => (Array.isArray(value) ? value.join(", ") : value);

function subject(record) {
  const { prompt, image } = record.params;
  return prompt !== undefined ? words(prompt) : `variation of ${one(image ?? "an image")}`;
}

/** What a request was asked with, as it is shown, filtered and compared. */
function trait(record, name) {
  return (record.traits[name] ??= found(record, name));
}

function found(record, name) {
  const value = record.params[name];
  if (value !== undefined && value !== null) return words(value).replace(/^(\d+)x(\d+)$/, "$1×$2");
  const image = record.images[0];
  if (name === "size" && image?.width) return `${image.width}×${image.height}`;
  return "";
}

const TRAITS = ["model", "size", "quality"];

/** A card is one image, or a request that brought none. */
const cards = [];
data.records.forEach((record, position) => {
  record.position = position;
  record.traits = {};
  record.subject = subject(record);
  const images = record.images.length ? record.images : [null];
  record.cards = images.map((image, number) => {
    const aspect = image?.width ? Math.min(3, Math.max(0.33, image.width / image.height)) : 1;
    return { record, image, number, aspect };
  });
  record.text = [
    record.custom_id, record.subject, record.error?.type, record.error?.code, record.error?.message,
    record.params.model, record.request_id,
    ...record.images.flatMap((image) => [image.file, image.revised_prompt]),
  ].filter(Boolean).join("\n").toLowerCase();
  cards.push(...record.cards);
});

function thumbnail(image) {
  return image.thumbnail ? `.thumbnails/${image.sha256.slice(0, 2)}/${image.sha256}.webp` : address(image.file);
}

const number = (value) => value.toLocaleString("en");
const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;
const bytes = (count) => (count < 1e6 ? `${number(Math.round(count / 1e3))} kB` : `${(count / 1e6).toFixed(1)} MB`);
const seconds = (count) => (count < 60 ? `${count.toFixed(1)} s` : `${Math.floor(count / 60)} min ${String(Math.round(count % 60)).padStart(2, "0")} s`);
const money = (value) => value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 4 });

// State: it is in the address, so that a view can be sent to somebody -------------------------------

const FILTERS = { status: "Status", model: "Model", size: "Size", quality: "Quality" };
const state = { view: "gallery", q: "", sort: "line", zoom: "220", reason: "", pooled: "", ...Object.fromEntries(Object.keys(FILTERS).map((name) => [name, ""])) };
for (const [name, value] of new URLSearchParams(location.hash.slice(1))) if (name in state) state[name] = value;
if (!["gallery", "compare", "failures"].includes(state.view)) state.view = "gallery";
state.zoom = String(Math.min(420, Math.max(100, Number(state.zoom) || 220)));
const usual = { view: "gallery", sort: "line", zoom: "220" };

function remember() {
  const parts = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) if (value && value !== usual[name]) parts.set(name, value);
  history.replaceState(null, "", `#${parts}`);
}

const value = (record, name) => (name === "status" ? record.status : trait(record, name)) || "none";

function selected() {
  const asked = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  const set = Object.keys(FILTERS).filter((name) => state[name]);
  const found = data.records.filter((record) =>
    set.every((name) => value(record, name) === state[name]) && asked.every((word) => record.text.includes(word)));
  const orders = {
    newest: (a, b) => (a.finished_at < b.finished_at ? 1 : a.finished_at > b.finished_at ? -1 : 0),
    slowest: (a, b) => b.elapsed - a.elapsed,
    prompt: (a, b) => a.subject.localeCompare(b.subject),
  };
  return state.sort in orders ? found.sort(orders[state.sort]) : found;
}

// Rows: those in sight, and a few around them -------------------------------------------------------

const rows = {
  /** Show rows: how high each is, and a function that makes the row of an index. */
  set(heights, draw, before = 0) {
    this.draw = draw;
    this.offsets = new Float64Array(heights.length + 1);
    this.offsets[0] = before;
    heights.forEach((height, index) => { this.offsets[index + 1] = this.offsets[index] + height; });
    holder.replaceChildren();
    this.there = new Map();
    holder.style.height = `${this.offsets[heights.length]}px`;
  },
  at(y) {
    let low = 0, high = this.offsets.length - 2;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.offsets[middle] <= y) low = middle; else high = middle - 1;
    }
    return low;
  },
  paint() {
    const count = this.offsets.length - 1;
    if (!count) return;
    const top = main.scrollTop, around = main.clientHeight / 2;
    const first = this.at(top - around), last = this.at(top + main.clientHeight + around);
    for (const [index, row] of this.there) if (index < first || index > last) { row.remove(); this.there.delete(index); }
    for (let index = first; index <= last; index++) {
      if (this.there.has(index)) continue;
      const row = this.draw(index);
      row.style.transform = `translateY(${this.offsets[index]}px)`;
      row.classList.add("row");
      this.there.set(index, row);
      holder.append(row);
    }
  },
  /** Bring a row into sight. */
  reveal(index, above = 0) {
    const top = this.offsets[index], bottom = this.offsets[index + 1];
    if (top < main.scrollTop + above) main.scrollTop = top - above - 8;
    else if (bottom > main.scrollTop + main.clientHeight) main.scrollTop = bottom - main.clientHeight + 8;
    this.paint();
  },
};

let shown = [];      // cards of the view, in their order
let places = [];     // of each card: its row

function picture(image, eager) {
  const element = make("img", { src: thumbnail(image), alt: "", decoding: "async", loading: eager ? undefined : "lazy" });
  element.addEventListener("error", () => element.parentElement?.classList.add("gone"), { once: true });
  return element;
}

function badge(record) {
  return record.status === "done" ? "" : make("span", { class: `badge ${record.status}` }, record.status.replace("_", " "));
}

function reason(record) {
  return make("span", { class: `reason ${record.status}` }, make("b", {}, record.error?.code || record.error?.type || record.status),
    make("span", {}, record.error?.message ?? ""));
}

function under({ record }, names = TRAITS) {
  return names.map((name) => trait(record, name)).filter(Boolean).join(" · ");
}

function tile(card, style, captioned) {
  const { record, image } = card;
  const well = make("span", { class: "well", style }, image ? picture(image) : reason(record), image ? badge(record) : "");
  const label = `${record.subject}. ${under(card)} ${record.status === "done" ? "" : record.status}`;
  const caption = captioned ? [make("span", { class: "title" }, record.subject), make("span", { class: "under" }, under(card) || record.custom_id)] : [];
  return make("button", { type: "button", class: "card", "aria-label": label, title: record.subject, onclick: () => open(card) }, well, ...caption);
}

// Views -------------------------------------------------------------------------------------------

const CAPTION = 46, GAP = 14, HEADS = 64;

/** Rows of equal height within, as wide as the window: pictures keep their proportions. */
function gallery(records) {
  shown = records.flatMap((record) => record.cards);
  const width = holder.clientWidth, gap = innerWidth <= 760 ? 8 : GAP;
  const target = Math.min(Number(state.zoom), width), lines = [], heights = [];
  let line = [], sum = 0;
  const finish = (height) => { lines.push({ line, height }); heights.push(height + CAPTION + gap); line = []; sum = 0; };
  for (const card of shown) {
    line.push(card);
    sum += card.aspect;
    const height = (width - gap * (line.length - 1)) / sum;
    if (height <= target) finish(Math.floor(height));
  }
  if (line.length) finish(Math.min(target, Math.floor((width - gap * (line.length - 1)) / sum)));
  places = [];
  lines.forEach((each, index) => each.line.forEach(() => places.push(index)));
  rows.set(heights, (index) => make("div", {}, ...lines[index].line.map((card) => {
    const button = tile(card, `height:${lines[index].height}px`, true);
    button.style.width = `${lines[index].height * card.aspect}px`;
    return button;
  })), 16);
}

const QUALITIES = ["low", "medium", "standard", "high", "hd", "auto"];
const NOT_COMPARED = new Set(["prompt", "image", "mask", "n", "user", "response_format", "stream", "partial_images"]);

function grouped(items, key) {
  const groups = new Map();
  for (const item of items) {
    const name = key(item), group = groups.get(name);
    if (group) group.push(item); else groups.set(name, [item]);
  }
  return groups;
}

function sortable(name, text) {
  if (name === "quality") return String(QUALITIES.indexOf(text) + 1);
  const size = /^(\d+)×(\d+)$/.exec(text);
  return size ? String(size[1] * size[2]).padStart(12, "0") + text : text;
}

/** A row for each prompt, a column for each way in which prompts were made; those that differ only. */
function compare(records) {
  const groups = grouped(records, (record) => JSON.stringify([record.endpoint, record.subject, record.params.image, record.params.mask]));
  const differing = new Set();
  for (const group of groups.values()) {
    if (group.length < 2) continue;
    const differs = (records, name) => new Set(records.map((record) => trait(record, name))).size > 1;
    for (const name of TRAITS) if (differs(group, name)) differing.add(name);
    // Anything else makes a column where these are the same: what always goes with a model tells nothing.
    for (const alike of grouped(group, (record) => TRAITS.map((name) => trait(record, name)).join("\n")).values()) {
      if (alike.length < 2) continue;
      for (const name of alike.flatMap((record) => Object.keys(record.params))) {
        if (!NOT_COMPARED.has(name) && differs(alike, name)) differing.add(name);
      }
    }
  }
  const hidden = new Set(state.pooled.split(",").filter(Boolean));
  const names = [...differing].filter((name) => !hidden.has(name));
  const columns = new Map();
  for (const record of records) {
    const parts = names.map((name) => trait(record, name));
    record.column = parts.join("\n");
    if (columns.has(record.column)) continue;
    columns.set(record.column, { parts: parts.filter(Boolean), order: names.map((name, index) => sortable(name, parts[index])).join(" "), prompts: 0, across: 1 });
  }
  const table = [...groups.values()].map((group) => {
    const cells = grouped(group.flatMap((record) => record.cards), (card) => card.record.column);
    for (const [head, inside] of cells) {
      const column = columns.get(head);
      column.prompts += cells.size > 1;
      column.across = Math.max(column.across, Math.min(MOST_ACROSS, inside.length));
    }
    return { first: group[0], cells };
  });
  // First what most of the prompts that can be compared were made in, last what none of them was.
  const most = Math.max(1, ...[...columns.values()].map((column) => column.prompts));
  const rank = (head) => Math.ceil(2 * columns.get(head).prompts / most);
  const heads = [...columns.keys()].sort((a, b) => rank(b) - rank(a)
    || columns.get(a).order.localeCompare(columns.get(b).order, "en", { numeric: true }));
  if (state.sort === "line") table.sort((a, b) => (b.cells.size > 1) - (a.cells.size > 1) || a.first.position - b.first.position);
  shown = table.flatMap((each) => heads.flatMap((head) => each.cells.get(head) ?? []));
  places = table.flatMap((each, index) => heads.flatMap((head) => (each.cells.get(head) ?? []).map(() => index)));
  const size = Math.min(Number(state.zoom), 320), side = innerWidth <= 760 ? Math.min(120, innerWidth * 0.3) : 240;
  rows.set(table.map(() => size + 21), (index) => {
    const { first, cells } = table[index];
    return make("div", {},
      make("div", { class: "prompt", style: `width:${side}px;--clamp:${Math.max(2, Math.floor((size - 26) / 20))}` },
        make("p", {}, first.subject), make("p", { class: "soft" }, first.custom_id)),
      ...heads.map((head) => cell(cells.get(head), size, columns.get(head).across)));
  }, HEADS + 1);
  const toggle = (name) => make("button", { type: "button", "aria-pressed": !hidden.has(name), title: "A column for each, or all in one", onclick: () => {
    hidden.has(name) ? hidden.delete(name) : hidden.add(name);
    state.pooled = [...hidden].join(",");
    refresh();
  } }, name.replaceAll("_", " "));
  holder.prepend(make("div", { class: "heads" },
    make("div", { class: "corner", style: `width:${side}px` }, make("b", {}, `${plural(table.length, "prompt")}${differing.size ? " by" : ""}`),
      differing.size ? make("div", { class: "by" }, ...[...differing].map(toggle)) : ""),
    ...heads.map((head) => {
      const { parts: [first, ...rest], across } = columns.get(head);
      return make("div", { style: `width:${wide(size, across)}px`, title: [first, ...rest].join(" · ") },
        make("b", {}, first ?? (names.length ? "default" : "pictures")), rest.length ? make("span", { class: "soft" }, rest.join(" · ")) : "");
    })));
}

/** The images of a prompt and a column, side by side; all cells of a column are as wide as its fullest. */
function cell(inside, size, across) {
  const style = `width:${wide(size, across)}px;height:${size}px;grid-template-columns:repeat(${across},minmax(0,1fr))`;
  if (!inside) return make("div", { class: "cell none", style }, "not made");
  const tiles = inside.slice(0, across).map((card) => tile(card, "", false));
  if (inside.length > across) tiles[across - 1].firstChild.append(make("span", { class: "more" }, `+${inside.length - across}`));
  return make("div", { class: "cell", style }, ...tiles);
}

const MOST_ACROSS = 4;
const wide = (size, across) => across * size + (across - 1) * 4;

function why(record) {
  return [record.error?.type ?? record.status, record.error?.code].filter(Boolean).join(" · ");
}

function failures(records) {
  const failed = records.filter((record) => record.status !== "done");
  const counts = new Map();
  for (const record of failed) counts.set(why(record), (counts.get(why(record)) ?? 0) + 1);
  if (!counts.has(state.reason)) state.reason = "";
  const those = failed.filter((record) => !state.reason || why(record) === state.reason);
  shown = those.map((record) => record.cards[0]);
  places = shown.map((_card, index) => index);
  rows.set(those.map(() => (innerWidth <= 760 ? 160 : 116)), (index) => make("div", {}, failure(those[index])), counts.size ? 66 : 0);
  const pick = (name, text) => make("button", { type: "button", "aria-pressed": state.reason === name, onclick: () => { state.reason = name; refresh(); } }, text);
  if (counts.size) {
    const sorted = [...counts].sort((a, b) => b[1] - a[1]);
    holder.append(make("div", { class: "reasons" }, pick("", `All ${number(failed.length)}`), ...sorted.map(([name, count]) => pick(name, `${name}  ${number(count)}`))));
  }
}

function failure(record) {
  return make("button", { type: "button", class: "failure", onclick: () => open(record.cards[0]) },
    make("span", { class: "who" }, badge(record), make("span", { class: "soft" }, record.custom_id)),
    make("b", {}, why(record)),
    make("span", { class: "text" }, record.subject),
    make("span", { class: "text soft" }, record.error?.message ?? ""));
}

function refresh() {
  const views = { gallery, compare, failures };
  const records = selected();
  main.className = state.view;
  views[state.view](records);
  main.scrollTop = 0;
  rows.paint();
  if (!shown.length) {
    const nothing = state.view === "failures" && !failed ? "Nothing failed." : data.records.length ? "Nothing fits. Clear the search or the filters." : "No request has ended yet.";
    holder.append(make("p", { class: "empty" }, nothing));
  }
  const total = state.view === "failures" ? failed : cards.length;
  $("#count").textContent = shown.length === total ? "" : `${number(shown.length)} of ${number(total)} shown`;
  for (const button of document.querySelectorAll("nav button")) button.setAttribute("aria-pressed", String(button.dataset.view === state.view));
  for (const select of document.querySelectorAll("#filters select:not(#sort)")) select.classList.toggle("is-set", Boolean(select.value));
  $("#zoom").hidden = state.view === "failures";
  remember();
}

// Details ------------------------------------------------------------------------------------------

let current = null;

function open(card) {
  current = card;
  const { record, image } = card;
  const frame = $(".picture");
  frame.classList.remove("gone");
  if (image) {
    frame.href = address(image.file);
    const full = make("img", { src: frame.href, alt: record.subject });
    full.addEventListener("error", () => frame.classList.add("gone"), { once: true });
    frame.replaceChildren(full);
  } else {
    frame.removeAttribute("href");
    frame.replaceChildren(reason(record));
  }
  const others = alike(record);
  const names = TRAITS.filter((name) => new Set(others.map((other) => trait(other.record, name))).size > 1);
  $(".strip").replaceChildren(...(others.length > 1 ? others.map((other) => small(other, names)) : []));
  $(".strip [aria-current='true']")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  $(".facts").replaceChildren(...facts(card));
  $(".facts").scrollTop = 0;
  if (!dialog.open) dialog.showModal();
}

/** The images of all requests for the same. */
function alike(record) {
  const same = data.records.filter((other) => other.subject === record.subject && one(other.params.image) === one(record.params.image));
  return same.slice(0, 60).flatMap((other) => other.cards);
}

function small(card, names) {
  const button = tile(card, "", false);
  button.append(make("span", { class: "under" }, under(card, names.toReversed()) || card.record.custom_id));
  if (card === current) button.setAttribute("aria-current", "true");
  return button;
}

function copy(text) {
  const button = make("button", { type: "button", class: "copy" }, "copy");
  button.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(text); button.textContent = "copied"; } catch { button.textContent = "not allowed"; }
    setTimeout(() => { button.textContent = "copy"; }, 1200);
  });
  return button;
}

function list(title, pairs) {
  const there = pairs.filter(([, text]) => text !== undefined && text !== null && text !== "");
  if (!there.length) return [];
  return [make("h2", {}, title), make("dl", {}, ...there.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]))];
}

/** What the server counted, "input_tokens_details": {"text_tokens": 1} as "input text tokens". */
function tokens(usage, outer = "") {
  return Object.entries(usage).flatMap(([name, value]) => {
    if (value !== null && typeof value === "object") return tokens(value, `${name.replace("_tokens_details", "").replaceAll("_", " ")} `);
    return [[outer + name.replaceAll("_", " "), typeof value === "number" ? number(value) : words(value)]];
  });
}

function facts({ record, image }) {
  const parts = [make("h2", {}, record.endpoint === "variations" ? "Variation" : record.endpoint === "edits" ? "Edit" : "Prompt", copy(record.subject)),
    make("p", { class: "words" }, record.subject)];
  if (image?.revised_prompt && image.revised_prompt !== record.subject) {
    parts.push(make("h2", {}, "Revised by the server", copy(image.revised_prompt)), make("p", { class: "words soft" }, image.revised_prompt));
  }
  if (record.error) {
    parts.push(make("h2", {}, record.status.replace("_", " ")), make("p", { class: "words error" }, record.error.message));
    parts.push(...list("", [["error", record.error.type], ["code", record.error.code], ["status", record.error.status],
      ["billed", record.error.may_be_billed ? "may have been billed" : ""]]));
  }
  const asked = Object.entries(record.params).filter(([name]) => name !== "prompt").map(([name, text]) => [name, words(one(text))]);
  parts.push(...list("Asked for", asked));
  if (image) {
    parts.push(...list("Image", [["file", make("code", {}, image.file)], ["pixels", image.width ? `${image.width} × ${image.height}` : ""], ["type", image.mime_type],
      ["size", bytes(image.bytes)], ["SHA-256", image.sha256 ? make("code", {}, image.sha256) : ""]]));
  }
  const usage = tokens(record.usage ?? {});
  parts.push(...list("Usage", [["cost", typeof record.cost === "number" ? money(record.cost) : ""], ...usage]));
  parts.push(...list("Request", [["id", record.custom_id], ["line", record.line || ""], ["took", record.elapsed ? seconds(record.elapsed) : ""],
    ["waited", record.waited ? seconds(record.waited) : ""], ["attempts", record.attempts || ""],
    ["ended", record.finished_at ? new Date(record.finished_at).toLocaleString() : ""], ["request id", record.request_id ? make("code", {}, record.request_id) : ""]]));
  return parts;
}

function move(step) {
  const next = shown[shown.indexOf(current) + step];
  if (next) open(next);
}

// Keys and controls --------------------------------------------------------------------------------

/** Move the focus by cards, over rows that are not in the document yet, too. */
function step(key) {
  const buttons = [...holder.querySelectorAll(".row button")];
  const focused = buttons.indexOf(document.activeElement);
  if (focused < 0) { buttons[0]?.focus({ preventScroll: true }); return; }
  const button = buttons[focused], row = button.closest(".row");
  const [index] = [...rows.there].find(([, each]) => each === row);
  const inside = [...row.querySelectorAll("button")], within = inside.indexOf(button);
  let target = index, pick = within;
  if (key === "ArrowRight") pick++;
  if (key === "ArrowLeft") pick--;
  if (key === "ArrowDown") target++;
  if (key === "ArrowUp") target--;
  if (pick >= inside.length) { target++; pick = 0; }
  if (pick < 0) { target--; pick = Infinity; }
  if (target < 0 || target > rows.offsets.length - 2) return;
  const middle = button.getBoundingClientRect();
  rows.reveal(target, state.view === "compare" ? HEADS : 0);
  const found = [...rows.there.get(target).querySelectorAll("button")];
  const distance = (each) => Math.abs(each.getBoundingClientRect().left - middle.left);
  const nearest = target === index || pick === 0 && key === "ArrowRight" || pick === Infinity
    ? found[Math.min(pick, found.length - 1)]
    : found.reduce((a, b) => (distance(b) < distance(a) ? b : a), found[0]);
  nearest?.focus({ preventScroll: state.view !== "compare" });
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (dialog.open) {
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") { move(event.key === "ArrowLeft" ? -1 : 1); event.preventDefault(); }
    return;
  }
  const typing = event.target.matches("input, select");
  if (event.key === "/" && !typing) { $("#search").focus(); $("#search").select(); event.preventDefault(); }
  else if (event.key === "Escape" && event.target.id === "search") { state.q = event.target.value = ""; refresh(); event.target.blur(); }
  else if (event.key === "ArrowDown" && event.target.id === "search") { step(event.key); event.preventDefault(); }
  else if (event.key.startsWith("Arrow") && !typing) { step(event.key); event.preventDefault(); }
});

dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("close", () => {
  const place = shown.indexOf(current);
  if (place < 0) return;
  rows.reveal(places[place], state.view === "compare" ? HEADS : 0);
  const before = places.slice(0, place).filter((row) => row === places[place]).length;
  rows.there.get(places[place])?.querySelectorAll("button")[before]?.focus({ preventScroll: true });
});
for (const button of document.querySelectorAll("[data-move]")) {
  button.addEventListener("click", () => (button.dataset.move === "0" ? dialog.close() : move(Number(button.dataset.move))));
}

const failed = data.records.filter((record) => record.status !== "done").length;
$("h1").textContent = data.title;
const spent = data.records.reduce((sum, record) => sum + (typeof record.cost === "number" ? record.cost : 0), 0);
const pictures = cards.reduce((sum, card) => sum + (card.image ? 1 : 0), 0);
$(".summary").textContent = [plural(pictures, "image"), plural(data.records.length, "request"),
  failed ? `${number(failed)} failed` : "", spent ? `${money(spent)} spent` : "",
  data.total > data.records.length ? `the first of ${number(data.total)} requests` : ""].filter(Boolean).join(" · ");
$(".summary").append(make("span", { class: "made" }, ` · ${data.made}`));
$("nav .number").textContent = failed ? number(failed) : "";

for (const [name, title] of Object.entries(FILTERS)) {
  const counts = new Map();
  for (const record of data.records) counts.set(value(record, name), (counts.get(value(record, name)) ?? 0) + 1);
  if (counts.size < 2) { state[name] = ""; continue; }
  const options = [...counts].sort((a, b) => sortable(name, a[0]).localeCompare(sortable(name, b[0]), "en", { numeric: true }));
  const select = make("select", { "aria-label": title, onchange: () => { state[name] = select.value; refresh(); } },
    make("option", { value: "" }, `${title}: all`), ...options.map(([text, count]) => make("option", { value: text }, `${text.replace("_", " ")} (${number(count)})`)));
  select.value = counts.has(state[name]) ? state[name] : "";
  state[name] = select.value;
  $("#sort").before(select);
}

$("#search").value = state.q;
$("#search").addEventListener("input", (event) => { state.q = event.target.value; refresh(); });
$("#sort").value = state.sort;
state.sort = $("#sort").value ||= "line";
$("#sort").addEventListener("change", (event) => { state.sort = event.target.value; refresh(); });
$("#zoom").value = state.zoom;
$("#zoom").addEventListener("input", (event) => { state.zoom = event.target.value; refresh(); });
for (const button of document.querySelectorAll("nav button")) button.addEventListener("click", () => { state.view = button.dataset.view; refresh(); });

const root = document.documentElement;
const stored = (() => { try { return localStorage; } catch { return {}; } })();
if (stored.theme === "light" || stored.theme === "dark") root.dataset.theme = stored.theme;
$("#theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = stored.theme = dark ? "light" : "dark";
});

let planned = 0;
main.addEventListener("scroll", () => { planned ||= requestAnimationFrame(() => { planned = 0; rows.paint(); }); }, { passive: true });
let width = innerWidth;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; const top = main.scrollTop; refresh(); main.scrollTop = top; } rows.paint(); });

$("header").hidden = false;
refresh();
})();
