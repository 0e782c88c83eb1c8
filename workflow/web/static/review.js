// The review page: keys and forms to decisions, the images of the chosen lesion now and before.
import { Pane, Stack } from "/static/slices.js";

const root = document.getElementById("review");
const visit = root.dataset.visit;
const now = new Pane(document.getElementById("now"));
const before = new Pane(document.getElementById("before"));
const stacks = new Map();
const message = document.getElementById("message");
const marking = document.getElementById("marking");
const seriesList = document.getElementById("series");
const windowList = document.getElementById("window");

let view = JSON.parse(document.getElementById("panel").dataset.view);
let chosen = null; // tracking UID
let link = null; // how the earlier pane follows: { here, there } indices that show one place
let tool = null;
let drawing = null;

// ---------------------------------------------------------------- asking the server

function token() {
  return document.querySelector("meta[name=csrf-token]")?.content ?? "";
}

async function post(path, body) {
  return fetch(`/review/${visit}/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": token() },
    body: JSON.stringify(body),
  });
}

function say(words, isBad = false) {
  message.textContent = words;
  message.className = isBad ? "alert" : "notice";
  message.hidden = !words;
}

// One decision at a time: a key that is held down must not decide twice.
let isSending = false;
async function send(path, body, onDone = () => {}) {
  if (isSending) return "";
  isSending = true;
  root.setAttribute("aria-busy", "true");
  try {
    const answer = await post(path, { seen: view.seen, ...body });
    if (answer.ok) {
      say("");
      put(await answer.text());
      onDone();
      return "";
    }
    const told = await answer.json().catch(() => ({}));
    const ended = answer.status === 401 ? "Your session has ended; nothing was recorded. Log in again." : "";
    const words = ended || (told.message ?? (typeof told.detail === "string" ? told.detail : `that did not work (${answer.status})`));
    if (answer.status === 409) await refresh();
    say(words, true);
    return words;
  } catch {
    say("The server can't be reached; nothing was recorded. Try again.", true);
    return "The server can't be reached.";
  } finally {
    isSending = false;
    root.removeAttribute("aria-busy");
  }
}

function put(html) {
  const had = document.activeElement?.closest?.("#panel") ? document.activeElement.dataset.key : null;
  const analysis = view.analysis;
  const holder = document.createElement("template");
  holder.innerHTML = html;
  document.getElementById("panel").replaceWith(holder.content.querySelector("#panel"));
  view = JSON.parse(document.getElementById("panel").dataset.view);
  const banner = document.getElementById("banner");
  banner.classList.toggle("signed", Boolean(view.signed_by));
  banner.textContent = view.signed_by ? banner.dataset.signed.replace("{}", view.signed_by) : banner.dataset.draft;
  if (had) document.querySelector(`#panel [data-key="${CSS.escape(had)}"]`)?.focus();
  if (view.analysis !== analysis) outlinesHaveChanged();
  else mark();
}

async function refresh() {
  const answer = await fetch(`/review/${visit}/panel`);
  if (answer.ok) put(await answer.text());
}

// While something is under way each second, else now and then: another reader may be at it.
const QUICK_MS = 1000;
const SLOW_MS = 15000;
let waiting = null;
async function watch() {
  clearTimeout(waiting);
  if (!document.hidden && !isSending && !document.querySelector("dialog[open]")) {
    try {
      const answer = await fetch(`/review/${visit}/state`);
      if (answer.ok) {
        const state = await answer.json();
        if (state.seen !== view.seen || state.analysis !== view.analysis || state.state !== view.state || state.busy_with !== view.busy_with) {
          const isOther = state.seen !== view.seen && state.analysis === view.analysis;
          await refresh();
          if (isOther) say("Another reader has decided in the meantime; this is how it stands now.");
        }
        showProgress(state);
      }
    } catch { /* the next look will tell */ }
  }
  clearTimeout(waiting);
  waiting = setTimeout(watch, view.is_busy ? QUICK_MS : SLOW_MS);
}

// The server says that something changed somewhere; what it was is looked at here.
const source = new EventSource("/events");
source.addEventListener("change", watch);
addEventListener("pagehide", () => source.close());

function showProgress(state) {
  const line = document.getElementById("busy");
  line.hidden = !state.busy_with;
  line.querySelector("span").textContent = [state.busy_with, state.doing].filter(Boolean).join(": ");
  const bar = line.querySelector("progress");
  if (state.progress === null) bar.removeAttribute("value");
  else bar.value = state.progress;
}

// ---------------------------------------------------------------- lesions

function lesionOf(uid) {
  return view.lesions.find((one) => one.tracking_uid === uid);
}

function mark() {
  for (const item of document.querySelectorAll("[data-lesion]")) {
    const isChosen = item.dataset.lesion === chosen;
    if (isChosen) item.setAttribute("aria-current", "true");
    else item.removeAttribute("aria-current");
    item.querySelector(".details").hidden = !isChosen;
    if (isChosen) item.scrollIntoView({ block: "nearest" });
  }
  const corrected = view.lesions.filter((one) => one.is_corrected).map((one) => one.tracking_uid);
  now.hides = new Set(corrected);
  now.draw();
}

function step(by) {
  const at = view.lesions.findIndex((one) => one.tracking_uid === chosen);
  const next = view.lesions[Math.min(Math.max(at + by, 0), view.lesions.length - 1)];
  if (next) choose(next.tracking_uid);
}

function chooseNextOpen() {
  const at = view.lesions.findIndex((one) => one.tracking_uid === chosen);
  const turned = [...view.lesions.slice(at + 1), ...view.lesions.slice(0, at + 1)];
  const next = turned.find((one) => one.standing === "open");
  if (next) choose(next.tracking_uid);
  else mark();
}

async function choose(uid) {
  chosen = uid;
  now.lesion = before.lesion = uid;
  mark();
  const lesion = lesionOf(uid);
  const id = lesion.volume || now.stack?.id || view.volumes[0]?.id;
  if (id) await look(id, lesion);
}

// ---------------------------------------------------------------- images

function stackOf(key, id) {
  const name = `${key} ${id}`;
  if (!stacks.has(name)) stacks.set(name, new Stack(key, id));
  return stacks.get(name);
}

async function opened(pane, key, id) {
  const stack = stackOf(key, id);
  if (!stack.shape) pane.say("Loading the images …");
  try {
    return await stack.open();
  } catch (error) {
    stacks.delete(`${key} ${id}`);
    pane.clear(error.message);
    return null;
  }
}

async function look(id, lesion) {
  const wanted = chosen;
  const earlier = lesion?.earlier ?? priorOf(id);
  document.querySelector(".panes").classList.toggle("alone", !earlier);
  const [here, there] = await Promise.all([
    opened(now, visit, id),
    earlier ? opened(before, earlier.visit_key, earlier.volume) : null,
  ]);
  if (!here || wanted !== chosen) return;
  seriesList.value = id;
  const seen = here.lesion(lesion?.tracking_uid);
  const place = seen?.centre_ijk ?? seen?.expected_ijk ?? here.shape.map((n) => (n - 1) / 2);
  fillWindows(here, lesion);
  now.centre = place.slice(1);
  now.scale = before.scale = Math.max(now.stack === here && now.scale ? now.scale : 0, startingScale(now, here, seen));
  link = there ? linkBetween(here, there, lesion?.tracking_uid, place) : null;
  now.say([`${view.study_date}`, here.name].join(" · "));
  if (there) before.say([earlier.day, there.name, link.words].filter(Boolean).join(" · "));
  else if (!earlier) before.clear("");
  await show(seen?.slice ?? place[0]);
}

// A lesion with what is around it: the field is the whole image, or four times the lesion where that is less.
function startingScale(pane, stack, seen) {
  pane.stack = stack;
  const whole = pane.fit();
  if (!seen?.centre_ijk) return whole;
  const mm = 4 * Math.max(20, length(stack, seen.long_axis));
  return Math.max(whole, Math.min(pane.canvas.clientWidth, pane.canvas.clientHeight) / Math.max(mm, 120));
}

function length(stack, axis) {
  if (!axis) return 0;
  return Math.hypot(...axis[0].map((value, i) => (value - axis[1][i]) * stack.spacing_mm[i]));
}

function priorOf(id) {
  const modality = view.volumes.find((one) => one.id === id)?.modality;
  return view.prior.find((one) => one.modality === modality) ?? null;
}

// Which places of two volumes are one: where the registration puts the earlier lesion, else the lesion itself;
// where it was not there before, what the registration says of the lesion nearest to it.
function linkBetween(here, there, uid, place) {
  const pairs = here.lesions
    .map((lesion) => ({ lesion, former: there.lesion(lesion.tracking_uid) }))
    .filter(({ former }) => former?.centre_ijk);
  const registered = pairs.filter(({ lesion }) => lesion.expected_ijk);
  const own = pairs.find(({ lesion }) => lesion.tracking_uid === uid);
  if (own?.lesion.expected_ijk) return { here: own.lesion.expected_ijk, there: own.former.centre_ijk, words: "registered" };
  if (own?.lesion.centre_ijk) return { here: own.lesion.centre_ijk, there: own.former.centre_ijk, words: "at the same lesion" };
  const far = (at) => Math.hypot(...at.map((value, i) => (value - place[i]) * here.spacing_mm[i]));
  const near = registered.sort((a, b) => far(a.lesion.expected_ijk) - far(b.lesion.expected_ijk))[0];
  if (near) return { here: near.lesion.expected_ijk, there: near.former.centre_ijk, words: `registered at ${near.lesion.label}` };
  const former = there.lesion(uid);
  if (former?.centre_ijk) return { here: place, there: former.centre_ijk, words: "at the same lesion" };
  const middle = there.shape.map((n) => (n - 1) / 2);
  return { here: here.shape.map((n) => (n - 1) / 2), there: middle, words: "not registered" };
}

async function show(index) {
  if (!now.stack) return;
  const shown = now.show(now.stack, index);
  await Promise.all([shown, follow()]);
}

// The earlier pane at the place that corresponds, with the same field and window.
function follow() {
  if (!link || !earlierStack()) return null;
  const stack = earlierStack();
  const offset = [now.index - link.here[0], now.centre[0] - link.here[1], now.centre[1] - link.here[2]];
  const moved = stack.fromLps(now.stack.toLps(offset));
  before.centre = [link.there[1] + moved[1], link.there[2] + moved[2]];
  before.window = now.window;
  before.scale = now.scale;
  const index = Math.round(link.there[0] + moved[0]);
  if (index < 0 || index >= stack.shape[0]) {
    before.values = null;
    before.draw();
    return null;
  }
  return before.show(stack, index);
}

function earlierStack() {
  const lesion = lesionOf(chosen);
  const earlier = lesion?.earlier ?? (now.stack ? priorOf(now.stack.id) : null);
  const stack = earlier && stacks.get(`${earlier.visit_key} ${earlier.volume}`);
  return stack?.shape ? stack : null;
}

function redraw() {
  now.draw();
  if (link) follow();
}

function fillWindows(stack, lesion) {
  const names = stack.windows.map((one) => one.name);
  const isSame = [...windowList.options].map((one) => one.value).join() === names.join();
  if (!isSame) windowList.replaceChildren(...names.map((name, i) => new Option(`${i + 1} ${name}`, name)));
  const organ = (lesion?.organ ?? "").toLowerCase();
  const usual = names.includes(organ) ? organ : names[0];
  if (!isSame || !now.window || (lesion && now.windowOf !== lesion.tracking_uid)) setWindow(usual, stack);
  now.windowOf = lesion?.tracking_uid;
}

function setWindow(name, stack = now.stack) {
  const found = stack?.windows.find((one) => one.name === name);
  if (!found) return;
  now.window = before.window = { ...found };
  windowList.value = name;
}

async function outlinesHaveChanged() {
  await Promise.all([...stacks.values()].filter((one) => one.shape).map((one) => one.refresh()));
  fillSeries();
  dropMarks();
  say("");
  const again = lesionOf(chosen) ?? view.lesions.find((one) => one.standing === "open") ?? view.lesions[0];
  if (again) await choose(again.tracking_uid);
  else mark();
}

function fillSeries() {
  seriesList.replaceChildren(...view.volumes.map((one) => new Option(one.name, one.id)));
  if (now.stack) seriesList.value = now.stack.id;
}

// ---------------------------------------------------------------- pointer

function zoom(factor) {
  if (!now.stack) return;
  now.scale = Math.min(Math.max(now.scale * factor, now.fit() / 2), 60);
  redraw();
}

for (const pane of [now, before]) {
  const { canvas } = pane;
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (event.ctrlKey) zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15);
    else show(now.index + Math.sign(event.deltaY));
  }, { passive: false });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("pointerdown", (event) => {
    if (!now.stack) return;
    canvas.focus();
    canvas.setPointerCapture(event.pointerId);
    if (tool && pane === now && event.button === 0) beginMark(event);
    else pane.drag = { x: event.clientX, y: event.clientY, isPan: event.button === 1 || event.shiftKey, isZoom: event.button === 2 };
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (drawing && pane === now) moveMark(event);
    if (!pane.drag || !now.stack) return;
    const [dx, dy] = [event.clientX - pane.drag.x, event.clientY - pane.drag.y];
    pane.drag.x = event.clientX;
    pane.drag.y = event.clientY;
    if (pane.drag.isZoom) zoom(1 - dy / 200);
    else if (pane.drag.isPan) {
      const [, rowMm, columnMm] = now.stack.spacing_mm;
      now.centre = [now.centre[0] - dy / (rowMm * now.scale), now.centre[1] - dx / (columnMm * now.scale)];
      redraw();
    } else {
      const range = Math.max(now.window.width, 1);
      now.window = { ...now.window, name: "own", centre: now.window.centre + (dy * range) / 400, width: Math.max(range + (dx * range) / 200, 1e-3) };
      redraw();
    }
  });
  canvas.addEventListener("pointerup", (event) => {
    pane.drag = null;
    if (drawing && pane === now) endMark(event);
  });
  canvas.addEventListener("pointercancel", () => { pane.drag = null; });
}

// ---------------------------------------------------------------- marks

const HINTS = {
  point: "click on it",
  line: "drag along it",
  axes: "drag the long axis, then the short",
  box: "drag a box around it",
};

function chooseTool(name) {
  tool = tool === name ? null : name;
  drawing = null;
  for (const button of document.querySelectorAll("[data-tool]")) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
  markHasChanged();
}

function place(event) {
  const box = now.canvas.getBoundingClientRect();
  const [, rows, columns] = now.stack.shape;
  const [row, column] = now.toIndex(event.clientX - box.left, event.clientY - box.top);
  return [Math.min(Math.max(row, 0), rows - 1), Math.min(Math.max(column, 0), columns - 1)];
}

function beginMark(event) {
  const at = place(event);
  if (tool === "point") {
    now.marks.push({ kind: "point", slice: now.index, points: [at], is_positive: !event.shiftKey });
    markHasChanged();
    return;
  }
  const open = now.marks.find((one) => one.kind === "axes" && one.points.length === 2 && one.slice === now.index);
  if (tool === "axes" && open) open.points.push(at, at);
  else now.marks.push({ kind: tool, slice: now.index, points: [at, at] });
  drawing = tool === "axes" && open ? open : now.marks.at(-1);
  now.draw();
}

function moveMark(event) {
  drawing.points[drawing.points.length - 1] = place(event);
  now.draw();
}

function endMark(event) {
  moveMark(event);
  const [a, b] = drawing.points.slice(-2);
  const isNothing = Math.hypot(a[0] - b[0], a[1] - b[1]) < 1;
  if (isNothing) {
    drawing.points.splice(-2);
    if (!drawing.points.length) now.marks = now.marks.filter((one) => one !== drawing);
  }
  drawing = null;
  markHasChanged();
}

function markHasChanged() {
  now.draw();
  // Open from the tool on: nothing may move under the hand that draws.
  marking.hidden = !now.marks.length && !tool;
  const names = now.marks.map((one) => (one.kind === "axes" && one.points.length < 4 ? "long axis, then the short" : one.kind));
  document.getElementById("marking-what").textContent = names.join(", ") || HINTS[tool] || "";
  marking.querySelector("button.primary").disabled = !now.marks.length;
  if (!now.stack) return;
  const list = marking.elements.lesion;
  const had = list.value;
  const known = view.lesions.filter((one) => !one.is_rejected);
  const arePoints = now.marks.every((one) => one.kind === "point");
  list.replaceChildren(
    new Option("a new lesion", ""),
    ...(arePoints ? known.map((one) => new Option(`${one.label}, refined by these points`, `refine ${one.tracking_uid}`)) : []),
    ...known.map((one) => new Option(`${one.label}, outlined anew`, one.tracking_uid)),
  );
  const isInside = chosen && now.stack.lesion(chosen)?.contours[now.index];
  list.value = had || (isInside ? `${arePoints ? "refine " : ""}${chosen}` : "");
  if (list.selectedIndex < 0) list.value = "";
  marking.querySelector(".new-only").hidden = list.value !== "";
}

function dropMarks() {
  now.marks = [];
  drawing = null;
  marking.reset();
  markHasChanged();
}

async function storeMarks() {
  const { lesion, label } = marking.elements;
  const isRefined = lesion.value.startsWith("refine ");
  now.marks.id ??= crypto.randomUUID();
  await send("marks", {
    id: now.marks.id,
    volume: now.stack.id,
    lesion: lesion.value.replace("refine ", "") || null,
    is_refined: isRefined,
    label: label.value.trim(),
    marks: now.marks.map((one) => ({ ...one })),
  }, () => {
    dropMarks();
    chooseTool(null);
    say("Stored. The outline comes in a few seconds.");
  });
}

marking.addEventListener("submit", (event) => {
  event.preventDefault();
  storeMarks();
});
marking.querySelector("[data-drop]").addEventListener("click", dropMarks);
marking.elements.lesion.addEventListener("change", () => {
  marking.querySelector(".new-only").hidden = marking.elements.lesion.value !== "";
});

// ---------------------------------------------------------------- decisions

function ask(dialog) {
  const isAboutLesion = dialog.dataset.about === "lesion";
  if (isAboutLesion && !chosen) return;
  const form = dialog.querySelector("form");
  form.reset();
  form.dataset.id = crypto.randomUUID();
  showError(dialog, "");
  const about = dialog.querySelector(".about");
  const lesion = lesionOf(chosen);
  if (about) about.textContent = isAboutLesion ? `${lesion.label}:` : "";
  for (const list of form.querySelectorAll("[data-lesions]")) {
    list.replaceChildren(...view.lesions.filter((one) => one.tracking_uid !== chosen && !one.is_rejected).map((one) => new Option(one.label, one.tracking_uid)));
  }
  const size = form.elements.diameter_mm;
  if (size && lesion.diameter_mm !== null) size.value = lesion.diameter_mm.toFixed(1);
  dialog.showModal();
  const first = form.querySelector("input, select");
  first?.focus();
  first?.select?.();
}

function showError(dialog, words) {
  const line = dialog.querySelector(".error");
  line.textContent = words;
  line.hidden = !words;
}

function collect(form) {
  const body = { id: form.dataset.id, decision: form.dataset.decision };
  for (const [name, value] of new FormData(form)) {
    if (name === "preset" || name === "reason" || value === "") continue;
    body[name] = name === "diameter_mm" ? Number(value) : value;
  }
  body.reason = form.elements.reason.value.trim() || form.elements.preset?.value || "";
  return body;
}

for (const dialog of document.querySelectorAll("dialog.ask")) {
  dialog.querySelector("[data-cancel]")?.addEventListener("click", () => dialog.close());
  const form = dialog.querySelector("form");
  form.addEventListener("submit", async (event) => {
    if (dialog.id === "help") return;
    event.preventDefault();
    if ("sign" in form.dataset) {
      finish(dialog, await send("sign", {}));
      return;
    }
    const body = collect(form);
    if (!body.reason) {
      showError(dialog, "Say why: it stands in the report.");
      form.querySelector("[name=preset], [name=reason]").focus();
      return;
    }
    if (dialog.dataset.about === "lesion") body.lesion = chosen;
    if (form.dataset.other) Object.assign(body, { other: form.dataset.other, lesion: form.dataset.lesion || null });
    const refusal = await send("decisions", body);
    finish(dialog, refusal);
    if (!refusal && dialog.dataset.about === "lesion") chooseNextOpen();
  });
  // A digit takes a usual reason, unless something is being written.
  dialog.addEventListener("keydown", (event) => {
    if (/^[1-9]$/.test(event.key) && !event.target.matches("input[type=number], input[type=date], input:not([type])")) {
      const preset = form.querySelectorAll("[name=preset]")[Number(event.key) - 1];
      if (preset) {
        preset.checked = true;
        preset.focus();
        event.preventDefault();
      }
    }
    if (event.key === "Enter" && event.target.matches("input[type=radio], select")) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
}

function finish(dialog, refusal) {
  if (refusal) showError(dialog, refusal);
  else dialog.close();
}

function askToSign() {
  if (view.signed_by) return;
  const dialog = document.getElementById("ask-sign");
  const line = dialog.querySelector("[data-open]");
  line.hidden = !view.open.length;
  line.textContent = `Nobody has looked at ${view.open.join(", ")} yet.`;
  showError(dialog, "");
  dialog.showModal();
  dialog.querySelector("button.primary").focus();
}

function take() {
  if (chosen) send("decisions", { id: crypto.randomUUID(), decision: "confirm", lesion: chosen }, chooseNextOpen);
}

function takeAll() {
  if (view.unremarkable.length) send("take-all", { id: crypto.randomUUID() }, chooseNextOpen);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.key) act(button.dataset.key);
  if (button.dataset.tool) chooseTool(button.dataset.tool);
  const item = button.closest("[data-lesion]");
  if (item && button.classList.contains("lesion")) choose(item.dataset.lesion);
  if (button.dataset.withdraw) {
    const dialog = document.getElementById("ask-withdraw");
    const form = dialog.querySelector("form");
    form.reset();
    Object.assign(form.dataset, { id: crypto.randomUUID(), other: button.dataset.withdraw });
    dialog.querySelector("[data-what]").textContent = button.dataset.words;
    showError(dialog, "");
    dialog.showModal();
  }
});

seriesList.addEventListener("change", () => look(seriesList.value, null));
windowList.addEventListener("change", () => {
  setWindow(windowList.value);
  redraw();
});

// ---------------------------------------------------------------- keys

const TOOLS = { c: "point", l: "line", h: "axes", q: "box" };

function act(key) {
  const scroll = { ArrowUp: -1, ArrowDown: 1, PageUp: -10, PageDown: 10 }[key];
  if (scroll) return show(now.index + scroll) ?? true;
  if (key === "Home") return show(0) ?? true;
  if (key === "End") return show(Infinity) ?? true;
  if (TOOLS[key]) return chooseTool(TOOLS[key]) ?? true;
  if (/^[1-9]$/.test(key)) {
    const found = now.stack?.windows[Number(key) - 1];
    if (found) setWindow(found.name);
    redraw();
    return true;
  }
  switch (key) {
    case "?": document.getElementById("help").showModal(); return true;
    case "n": step(1); return true;
    case "p": step(-1); return true;
    case "t": take(); return true;
    case "T": takeAll(); return true;
    case "u": if (view.undo.length) send("undo", { of: view.undo }, mark); return true;
    case "S": askToSign(); return true;
    case "+": case "=": zoom(1.15); return true;
    case "-": zoom(1 / 1.15); return true;
    case "0": if (now.stack) { now.scale = 0; if (chosen) choose(chosen); else look(now.stack.id, null); } return true;
    case "Escape": if (now.marks.length) dropMarks(); else if (tool) chooseTool(tool); return true;
    case "Enter": if (now.marks.length) storeMarks(); return Boolean(now.marks.length);
    default: {
      const dialog = document.querySelector(`dialog[data-key="${CSS.escape(key)}"]`);
      if (dialog) ask(dialog);
      return Boolean(dialog);
    }
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input, select, textarea")) return;
  // Enter on a button presses it.
  if ((event.key === "Enter" || event.key === " ") && event.target.matches("button, a, summary")) return;
  if (act(event.key)) event.preventDefault();
});

// ---------------------------------------------------------------- start

fillSeries();
const start = view.lesions.find((one) => one.standing === "open") ?? view.lesions[0];
if (start) choose(start.tracking_uid);
else if (view.volumes.length) look(view.volumes[0].id, null);
waiting = setTimeout(watch, QUICK_MS);
