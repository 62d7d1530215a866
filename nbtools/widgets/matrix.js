// How attention weights arrive and are painted.

/** Weights of one head from 8-bit lower triangles: at(row, column) from 0 to 1. */
function triangle(bytes, heads, count, head) {
  const size = (count * (count + 1)) / 2;
  const from = Math.min(head, heads - 1) * size;
  return (row, column) => (column > row ? 0 : bytes[from + (row * (row + 1)) / 2 + column] / 255);
}

/** A canvas image of `count` by `count` values from 0 to 1, white (or the theme's paper) to blue, by the square root. */
function paint(canvas, count, at, dark, straight = false) {
  canvas.width = count;
  canvas.height = count;
  const pixels = canvas.getContext("2d").createImageData(count, count);
  const [paper, ink] = dark ? [[24, 24, 24], [86, 180, 233]] : [[255, 255, 255], [0, 68, 140]];
  for (let row = 0; row < count; row += 1) {
    for (let column = 0; column < count; column += 1) {
      const share = straight ? at(row, column) : Math.sqrt(at(row, column));
      const place = 4 * (row * count + column);
      for (let part = 0; part < 3; part += 1) pixels.data[place + part] = paper[part] + (ink[part] - paper[part]) * share;
      pixels.data[place + 3] = column > row ? (dark ? 40 : 10) : 255;
    }
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}
