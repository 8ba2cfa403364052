// The page of a try: sends the form when something changes, one request at a time, and swaps the answer; uploads images.
// Without this file the form is posted as it is; only uploads need it.
"use strict";

(() => {
  const form = document.getElementById("try");
  if (form === null) return;
  const field = (name) => form.elements.namedItem(name);
  const busy = document.getElementById("busy");
  const news = document.getElementById("news"); // read out; the answer itself is swapped, and such parts say nothing
  const token = document.querySelector('meta[name="csrf-token"]')?.content;
  const headers = token ? { "X-CSRF-Token": token } : {};
  const AGAIN = 1500; // milliseconds before a refused request is sent again
  let running = false;
  let stale = false;

  function shown(epsilon) {
    if (epsilon === 0) return "0";
    const parts = 255 * epsilon;
    const near = Math.abs(parts - Math.round(parts * 2) / 2) < 1e-6;
    return near && epsilon < 0.1 ? `${Math.round(parts * 2) / 2}/255` : String(Number(epsilon.toPrecision(4)));
  }

  function describe() {
    const slider = field("epsilon");
    document.getElementById("epsilon-shown").textContent = shown(Number(slider.value));
    slider.setAttribute("aria-valuetext", shown(Number(slider.value)));
  }

  function fit() {
    const largest = Number(field("norm").selectedOptions[0].dataset.largest);
    const slider = field("epsilon");
    const share = Number(slider.value) / Number(slider.max);
    slider.max = String(largest);
    slider.step = String(largest / Number(slider.dataset.notches));
    slider.value = String(share * largest);
    const norms = field("attack").selectedOptions[0].dataset.norms.split(" ");
    for (const option of field("norm").options) option.disabled = !norms.includes(option.value);
    if (field("norm").selectedOptions[0].disabled) {
      field("norm").value = norms[0];
      fit();
      return;
    }
    describe();
  }

  async function ask() {
    if (running) {
      stale = true;
      return;
    }
    running = true;
    busy.textContent = "Working…";
    let status = 0;
    try {
      const body = new URLSearchParams(new FormData(form));
      const answer = await fetch(form.action, { method: "POST", headers: { Accept: "text/html", ...headers }, body });
      status = answer.status;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("result");
      if (fresh !== null) document.getElementById("result").replaceChildren(...document.importNode(fresh, true).childNodes);
      busy.textContent = answer.ok ? "" : "Not answered.";
      news.textContent = document.querySelector("#result .verdict")?.textContent ?? "";
    } catch {
      busy.textContent = "The service does not answer.";
    }
    running = false;
    if (stale) {
      stale = false;
      ask();
    } else if (status === 429) setTimeout(ask, AGAIN);
  }

  async function upload(input) {
    const wrong = document.getElementById("wrong-file");
    const file = input.files[0];
    wrong.textContent = "";
    if (file === undefined) return;
    try {
      const answer = await fetch(form.getAttribute("data-images"), { // a field named `dataset` hides the form's own
        method: "POST",
        headers: { "Content-Type": file.type || "application/octet-stream", Accept: "application/json", ...headers },
        body: file,
      });
      const body = await answer.json();
      if (!answer.ok) {
        wrong.textContent = body.detail ?? `Refused: status ${answer.status}.`;
        return;
      }
      for (const radio of form.querySelectorAll('input[name="index"]')) radio.checked = false;
      form.querySelector('input[name="sha256"]').value = body.sha256;
      ask();
    } catch {
      wrong.textContent = "The service does not answer; try again.";
    }
  }

  form.addEventListener("change", (event) => {
    const input = event.target;
    if (input.type === "file") {
      upload(input);
      return;
    }
    if (input.name === "index") {
      form.querySelector('input[name="sha256"]').value = "";
      document.getElementById("f-file").value = "";
    }
    if (input.name === "norm" || input.name === "attack") fit();
    if (form.reportValidity()) ask();
  });
  form.addEventListener("input", (event) => (event.target.name === "epsilon" ? describe() : undefined));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  document.getElementById("f-model")?.addEventListener("change", (event) => event.target.form.submit());
  document.documentElement.classList.add("scripted");
  fit();
})();
