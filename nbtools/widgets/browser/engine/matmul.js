// The product of activations and weights, in WebAssembly with SIMD where the browser has it, else in JavaScript.

// matmul.wat, assembled.
const MATMUL = [
  "AGFzbQEAAAABCwFgB39/f39/f38AAg8BA2VudgZtZW1vcnkCAAEDAgEABwoBBm1hdG11bAAACrYEAbMEAgl/BXsgBUEEbCEHAkAD",
  "QCAIIAZPDQFBACEJAkADQCAJIARPDQEgAiAIIAdsaiEMIAwgB2ohDSANIAdqIQ4gDiAHaiEP/QwAAAAAAAAAAAAAAAAAAAAAIRD9",
  "DAAAAAAAAAAAAAAAAAAAAAAhEf0MAAAAAAAAAAAAAAAAAAAAACES/QwAAAAAAAAAAAAAAAAAAAAAIRMgASAJIAdsaiEKIAogB2oh",
  "CwNAIAr9AAQAIRQgECAUIAz9AAQA/eYB/eQBIRAgESAUIA39AAQA/eYB/eQBIREgEiAUIA79AAQA/eYB/eQBIRIgEyAUIA/9AAQA",
  "/eYB/eQBIRMgDEEQaiEMIA1BEGohDSAOQRBqIQ4gD0EQaiEPIApBEGohCiAKIAtJDQALIBAgECAQ/Q0EBQYHAAECAwwNDg8ICQoL",
  "/eQBIhAgESARIBH9DQQFBgcAAQIDDA0ODwgJCgv95AEiEf0NAAECAxAREhMICQoLGBkaGyEUIBIgEiAS/Q0EBQYHAAECAwwNDg8I",
  "CQoL/eQBIhIgEyATIBP9DQQFBgcAAQIDDA0ODwgJCgv95AEiE/0NAAECAxAREhMICQoLGBkaGyESIBQgEv0NAAECAwQFBgcQERIT",
  "FBUWFyAUIBL9DQgJCgsMDQ4PGBkaGxwdHh/95AEhFCADBEAgFCADIAhBBGxq/QAEAP3kASEUCyAAIAkgBmwgCGpBBGxqIBT9CwQA",
  "IAlBAWohCQwACwsgCEEEaiEIDAALCws=",
].join("");
const PAGE = 65_536; // bytes; WebAssembly's memory comes in pages

/**
 * Memory for the numbers of one model, and the product on it. All arrays are views of one buffer, handed out one after the other.
 *
 * bytes  how much memory there is
 * plain  whether the product is computed in JavaScript even where WebAssembly is there
 */
class Heap {
  constructor(bytes, plain = false) {
    this.used = 16; // address 0 says "no bias"
    try {
      if (plain) throw new Error("JavaScript was asked for");
      const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / PAGE) + 1 });
      const code = new WebAssembly.Module(fromBase64(MATMUL));
      this.product = new WebAssembly.Instance(code, { env: { memory } }).exports.matmul;
      this.buffer = memory.buffer;
    } catch {
      this.product = null; // no WebAssembly, no SIMD, or a policy that forbids it
      this.buffer = new ArrayBuffer(bytes + PAGE);
    }
  }

  /** An array of `size` floats, aligned for SIMD. */
  floats(size) {
    const array = new Float32Array(this.buffer, this.used, size);
    this.used += Math.ceil((4 * size) / 16) * 16;
    return array;
  }

  /** out [rows, outer] = x [rows, inner] weights^T [inner, outer] + bias [outer], which may be null. */
  matmul(out, x, weights, bias, rows, inner, outer) {
    if (this.product && inner % 4 === 0 && outer % 4 === 0) {
      const at = bias ? bias.byteOffset : 0;
      this.product(out.byteOffset, x.byteOffset, weights.byteOffset, at, rows, inner, outer);
    } else plainMatmul(out, x, weights, bias, rows, inner, outer);
  }
}

/** The same in JavaScript, four sums at a time. */
function plainMatmul(out, x, weights, bias, rows, inner, outer) {
  for (let column = 0; column < outer; column += 1) {
    const from = column * inner;
    for (let row = 0; row < rows; row += 1) {
      const begin = row * inner;
      let [a, b, c, d] = [0, 0, 0, 0];
      let at = 0;
      for (; at + 3 < inner; at += 4) {
        a += x[begin + at] * weights[from + at];
        b += x[begin + at + 1] * weights[from + at + 1];
        c += x[begin + at + 2] * weights[from + at + 2];
        d += x[begin + at + 3] * weights[from + at + 3];
      }
      for (; at < inner; at += 1) a += x[begin + at] * weights[from + at];
      out[row * outer + column] = a + b + c + d + (bias ? bias[column] : 0);
    }
  }
}
