// The next token's distribution, computed in the browser so that a slider is answered at once. The same order and the same edges as
// transformers' repetition penalty and its warpers for temperature, top-k, top-p and min-p; the tests hold it to them.

/** The scores after the repetition penalty, and the ids from the largest score to the smallest. Temperature changes neither's order. */
function ranked(logits, history, penalty) {
  const scores = Float32Array.from(logits);
  if (penalty !== 1) {
    for (const id of new Set(history)) scores[id] = scores[id] < 0 ? scores[id] * penalty : scores[id] / penalty;
  }
  const order = new Uint32Array(scores.length);
  for (let i = 0; i < order.length; i += 1) order[i] = i;
  order.sort((one, other) => scores[other] - scores[one] || one - other);
  return { scores, order };
}

/**
 * The distribution for some settings: { probabilities (by id, sum 1), order, kept (how many have a chance), removed (the probability that
 * the filters took away), entropy (bits) }. A temperature of 0 is greedy: all of it on the largest score.
 */
function warp({ scores, order }, { temperature, top_k, top_p, min_p }) {
  const size = scores.length;
  const probabilities = new Float64Array(size);
  if (!temperature) {
    probabilities[order[0]] = 1;
    return { probabilities, order, kept: 1, removed: 0, entropy: 0 };
  }
  const scaled = new Float32Array(size);
  for (let i = 0; i < size; i += 1) scaled[i] = scores[i] / temperature;
  const largest = scaled[order[0]];
  let total = 0;
  for (let i = 0; i < size; i += 1) {
    probabilities[i] = Math.exp(scaled[i] - largest);
    total += probabilities[i];
  }
  let kept = size;
  if (top_k > 0 && top_k < size) {
    kept = top_k;
    while (kept < size && scaled[order[kept]] === scaled[order[top_k - 1]]) kept += 1; // ties with the k-th stay
  }
  let mass = 0;
  for (let rank = 0; rank < kept; rank += 1) mass += probabilities[order[rank]];
  if (top_p < 1) {
    let tail = 0;
    let last = kept;
    while (last > 1) {
      tail += probabilities[order[last - 1]];
      if (tail > (1 - top_p) * mass) break;
      last -= 1;
    }
    kept = last;
  }
  if (min_p > 0) while (kept > 1 && probabilities[order[kept - 1]] < min_p * probabilities[order[0]]) kept -= 1;
  mass = 0;
  for (let rank = 0; rank < kept; rank += 1) mass += probabilities[order[rank]];
  for (let rank = kept; rank < size; rank += 1) probabilities[order[rank]] = 0;
  let entropy = 0;
  for (let rank = 0; rank < kept; rank += 1) {
    const share = (probabilities[order[rank]] /= mass);
    if (share > 0) entropy -= share * Math.log2(share);
  }
  return { probabilities, order, kept, removed: kept === size ? 0 : Math.max(0, 1 - mass / total), entropy: Math.max(0, entropy) };
}

/** The token on which a uniform number falls, and the part of the ruler from 0 to 1 that is its own; tokens lie there in the order of ids. */
function land(probabilities, uniform) {
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
