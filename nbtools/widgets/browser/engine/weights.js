// Weights from a file of the safetensors format, which is a table in JSON and then the numbers.

/** The float32 number of each of the 65,536 patterns of 16 bits of IEEE 754's half precision. */
function halfTable() {
  const table = new Float32Array(65_536);
  for (let bits = 0; bits < 65_536; bits += 1) {
    const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    if (exponent === 31) table[bits] = fraction ? NaN : sign * Infinity;
    else table[bits] = sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
  }
  return table;
}

class Safetensors {
  /** `bytes` is the whole file, a Uint8Array. Throws an Error for a file that is cut off or has another format. */
  constructor(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const length = bytes.byteLength > 8 ? Number(view.getBigUint64(0, true)) : 0;
    try {
      this.table = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(8, 8 + length)));
    } catch {
      throw new Error("The file of weights is damaged: it does not begin with a table.");
    }
    this.metadata = this.table.__metadata__ ?? {};
    delete this.table.__metadata__;
    this.bytes = bytes;
    this.begin = 8 + length;
    const end = Math.max(0, ...Object.values(this.table).map((entry) => entry.data_offsets[1]));
    if (this.begin + end !== bytes.byteLength) throw new Error("The file of weights is damaged: it has another length than its table says.");
    this.half = halfTable();
  }

  /** The entry of a weight, whose name may begin with "transformer.". */
  entry(name) {
    const found = this.table[name] ?? this.table[`transformer.${name}`];
    if (!found) throw new Error(`The file of weights has no ${name}.`);
    return found;
  }

  /** The numbers of a weight, as they are stored. */
  numbers(name) {
    const { dtype, shape, data_offsets: [from, to] } = this.entry(name);
    const data = this.bytes.slice(this.begin + from, this.begin + to).buffer;
    if (dtype === "F32") return new Float32Array(data);
    if (dtype === "F16") return this.fromHalf(new Uint16Array(data));
    if (dtype === "I8") return this.fromBytes(new Int8Array(data), this.numbers(`${name}.steps`), shape);
    throw new Error(`The weights ${name} are stored as ${dtype}, which is not read here.`);
  }

  fromHalf(bits) {
    const { half } = this;
    const found = new Float32Array(bits.length);
    for (let at = 0; at < bits.length; at += 1) found[at] = half[bits[at]];
    return found;
  }

  /** Numbers that are stored as multiples, -127 to 127, of a step for each row. */
  fromBytes(multiples, steps, shape) {
    const columns = multiples.length / shape[0];
    const found = new Float32Array(multiples.length);
    for (let row = 0; row < shape[0]; row += 1) {
      for (let at = row * columns; at < (row + 1) * columns; at += 1) found[at] = steps[row] * multiples[at];
    }
    return found;
  }

  /** Write a weight into `out` with its outputs as rows. GPT-2's linear layers are stored with their inputs as rows. */
  fill(name, out) {
    const stored = this.numbers(name);
    if (stored.length !== out.length) throw new Error(`${name} has ${stored.length} numbers, not ${out.length}.`);
    const { shape } = this.entry(name);
    if (!/\.c_(attn|proj|fc)\.weight$/.test(name)) out.set(stored);
    else {
      const [inputs, outputs] = shape;
      for (let row = 0; row < inputs; row += 1) {
        for (let column = 0; column < outputs; column += 1) out[column * inputs + row] = stored[row * outputs + column];
      }
    }
  }
}
