// Byte-level byte-pair encoding as GPT-2 has it (Radford et al., 2019), from the tokenizer.json of the tokenizers library.

// The pre-tokenizer's pattern. \s in JavaScript is not the property White_Space: it has U+FEFF and lacks U+0085.
const PIECES =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/** The character that stands for each byte in the vocabulary: printable ones for themselves, the others from U+0100 on. */
function byteCharacters() {
  const printable = (byte) => (byte > 32 && byte < 127) || (byte > 160 && byte < 173) || byte > 173;
  let shifted = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : shifted++));
}

/** Half of a surrogate pair becomes U+FFFD, as nbtools.texts.repair does. */
function repairText(text) {
  return text.toWellFormed ? text.toWellFormed() : text.replace(/\p{Surrogate}/gu, "\ufffd");
}

class Tokenizer {
  /** `description` is the parsed tokenizer.json. */
  constructor(description) {
    const { vocab, merges } = description.model;
    this.ids = new Map(Object.entries(vocab));
    this.special = new Map(description.added_tokens.map((token) => [token.content, token.id]));
    this.texts = [];
    for (const [text, id] of [...this.ids, ...this.special]) this.texts[id] = text;
    this.ranks = new Map(merges.map((pair, rank) => [Array.isArray(pair) ? pair.join(" ") : pair, rank]));
    this.characters = byteCharacters();
    this.bytes = new Map(this.characters.map((character, byte) => [character, byte]));
    this.known = new Map(); // pieces that were split before
    const escaped = [...this.special.keys()].map((text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    this.specials = escaped.length ? new RegExp(`(${escaped.join("|")})`) : null;
  }

  /** The ids of a text. */
  encode(text) {
    const ids = [];
    for (const part of this.specials ? repairText(text).split(this.specials) : [repairText(text)]) {
      if (this.special.has(part)) ids.push(this.special.get(part));
      else for (const [piece] of part.matchAll(PIECES)) ids.push(...this.merge(piece));
    }
    return ids;
  }

  /** The ids of one piece: neighbours are merged in the order of the merge table until none is in it. */
  merge(piece) {
    const found = this.known.get(piece);
    if (found) return found;
    let parts = Array.from(new TextEncoder().encode(piece), (byte) => this.characters[byte]);
    while (parts.length > 1) {
      const ranks = parts.slice(1).map((next, index) => this.ranks.get(`${parts[index]} ${next}`) ?? Infinity);
      const best = Math.min(...ranks);
      if (best === Infinity) break;
      const merged = [];
      for (let at = 0; at < parts.length; at += 1) {
        const both = at < ranks.length && ranks[at] === best;
        merged.push(both ? parts[at] + parts[at + 1] : parts[at]);
        if (both) at += 1;
      }
      parts = merged;
    }
    const ids = parts.map((part) => this.ids.get(part));
    if (this.known.size < 50_000) this.known.set(piece, ids);
    return ids;
  }

  /** The bytes of one token; null for a special one. */
  bytesOf(id) {
    const text = this.texts[id];
    return this.special.has(text) ? null : Array.from(text, (character) => this.bytes.get(character));
  }

  /** The text of ids without special tokens. */
  decode(ids) {
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(
      Uint8Array.from(ids.flatMap((id) => this.bytesOf(id) ?? [])),
    );
  }

  /** The text of a token on its own; the bytes in hexadecimal for one that is only part of a character. */
  textOf(id) {
    const bytes = this.bytesOf(id);
    if (bytes === null) return this.texts[id];
    const text = this.decode([id]);
    const hexadecimal = bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    return text.includes("\ufffd") ? `<bytes ${hexadecimal}>` : text;
  }

  /** The characters that each of the ids of `text` covers; "·" for a token that only continues a character. */
  pieces(text, ids) {
    const characters = Array.from(repairText(text)); // code points
    const ends = []; // of each character, in bytes
    for (const character of characters) ends.push((ends.at(-1) ?? 0) + new TextEncoder().encode(character).length);
    const characterAt = (byte) => ends.findIndex((end) => byte < end);
    let byte = 0;
    let end = 0;
    return ids.map((id) => {
      const length = this.bytesOf(id)?.length ?? this.texts[id].length;
      const [start, stop] = [characterAt(byte), characterAt(byte + length - 1) + 1];
      byte += length;
      const piece = stop <= end && stop > start ? "·" : characters.slice(Math.max(start, end), stop).join("");
      end = Math.max(end, stop);
      return piece;
    });
  }
}
