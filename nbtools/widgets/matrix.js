// Attention weights as they arrive from the kernel, and as they are painted.

const LIGHT = { paper: [255, 255, 255], ink: [0, 68, 140] };
const DARK = { paper: [24, 24, 24], ink: [86, 180, 233] };

/** The weights of one head from 8-bit lower triangles, as a function of row and column with values from 0 to 1. */
function triangle(bytes, heads, count, head) {
  const size = (count * (count + 1)) / 2;
  const from = Math.min(head, heads - 1) * size;
  return (row, column) => (column > row ? 0 : bytes[from + (row * (row + 1)) / 2 + column] / 255);
}

/** Whether the page has a dark theme, as JupyterLab and Notebook 7 say it. */
function darkTheme() {
  return document.body.dataset.jpThemeLight === "false";
}

/**
 * Paint `count` by `count` values from 0 to 1, from the page's background to blue. The scale is the square root, so
 * that faint patterns are visible; `linear` for values that are square roots already.
 */
function paint(canvas, count, at, { dark = darkTheme(), linear = false } = {}) {
  canvas.width = count;
  canvas.height = count;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(count, count);
  const { paper, ink } = dark ? DARK : LIGHT;
  for (let row = 0; row < count; row += 1) {
    for (let column = 0; column < count; column += 1) {
      const value = linear ? at(row, column) : Math.sqrt(at(row, column));
      const pixel = 4 * (row * count + column);
      for (let channel = 0; channel < 3; channel += 1) {
        pixels.data[pixel + channel] = paper[channel] + (ink[channel] - paper[channel]) * value;
      }
      pixels.data[pixel + 3] = column > row ? (dark ? 40 : 10) : 255;
    }
  }
  context.putImageData(pixels, 0, 0);
}

/**
 * A grid of one button per layer and head, with the numbers of both at its edges.
 *
 * press(layer, head)                      is called when a button is pressed
 * fill(layers, heads, finish)             makes the buttons; `finish(button, layer, head)` completes each
 * mark(chosen)                            shows as pressed each button for which `chosen(layer, head, button)` is true
 */
function headButtons(label, kind, most, press) {
  const element = make("div", { class: "nbt-grid", role: "group", "aria-label": `${label}; arrow keys move` });
  let buttons = [];
  function fill(layers, heads, finish) {
    const side = Math.max(18, Math.min(most, Math.floor(380 / heads)));
    element.style.gridTemplateColumns = `1.6em repeat(${heads}, ${side}px)`;
    const columns = [...Array(heads).keys()];
    const cells = [make("span"), ...columns.map((head) => make("span", { text: head, class: "nbt-column" }))];
    buttons = [];
    for (let layer = 0; layer < layers; layer += 1) {
      const row = columns.map((head) => {
        const place = { "aria-label": `layer ${layer}, head ${head}`, "data-layer": layer, "data-head": head };
        return make("button", { type: "button", class: kind, ...place, onclick: () => press(layer, head) });
      });
      row.forEach((one, head) => finish(one, layer, head));
      cells.push(make("span", { text: layer }), ...row);
      buttons.push(...row);
    }
    element.replaceChildren(...cells);
    roving(buttons, heads);
  }
  function mark(chosen) {
    for (const one of buttons) {
      const pressed = chosen(Number(one.dataset.layer), Number(one.dataset.head), one);
      one.setAttribute("aria-pressed", String(pressed));
    }
  }
  return { element, fill, mark };
}
