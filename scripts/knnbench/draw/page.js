// The page's charts, tables and form. Everything is in the page: DATA has the rows, the charts' specifications and the curves.
const DATA = JSON.parse(document.getElementById("data").textContent);
const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const { NEAR, LISTED, SPREAD, ONE_ROUND } = DATA.recommend;
const controls = $("#controls");
const state = () => Object.fromEntries([...controls.elements].filter(({ name }) => name).map(({ name, value }) => [name, value]));
const checked = (name) => new Set($$(`[data-${name}]:checked`, controls).map((box) => box.dataset[name]));

// ---- Charts

// A speed without an interval.
const single = (speed) => ({ queries_per_s: speed, queries_per_s_low: speed, queries_per_s_high: speed });

// A row as a round or a batch size has it; null where that was not measured.
function seen(row, round, batch) {
  if (batch !== "all") {
    const calls = row.batches?.[batch];
    if (!calls) return null;
    const [p50, p95, p99, number] = calls;
    const said = [[50, p50], [95, p95], [99, p99]].filter(([, seconds]) => seconds != null)
      .map(([percent, seconds]) => `${percent}% in ${(1e3 * seconds).toPrecision(3)} ms`);
    const interval = said.join(", ") + (number ? `; ${number.toLocaleString("en")} calls` : "");
    return { ...row, ...single(batch / p50), interval };
  }
  if (round === "all") return row;
  const speed = row.rounds_per_s?.[round];
  if (!speed) return null;
  return { ...row, ...single(speed), interval: "" };
}

function linear(part) {
  if (Array.isArray(part)) return part.map(linear);
  if (part === null || typeof part !== "object") return part;
  const copy = Object.fromEntries(Object.entries(part).map(([key, value]) => [key, linear(value)]));
  return copy.type === "log" ? { ...copy, type: "linear", padding: 0 } : copy;
}

// A specification without the rings of subsets, of which there are none: Vega warns of layers that show nothing.
function ringless(part) {
  if (part === null || typeof part !== "object") return part;
  if (Array.isArray(part)) return part.filter((each) => each?.transform?.[0].filter !== "datum.subset").map(ringless);
  return Object.fromEntries(Object.entries(part).map(([key, value]) => [key, ringless(value)]));
}

// How rows without a time ended, in words.
function why(rows) {
  const counts = new Map();
  for (const { status, queries_per_s } of rows) if (!queries_per_s) counts.set(status, (counts.get(status) ?? 0) + 1);
  return counts.size ? ` (${[...counts].map(([status, count]) => `${count} ${status}`).join(", ")})` : "";
}

// A row for each number of queries in a call, as draw/calls.py makes them.
const calls = (row) => Object.entries(row.batches ?? {}).map(([size, [p50_s, p95_s, p99_s, calls]]) =>
  ({ ...row, batch_size: Number(size), p50_s, p95_s, p99_s, calls, queries_per_s: size / p50_s, subset: row.subset && Number(size) === row.queries_timed }));

// What does not change a chart cannot be switched for it.
const FIXED = { speed: ["k"], latency: ["round", "batch"], room: ["round", "batch"], batches: ["round", "batch"], memory: ["scale", "round", "batch"], phases: ["scale", "round", "batch"], roofline: ["round", "batch"] };

// Charts whose bars are intervals, and how these are called.
const BARS = ["speed", "recall"];

function bars(rows) {
  const known = rows.filter((row) => row.query_interval);
  const single = known.filter((row) => row.query_interval === ONE_ROUND).length;
  if (!known.length) return "";
  const { intervals, spread, cut } = DATA.words;
  const called = single === known.length ? spread : intervals + (single ? `, or the ${spread} where a cell has no more` : "");
  return ` Bars: ${called}. ${cut}`;
}

// Where every point of a backend with settings is drawn, and not only the one that stands for it.
const CURVES = ["recall", "build", "latency", "room"];

// What a chart needs besides a speed.
const NEEDED = { roofline: ["ceiling_fraction"], recall: ["recall"], latency: ["recall"], room: ["recall"] };

async function draw(section) {
  const { view, k, scale, residency, round, batch, machine } = state();
  const curves = new Set([...checked("curve"), ...checked("control")]);
  const over = controls.elements.over.checked;
  const fixed = FIXED[view] ?? [];
  const here = (row) => row.dataset === section.dataset.dataset && row.residency === residency
    && row.machine === machine && (view === "speed" || row.n_neighbors === Number(k));
  const known = (all) => all.map((row) => seen(row, fixed.includes("round") ? "all" : round, fixed.includes("batch") ? "all" : batch))
    .filter((row) => row?.queries_per_s && (NEEDED[view] ?? []).every((column) => row[column] != null));
  const chosen = (all) => all.filter((row) => curves.has(row.name) && (over || !row.over));
  const rows = (CURVES.includes(view) ? DATA.points : DATA.rows).filter(here);
  const measured = known(rows);
  const shown = chosen(measured);
  const title = $(`option[value="${view}"]`, controls).textContent + (view === "speed" ? "" : `, K = ${k}`);
  const missing = rows.length - measured.length;
  $("figcaption", section).textContent = `${title}: ${shown.length} of ${rows.length} cells`
    + (missing ? `; ${missing} have no such number${why(rows)}` : "") + (measured.length > shown.length ? "; others are switched off" : "")
    + ". The numbers are in the table below." + (BARS.includes(view) && round === "all" && batch === "all" ? bars(shown) : "");
  const chart = $(".chart", section);
  chart.replaceChildren();
  if (!shown.length) return;
  const cells = [...shown, ...chosen(known(DATA.controls.filter(here)))];
  const drawn = view === "batches" ? cells.flatMap(calls) : cells;
  const marks = drawn.some((row) => row.subset) ? DATA.views[view] : ringless(DATA.views[view]);
  const spec = scale === "log" ? marks : linear(marks);
  const height = ["memory", "phases", "roofline"].includes(view) ? 20 * new Set(shown.map((row) => row.name)).size : 320;
  const beside = chart.clientWidth < 600 ? { orient: "bottom", columns: 3 } : {};
  const description = `${$("h2", section).textContent}: ${title}`;
  const narrow = chart.clientWidth < 700;
  const width = (narrow ? chart.clientWidth : chart.clientWidth / 2) - 80;
  const { hconcat, ...one } = spec;
  const parts = hconcat?.map((part) => ({ ...part, width, height }));  // they do not fit themselves into their place
  const sized = parts ? { ...one, [narrow ? "vconcat" : "hconcat"]: parts }
    : { ...one, width: "container", height, autosize: { type: "fit-x", contains: "padding" } };
  await vegaEmbed(chart, { ...sized, description, data: { values: drawn },
    config: { ...DATA.config, axisY: { labelLimit: chart.clientWidth / 2.5 }, legend: { ...DATA.config.legend, ...beside } } }, { renderer: "svg", actions: false });
}

function drawAll() {
  for (const name of ["k", "scale", "round", "batch"]) controls.elements[name].disabled = FIXED[state().view]?.includes(name) ?? false;
  return Promise.all($$(".dataset").map(draw));
}

controls.addEventListener("change", ({ target }) => {
  const { device, family } = target.dataset;
  for (const [name, of] of [["device", device], ["family", family]]) {
    if (of) for (const box of $$(`[data-${name}-of="${CSS.escape(of)}"]`, controls)) box.checked = target.checked;
  }
  if (target.name === "over") $$(".dataset").forEach(filter);
  drawAll();
});

// ---- Tables: sorted by their headers, filtered by words, downloaded as they are shown

const valueOf = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;

function sort(table, column) {
  const header = table.tHead.rows[0].cells[column];
  const rising = header.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const body = table.tBodies[0];
  const compare = (a, b) => {
    const [one, other] = [valueOf(a, column), valueOf(b, column)];
    if (one === "" || other === "") return (one === "") - (other === "");  // what is missing comes last either way
    const order = isNaN(one) || isNaN(other) ? one.localeCompare(other) : one - other;
    return rising ? order : -order;
  };
  body.append(...[...body.rows].sort(compare));
}

function filter(section) {
  const over = controls.elements.over.checked;
  const words = $(".filter", section).value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...$(".sortable", section).tBodies[0].rows];
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word)) || (!over && text.includes("over_page_limit"));
  }
  $(".count", section).textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
}

function download(section) {
  const table = $(".sortable", section);
  const quote = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const { dataset } = section.dataset;
  const lines = [["dataset", ...[...table.tHead.rows[0].cells].map((cell) => cell.dataset.name)]];
  for (const row of table.tBodies[0].rows) if (!row.hidden) lines.push([dataset, ...[...row.cells].map((_, column) => valueOf(row, column))]);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.map((line) => line.map(quote).join(",") + "\n").join("")], { type: "text/csv" }));
  link.download = `${DATA.suite}-${dataset}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
}

for (const section of $$(".dataset")) {
  $$(".sortable th button", section).forEach((button, column) =>
    button.addEventListener("click", () => sort($(".sortable", section), column)));
  $(".filter", section).addEventListener("input", () => filter(section));
  $(".csv", section).addEventListener("click", () => download(section));
}

// ---- Which one should I use? Ranks as scripts/knnbench/results/recommend.py does, which says why; a test compares them.

const steps = (ask, row) => [ask.n_train / row.n, ask.dimension / row.d, ask.n_neighbors / row.n_neighbors]
  .map((ratio) => Math.log10(ratio));

const far = (ask, row) => Number(Math.hypot(...steps(ask, row)).toFixed(9));

// The order of rows of one cell: the fastest point that has the recall, else the one with the most; without a time last.
function merit(ask, row) {
  const speed = row.queries_per_s;
  const recall = row.recall ?? 0; // which others' results may lack
  return !speed ? [2, 0] : recall >= ask.recall ? [0, -speed] : [1, -recall];
}

function before(one, other) {
  const place = one.findIndex((each, index) => each !== other[index]);
  return place >= 0 && one[place] < other[place];
}

// The row that stands for each curve: of datasets that are equally near that one counts on which the most curves answer.
function standingFor(ask, curves) {
  const nearest = new Map([...curves].map(([curve, rows]) => {
    const least = Math.min(...rows.map((row) => far(ask, row)));
    return [curve, rows.filter((row) => far(ask, row) === least)];
  }));
  const answers = new Map();
  for (const [curve, rows] of nearest) for (const row of rows) {
    if (merit(ask, row)[0]) continue;
    if (!answers.has(row.dataset)) answers.set(row.dataset, new Map());
    const speeds = answers.get(row.dataset);
    speeds.set(curve, Math.max(row.queries_per_s, speeds.get(curve) ?? 0));
  }
  const key = (name) => [-answers.get(name).size, Math.max(...answers.get(name).values()), name];
  const ranked = [...answers.keys()].sort((a, b) => (before(key(a), key(b)) ? -1 : 1));
  const order = (row) => {
    const [answer, ...rest] = merit(ask, row), place = ranked.indexOf(row.dataset);
    return [answer, place < 0 ? ranked.length : place, ...rest];
  };
  return [...nearest.values()].map((rows) => rows.reduce((best, row) => (before(order(row), order(best)) ? row : best)));
}

const differ = (row) => (row.flags ?? "").split("; ").includes("rounds_differ");

// The largest and the least speed that a row lets expect; where its rounds differ, of the fastest and the slowest repeat.
function speedsOf(row) {
  const queries = row.queries_per_s * row.query_median_s;
  return differ(row) ? [queries / row.query_min_s, queries / row.query_max_s]
    : [row.queries_per_s_high, row.queries_per_s_low].map((speed) => speed || row.queries_per_s);
}

function doubtsOf(row) {
  const words = differ(row) ? "from its fastest to its slowest repeat" : row.query_interval === ONE_ROUND ? SPREAD : "";
  return [words, row.flags && `flagged ${row.flags}`].filter(Boolean).join("; ");
}

function recommend(ask, rows) {
  const curves = new Map(), absent = new Map();
  for (const row of rows) {
    if (row.metric !== ask.metric || (ask.device !== "any" && row.device !== ask.device) || row.residency !== "host") continue;
    if (["unavailable", "skipped", "not_needed"].includes(row.status)) {
      absent.set(row.curve, [row.name, `${row.status} here`]);
      continue;
    }
    curves.set(row.curve, [...(curves.get(row.curve) ?? []), row]);
  }
  const ranked = [], out = [...absent].filter(([curve]) => !curves.has(curve)).map(([, why]) => why);
  for (const row of standingFor(ask, curves)) {
    const place = `${row.dataset}, n = ${row.n}, d = ${row.d}, K = ${row.n_neighbors}${row.at ? `, ${row.at}` : ""}`;
    const away = steps(ask, row).some((step, axis) => Math.abs(step) > NEAR[axis]);
    if (away) out.push([row.name, `nearest measured cell is too far: ${place}`]);
    else if (!row.queries_per_s) out.push([row.name, `${row.status} at ${place}`]);
    else if (row.recall === undefined) out.push([row.name, `no recall is known at ${place}`]);
    else if (row.recall < ask.recall) out.push([row.name, `recall ${row.recall.toFixed(3)} at ${place}`]);
    else if (row.fit_s === undefined) out.push([row.name, `no time of a fit is known at ${place}`]);
    else {
      const work = 10 ** steps(ask, row).reduce((sum, step) => sum + step, 0);
      const [least, most] = [Math.min(1, work), Math.max(1, work)];
      const total = (speed) => row.fit_s + Math.max(row.single_p50_s ?? 0, ask.n_queries / speed);
      const ends = speedsOf(row);
      const compiling = row.compile_s ?? 0;
      const low = compiling + least * total(ends[0]), high = compiling + most * total(ends[1]);
      ranked.push({ name: row.name, low, high, total: compiling + Math.sqrt(least * most) * total(row.queries_per_s), place, dataset: row.dataset,
        extrapolated: steps(ask, row).some((step) => Math.abs(step) > 0.005), recall: row.recall, compile_s: row.compile_s,
        doubts: doubtsOf(row) });
    }
  }
  ranked.sort((a, b) => a.total - b.total);
  for (const each of ranked) if (each.dataset !== ranked[0].dataset) each.doubts = ["measured on other data than the first", each.doubts].filter(Boolean).join("; ");
  return { ranked, out };
}

function answer(form) {
  const asked = Object.fromEntries(new FormData(form));
  const ask = Object.fromEntries(Object.entries(asked).map(([key, value]) =>
    [key, ["metric", "device"].includes(key) ? value : Number(value)]));
  const { machine } = state();
  const { ranked, out } = recommend(ask, DATA.points.filter((row) => row.machine === machine));
  const box = $(".answer", form.parentElement);
  const add = (tag, text, to = box) => to.appendChild(Object.assign(document.createElement(tag), { textContent: text }));
  box.replaceChildren();
  if (ranked.length) {
    // A time, or a range of times.
    const range = (low, high) => (seconds(low) === seconds(high) ? seconds(low) : `${seconds(low)} to ${seconds(high)}`);
    const seconds = (value) => `${value.toLocaleString("en", { maximumSignificantDigits: 3 })} s`;
    const list = add("ol", "");
    for (const each of ranked.slice(0, LISTED)) {
      const alike = each !== ranked[0] && each.low <= ranked[0].high ? "; undecided: it may be as fast as the first" : "";
      const compiles = each.compile_s ? `, ${seconds(each.compile_s)} of it for compiling` : "";
      const rough = each.extrapolated ? "roughly " : "";
      add("li", `${each.name}: ${rough}${range(each.low, each.high)} in all${compiles}, recall ${each.recall.toFixed(3)}; rests on ${each.place}${each.doubts && `; ${each.doubts}`}${alike}`, list);
    }
  } else add("p", "These data do not support an answer: no measured cell is near enough and good enough. Measure a dataset of your size (docs/extending.md).");
  if (out.length) {
    const details = box.appendChild(document.createElement("details"));
    add("summary", `Ruled out: ${out.length}`, details);
    const list = add("ul", "", details);
    for (const [name, why] of out) add("li", `${name}: ${why}`, list);
  }
}

const form = $("#recommend form");
form.addEventListener("input", () => $("#recommend .answer").replaceChildren());
form.addEventListener("submit", (event) => { event.preventDefault(); answer(form); });

form.hidden = controls.hidden = false;
if (matchMedia("(max-width: 45rem)").matches) $("#controls details").open = false;
drawAll();
