// Keeps the parts of a page marked `data-live` fresh: fetches the same page again and swaps what changed.
// The page says how often (`data-refresh`, seconds) and stops asking when it says nothing; all of it works without this file.
"use strict";

(() => {
  const LONGEST = 30;
  let failures = 0;
  let timer = 0;

  const interval = () => Number(document.querySelector("main")?.dataset.refresh ?? 0);

  function swap(fresh) {
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(part.id);
      if (next === null || next.innerHTML === part.innerHTML) continue;
      const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
      const scrolled = part.scrollTop;
      part.replaceChildren(...document.importNode(next, true).childNodes);
      part.scrollTop = scrolled;
      if (focused) document.getElementById(focused)?.focus();
    }
    const main = document.querySelector("main");
    const refresh = fresh.querySelector("main")?.dataset.refresh;
    if (refresh === undefined) delete main.dataset.refresh;
    else main.dataset.refresh = refresh;
    document.title = fresh.title;
  }

  function offline(state) {
    const note = document.getElementById("connection");
    if (note !== null) note.textContent = state ? "The service does not answer; this page tries again." : "";
  }

  async function refresh() {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
      failures = 0;
    } catch {
      failures += 1;
    }
    offline(failures > 1);
    schedule();
  }

  function schedule() {
    clearTimeout(timer);
    const seconds = interval();
    if (seconds > 0) timer = setTimeout(refresh, 1000 * Math.min(LONGEST, seconds * 2 ** failures));
  }

  async function act(event) {
    const form = event.target;
    if (!(form instanceof HTMLFormElement) || form.dataset.action === undefined) return;
    event.preventDefault();
    const answer = await fetch(form.action, { method: "POST", headers: { Accept: "application/json" } }).catch(() => null);
    const note = document.getElementById("connection");
    if (note !== null && (answer === null || !answer.ok)) {
      note.textContent = answer === null ? "The service does not answer." : `Refused: status ${answer.status}.`;
    }
    await refresh();
  }

  document.addEventListener("submit", act);
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));
  schedule();
})();
