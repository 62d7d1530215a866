// A continuation token by token, with what else each token could have been, as nbtools/generation/continuation.py gives it.

const ALTERNATIVES = 8;
const GREEDY_BELOW = 1e-5;
const PLAIN = { temperature: 1, top_k: 0, top_p: 1, min_p: 0 };

/**
 * Continue `ids`, of which the last `generated` were made with the same seed. `stopped()` is awaited after each token
 * and ends the continuation.
 */
async function* continueIds(lm, ids, settings, generated, stopped) {
  const read = [...ids];
  const room = Math.min(settings.max_new_tokens, lm.context - ids.length);
  if (room < 1 || (generated && lm.ends.has(ids[ids.length - 1]))) return;
  const numbers = uniforms(settings.seed, generated + room);
  for (let step = 0; step < room; step += 1) {
    const made = newToken(lm, read, settings, numbers[generated + step]);
    read.push(made.token);
    yield made;
    if ((await stopped()) || lm.ends.has(made.token)) return;
  }
}

/** The token that `uniform` selects after `ids`, and its alternatives; the likeliest one in greedy decoding. */
function newToken(lm, ids, settings, uniform) {
  const greedy = settings.temperature < GREEDY_BELOW;
  const ranking = ranked(lm.logits(ids), ids, settings.repetition_penalty ?? 1, lm.arrays);
  const { probabilities, order } = warp(ranking, greedy ? PLAIN : settings);
  const token = greedy ? order[0] : sampleInverseCdf(probabilities, uniform).id;
  const likely = Array.from(order.slice(0, ALTERNATIVES)).filter((id) => probabilities[id] > 0);
  const shown = likely.includes(token) ? likely : [...likely, token];
  const textOf = (id) => lm.tokenizer.textOf(id);
  const alternatives = shown.map((id) => [id, textOf(id), probabilities[id]]);
  return { token, text: textOf(token), probability: probabilities[token], uniform: greedy ? null : uniform, alternatives };
}
