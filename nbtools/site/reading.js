// What a page offers to its reader beside the views: a theme, what was read, and a search over all pages.

/** Something that the browser keeps for this site; nothing where it keeps nothing. */
const kept = {
  get(name) {
    try {
      return JSON.parse(localStorage.getItem(`course-${name}`));
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`course-${name}`, JSON.stringify(value));
    } catch {
      document.documentElement.dataset.kept = "no"; // a private window, or no room: the page works without
    }
  },
};

const systemIsDark = () => matchMedia("(prefers-color-scheme: dark)").matches;

function applyTheme() {
  const theme = kept.get("theme") ?? (systemIsDark() ? "dark" : "light");
  document.documentElement.dataset.theme = theme;
  document.body.dataset.jpThemeLight = String(theme === "light"); // how the views know it
  return theme;
}

function themeButton() {
  const press = document.querySelector("#theme");
  if (!press) return;
  press.hidden = false;
  const label = () => {
    press.textContent = applyTheme() === "dark" ? "Light" : "Dark";
  };
  press.addEventListener("click", () => {
    kept.set("theme", applyTheme() === "dark" ? "light" : "dark");
    label();
  });
  label();
}

/** A box at the end of each notebook, and marks in the list of the front page. */
function progressMarks() {
  const done = new Set(kept.get("read") ?? []);
  const box = document.querySelector("#read");
  if (box) {
    box.closest("[hidden]").hidden = false;
    box.checked = done.has(box.dataset.name);
    box.addEventListener("change", () => {
      if (box.checked) done.add(box.dataset.name);
      else done.delete(box.dataset.name);
      kept.set("read", [...done]);
    });
  }
  for (const row of document.querySelectorAll("[data-notebook]")) {
    if (done.has(row.dataset.notebook)) row.querySelector(".read-mark").textContent = "✓ read";
  }
}

/** Sections that contain every word, those with a word in their heading first. */
function searchSections(sections, words) {
  const scored = sections.map((section) => {
    const [heading, text] = [section.heading.toLowerCase(), section.text.toLowerCase()];
    if (!words.every((word) => heading.includes(word) || text.includes(word))) return { section, score: 0 };
    return { section, score: words.reduce((sum, word) => sum + (heading.includes(word) ? 10 : 0) + Math.min(5, text.split(word).length - 1), 1) };
  });
  return scored.filter(({ score }) => score).sort((one, other) => other.score - one.score).slice(0, 12).map(({ section }) => section);
}

/** The words around the first hit. */
function excerpt(text, word) {
  const at = Math.max(0, text.toLowerCase().indexOf(word));
  const from = Math.max(0, at - 50);
  return `${from ? "… " : ""}${text.slice(from, at + 110)}${at + 110 < text.length ? " …" : ""}`;
}

function searchBox() {
  const form = document.querySelector("#search");
  if (!form) return;
  form.hidden = false;
  const [input, list] = [form.querySelector("input"), form.querySelector("ul")];
  form.addEventListener("submit", (event) => event.preventDefault());
  input.addEventListener("input", async () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) {
      list.replaceChildren();
      return;
    }
    const { sections } = await loadScript("search");
    const found = searchSections(sections, words);
    const entries = found.map((section) => {
      const link = Object.assign(document.createElement("a"), { href: new URL(`../${section.page}`, LIVE).href, textContent: section.heading });
      const around = Object.assign(document.createElement("span"), { textContent: ` ${section.title}: ${excerpt(section.text, words[0])}` });
      const entry = document.createElement("li");
      entry.append(link, around);
      return entry;
    });
    if (!entries.length) entries.push(Object.assign(document.createElement("li"), { textContent: "Nothing found." }));
    list.replaceChildren(...entries);
  });
}

applyTheme();
themeButton();
progressMarks();
searchBox();
start();
