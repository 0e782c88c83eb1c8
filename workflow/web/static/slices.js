// A slim scroll viewer: slices that the server cuts, windowed here and drawn on a plain canvas.
// Indices are (slice, row, column), whole numbers at voxel centres; lengths are millimetres.

const KEPT = 160; // slices of one volume, 80 MB at 512 x 512
const AHEAD = 4; // slices that are fetched before they are asked for

export class Stack {
  constructor(visit, id) {
    this.url = `/slices/${visit}/${id}`;
    this.id = id;
    this.slices = new Map();
    this.pending = new Map();
  }

  async open() {
    this.opened ??= fetch(this.url).then(async (answer) => {
      if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail ?? `error ${answer.status}`);
      Object.assign(this, await answer.json());
      const lengths = this.spacing_mm;
      this.axes = this.steps_lps.map((step, i) => step.map((v) => v / lengths[i]));
      return this;
    });
    return this.opened;
  }

  // Outlines and axes are those of the record when it was opened: another analysis has others.
  async refresh() {
    const answer = await fetch(this.url);
    if (answer.ok) this.lesions = (await answer.json()).lesions;
  }

  async slice(index) {
    const kept = this.slices.get(index);
    if (kept) return kept;
    if (!this.pending.has(index)) {
      this.pending.set(index, fetch(`${this.url}/${index}.bin`).then(async (answer) => {
        if (!answer.ok) throw new Error(`slice ${index + 1}: error ${answer.status}`);
        const values = new Int16Array(await answer.arrayBuffer());
        this.slices.set(index, values);
        if (this.slices.size > KEPT) this.slices.delete(this.slices.keys().next().value);
        return values;
      }).finally(() => this.pending.delete(index)));
    }
    return this.pending.get(index);
  }

  prefetch(index, direction) {
    for (let i = 1; i <= AHEAD; i += 1) {
      const next = index + i * direction;
      if (next >= 0 && next < this.shape[0] && !this.slices.has(next)) this.slice(next).catch(() => {});
    }
  }

  lesion(uid) {
    return this.lesions.find((one) => one.tracking_uid === uid);
  }

  // Millimetres along an index axis, and back, of a step in the patient.
  toLps(offset) {
    return [0, 1, 2].map((i) => offset.reduce((sum, value, axis) => sum + value * this.steps_lps[axis][i], 0));
  }

  fromLps(step) {
    return this.axes.map((axis, i) => axis.reduce((sum, value, j) => sum + value * step[j], 0) / this.spacing_mm[i]);
  }
}

// The ends of an axis of the patient as PS3.3 C.7.6.1.1.1 names them, the main direction first.
export function letters(direction) {
  const names = [["L", "R"], ["P", "A"], ["H", "F"]];
  return direction
    .map((value, i) => [Math.abs(value), names[i][value > 0 ? 0 : 1]])
    .filter(([size]) => size > 0.3)
    .sort((a, b) => b[0] - a[0])
    .map(([, name]) => name)
    .join("");
}

export class Pane {
  constructor(figure) {
    this.canvas = figure.querySelector("canvas");
    this.caption = figure.querySelector("figcaption");
    this.buffer = document.createElement("canvas");
    this.stack = null;
    this.index = 0;
    this.centre = [0, 0];
    this.marks = [];
    this.lesion = "";
    this.hides = new Set(); // lesions whose axes a reader has replaced by a number
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  async show(stack, index) {
    const started = performance.now();
    const direction = index >= this.index ? 1 : -1;
    this.stack = stack;
    this.index = Math.min(Math.max(Math.round(index), 0), stack.shape[0] - 1);
    const wanted = this.index;
    let values;
    try {
      values = await stack.slice(wanted);
    } catch (error) {
      this.say(error.message);
      return;
    }
    if (this.stack !== stack || this.index !== wanted) return; // scrolled on in the meantime
    this.values = values;
    this.shown = null;
    this.draw();
    stack.prefetch(wanted, direction);
    this.canvas.dispatchEvent(new CustomEvent("slice-shown", { detail: { index: wanted, ms: performance.now() - started } }));
  }

  clear(words) {
    this.stack = null;
    this.values = null;
    this.draw();
    this.say(words);
  }

  say(words) {
    this.caption.textContent = words;
  }

  // ------------------------------------------------------------ between index, millimetres and the screen

  toScreen(row, column) {
    const [, rowMm, columnMm] = this.stack.spacing_mm;
    return [
      this.canvas.clientWidth / 2 + (column - this.centre[1]) * columnMm * this.scale,
      this.canvas.clientHeight / 2 + (row - this.centre[0]) * rowMm * this.scale,
    ];
  }

  toIndex(x, y) {
    const [, rowMm, columnMm] = this.stack.spacing_mm;
    return [
      this.centre[0] + (y - this.canvas.clientHeight / 2) / (rowMm * this.scale),
      this.centre[1] + (x - this.canvas.clientWidth / 2) / (columnMm * this.scale),
    ];
  }

  fit() {
    const [, rows, columns] = this.stack.shape;
    const [, rowMm, columnMm] = this.stack.spacing_mm;
    return Math.min(this.canvas.clientWidth / (columns * columnMm), this.canvas.clientHeight / (rows * rowMm));
  }

  // ------------------------------------------------------------ drawing

  draw() {
    const { canvas } = this;
    const dense = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(canvas.clientWidth * dense));
    const height = Math.max(1, Math.round(canvas.clientHeight * dense));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d");
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    if (!this.stack || !this.values || !this.window || !this.scale) return;
    this.fillBuffer();
    const [, rows, columns] = this.stack.shape;
    const [x, y] = this.toScreen(-0.5, -0.5);
    const [right, bottom] = this.toScreen(rows - 0.5, columns - 0.5);
    pen.imageSmoothingEnabled = true;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(this.buffer, x, y, right - x, bottom - y);
    for (const lesion of this.stack.lesions) this.drawLesion(pen, lesion);
    for (const mark of this.marks) if (mark.slice === this.index) this.drawMark(pen, mark);
    this.drawFrame(pen);
  }

  fillBuffer() {
    const key = `${this.stack.id} ${this.index} ${this.window.centre} ${this.window.width} ${this.window.is_inverted}`;
    if (this.shown === key) return;
    this.shown = key;
    const [, rows, columns] = this.stack.shape;
    if (this.buffer.width !== columns || this.buffer.height !== rows) Object.assign(this.buffer, { width: columns, height: rows });
    const pen = this.buffer.getContext("2d");
    const image = pen.createImageData(columns, rows);
    const pixels = new Uint32Array(image.data.buffer);
    const table = this.table();
    for (let i = 0; i < pixels.length; i += 1) pixels[i] = table[this.values[i] + 32768];
    pen.putImageData(image, 0, 0);
  }

  // Grey for each of the 65536 values (PS3.3 C.11.2.1.2, linear).
  table() {
    const { centre, width, is_inverted: isInverted } = this.window;
    const { slope, intercept } = this.stack;
    const key = `${centre} ${width} ${isInverted} ${slope} ${intercept}`;
    if (this.tableOf === key) return this.greys;
    this.tableOf = key;
    this.greys = new Uint32Array(65536);
    const low = centre - width / 2;
    for (let i = 0; i < 65536; i += 1) {
      const share = ((i - 32768) * slope + intercept - low) / width;
      const grey = Math.round(255 * Math.min(Math.max(isInverted ? 1 - share : share, 0), 1));
      this.greys[i] = 0xff000000 | (grey << 16) | (grey << 8) | grey; // little-endian ABGR
    }
    return this.greys;
  }

  drawLesion(pen, lesion) {
    const outlines = lesion.contours[this.index] ?? [];
    const isChosen = lesion.tracking_uid === this.lesion;
    pen.lineWidth = isChosen ? 2 : 1.25;
    pen.strokeStyle = lesion.colour;
    for (const outline of outlines) this.stroke(pen, outline);
    if (lesion.slice === this.index && !this.hides.has(lesion.tracking_uid)) {
      for (const axis of [lesion.long_axis, lesion.short_axis]) {
        if (axis) this.stroke(pen, axis.map((end) => [end[1], end[2]]));
      }
    }
    if (outlines.length) {
      const corner = outlines[0].reduce((best, point) => (point[1] - point[0] > best[1] - best[0] ? point : best));
      const [x, y] = this.toScreen(...corner);
      this.text(pen, lesion.label, x + 6, y - 6, lesion.colour);
    }
  }

  drawMark(pen, mark) {
    pen.strokeStyle = "#00e5ff";
    pen.fillStyle = "#00e5ff";
    pen.lineWidth = 2;
    const spots = mark.points.map(([row, column]) => this.toScreen(row, column));
    if (mark.kind === "point") {
      const [x, y] = spots[0];
      pen.beginPath();
      pen.moveTo(x - 7, y);
      pen.lineTo(x + 7, y);
      if (mark.is_positive !== false) {
        pen.moveTo(x, y - 7);
        pen.lineTo(x, y + 7);
      }
      pen.stroke();
      return;
    }
    if (mark.kind === "box" && spots.length === 2) {
      const [[x, y], [right, bottom]] = spots;
      pen.strokeRect(x, y, right - x, bottom - y);
      return;
    }
    for (let i = 0; i + 1 < spots.length; i += 2) this.stroke(pen, mark.points.slice(i, i + 2));
    const [, rowMm, columnMm] = this.stack.spacing_mm;
    for (let i = 0; i + 1 < mark.points.length; i += 2) {
      const [a, b] = [mark.points[i], mark.points[i + 1]];
      const mm = Math.hypot((a[0] - b[0]) * rowMm, (a[1] - b[1]) * columnMm);
      const [x, y] = this.toScreen(...b);
      this.text(pen, `${mm.toFixed(1)} mm`, x + 8, y, "#00e5ff");
    }
  }

  stroke(pen, points) {
    pen.beginPath();
    points.forEach(([row, column], i) => {
      const [x, y] = this.toScreen(row, column);
      if (i) pen.lineTo(x, y);
      else pen.moveTo(x, y);
    });
    pen.stroke();
  }

  text(pen, words, x, y, colour = "#fff", align = "left") {
    pen.font = "600 13px system-ui, 'DejaVu Sans', sans-serif";
    pen.textAlign = align;
    pen.textBaseline = "middle";
    pen.lineJoin = "round";
    pen.lineWidth = 3;
    pen.strokeStyle = "#000";
    pen.strokeText(words, x, y);
    pen.fillStyle = colour;
    pen.fillText(words, x, y);
  }

  drawFrame(pen) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const [, down, right] = this.stack.axes;
    const back = (direction) => direction.map((value) => -value);
    this.text(pen, letters(back(right)), 8, height / 2);
    this.text(pen, letters(right), width - 8, height / 2, "#fff", "right");
    this.text(pen, letters(back(down)), width / 2, 12, "#fff", "center");
    this.text(pen, letters(down), width / 2, height - 12, "#fff", "center");
    this.text(pen, `${this.index + 1} / ${this.stack.shape[0]}`, 8, 14);
    this.text(pen, `${this.window.name ?? "W"} ${Math.round(this.window.centre)} / ${Math.round(this.window.width)}`, 8, 32);
    const wanted = 100 / this.scale;
    const mm = [1, 2, 5, 10, 20, 50, 100, 200].filter((step) => step <= wanted).pop() ?? 1;
    const length = mm * this.scale;
    pen.beginPath();
    pen.moveTo(10, height - 18);
    pen.lineTo(10, height - 12);
    pen.lineTo(10 + length, height - 12);
    pen.lineTo(10 + length, height - 18);
    for (const [colour, thick] of [["#000", 4], ["#fff", 2]]) { // on black as on white tissue
      pen.strokeStyle = colour;
      pen.lineWidth = thick;
      pen.stroke();
    }
    this.text(pen, `${mm} mm`, 14 + length, height - 14);
  }
}
