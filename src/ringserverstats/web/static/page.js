// What pages can do without: values under the pointer, short addresses, a link to copy, and "live".
const LIVE_EVERY = 30_000;

const tip = document.createElement("div");
tip.id = "tip";
tip.hidden = true;
document.body.append(tip);

function showTip(event) {
  const mark = event.target.closest?.(".role-mark [aria-label]");
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = mark.getAttribute("aria-label");
  const left = Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8);
  const below = event.clientY + 16;
  const top = below + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 8 : below;
  // Properties set by a script are no inline style, which the policy would refuse.
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${top}px`;
}
document.addEventListener("pointermove", showTip);
document.addEventListener("pointerdown", showTip);
document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

function prepare() {
  const form = document.querySelector(".filters");
  if (!form) return;
  form.addEventListener("submit", () => {
    for (const field of form.elements) {
      const usual = field.name === "direction" && field.value === "TX";
      if (field.name && (!field.value || usual)) field.disabled = true;
    }
  });
  for (const select of form.querySelectorAll("select")) {
    select.addEventListener("change", () => form.requestSubmit());
  }
  const copy = document.getElementById("copy");
  if (navigator.clipboard) {
    copy.hidden = false;
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(location.href);
      copy.textContent = "copied";
    });
  }
  const live = document.getElementById("live");
  live.closest("label").hidden = false;
  live.checked = refreshing !== undefined;
  live.addEventListener("change", () => {
    clearInterval(refreshing);
    refreshing = live.checked ? setInterval(refresh, LIVE_EVERY) : undefined;
  });
}

let refreshing;

// Only figures are put in anew, so that nobody loses what is being typed.
async function refresh() {
  const answer = await fetch(location.href);
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const place of [".tiles", ".cards", "footer", ".card.wide"]) {
    const now = document.querySelectorAll(place);
    const then = page.querySelectorAll(place);
    if (now.length === then.length) now.forEach((one, n) => one.replaceWith(then[n]));
  }
}

// A page that the browser keeps comes back with its fields still switched off.
addEventListener("pageshow", () => {
  for (const field of document.querySelectorAll(".filters [name]")) field.disabled = false;
});
prepare();
