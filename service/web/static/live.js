// Keeps the parts of a page marked `data-live` fresh: fetches the same page again and swaps what changed.
// The page says how often (`data-refresh`, seconds) and stops asking when it says nothing. A page that names a stream of
// events (`data-events`) is read again when one comes, and polled only while the stream is broken. All of it works without
// this file.
"use strict";

(() => {
  const LONGEST = 30;
  const CALM = 5; // seconds between looks while a stream tells what is new
  const TOGETHER = 400; // milliseconds in which events that come close together count as one
  const KINDS = ["state", "progress", "metric", "log"];
  let failures = 0;
  let timer = 0;
  let stream = null;
  let waiting = 0;

  const asked = () => Number(document.querySelector("main")?.dataset.refresh ?? 0);
  const streaming = () => stream !== null && stream.readyState === EventSource.OPEN;
  const interval = () => (asked() > 0 && streaming() ? Math.max(CALM, asked()) : asked());

  // What somebody who does not see the page is told: an element that stays, since one that is swapped in says nothing.
  function announce(fresh) {
    const told = document.querySelector("[data-news]");
    const next = told === null ? undefined : fresh.getElementById(told.id)?.dataset.news;
    if (next === undefined || next === told.dataset.news) return;
    told.dataset.news = next;
    document.getElementById("news").textContent = next;
  }

  function swap(fresh) {
    announce(fresh);
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
    if (refresh === undefined) {
      delete main.dataset.refresh;
      leave();
    } else {
      main.dataset.refresh = refresh;
      main.dataset.events = fresh.querySelector("main").dataset.events ?? "";
      if (main.dataset.events === "") delete main.dataset.events;
      else listen();
    }
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
    const token = document.querySelector('meta[name="csrf-token"]')?.content;
    const headers = { Accept: "application/json", ...(token ? { "X-CSRF-Token": token } : {}) };
    const answer = await fetch(form.action, { method: "POST", headers }).catch(() => null);
    const note = document.getElementById("connection");
    if (note !== null && (answer === null || !answer.ok)) {
      note.textContent = answer === null ? "The service does not answer." : `Refused: status ${answer.status}.`;
    }
    await refresh();
  }

  function heard() {
    if (waiting === 0) waiting = setTimeout(() => ((waiting = 0), refresh()), TOGETHER);
  }

  function listen() {
    const address = document.querySelector("main")?.dataset.events;
    if (address === undefined || stream !== null || asked() === 0) return;
    stream = new EventSource(address);
    for (const kind of KINDS) stream.addEventListener(kind, heard);
    stream.addEventListener("open", schedule);
    stream.addEventListener("error", schedule); // the browser connects again by itself; polling goes on meanwhile
  }

  function leave() {
    stream?.close();
    stream = null;
  }

  document.addEventListener("submit", act);
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));
  addEventListener("pagehide", leave); // a page kept for the back button holds no stream
  schedule();
  listen();
})();
