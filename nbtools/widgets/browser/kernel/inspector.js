// Answers the token inspector for blocks that are stored with the page, as nbtools/widgets/token_inspector.py does.

const COLUMNS = ["index", "token", "id", "label", "position", "document", "attends to", "share of the loss"];
const NO_LABEL = "none: the block ends";

class TokenInspector extends View {
  /** `stored.blocks` holds `ids`, `positions` and `documents` of each block; `stored.of` is the number of all blocks of the data. */
  constructor(channel, { models, blocks }, { model = "base", block = 0 }) {
    super(channel);
    this.lm = models[model];
    this.blocks = blocks;
    this.shown = { columns: COLUMNS, blocks: blocks.length, ...this.block(block) };
  }

  on_block({ block }) {
    return this.block(block);
  }

  block(block) {
    if (!this.blocks[block]) throw new Error(`There is no block ${block}. Blocks are 0 to ${this.blocks.length - 1}.`);
    const { ids, positions, documents } = this.blocks[block];
    const losses = this.losses(ids, positions);
    const total = losses.reduce((sum, loss) => sum + loss, 0);
    const texts = ids.map((id) => visible(this.lm.tokenizer.textOf(id)));
    const rows = ids.map((id, index) => {
      const begin = index - positions[index];
      const last = index + 1 === ids.length;
      const label = last ? NO_LABEL : texts[index + 1];
      const attended = begin < index ? `${begin} to ${index}` : "itself";
      return [index, texts[index], id, label, positions[index], documents[index], attended, last ? null : losses[index] / total];
    });
    const reviews = new Set(documents).size;
    const title = `block ${block} of ${this.blocks.length}: ${ids.length} tokens of ${reviews} reviews`;
    return { title, block, rows, loss: total / (ids.length - 1) };
  }

  /** The loss at each token for the next one, in nats; documents do not attend to each other. */
  losses(ids, positions) {
    const { network } = this.lm;
    const { width } = network;
    const losses = new Array(ids.length).fill(0);
    for (let begin = 0; begin < ids.length; ) {
      let end = begin + 1;
      while (end < ids.length && positions[end] > 0) end += 1;
      const record = {};
      network.read(ids.slice(begin, end), network.newCache(), { record });
      const stream = record.streams[network.layers];
      for (let at = begin; at < end && at + 1 < ids.length; at += 1) {
        const scores = logSoftmax(Float64Array.from(network.logits(stream.subarray((at - begin) * width, (at - begin + 1) * width))));
        losses[at] = -scores[ids[at + 1]];
      }
      begin = end;
    }
    return losses;
  }
}
