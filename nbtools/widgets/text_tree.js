// The prompt lab's text, token by token, the alternatives of a token, and the branches.

const ROOT = -1; // the prompt itself, as the parent of a token
const BRANCH_TOKENS = 12; // shown of a branch

/** The tree of tokens that `data` holds, each with the number of the token before it. */
function textTree(data) {
  const nodes = new Map();
  function path(number) {
    const found = [];
    for (let node = nodes.get(number); node; node = nodes.get(node.parent)) found.unshift(node);
    return found;
  }
  function fill() {
    nodes.clear();
    for (const node of data.nodes) nodes.set(node.number, node);
  }
  return {
    nodes,
    path,
    fill,
    add: (node) => nodes.set(node.number, node),
    parentOf: (number) => nodes.get(number)?.parent ?? ROOT,
    child: (parent, token) => [...nodes.values()].find((node) => node.parent === parent && node.token === token),
  };
}

/** The alternatives of one token: shown while it is pointed at, kept when it is pressed. */
function alternativesPanel(lab) {
  const element = make("div", { class: "nbt-detail" });
  let opened = null; // the number of the node
  let locked = false;
  function close() {
    opened = null;
    locked = false;
    element.replaceChildren();
  }
  function choose(node, id) {
    close();
    lab.actions.fork(node, id);
  }
  function alternative(node, [id, label, probability]) {
    return button(`${visible(label)} ${percent(probability)}`, () => choose(node, id), {
      class: "nbt-button nbt-mono",
      "aria-pressed": String(id === node.token),
      "data-token": id,
      disabled: lab.busy(),
    });
  }
  function goBack(node) {
    close();
    lab.actions.visit(node.number);
  }
  function open(node, lock) {
    if (lock && locked && opened === node.number) return close();
    if (!lock && locked) return undefined;
    opened = node.number;
    locked = lock;
    const drawn = node.uniform === null ? "" : ` (random number ${node.uniform.toFixed(4)})`;
    const sentence = `${visible(node.text)} had a probability of ${percent(node.probability)}${drawn}. Continue with:`;
    const buttons = node.alternatives.map((other) => alternative(node, other));
    buttons.push(button("Go back to this token", () => goBack(node)));
    element.replaceChildren(
      make("p", { class: "nbt-faint", text: sentence }),
      make("div", { class: "nbt-row" }, ...buttons),
    );
    return undefined;
  }
  return { element, open };
}

/** The text up to the current token; the less likely a token was, the stronger its line. */
function textPanel(lab, alternatives) {
  const label = "Text: press a token for its alternatives";
  function token(node) {
    const made = button(node.text, () => alternatives.open(node, true), {
      class: "nbt-token",
      "data-node": node.number,
      "aria-label": `${visible(node.text)}, ${percent(node.probability)}; show alternatives`,
    });
    const bits = -Math.log2(Math.max(node.probability, 1e-6));
    made.style.setProperty("--surprise", String(Math.min(1, bits / 8)));
    made.addEventListener("mouseenter", () => alternatives.open(node, false));
    const breaks = node.text.split("\n").length - 1;
    if (!breaks) return made;
    made.classList.add("nbt-break"); // a button is a box, in which a line break would end no line of the text
    return make("span", {}, made, ...Array.from({ length: breaks }, () => make("br")));
  }
  const prompt = make("span", { class: "nbt-faint" });
  const element = make("div", { class: "nbt-text", role: "group", "aria-label": label }, prompt);
  let drawn = []; // the nodes whose tokens stand there, after the prompt
  function show() {
    const path = lab.tree.path(lab.view.data.at);
    prompt.textContent = path.length ? lab.view.data.root : "";
    const first = parting(path, drawn);
    const same = first < 0 ? Math.min(path.length, drawn.length) : first;
    while (element.children.length > 1 + same) element.lastChild.remove();
    element.append(...path.slice(same).map(token));
    drawn = path;
  }
  return { element, show };
}

/** One row per branch, indented by how often it split from others. */
function branchPanel(lab) {
  function row(leaf, siblings, current) {
    const path = lab.tree.path(leaf.number);
    const splits = path.filter((node) => siblings.get(node.parent) > 1);
    const from = splits.length ? path.indexOf(splits[splits.length - 1]) : 0;
    const tail = path.slice(from, from + BRANCH_TOKENS).map((node) => node.text);
    const more = path.length > from + BRANCH_TOKENS ? " …" : "";
    const branch = button(visible(tail.join("")) + more, () => lab.actions.visit(leaf.number), {
      class: "nbt-button nbt-mono nbt-branch",
      "aria-current": current.has(leaf.number) ? "true" : false,
      "data-leaf": leaf.number,
    });
    const length = make("span", { class: "nbt-faint", text: ` from token ${from + 1}, ${path.length} tokens` });
    return make("li", { style: `margin-left:${14 * Math.max(0, splits.length - 1)}px` }, branch, length);
  }
  return panel(() => {
    const all = [...lab.tree.nodes.values()];
    const siblings = new Map();
    for (const { parent } of all) siblings.set(parent, (siblings.get(parent) ?? 0) + 1);
    const leaves = all.filter((node) => !siblings.has(node.number));
    if (leaves.length < 2) return [];
    const current = new Set(lab.tree.path(lab.view.data.at).map((node) => node.number));
    const rows = leaves.map((leaf) => row(leaf, siblings, current));
    return [make("h4", { text: `${leaves.length} branches` }), make("ul", { class: "nbt-tree" }, ...rows)];
  });
}
