// Review: one image at a time, blind unless asked otherwise, by keyboard or touch.

const ACTIONS = {
  keep: ['k', 'Keep label'], model: ['m', 'Take prediction'], two: ['a', 'Two readings'], unreadable: ['u', 'Unreadable'],
  skip: ['s', 'Skip'], undo: ['z', 'Undo'], note: ['n', 'Write a note'], blind: ['b', 'Blind on or off'],
};
const dialog = $('#review'), KEPT = 'ambigmnist.settings';
const R = {
  queue: [], at: 0, blind: true, pair: null, told: null, shown: 0, // queue: {n, control, repeat}
  options: {blind: true, controls: false, repeats: false, late: false, ...store.get(KEPT, {})},
  seed: store.get(`${KEY}.seed`, null),
  settings() {
    const {blind, controls, repeats} = this.options;
    return {blind, seed: this.seed, controls: controls ? CONTROLS : 0, repeats: repeats ? REPEATS : 0};
  },
};
const CONTROLS = .1, REPEATS = .05;

// A small generator of random numbers (Weyl sequence, mixed): the recorded seed gives the same order.
function random(seed) {
  return () => {
    seed = seed + 0x9e3779b9 >>> 0;
    let z = Math.imul(seed ^ seed >>> 16, 0x85ebca6b);
    z = Math.imul(z ^ z >>> 13, 0xc2b2ae35);
    return ((z ^ z >>> 16) >>> 0) / 2 ** 32;
  };
}
function shuffled(items, next) {
  const out = [...items];
  for (let k = out.length - 1; k > 0; k--) {
    const j = Math.floor(next() * (k + 1));
    [out[k], out[j]] = [out[j], out[k]];
  }
  return out;
}

// What the grid shows and is not judged; skipped ones come last. Blind: in an order that says nothing.
function makeQueue() {
  const {blind, controls, repeats} = R.options, open = S.view.filter(isOpen);
  const fresh = open.filter(n => !decided(n)), skipped = open.filter(n => decided(n));
  if (!Number.isInteger(R.seed)) {
    R.seed = crypto.getRandomValues(new Uint32Array(1))[0];
    store.set(`${KEY}.seed`, R.seed);
  }
  const next = random(R.seed), items = list => list.map(n => ({n}));
  if (!blind) return items([...fresh, ...skipped]);
  let queue = items(fresh);
  if (controls) {
    const plain = all.filter(n => VERDICT[n] === 0 && READ[n] === GIVEN[n] && !decided(n) && !fresh.includes(n));
    queue.push(...shuffled(plain, next).slice(0, Math.ceil(CONTROLS * fresh.length)).map(n => ({n, control: true})));
  }
  queue = shuffled(queue, next);
  if (repeats) queue.push(...shuffled(queue, next).slice(0, Math.ceil(REPEATS * queue.length)).map(item => ({...item, repeat: true})));
  return [...queue, ...items(shuffled(skipped, next))];
}

function start() {
  const queue = makeQueue();
  Object.assign(R, {queue, at: 0, pair: null, told: null, blind: R.options.blind});
  if (!queue.length && !S.view.length) return;
  dialog.showModal();
  show();
  $('#ask').focus();
}

function judge(verdict, labels = []) {
  const {n, control = false, repeat = false} = R.queue[R.at];
  decide(n, verdict, labels, {
    blind: R.blind, control, ms: Math.round(performance.now() - R.shown), note: $('#note').value.trim(), ...(repeat && {repeat}),
  });
  Object.assign(R, {at: R.at + 1, pair: null, told: n});
  show();
}

function reading(c) {
  const {n} = R.queue[R.at];
  if (!R.pair) return judge(c === GIVEN[n] ? 'keep' : 'relabel', [c]);
  if (!R.pair.includes(c)) R.pair.push(c);
  if (R.pair.length === 2) judge('ambiguous', R.pair); else show(true);
}

const act = {
  keep: () => { if (!R.blind) reading(GIVEN[R.queue[R.at].n]); },
  model: () => { if (!R.blind) reading(READ[R.queue[R.at].n]); },
  two: () => { R.pair = R.pair ? null : []; show(true); },
  unreadable: () => judge('unreadable'),
  skip: () => judge('skip'),
  note: () => $('#note').focus(),
  blind: () => { R.blind = R.options.blind = !R.blind; store.set(KEPT, R.options); show(true); },
  undo() {
    const last = undo(), k = last ? R.queue.findIndex(item => INDEX[item.n] === last.index && !!item.repeat === !!last.repeat) : -1;
    Object.assign(R, {at: k < 0 ? R.at : k, pair: null, told: null});
    show();
    $('#ask').focus();
  },
};

// The classes on the buttons, at most ten; with more there is a search. Blind: alphabetical, so
// that the order says nothing; else the likeliest.
function buttons(n) {
  if (K <= 10) return [...C.keys()];
  if (!R.blind) return readings(n).slice(0, 10).sort((a, b) => a - b);
  buttons.fixed ||= [...C.keys()].sort((a, b) => C[a].localeCompare(C[b]) || a - b).slice(0, 10);
  return buttons.fixed;
}
const keyOf = (c, k) => (DIGITS ? C[c] : String((k + 1) % 10));

function show(same) {
  const item = R.queue[R.at], end = !item, judged = R.queue.filter((q, k) => k < R.at || !isOpen(q.n)).length;
  const left = R.queue.length - R.at, times = log.slice(-20).map(d => d.ms).filter(Boolean).sort((a, b) => a - b);
  const pace = times[times.length >> 1] / 1000;
  $('#progress').max = Math.max(1, R.queue.length);
  $('#progress').value = judged;
  $('#blind').ariaPressed = String(R.blind);
  setText($('#pace'), `${int(judged)} of ${int(R.queue.length)}` + (pace && left ? ` · ${Math.ceil(left * pace / 60)} min left` : ''));
  for (const e of [$('#classes'), $('#acts'), dialog.querySelector('.note'), $('#big'), $('#blind')]) e.hidden = end;
  tell();
  if (end) return summary();
  const {n} = item;
  if (!same) {
    R.shown = performance.now();
    $('#note').value = decided(n)?.note || '';
  }
  draw($('#big'), n).ariaLabel = R.blind ? 'the image to judge' : `image ${where(n)}`;
  if (R.pair) fill($('#ask'), 'Two readings: ', R.pair.length ? [named(C[R.pair[0]]), ' and …'] : '… and …, the likelier first');
  else if (R.blind) fill($('#ask'), `Which ${NOUN} is this?`);
  else fill($('#ask'), 'The label says ', named(C[GIVEN[n]]), '. Is it?');
  fill($('#facts'), R.blind ? [] : [h('p', {class: 'says'}, readAs(n)), h('div', {class: 'bars'}, bars(n)), h('p', {class: 'why'}, reasons(n))]);
  showButtons(n);
}

function showButtons(n) {
  const shown = buttons(n);
  fill($('#classes'), shown.map((c, k) => h('button', {ariaPressed: R.pair && String(R.pair.includes(c)), onclick: () => reading(c)},
    named(C[c]), !DIGITS && [' ', h('kbd', {}, keyOf(c, k))])),
  K > shown.length && h('button', {onclick: search}, 'other… ', h('kbd', {}, '/')));
  $('#classes').classList.toggle('named', !DIGITS);
  fill($('#acts'), ['keep', 'model', 'two', 'unreadable', 'skip'].filter((a, k) => k > 1 || !R.blind).map(a =>
    h('button', {ariaPressed: a === 'two' ? String(!!R.pair) : null, onclick: act[a]}, ACTIONS[a][1] + ' ', h('kbd', {}, keys[a].toUpperCase()))));
}
const search = () => choose(R.pair ? 'Two readings' : 'It is', reading);

// What label and model say of the image before: the next one is already there.
function tell() {
  const n = R.told, d = n != null && decided(n), last = $('#last');
  if (!d) return fill(last, R.options.late ? 'What label and model say is shown at the end.' : 'After each judgement you see here what label and model say.');
  const others = D.opinions?.[INDEX[n]];
  fill(last, picture(n), h('span', {}, 'You: ', h('b', {}, named(words(d))), !R.options.late && [
    ' · label ', named(C[GIVEN[n]]), ' · model ', named(C[READ[n]]), `, ${pct(prob(n, READ[n]))}`,
    others?.map(([who, what]) => [' · ', named(who), ': ', named(what)])]),
  h('span', {class: 'gap'}), h('button', {onclick: act.undo}, 'Undo ', h('kbd', {}, keys.undo.toUpperCase())));
}

function summary() {
  setText($('#ask'), 'All done. Export to keep your decisions.');
  const judged = R.queue.filter(q => !q.repeat).map(q => [q, decided(q.n)]).filter(([, d]) => d);
  const labelled = judged.filter(([, d]) => ['keep', 'relabel'].includes(d.verdict));
  const share = (hit, of) => (of.length ? `${hit.length} of ${of.length}` : '–');
  const controls = judged.filter(([q]) => q.control), again = log.filter(d => d.repeat);
  const rows = [
    ...[['keep', 'kept'], ['relabel', 'relabelled'], ['ambiguous', 'two readings'], ['unreadable', 'unreadable'], ['skip', 'skipped']]
      .map(([v, text]) => [text, judged.filter(([, d]) => d.verdict === v).length]),
    ['as the label says', share(labelled.filter(([q, d]) => d.labels[0] === GIVEN[q.n]), labelled)],
    ['as the model says', share(labelled.filter(([q, d]) => d.labels[0] === READ[q.n]), labelled)],
    controls.length && ['plain images right', share(controls.filter(([, d]) => d.verdict === 'keep'), controls)],
    again.length && ['the same when shown twice', share(again.filter(d => {
      const first = mine.get(d.index);
      return first && first.verdict === d.verdict && first.labels.join() === d.labels.join();
    }), again)],
  ];
  fill($('#facts'), h('div', {class: 'sum'}, rows.filter(Boolean).map(([text, value]) => [h('span', {}, text), h('b', {}, value)])),
    h('button', {class: 'primary', onclick: save}, 'Export'));
}

dialog.onclose = () => {
  refilter();
  $('#do-review').focus();
};
