// The random numbers of a seed, those of torch.Generator on a CPU: the Mersenne twister MT19937 (Matsumoto and
// Nishimura, 1998), two of whose outputs make a number of 53 bits.

const STATE = 624;
const MIDDLE = 397;

class MersenneTwister {
  constructor(seed) {
    this.state = new Uint32Array(STATE);
    this.state[0] = seed >>> 0;
    for (let index = 1; index < STATE; index += 1) {
      const last = this.state[index - 1];
      this.state[index] = Math.imul(1812433253, last ^ (last >>> 30)) + index;
    }
    this.at = STATE;
  }

  refill() {
    const { state } = this;
    for (let index = 0; index < STATE; index += 1) {
      const joined = (state[index] & 0x80000000) | (state[(index + 1) % STATE] & 0x7fffffff);
      state[index] = state[(index + MIDDLE) % STATE] ^ (joined >>> 1) ^ (joined & 1 ? 0x9908b0df : 0);
    }
    this.at = 0;
  }

  /** 32 random bits. */
  next() {
    if (this.at === STATE) this.refill();
    let bits = this.state[this.at];
    this.at += 1;
    bits ^= bits >>> 11;
    bits ^= (bits << 7) & 0x9d2c5680;
    bits ^= (bits << 15) & 0xefc60000;
    return (bits ^ (bits >>> 18)) >>> 0;
  }
}

/** The first `count` numbers of a seed, uniform on [0, 1). */
function uniforms(seed, count) {
  const twister = new MersenneTwister(seed);
  return Array.from({ length: count }, () => {
    const high = twister.next() & 0x1fffff; // 21 of the 53 bits
    return (high * 2 ** 32 + twister.next()) * 2 ** -53;
  });
}
