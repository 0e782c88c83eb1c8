// Shows a board's packets as soon as their files are there.
"use strict";
const waiting = document.querySelector("[data-waiting]");
if (waiting) {
  const look = async () => {
    try {
      const answer = await fetch(waiting.dataset.waiting);
      if (answer.ok && !(await answer.json()).is_waiting) {
        location.reload();
        return;
      }
    } catch {
      // The server is away for the moment; it is asked again.
    }
    setTimeout(look, 1500);
  };
  setTimeout(look, 1000);
}
