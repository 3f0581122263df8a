// What the console does in the browser beside htmx: the way in, the clock, the reason.
(() => {
  "use strict";

  // The link's secret stands after the #: it is taken out of the address before anything
  // else happens, and posted by a form. No server sees it in an address.
  function signIn() {
    const form = document.querySelector("[data-sign-in]");
    const secret = location.hash.slice(1);
    if (!form || !secret) return;
    history.replaceState(null, "", location.pathname);
    form.elements.link.value = secret;
    form.querySelector("[data-sign-in-waiting]").hidden = false;
    form.submit();
  }

  // A yes to something tainted needs a typed reason; a no never does.
  function gate() {
    const reason = document.getElementById("reason");
    for (const button of document.querySelectorAll("[data-needs-reason]")) {
      button.disabled = !reason || !reason.value.trim();
    }
  }

  // Cards end by themselves: buttons must not stay live after the time is over.
  function tick(passed) {
    for (const one of document.querySelectorAll("[data-left]")) {
      const left = Math.max(0, Number(one.dataset.left) - passed);
      one.dataset.left = String(left);
      const hours = Math.floor(left / 3600);
      const minutes = Math.floor((left % 3600) / 60);
      one.textContent = left === 0 ? "Expired: there is nothing left to sign."
        : "ends in " + (hours ? `${hours} h ${String(minutes).padStart(2, "0")} min`
          : minutes ? `${minutes} min` : `${Math.floor(left)} s`);
      if (left === 0) {
        for (const button of document.querySelectorAll("#buttons button")) button.disabled = true;
      }
    }
  }

  let last = Date.now();
  setInterval(() => {
    const now = Date.now();
    tick((now - last) / 1000);
    last = now;
  }, 1000);

  document.addEventListener("input", gate);
  document.addEventListener("htmx:after:swap", () => {
    gate();
    // After a vote the answer has the focus, where a screen reader and a keyboard go on.
    const said = document.querySelector("#card [data-focus]");
    if (said && document.activeElement === document.body) said.focus();
  });
  const offline = (hidden) => {
    const line = document.getElementById("offline");
    if (line) line.hidden = hidden;
  };
  document.addEventListener("htmx:sse:after:connection", () => offline(true));
  document.addEventListener("htmx:sse:error", (event) => {
    if (event.detail && event.detail.status === 401) location.assign("/console/sign-in");
    else offline(false);
  });
  document.addEventListener("signed-out", () => location.assign("/console/sign-in"));

  // A link that is pasted into this very page changes only what stands after the #.
  window.addEventListener("hashchange", signIn);
  signIn();
  gate();
  const said = document.querySelector("[data-focus]");
  if (said && document.querySelector("[data-sign-in]")) said.focus();
})();
