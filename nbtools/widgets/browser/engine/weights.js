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

const KINDS = { F32: Float32Array, F16: Uint16Array, I8: Int8Array };

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

  /** The numbers of a weight as they are stored: a view of the file, which the format aligns. */
  stored(name) {
    const { dtype, shape, data_offsets: [from, to] } = this.entry(name);
    const kind = KINDS[dtype];
    if (!kind) throw new Error(`The weights ${name} are stored as ${dtype}, which is not read here.`);
    const begin = this.bytes.byteOffset + this.begin + from;
    if (begin % kind.BYTES_PER_ELEMENT) throw new Error(`The file of weights is damaged: ${name} is not aligned.`);
    return { dtype, shape, numbers: new kind(this.bytes.buffer, begin, (to - from) / kind.BYTES_PER_ELEMENT) };
  }

  /** Write a weight into `out` with its outputs as rows. GPT-2's linear layers are stored with their inputs as rows. */
  fill(name, out) {
    const { dtype, shape, numbers } = this.stored(name);
    if (numbers.length !== out.length) throw new Error(`${name} has ${numbers.length} numbers, not ${out.length}.`);
    const columns = shape.length > 1 ? shape[1] : 1;
    const rows = numbers.length / columns;
    const steps = dtype === "I8" ? this.stored(`${name}.steps`).numbers : null; // 8 bits: multiples, -127 to 127, of a step for each row
    const turned = /\.c_(attn|proj|fc)\.weight$/.test(name);
    for (let row = 0; row < rows; row += 1) {
      for (let column = 0; column < columns; column += 1) {
        const found = numbers[row * columns + column];
        const number = dtype === "F16" ? this.half[found] : steps ? steps[row] * found : found;
        out[turned ? column * rows + row : row * columns + column] = number;
      }
    }
  }
}
