// The distribution of the next token, computed in the browser so that it follows a slider at once. The order and the
// treatment of ties are those of transformers' repetition penalty and warpers for temperature, top-k, top-p and min-p.

const ID_RANGE = 2 ** 21; // more than any vocabulary; with the 32 bits of a score it fits a number's 53

const OFF = { top_k: 0, top_p: 1, min_p: 0, repetition_penalty: 1 }; // values that leave the distribution as it is

/** Arrays for one distribution over `size` tokens, to be used again and again where many are computed. */
function distributionArrays(size) {
  const float = () => new Float32Array(size);
  const double = () => new Float64Array(size);
  return { scores: float(), scaled: float(), keys: double(), order: new Uint32Array(size), probabilities: double() };
}

/**
 * The scores after the repetition penalty, and the ids in order of falling scores, which no temperature changes.
 *
 * Sorted are numbers that hold a score's 32 bits, in an order in which larger scores come first, and below them the
 * id: JavaScript sorts numbers far faster than by a comparison.
 */
function ranked(logits, history, penalty, arrays = distributionArrays(logits.length)) {
  const { scores, keys, order } = arrays;
  scores.set(logits);
  if (penalty !== 1) {
    for (const id of new Set(history)) scores[id] = scores[id] < 0 ? scores[id] * penalty : scores[id] / penalty;
  }
  const bits = new Uint32Array(scores.buffer);
  for (let id = 0; id < scores.length; id += 1) {
    scores[id] += 0; // -0 becomes 0
    const falling = bits[id] >>> 31 ? bits[id] : ~bits[id] & 0x7fffffff;
    keys[id] = falling * ID_RANGE + id;
  }
  keys.sort();
  for (let rank = 0; rank < order.length; rank += 1) order[rank] = keys[rank] % ID_RANGE;
  return arrays;
}

/**
 * The distribution for some settings. A temperature of 0 is greedy: all probability is on the largest score.
 *
 * probabilities  by id; their sum is 1
 * order          the ids in order of falling probabilities
 * kept           how many tokens remain after the filters
 * removed        the probability that the filters removed
 * entropy        in bits
 */
function warp({ scores, scaled, order, probabilities }, { temperature, top_k, top_p, min_p }) {
  const size = scores.length;
  probabilities.fill(0);
  if (!temperature) {
    probabilities[order[0]] = 1;
    return { probabilities, order, kept: 1, removed: 0, entropy: 0 };
  }
  for (let id = 0; id < size; id += 1) scaled[id] = scores[id] / temperature;
  const largest = scaled[order[0]];
  for (let id = 0; id < size; id += 1) probabilities[id] = Math.exp(scaled[id] - largest);
  let kept = keepTopK(scaled, order, top_k);
  kept = keepTopP(probabilities, order, kept, top_p);
  kept = keepMinP(probabilities, order, kept, min_p);
  const total = sumOf(probabilities, order, size);
  const mass = sumOf(probabilities, order, kept);
  const entropy = normalize(probabilities, order, kept, mass);
  return { probabilities, order, kept, removed: kept === size ? 0 : Math.max(0, 1 - mass / total), entropy };
}

/** The sum over the `count` likeliest tokens. */
function sumOf(probabilities, order, count) {
  let sum = 0;
  for (let rank = 0; rank < count; rank += 1) sum += probabilities[order[rank]];
  return sum;
}

/** How many tokens top-k keeps. Ties with the k-th are kept. */
function keepTopK(scaled, order, k) {
  if (!k || k >= scaled.length) return scaled.length;
  let kept = k;
  while (kept < scaled.length && scaled[order[kept]] === scaled[order[k - 1]]) kept += 1;
  return kept;
}

/** How many of the `kept` likeliest tokens top-p keeps, at least one. */
function keepTopP(probabilities, order, kept, p) {
  if (p >= 1) return kept;
  const mass = sumOf(probabilities, order, kept);
  let tail = 0;
  let last = kept;
  while (last > 1) {
    tail += probabilities[order[last - 1]];
    if (tail > (1 - p) * mass) break;
    last -= 1;
  }
  return last;
}

/** How many of the `kept` likeliest tokens min-p keeps, at least one. */
function keepMinP(probabilities, order, kept, p) {
  let last = kept;
  while (p > 0 && last > 1 && probabilities[order[last - 1]] < p * probabilities[order[0]]) last -= 1;
  return last;
}

/** Divide the `kept` likeliest by their sum and set the others to zero. Returns the entropy in bits. */
function normalize(probabilities, order, kept, mass) {
  let entropy = 0;
  for (let rank = 0; rank < order.length; rank += 1) {
    const probability = rank < kept ? probabilities[order[rank]] / mass : 0;
    probabilities[order[rank]] = probability;
    if (probability > 0) entropy -= probability * Math.log2(probability);
  }
  return Math.max(0, entropy);
}

/**
 * The token that a uniform random number selects, and its interval in the cumulative distribution, in which tokens are
 * in the order of their ids.
 */
function sampleInverseCdf(probabilities, uniform) {
  let total = 0;
  for (const share of probabilities) total += share;
  let edge = 0;
  let last = 0;
  for (let id = 0; id < probabilities.length; id += 1) {
    if (!probabilities[id]) continue;
    const begin = edge;
    edge += probabilities[id];
    last = id;
    if (edge > uniform * total) return { id, begin: begin / total, end: edge / total };
  }
  return { id: last, begin: (edge - probabilities[last]) / total, end: 1 };
}
