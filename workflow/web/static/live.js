// Asks for the part of the page that is live (#live, by htmx) when the server says that something changed.
"use strict";
(() => {
  const least = 1500; // ms between two swaps: a study that is being received changes all the time
  let shown = null;
  let last = 0;
  let waiting = null;
  const swap = () => {
    waiting = null;
    // Not under a hand: what somebody chooses from or writes in stays until it is left.
    if (document.activeElement?.closest("#live :is(select, input, textarea)")) {
      waiting = setTimeout(swap, least);
      return;
    }
    last = Date.now();
    htmx.trigger("#live", "changed");
  };
  const source = new EventSource("/events");
  const say = (text) => {
    const status = document.getElementById("connection");
    if (status && status.textContent !== text) status.textContent = text;
  };
  source.addEventListener("change", (event) => {
    say("Live");
    // The first one is the state that the page was made of, or a moment later; after a gap it may be newer.
    const isNew = shown !== null && shown !== event.data;
    shown = event.data;
    if (isNew && waiting === null) waiting = setTimeout(swap, Math.max(0, last + least - Date.now()));
  });
  source.addEventListener("error", () => say("Not live: the server does not answer, trying again"));
  addEventListener("pagehide", () => source.close());
})();
