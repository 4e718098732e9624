// Optional features: values under the pointer, short addresses, "copy link", and "live".
const REFRESH_INTERVAL = 30_000; // ms

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
  // The content security policy forbids style attributes, but not properties set by a script.
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${top}px`;
}
document.addEventListener("pointermove", showTip);
document.addEventListener("pointerdown", showTip);
document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

function setUpForm() {
  const form = document.querySelector(".filters");
  if (!form) return;
  form.addEventListener("submit", () => {
    for (const field of form.elements) {
      const isDefault = field.name === "direction" && field.value === "TX";
      if (field.name && (!field.value || isDefault)) field.disabled = true;
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
    refreshing = live.checked ? setInterval(refresh, REFRESH_INTERVAL) : undefined;
  });
}

let refreshing;

// Replace only the statistics, not the form: somebody may be typing into it.
async function refresh() {
  const response = await fetch(location.href);
  if (!response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const selector of [".tiles", ".cards", "footer", ".card.wide"]) {
    const current = document.querySelectorAll(selector);
    const updated = page.querySelectorAll(selector);
    if (current.length === updated.length) {
      current.forEach((element, number) => element.replaceWith(updated[number]));
    }
  }
}

// A page restored from the browser's cache still has disabled fields.
addEventListener("pageshow", () => {
  for (const field of document.querySelectorAll(".filters [name]")) field.disabled = false;
});
setUpForm();
