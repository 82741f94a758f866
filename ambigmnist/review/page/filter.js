// What is shown, in which order; the chips say so, and so does the address.

const S = {by: ORDERS[0].name, verdicts: new Set(), cell: null, find: '', view: [], sel: 0};
const AMONG = D.maps.among; // how many images the map of counts looks at, by the first definition
const MENTIONED = .01; // a class with less is no reading

// Heatmap cells: t = label, j = reading, null = all. kind "count": what Heatmap.cell gives.
function inCell({kind, t, j}, n) {
  if (t != null && GIVEN[n] !== t) return false;
  if (kind === 'count') return ORDERS[0].rank[n] <= AMONG && (j == null || READ[n] === j);
  return j == null || j === t || (GIVEN[n] !== j && prob(n, j) >= MENTIONED);
}
const hits = cell => all.filter(n => inCell(cell, n));

function about({kind, t, j}) {
  return [kind === 'count' && D.maps.count_title, t != null && `label ${C[t]}`,
    j != null && j !== t && (kind === 'count' ? `read as ${C[j]}` : `at least 1 % on ${C[j]}`)]
    .filter(Boolean).join(', ');
}

// "1039": an index. "4 9": label and reading, by their names. Otherwise words, all of them.
function matcher(text) {
  const asked = text.trim().toLowerCase().split(/\s+/).filter(Boolean);
  if (!asked.length) return () => true;
  const at = asked.map(word => C.findIndex(name => name.toLowerCase() === word));
  if (asked.length === 2 && at[0] >= 0 && at[1] >= 0) return n => GIVEN[n] === at[0] && READ[n] === at[1];
  if (asked.length === 1 && /^\d+$/.test(asked[0])) return n => String(INDEX[n]).startsWith(asked[0]);
  return n => {
    const [key, , name] = VERDICTS[VERDICT[n]], said = decided(n);
    const facts = [C[GIVEN[n]], C[READ[n]], name, key, D.splits.length && D.splits[SPLIT[n]],
      FOLD && `fold${FOLD[n]} fold ${FOLD[n]}`, said && `${words(said)} ${said.note}`, D.reason[n]];
    const text = facts.filter(Boolean).join(' ').toLowerCase();
    return asked.every(word => text.includes(word));
  };
}

function refilter() {
  const c = S.cell, on = c?.kind === 'prob' && c.j !== c.t ? c.j : null, matches = matcher(S.find);
  const base = (c ? hits(c) : all).filter(matches), order = orderOf(S.by);
  const by = on == null ? n => order.rank[n] : n => -prob(n, on);
  S.view = base.filter(n => !S.verdicts.size || S.verdicts.has(VERDICT[n])).sort((a, b) => by(a) - by(b) || a - b);
  const some = S.view.length < N ? `${int(S.view.length)} of ${int(N)}` : int(N);
  fill($('#found'), some, on == null ? null : [', by probability of ', named(C[on])]);
  chips(base);
  for (const e of $$('[data-key]')) e.ariaSelected = String(!!c && e.dataset.key === JSON.stringify(c));
  $('#empty').hidden = S.view.length > 0;
  if (S.view.length && !S.view.includes(S.sel)) S.sel = S.view[0];
  layout();
  panel(S.sel);
  address();
}

function chips(base) {
  const count = new Uint32Array(VERDICTS.length);
  for (const n of base) count[VERDICT[n]]++;
  const chip = v => {
    const [key, , name] = VERDICTS[v];
    return h('button', {
      id: 'v-' + key, ariaPressed: String(S.verdicts.has(v)),
      onclick() { S.verdicts.delete(v) || S.verdicts.add(v); refilter(); $('#v-' + key).focus(); },
    }, glyph(v), name + ' ', h('span', {class: 'n'}, int(count[v])));
  };
  fill($('#chips'), [1, 2, 3, 4, 0].map(chip)); // clean last
  const remove = (text, clear) => h('button', {
    class: 'x', ariaLabel: 'Remove filter: ' + text,
    onclick() { clear(); refilter(); list.focus(); },
  }, named(text), ' ×');
  fill($('#active'), S.cell && remove(about(S.cell), () => { S.cell = null; }),
    S.find && remove(`“${S.find}”`, () => { $('#find').value = S.find = ''; }));
}

function clearFilters() {
  S.verdicts.clear();
  S.cell = null;
  $('#find').value = S.find = '';
  refilter();
  list.focus();
}

// --- the address --------------------------------------------------------------------------------

// Browsers limit how often an address may change.
function address() {
  clearTimeout(address.timer);
  address.timer = setTimeout(() => {
    const {cell, verdicts, by, find} = S;
    const parts = [
      S.model ? 'model' : N && `i=${INDEX[S.sel]}`,
      cell && `cell=${cell.kind}:${cell.t ?? ''}:${cell.j ?? ''}`,
      verdicts.size && `v=${[...verdicts].map(v => VERDICTS[v][0]).join()}`,
      by !== ORDERS[0].name && `by=${encodeURIComponent(by)}`,
      find && `find=${encodeURIComponent(find)}`,
    ];
    const hash = '#' + parts.filter(Boolean).join('&');
    try { history.replaceState(null, '', hash); } catch { /* refused inside a notebook */ }
  }, 300);
}

// True where the address asked for an image of this file.
function follow() {
  let asked;
  try { asked = new URLSearchParams(location.hash.slice(1)); } catch { return false; }
  const number = text => (text && +text >= 0 && +text < K ? +text : null);
  const [kind, t, j] = (asked.get('cell') || '').split(':');
  S.cell = ['prob', 'count'].includes(kind) ? {kind, t: number(t), j: number(j)} : null;
  if (S.cell && S.cell.t == null && S.cell.j == null) S.cell = null;
  const names = (asked.get('v') || '').split(',');
  S.verdicts = new Set([...VERDICTS.keys()].filter(v => names.includes(VERDICTS[v][0])));
  S.by = orderOf(asked.get('by')).name;
  $('#sort').value = S.by;
  $('#find').value = S.find = asked.get('find') || '';
  const n = place.get(Number(asked.get('i')));
  if (asked.has('i') && n !== undefined) S.sel = n;
  refilter();
  view(asked.has('model'));
  return asked.has('i') && n !== undefined && S.view.includes(n);
}
