// The grid: only the rows in sight, and a few more, exist; their nodes are used again.

const list = $('#list'), GAP = 8, AROUND = 300, PRINTED = 500;
const G = {cols: 1, high: 1, wide: 1, step: 1};
const nodes = new Map(), spare = [];

// A picture is a whole number of screen dots per pixel wide, so that all its pixels are alike.
function layout(whole) {
  const least = innerWidth >= 1900 ? 126 : 98, width = list.clientWidth, dots = devicePixelRatio;
  if (!width) return;
  G.cols = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
  const room = (width + GAP) / G.cols - GAP - 14, times = Math.floor(room / T.w * dots);
  G.wide = 14 + (times ? T.w * times / dots : Math.floor(room));
  G.step = (width - G.wide) / Math.max(1, G.cols - 1);
  G.high = Math.ceil(34 + 14 + (G.wide - 14) * T.h / T.w);
  list.style.height = Math.ceil(S.view.length / G.cols) * G.high + 'px';
  for (const [k, e] of nodes) drop(e, k);
  paint(whole);
}

function drop(e, k) {
  spare.push(e);
  e.remove();
  nodes.delete(k);
}

function paint(whole) {
  const top = -list.getBoundingClientRect().top, rowAt = y => Math.floor(y / G.high) * G.cols;
  const from = whole ? 0 : Math.max(0, rowAt(top - AROUND));
  const to = Math.min(S.view.length, whole ? PRINTED : rowAt(top + innerHeight + AROUND) + G.cols);
  for (const [k, e] of nodes) if (k < from || k >= to) drop(e, k);
  for (let k = from; k < to; k++) {
    if (nodes.has(k)) continue;
    nodes.set(k, tile(k));
    list.append(nodes.get(k));
  }
  const now = nodes.get(S.view.indexOf(S.sel));
  if (now) list.setAttribute('aria-activedescendant', now.id); else list.removeAttribute('aria-activedescendant');
}

function newTile() {
  const e = h('div', {role: 'option', class: 'tile', onclick() { select(this.n); openSheet(); }},
    picture(null), h('span', {ariaHidden: 'true'}), h('span', {class: 'mine'}),
    h('p', {}, h('b'), h('span', {class: 'muted'})));
  [e.canvas, e.glyph, e.mine] = e.children;
  [e.reading, e.p] = e.lastChild.children;
  return e;
}

function tile(k) {
  const e = spare.pop() || newTile(), n = S.view[k], d = decided(n);
  const given = C[GIVEN[n]], read = C[READ[n]], agree = GIVEN[n] === READ[n], p = pct(prob(n, READ[n]));
  const [key, sign, name] = VERDICTS[VERDICT[n]];
  e.n = n;
  e.id = 'o' + n;
  draw(e.canvas, n);
  e.glyph.className = 'tag v-' + key;
  setText(e.glyph, sign);
  e.mine.hidden = !d;
  setText(e.mine, d ? short(d) : '');
  e.reading.className = agree ? '' : 'wrong';
  if (agree) fill(e.reading, named(given), ' ✓'); else fill(e.reading, named(given), ' → ', named(read));
  setText(e.p, p);
  e.ariaSelected = String(n === S.sel);
  e.ariaSetSize = S.view.length;
  e.ariaPosInSet = k + 1;
  e.ariaLabel = `image ${where(n)}, label ${given}, model ${read} with ${p}, ${name}${d ? ', you: ' + words(d) : ''}`;
  return styled(e, {left: Math.round(k % G.cols * G.step) + 'px', top: Math.floor(k / G.cols) * G.high + 'px', width: G.wide + 'px'});
}

function select(n, reveal) {
  S.sel = n;
  const k = S.view.indexOf(n), y = list.getBoundingClientRect().top + Math.floor(k / G.cols) * G.high;
  if (reveal && k >= 0) {
    const low = innerHeight - G.high - 8;
    scrollBy(0, Math.min(0, y - 190) + Math.max(0, y - low));
  }
  paint();
  for (const [j, e] of nodes) e.ariaSelected = String(j === k);
  panel(n);
  address();
}

function step(by) {
  if (S.view.length) select(S.view[Math.max(0, Math.min(S.view.length - 1, S.view.indexOf(S.sel) + by))], true);
}

list.onkeydown = e => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  const screen = G.cols * Math.max(1, Math.floor((innerHeight - 190) / G.high));
  const by = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: G.cols, ArrowUp: -G.cols, Home: -N, End: N,
    PageDown: screen, PageUp: -screen}[e.key];
  if (e.key === 'Enter') { openSheet(); $('#detail').focus(); }
  if (!by || !S.view.length) return;
  e.preventDefault();
  step(by);
};

// On a narrow screen the panel is a sheet from below.
const openSheet = () => $('#detail').classList.add('open');
function closeSheet() {
  $('#detail').classList.remove('open');
  list.focus({preventScroll: true});
}
