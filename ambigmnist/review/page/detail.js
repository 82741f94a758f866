// One image in detail. The panel is built once; then its values change.

const P = {};

function buildPanel() {
  const part = (name, element) => (P[name] = element);
  const judge = name => part(name, h('button', {ariaPressed: 'false'}));
  fill($('#detail'),
    h('header', {}, part('title', h('h2')), h('span', {class: 'gap'}),
      h('button', {ariaLabel: 'Previous image', onclick: () => step(-1)}, '‹'),
      h('button', {ariaLabel: 'Next image', onclick: () => step(1)}, '›'),
      h('button', {class: 'narrow', ariaLabel: 'Close', onclick: closeSheet}, '×')),
    part('shot', picture(null, '', 'shot')),
    SPEAKS && part('speak', h('button', {class: 'speak', ariaPressed: 'false', onclick() {
      this.ariaPressed = String(this.ariaPressed !== 'true');
      panel(S.sel);
    }})),
    part('says', h('p', {class: 'says'})), part('bars', h('div', {class: 'bars'})),
    part('why', h('p', {class: 'why'})),
    h('div', {class: 'judge', role: 'group', ariaLabel: 'Your judgement'}, judge('keep'), judge('other'), judge('both'),
      judge('unreadable'), h('button', {onclick: () => choose('It is', c => say(c === GIVEN[S.sel] ? 'keep' : 'relabel', [c]))}, 'other…')),
    h('label', {class: 'note'}, 'Note ', part('note', h('input', {maxLength: 2000, autocomplete: 'off', dir: 'auto', onchange() { annotate(S.sel, this.value.trim()); panel(S.sel); }}))),
    h('div', {class: 'ranks'}, ORDERS.map(order => {
      const row = part('rank ' + order.name, {bar: h('i'), dot: h('i'), rank: h('span'), range: h('span', {class: 'muted'})});
      return [h('span', {title: order.formula}, order.title),
        h('div', {class: 'axis', ariaHidden: 'true'}, row.bar, row.dot), h('span', {}, row.rank, row.range)];
    })),
    part('near', h('div', {class: 'nears'})), part('facts', h('p', {class: 'muted'})));
}

function say(verdict, labels) {
  decide(S.sel, verdict, labels, {note: P.note.value.trim()});
  panel(S.sel);
}

function panel(n) {
  if (!N) return;
  const d = decided(n), g = GIVEN[n], o = rival(n), id = where(n);
  setText(P.title, '#' + id);
  const speaks = !!P.speak && n < D.speaks.count;
  draw(P.shot, n, speaks && P.speak.ariaPressed === 'true').ariaLabel = `image ${id}, enlarged`;
  if (P.speak) P.speak.hidden = !speaks;
  if (speaks) {
    fill(P.speak, 'What speaks for', h('span', {class: 'sw'}), named(C[READ[n]]), ' and',
      h('span', {class: 'sw two'}), named(C[SECOND[n]]));
  }
  fill(P.says, readAs(n, d));
  fill(P.bars, bars(n));
  fill(P.why, reasons(n));
  judgement(P.keep, d, ['Keep ', named(C[g])], 'keep', [g]);
  judgement(P.other, d, ['It is ', named(C[o])], 'relabel', [o]);
  judgement(P.both, d, [named(C[g]), ' or ', named(C[o])], 'ambiguous', [g, o]);
  judgement(P.unreadable, d, ['Unreadable'], 'unreadable', []);
  if (document.activeElement !== P.note) P.note.value = d?.note || '';
  for (const order of ORDERS) rankRow(P['rank ' + order.name], order, n);
  fill(P.near, nearest(n));
  fill(P.facts, facts(n));
}

function judgement(button, d, text, verdict, labels) {
  fill(button, text);
  button.ariaPressed = String(d?.verdict === verdict && d.labels.join() === labels.join());
  button.onclick = () => say(verdict, labels);
}

const said = (who, what, cls = '') => h('span', {}, who + ' ', h('b', {class: cls}, named(what)));
const readAs = (n, d) => [said('label', C[GIVEN[n]]), said('model', C[READ[n]], GIVEN[n] === READ[n] ? '' : 'wrong'),
  d && said('you', words(d))];
const reasons = n => [glyph(VERDICT[n]), h('b', {}, VERDICTS[VERDICT[n]][2]),
  ` ${pct(P_VERDICT[n] / 65535)}: `, named(D.reason[n])];

function bars(n) {
  const top = readings(n).slice(0, 3);
  if (!top.includes(GIVEN[n])) top.push(GIVEN[n]);
  return top.map((c, k) => [
    h('span', {class: 'who'}, h('b', {}, named(C[c])), c === GIVEN[n] && ' label'),
    h('span', {}, styled(h('i', {class: k ? '' : 'top'}), {width: 100 * prob(n, c) + '%'})),
    h('span', {class: 'muted'}, pct(prob(n, c))),
  ]);
}

// A dot on a logarithmic axis from rank 1 to n, its interval as a bar.
function rankRow(row, order, n) {
  const x = r => (D.dataset.n > 1 ? 100 * Math.log(r) / Math.log(D.dataset.n) : 0), rank = order.rank[n];
  styled(row.dot, {left: x(rank) + '%'});
  row.bar.hidden = !order.low;
  if (order.low) styled(row.bar, {left: x(order.low[n]) + '%', width: Math.max(0, x(order.high[n]) - x(order.low[n])) + '%'});
  setText(row.rank, int(rank));
  const score = order.score[n], text = Number(score.toPrecision(3)).toString();
  setText(row.range, (order.low ? ` (${int(order.low[n])}–${int(order.high[n])})` : '') + ` · ${text}`);
}

const NEAR = D.near && column(D.near.slots), SLOT_LABEL = D.near && column(D.near.label), SLOT_INDEX = D.near && column(D.near.index);
function nearest(n) {
  if (!NEAR) return [];
  const each = D.near.each;
  return [GIVEN[n], rival(n)].map((c, k) => {
    const slots = [...NEAR.slice((2 * n + k) * each, (2 * n + k + 1) * each)].filter(s => s >= 0);
    return slots.length && h('div', {}, h('p', {class: 'muted'}, 'Most similar, labelled ', named(C[c])),
      h('div', {class: 'near'}, slots.map(s => picture(s, `image ${SLOT_INDEX[s]}, label ${C[SLOT_LABEL[s]]}`))));
  });
}

function facts(n) {
  const votes = D.votes && column(D.votes.of).slice(n * D.votes.members, (n + 1) * D.votes.members);
  return [
    FOLD && `fold ${FOLD[n]}`,
    votes && ['networks read ', [...votes].map((c, k) => [k ? ' ' : '', named(C[c])])],
    D.in_sample && column(D.in_sample)[n] && 'the model was fitted to this image',
  ].filter(Boolean).flatMap((fact, k) => (k ? [' · ', fact] : [fact]));
}

// --- a search over all classes ------------------------------------------------------------------

const chooser = $('#choose');
function choose(title, pick) {
  $('#choose-title').textContent = `${title} …`;
  const input = $('#choose-find'), found = $('#choose-list');
  const match = () => C.map((name, c) => c).filter(c => C[c].toLowerCase().includes(input.value.trim().toLowerCase()))
    .sort((a, b) => C[a].length - C[b].length || a - b);
  const take = c => { chooser.close(); pick(c); };
  input.oninput = () => fill(found, match().slice(0, 60).map(c => h('button', {onclick: () => take(c)}, named(C[c]))));
  input.onkeydown = e => {
    const first = match()[0];
    if (e.key === 'Enter' && first !== undefined) { e.preventDefault(); take(first); }
  };
  input.value = '';
  input.oninput();
  chooser.showModal();
  input.focus();
}
