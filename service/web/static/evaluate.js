// The form of a new evaluation: hands the job in as JSON, shows problems at their fields, and proposes the usual radii.
// Without this file the form is posted as it is and the server answers with a page.
"use strict";

(() => {
  const form = document.getElementById("evaluate");
  if (form === null) return;
  const field = (name) => form.elements.namedItem(name);

  const number = (text) => (text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text);
  const radius = (text) => {
    const [above, below, ...rest] = text.split("/");
    if (below === undefined) return number(text);
    return rest.length === 0 && Number(below) !== 0 ? number(String(Number(above) / Number(below))) : text;
  };
  const READ = {
    text: (text) => text,
    number,
    radii: (text) => text.split(/[\s,]+/).filter(Boolean).map(radius),
  };

  const token = () => {
    const found = document.querySelector('meta[name="csrf-token"]')?.content;
    return found ? { "X-CSRF-Token": found } : {};
  };

  function specification() {
    const spec = { type: "evaluate" };
    for (const input of form.elements) {
      const text = (input.value ?? "").trim();
      if (!input.name || !input.dataset.kind || text === "") continue;
      const path = input.name.split(".");
      const last = path.pop();
      const room = path.reduce((inner, name) => (inner[name] ??= {}), spec);
      room[last] = READ[input.dataset.kind](text);
    }
    return spec;
  }

  function show(problems) {
    for (const note of form.querySelectorAll("[data-wrong]")) note.textContent = "";
    for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
    let first = null;
    for (const { field: path, message } of problems) {
      let name = path ?? "";
      while (name !== "" && field(name) === null) name = name.split(".").slice(0, -1).join(".");
      const note = form.querySelector(`[data-wrong="${CSS.escape(name)}"]`);
      if (note !== null && note.textContent === "") note.textContent = name === path ? message : `${path}: ${message}`;
      if (name === "") continue;
      const input = field(name);
      input.setAttribute("aria-invalid", "true");
      input.closest("details")?.setAttribute("open", "");
      first ??= input;
    }
    first?.focus();
  }

  async function submit(event) {
    event.preventDefault();
    const button = document.getElementById("start");
    button.disabled = true;
    try {
      const answer = await fetch(form.dataset.api, {
        method: "POST",
        headers: { "Content-Type": "application/json", Accept: "application/json", ...token() },
        body: JSON.stringify(specification()),
      });
      const body = await answer.json();
      if (answer.ok) {
        location.assign(`/jobs/${encodeURIComponent(body.id)}`);
        return;
      }
      show(body.errors ?? [{ field: "", message: body.detail ?? `Refused: status ${answer.status}.` }]);
    } catch {
      show([{ field: "", message: "The service does not answer; try again." }]);
    }
    button.disabled = false;
  }

  const conventional = JSON.parse(form.dataset.conventional);
  const usual = () => conventional[field("target").selectedOptions[0].dataset.channels]?.[field("threat.norm").value] ?? "";
  let proposed = usual();

  function propose(event) {
    const radii = field("threat.epsilons");
    if (radii.value.trim() === proposed) radii.value = usual();
    proposed = usual();
    const wanted = field("target").selectedOptions[0].dataset.dataset;
    const offered = [...field("data.name").options].some((option) => option.value === wanted);
    if (event.target.name === "target" && offered) field("data.name").value = wanted;
  }

  form.addEventListener("submit", submit);
  field("target").addEventListener("change", propose);
  field("threat.norm").addEventListener("change", propose);
})();
