// Decisions: one append-only list; what holds is its replay, undo takes the last away. Each is saved
// at once, in blocks, so that a long list is not written anew for every key. `past`: what was taken
// back, here or in an imported file; `more`: fields of such a file that mean nothing here.

const KEY = `ambigmnist.review.1.${D.dataset.images_sha256.slice(0, 16)}.${D.dataset.labels_sha256.slice(0, 16)}`;
const BLOCK = 500;
const mine = new Map(); // index -> the decision that holds
let log = [], past = [], more = {}, judgedHere = 0, refused = false, exported = true;

const nameOf = c => C[c];
const short = d => ({keep: '✓', skip: '–', unreadable: '?'})[d.verdict] || d.labels.map(nameOf).join('/');
function words(d) {
  switch (d.verdict) {
    case 'keep': return `keep ${nameOf(d.given)}`;
    case 'relabel': return `${nameOf(d.given)} → ${nameOf(d.labels[0])}`;
    case 'ambiguous': return d.labels.map(nameOf).join(' or ');
    default: return d.verdict === 'skip' ? 'skipped' : 'unreadable';
  }
}
const decided = n => mine.get(INDEX[n]);
const isOpen = n => (decided(n)?.verdict ?? 'skip') === 'skip';

function decide(n, verdict, labels, more) {
  log.push({index: INDEX[n], given: GIVEN[n], verdict, labels, note: decided(n)?.note || '',
    blind: false, control: false, ms: null, at: new Date().toISOString(), ...more});
  keep(Math.floor((log.length - 1) / BLOCK));
}

// Note on an image: part of its decision; without one it waits in the panel.
function annotate(n, note) {
  const d = decided(n);
  if (d && d.note !== note) decide(n, d.verdict, d.labels, {...d, note, at: new Date().toISOString()});
}

function undo() {
  const last = log.pop();
  if (last) past.push({...last, undone: true});
  keep(Math.floor(log.length / BLOCK));
  return last;
}

function replay() {
  mine.clear();
  for (const d of log) if (!d.repeat) mine.set(d.index, d);
  judgedHere = 0;
  for (const index of mine.keys()) if (place.has(index)) judgedHere++;
  setText($('#count'), mine.size ? `${int(judgedHere)} of ${int(N)} judged` : '');
}

// Saves block `block` (all: every one) and tells whoever shows decisions.
function keep(block, all = false) {
  exported = false;
  const count = Math.ceil(log.length / BLOCK);
  let ok = true;
  for (let b = all ? 0 : block; b <= (all ? count - 1 : block); b++) {
    const part = log.slice(b * BLOCK, (b + 1) * BLOCK);
    if (part.length) ok = store.set(`${KEY}.${b}`, part) && ok; else store.remove(`${KEY}.${b}`);
  }
  if (past.length) ok = store.set(`${KEY}.past`, past.slice(-BLOCK)) && ok;
  if (Object.keys(more).length) ok = store.set(`${KEY}.more`, more) && ok;
  refused = !ok;
  if (refused) banner('This browser keeps no data for this file: export before you close the page.');
  replay();
  if (!dialog.open) layout();
}

// Pages opened from a disk share one store: what is no decision on these data is left out.
function recall() {
  log = [];
  for (let b = 0; ; b++) {
    const part = store.get(`${KEY}.${b}`, null);
    if (!Array.isArray(part)) break;
    log.push(...part.filter(isDecision));
    if (part.length < BLOCK) break;
  }
  past = [].concat(store.get(`${KEY}.past`, [])).filter(isDecision);
  more = store.get(`${KEY}.more`, {});
  if (!isObject(more)) more = {};
  replay();
}

// Another window judges the same data: what it saved last is what holds.
addEventListener('storage', e => {
  if (!e.key?.startsWith(KEY) || !/\.\d+$/.test(e.key)) return;
  recall();
  banner('Judgements from another window with these data were taken over.');
  if (dialog.open) show(true); else { layout(); panel(S.sel); }
});

addEventListener('beforeunload', e => { if (refused && log.length && !exported) e.preventDefault(); });
