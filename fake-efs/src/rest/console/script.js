// Fetches the page again whenever the server says that something happened, and replaces the sections that changed. The keyboard's
// place, what is being typed and what is unfolded stay. Nothing is announced but what the user did.
"use strict";

let busy = false;
let again = false;

const byId = (id) => document.getElementById(id);

// How an element can be found in the new section: a link by where it leads, a button by what it does, a box by its section.
function place(element) {
  for (const name of ["href", "data-path", "data-rule", "data-body"]) {
    const value = element.getAttribute(name);
    if (value !== null) return `[${name}="${CSS.escape(value)}"]`;
  }
  return element.classList.contains("scroll") ? ".scroll" : null;
}

function put(old, fresh) {
  if (old.innerHTML === fresh.innerHTML) return;
  const active = old.contains(document.activeElement) ? place(document.activeElement) : null;
  const scrolled = old.querySelector(".scroll")?.scrollLeft;
  old.replaceWith(fresh);
  if (scrolled) fresh.querySelector(".scroll").scrollLeft = scrolled;
  if (active) fresh.querySelector(active)?.focus({ preventScroll: true });
}

async function refresh() {
  if (!byId("live").checked) return;
  if (busy) { again = true; return; }
  busy = true;
  try {
    const text = await (await fetch(location.pathname + location.search)).text();
    const page = new DOMParser().parseFromString(text, "text/html");
    byId("clock").textContent = page.getElementById("clock").textContent;
    for (const section of page.querySelectorAll("section")) {
      const old = byId(section.id);
      if (!old) continue;
      if (section.id === "faults") put(byId("rules"), section.querySelector("#rules"));
      else put(old, section);
    }
  } finally {
    busy = false;
    if (again) { again = false; refresh(); }
  }
}

async function send(method, path, body, done) {
  const options = { method };
  if (body !== undefined) options.body = body;
  const answer = await fetch("/_fake/" + path, options);
  byId("status").textContent = answer.ok ? done : `It was refused: ${(await answer.json()).Message}`;
  await refresh();
}

document.addEventListener("change", (event) => {
  const rule = event.target.dataset.rule;
  const how = event.target.checked ? "enable" : "disable";
  if (rule) send("POST", `faults/${rule}/${how}`, undefined, `Rule ${rule} is ${how}d.`);
  if (event.target.id === "live") refresh();
});

document.addEventListener("click", (event) => {
  const { method, path, body, done } = event.target.closest("button")?.dataset ?? {};
  if (method) send(method, path, body, done);
});

document.addEventListener("submit", (event) => {
  if (event.target.id !== "new-fault") return;
  event.preventDefault();
  const form = new FormData(event.target);
  const rule = { effect: JSON.parse(form.get("effect")) };
  if (form.get("operation")) rule.operation = form.get("operation");
  send("POST", "faults", JSON.stringify(rule), "The fault is set.");
});

new EventSource("/_fake/events").onmessage = refresh;
