// What makes the pages live; without it they can still be read. htmx swaps parts, this says when.

const units = [["day", 86400], ["hour", 3600], ["minute", 60]];
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function tellTimes() {
  for (const time of document.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    const ago = (Date.now() - at) / 1000;
    const [unit, seconds] = units.find(([, size]) => ago >= size) ?? ["second", 1];
    const text = "exact" in time.dataset ? exact.format(at) : ago < 7 * 86400 ? (ago < 10 ? "just now" : relative.format(-Math.floor(ago / seconds), unit)) : full.format(at);
    if (time.textContent !== text) time.textContent = text;
    time.title = full.format(at);
  }
  for (const title of document.querySelectorAll("title[data-at]"))
    title.textContent = title.textContent.replace(/^.* UTC/, exact.format(new Date(title.dataset.at)));
}

// Parts that refresh themselves, as often as they say, while somebody can see them and nobody is in the midst of it.
let waited = 0;
setInterval(() => {
  waited += 1;
  const part = document.querySelector("[data-refresh]");
  const busy = document.querySelector("[data-refresh] details[open]");
  if (part && !document.hidden && !busy && waited >= Number(part.dataset.refresh)) {
    waited = 0;
    htmx.trigger(part, "refresh");
  }
}, 1000);

let shown = "";
document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, requestConfig } = event.detail;
  const refreshed = requestConfig.triggeringEvent?.type === "refresh";
  if (refreshed && xhr.responseText === shown) event.detail.shouldSwap = false;
  shown = xhr.responseText;
});

function showPhase(page, phase) {
  const phases = [...page.querySelectorAll("[data-phase]")];
  const reached = phases.findIndex((item) => item.dataset.phase === phase);
  if (reached < 0) return;
  for (const [place, item] of phases.entries()) {
    item.classList.toggle("done", place < reached);
    if (place === reached) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  }
}

// The time that is left as the job's worker estimates it, or that it is not known.
function showTimeLeft(page, seconds) {
  const left = page.querySelector(".left");
  if (!left) return;
  const [known, unknown] = left.children;
  known.hidden = seconds === null;
  unknown.hidden = seconds !== null;
  if (seconds !== null) left.querySelector(".about").textContent = about(seconds);
}

// As convpress.quantities.about has it.
function about(seconds) {
  if (seconds < 55) return `${Math.max(10 * Math.round(seconds / 10), 10)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// A job that is not done: its progress as it is told, and the page anew with every change of its state.
function follow(page) {
  const events = new EventSource(page.dataset.follow);
  events.addEventListener("progress", (event) => {
    const { phase, progress, eta_seconds: left } = JSON.parse(event.data);
    const bar = page.querySelector("progress");
    const text = page.querySelector(".phase");
    if (bar) bar.value = progress;
    if (text) text.textContent = `${phase ?? "starting"}, ${Math.round(100 * progress)} %`;
    showPhase(page, phase);
    showTimeLeft(page, left);
  });
  events.addEventListener("state", (event) => {
    if (Number(event.lastEventId) <= Number(page.dataset.seen)) return;
    events.close();
    htmx.ajax("GET", location.href, { target: "#page", select: "#page", swap: "outerHTML" });
  });
}

function say(problem, where) {
  const detail = problem.detail ?? "the service does not answer";
  const end = /[.?!]$/.test(detail) ? "" : ".";
  where.replaceChildren(`${detail.charAt(0).toUpperCase()}${detail.slice(1)}${end}`);
  if (problem.expected) where.append(` Expected: ${problem.expected}.`);
  where.hidden = false;
}

function prepareUpload(form) {
  const { model, flops_budget: budget, input_shape: shape } = form.elements;
  const drop = form.querySelector(".drop");
  const slider = form.querySelector("#slider");
  const refused = form.querySelector("#refused");
  const send = form.querySelector("#send");
  const sent = form.querySelector("#sent");
  const told = form.querySelector("#sent-text");
  const shapeless = form.dataset.shapeless.split(" ").filter(Boolean);
  const needShape = (needed) => { form.querySelector("#shape-field").hidden = !needed; };

  needShape(false); // without this script nobody could ask for it later
  const loss = form.querySelector("#max-loss");
  loss.addEventListener("input", () => { budget.disabled = slider.disabled = Boolean(loss.value.trim()); }); // one stands for the other
  slider.addEventListener("input", () => { budget.value = `${slider.value}%`; });
  budget.addEventListener("input", () => {
    const percent = /^\s*([\d.]+)\s*%\s*$/.exec(budget.value)?.[1] ?? (/^\s*0?\.\d+\s*$/.test(budget.value) ? 100 * budget.value : null);
    if (percent) slider.value = percent;
  });
  for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, () => drop.classList.add("over"));
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  const dropped = (event) => {
    if (!event.dataTransfer.types.includes("Files") || event.target.type === "file") return; // those take files themselves
    event.preventDefault(); // else the browser would leave the page for the file
    if (event.type !== "drop") return;
    form.closest("details").open = true;
    model.files = event.dataTransfer.files;
    model.dispatchEvent(new Event("change"));
  };
  for (const kind of ["dragover", "drop"]) document.addEventListener(kind, dropped);
  model.addEventListener("change", () => {
    const [file] = model.files;
    form.querySelector("#model-name").textContent = file ? file.name : "Drop a model here, or choose a file";
    needShape(Boolean(file) && shapeless.some((suffix) => file.name.toLowerCase().endsWith(suffix)));
    refused.hidden = true;
  });

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const body = new FormData();
    for (const field of form.querySelectorAll("input[name]:not([type=file]), select[name]"))
      if (field.value && !field.disabled && (field.type !== "checkbox" || field.checked) && !field.closest("[hidden]")) body.append(field.name, field.value);
    for (const field of [form.elements.samples, form.elements.evaluation, model]) if (field.files.length) body.append(field.name, field.files[0]);
    refused.hidden = true;
    if (model.files[0].size > Number(form.dataset.largest)) {
      say({ detail: "The model is larger than the upload limit." }, refused);
      return;
    }
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.responseType = "json";
    request.upload.addEventListener("progress", ({ loaded, total }) => {
      sent.value = total ? loaded / total : 0;
      told.textContent = loaded < total ? `${Math.floor((100 * loaded) / total)} % sent` : "Uploaded, checking";
    });
    const end = () => { send.disabled = false; sent.hidden = true; told.textContent = ""; };
    request.addEventListener("load", () => {
      if (request.status === 200) { // the page that the service leads to
        location.assign(request.responseURL);
        return;
      }
      end();
      const problem = request.response ?? {};
      if (request.status === 401) location.assign("/");
      if (problem.field === "input_shape") needShape(true);
      say(problem, refused);
      const field = problem.field && form.elements[problem.field];
      // Notes of the archive may suggest the shape that is missing.
      if (field === shape && !shape.value && /^\d+(x\d+)+$/.test(problem.expected ?? "")) {
        shape.value = problem.expected;
        refused.append(" It is filled in: check it, and compress again.");
      }
      if (field && field !== shape) field.focus?.();
      else if (field) shape.focus();
    });
    request.addEventListener("error", () => { end(); say({}, refused); });
    send.disabled = true;
    sent.hidden = false;
    request.send(body);
  });
}

function prepareRebudget(form) {
  const slider = form.querySelector("#rebudget-slider");
  const budget = form.querySelector("#rebudget-budget");
  const points = [...document.querySelectorAll("#frontier .point[data-keep]")];
  const mark = (keep) => {
    const near = points.reduce((best, point) => (Math.abs(point.dataset.keep - keep) < Math.abs(best.dataset.keep - keep) ? point : best), points[0]);
    for (const point of points) point.classList.toggle("picked", point === near);
  };
  slider.addEventListener("input", () => {
    budget.value = `${slider.value}%`;
    mark(slider.value / 100);
  });
  for (const point of points)
    point.addEventListener("click", () => {
      const percent = Math.ceil(1e4 * point.dataset.keep - 1e-6) / 100;
      slider.value = percent;
      budget.value = `${percent}%`;
      mark(Number(point.dataset.keep));
      form.querySelector("button").focus();
    });
}

// A button that compares: it can be pressed when two boxes of its form or more are ticked.
function countPicks() {
  for (const button of document.querySelectorAll("[data-picks]"))
    button.disabled = [...button.form.elements].filter((box) => box.checked).length < 2;
}

// Copying needs a secure context: TLS, or the machine itself.
function showCopyButtons() {
  for (const button of document.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
}

async function copy(button) {
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

// Tables that are wider than their frame say so.
function markWide() {
  for (const frame of document.querySelectorAll(".scroll")) {
    frame.classList.remove("wide");
    frame.classList.toggle("wide", frame.scrollWidth > frame.clientWidth);
  }
}

function prepare(root) {
  tellTimes();
  countPicks();
  showCopyButtons();
  markWide();
  const find = (selector) => (root.matches?.(selector) ? root : root.querySelector(selector));
  for (const [selector, set] of [["[data-follow]", follow], ["#upload", prepareUpload], ["#rebudget", prepareRebudget]]) {
    const found = find(selector);
    if (found && !found.dataset.ready) {
      found.dataset.ready = "yes";
      set(found);
    }
  }
}

document.addEventListener("submit", (event) => {
  const question = event.target.dataset?.confirm;
  if (question && !confirm(question)) event.preventDefault();
});
document.addEventListener("change", countPicks);
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});
document.addEventListener("toggle", markWide, true);
addEventListener("resize", markWide);
document.addEventListener("htmx:afterSettle", () => prepare(document.body));
setInterval(tellTimes, 10_000);
prepare(document.body);
