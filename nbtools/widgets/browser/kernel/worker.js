// The worker of a page: it holds the models and answers the views. Messages from the page:
//   {load: ROLE, model}                   a model: {name, kind, config, tokenizer, weights (bytes), sum, plus (a role, or null)}
//   {blocks}                              blocks of packed reviews for the token inspector
//   {open: KEY, view: NAME, options}      a new view; the answer is {key, opened: TRAITS} or {key, failed: TEXT}
//   {key: KEY, content}                   a request of that view, as in nbtools/widgets/requests.py

const VIEWS = { PromptLab, AttentionExplorer, Microscope, TokenInspector };
const site = { models: {}, blocks: [] };
const open = new Map();

/**
 * The checksum CRC-32 of bytes, as Python's zlib.crc32 gives it. Four bytes at a time, with a table for each: half the
 * time of one by one.
 */
function checksum(bytes) {
  const tables = Array.from({ length: 4 }, () => new Uint32Array(256));
  for (let index = 0; index < 256; index += 1) {
    let value = index;
    for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
    tables[0][index] = value;
  }
  const [first, second, third, fourth] = tables;
  for (let index = 0; index < 256; index += 1) {
    for (let at = 1; at < 4; at += 1) tables[at][index] = (tables[at - 1][index] >>> 8) ^ first[tables[at - 1][index] & 255];
  }
  let sum = 0xffffffff;
  let at = 0;
  for (; at + 4 <= bytes.length; at += 4) {
    sum ^= bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    sum = fourth[sum & 255] ^ third[(sum >>> 8) & 255] ^ second[(sum >>> 16) & 255] ^ first[sum >>> 24];
  }
  for (; at < bytes.length; at += 1) sum = (sum >>> 8) ^ first[(sum ^ bytes[at]) & 255];
  return (sum ^ 0xffffffff) >>> 0;
}

/** Make a model from what the page has: its own weights, or differences from those of another one. */
function load(role, { name, kind, config, tokenizer, weights, sum, plus }) {
  if (checksum(weights) !== sum) throw new Error(`The weights of ${name} are damaged. Copy the pages again.`);
  const file = new Safetensors(weights);
  const base = plus ? site.models[plus].network.weights : null;
  const fill = (weight, out) => {
    file.fill(weight, out);
    if (base) add(out, base[weight], out.length);
  };
  const words = tokenizer ? new Tokenizer(tokenizer) : site.models[plus].tokenizer;
  site.models[role] = new LanguageModel({ name, kind, config, tokenizer: words, fill });
}

async function openView(key, name, options) {
  const post = (content, buffers) => self.postMessage({ key, content, buffers });
  const tell = (traits) => self.postMessage({ key, traits });
  try {
    const view = new VIEWS[name]({ post, tell }, site, options);
    open.set(key, view);
    await view.begin; // what a view computes before it can be shown
    self.postMessage({ key, opened: view.start() });
  } catch (error) {
    self.postMessage({ key, failed: error.message });
  }
}

self.addEventListener("message", ({ data }) => {
  if (data.load) {
    try {
      load(data.load, data.model);
      self.postMessage({ loaded: data.load });
    } catch (error) {
      self.postMessage({ broken: data.load, why: error.message });
    }
  } else if (data.blocks) site.blocks = data.blocks;
  else if (data.open) openView(data.open, data.view, data.options);
  else open.get(data.key)?.receive(data.content);
});
