// Fetches the page again whenever the server says that something happened, and replaces the sections that changed. The form
// for faults keeps what is being typed.
"use strict";

let busy = false;
let again = false;

async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    const text = await (await fetch("/")).text();
    const fresh = new DOMParser().parseFromString(text, "text/html");
    document.getElementById("clock").textContent = fresh.getElementById("clock").textContent;
    for (const section of fresh.querySelectorAll("section")) {
      const old = document.getElementById(section.id);
      if (section.id === "faults") {
        const [was, is] = [old.querySelector("ul"), section.querySelector("ul")];
        if (was.innerHTML !== is.innerHTML) was.replaceWith(is);
      } else if (old.innerHTML !== section.innerHTML) {
        old.replaceWith(section);
      }
    }
  } finally {
    busy = false;
    if (again) { again = false; refresh(); }
  }
}

async function send(method, path, body) {
  const options = { method };
  if (body !== undefined) options.body = JSON.stringify(body);
  await fetch("/_fake/" + path, options);
  await refresh();
}

document.addEventListener("change", (event) => {
  const rule = event.target.dataset.rule;
  if (rule) send("POST", `faults/${rule}/${event.target.checked ? "enable" : "disable"}`);
});

document.addEventListener("click", (event) => {
  const rule = event.target.dataset.remove;
  if (rule) send("DELETE", `faults/${rule}`);
});

document.addEventListener("submit", (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const rule = { effect: JSON.parse(form.get("effect")) };
  if (form.get("operation")) rule.operation = form.get("operation");
  send("POST", "faults", rule);
});

new EventSource("/_fake/events").onmessage = refresh;
