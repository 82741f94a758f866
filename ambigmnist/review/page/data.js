// What the file knows. Images are numbered 0..N-1 here ("n"), by their index in the data outside.

const D = JSON.parse($('#data').textContent);
$('#data').textContent = ''; // megabytes that nobody reads again
const TYPES = {u8: Uint8Array, u16: Uint16Array, u32: Uint32Array, i32: Int32Array, f32: Float32Array};

function column({t, d}) {
  return new TYPES[t](Uint8Array.from(atob(d), c => c.charCodeAt(0)).buffer);
}

const INDEX = column(D.index), GIVEN = column(D.given), READ = column(D.read), SECOND = column(D.second);
const VERDICT = column(D.verdict), P_VERDICT = column(D.p_verdict);
const FOLD = D.fold && column(D.fold), SPLIT = D.split && column(D.split);
const START = column(D.probs.start), CLASS_OF = column(D.probs.class), VALUE = column(D.probs.value);
const N = INDEX.length, C = D.dataset.classes, K = C.length;
const all = [...INDEX.keys()];
const place = new Map(all.map(n => [INDEX[n], n]));
const DIGITS = C.every(name => /^[0-9]$/.test(name)); // then a key means the class of that name
const NOUN = DIGITS ? 'digit' : 'class';

const VERDICTS = [
  ['clean', '=', 'Clean', 'Label and model agree, and a person would.'],
  ['mislabelled', '≠', 'Mislabelled', 'It shows something else than its label.'],
  ['ambiguous', '⇄', 'Ambiguous', 'Two readings are possible.'],
  ['model_weak', '~', 'Model weak', 'A person can read it, the model cannot.'],
  ['unreadable', '?', 'Unreadable', 'Nothing can be read in it.'],
];

const ORDERS = D.orders.map(order => ({
  ...order,
  rank: column(order.rank),
  score: column(order.score),
  low: order.low && column(order.low),
  high: order.high && column(order.high),
}));
const orderOf = name => ORDERS.find(order => order.name === name) || ORDERS[0];

// p(class) of an image; what is not in the file is below 0.05 %.
function prob(n, c) {
  for (let k = START[n]; k < START[n + 1]; k++) if (CLASS_OF[k] === c) return VALUE[k] / 65535;
  return 0;
}

// The classes of an image, likeliest first, as far as the file has them.
function readings(n) {
  const found = [];
  for (let k = START[n]; k < START[n + 1]; k++) found.push(CLASS_OF[k]);
  return found.sort((a, b) => prob(n, b) - prob(n, a) || a - b);
}

// The other reading: what the model says, or its runner-up where it agrees with the label.
const rival = n => READ[n] === GIVEN[n] ? SECOND[n] : READ[n];
const where = n => D.splits.length > 1 ? `${INDEX[n]} ${D.splits[SPLIT[n]]}` : `${INDEX[n]}`;

// --- pictures -----------------------------------------------------------------------------------
// Pixel for pixel from sheets; ink on paper in the light theme, unless they are shown as stored.

const T = D.tile, sheets = D.sheets.map(() => new Image());
let asStored = store.get('ambigmnist.stored', false);
const isDark = () => root.style.colorScheme === 'dark' && !matchMedia('print').matches;

function draw(canvas, slot, speaks) {
  const g = canvas.getContext('2d'), k = slot % T.sheet;
  const x = k % T.columns * T.w, y = Math.floor(k / T.columns) * T.h;
  g.clearRect(0, 0, T.w, T.h);
  g.drawImage(sheets[Math.floor(slot / T.sheet)], x, y, T.w, T.h, 0, 0, T.w, T.h);
  if (T.invert && !asStored && !isDark()) { // exactly 255 - v
    g.globalCompositeOperation = 'difference';
    g.fillStyle = '#fff';
    g.fillRect(0, 0, T.w, T.h);
    g.globalCompositeOperation = 'source-over';
  }
  if (speaks) overlay(g, slot);
  return canvas;
}

// Orange where blanking hurts the first reading, blue where it hurts the second.
const SPEAKS = D.speaks && column(D.speaks.levels);
function overlay(g, n) {
  const {rows, cols} = D.speaks, hues = isDark() ? ['#ff9d5c', '#7fb0ff'] : ['#c2410c', '#1d4ed8'];
  const w = T.w / cols, high = T.h / rows;
  for (let k = 0; k < rows * cols; k++) {
    const v = SPEAKS[n * rows * cols + k] - 7; // -7..7
    if (!v) continue;
    g.globalAlpha = Math.abs(v) / 8.5;
    g.fillStyle = hues[v > 0 ? 0 : 1];
    g.fillRect(k % cols * w, Math.floor(k / cols) * high, w, high);
  }
  g.globalAlpha = 1;
}

function picture(slot, alt, cls) {
  const canvas = h('canvas', {width: T.w, height: T.h, class: cls, role: alt && 'img', ariaLabel: alt});
  return slot == null ? canvas : draw(canvas, slot);
}
const glyph = v => h('span', {class: 'tag v-' + VERDICTS[v][0], ariaHidden: 'true'}, VERDICTS[v][1]);
