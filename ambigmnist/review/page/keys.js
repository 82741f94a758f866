// The keyboard: letters act in the review, a few outside; all of them can be changed or switched off.

const keys = Object.fromEntries(Object.entries(ACTIONS).map(([action, [key]]) => [action, key]));
for (const [action, key] of Object.entries(store.get('ambigmnist.keys', {}))) {
  if (Object.hasOwn(keys, action) && /^[a-z]$/.test(key)) keys[action] = key;
}

addEventListener('keydown', e => {
  const typing = e.target.matches('input, select, textarea'), key = e.key.toLowerCase(), reviewing = dialog.open;
  if (chooser.open) return;
  if (typing && reviewing && ['enter', 'escape'].includes(key)) {
    e.preventDefault();
    return $('#ask').focus();
  }
  if (reviewing && (e.ctrlKey || e.metaKey) && key === 'z' && !typing) {
    e.preventDefault();
    return act.undo();
  }
  if (typing || e.ctrlKey || e.metaKey || e.altKey || $('#help').open || store.get('ambigmnist.nokeys', false)) return;
  const f = reviewing ? inReview(key) : {r: start, e: save, '?': help, '/': () => { view(false); $('#find').focus(); }}[key];
  if (!f) return;
  e.preventDefault();
  f();
});

function inReview(key) {
  const action = Object.keys(keys).find(a => keys[a] === key), item = R.queue[R.at];
  if (!item) return action === 'undo' ? act.undo : key === 'e' ? save : null;
  if (key === '/') return search;
  if (/^[0-9]$/.test(key)) {
    const shown = buttons(item.n), k = shown.findIndex((c, at) => keyOf(c, at) === key);
    return k >= 0 ? () => reading(shown[k]) : null;
  }
  return act[action];
}

function help() {
  const fixed = [['Start the review', 'R'], ['Export', 'E'], ['Find', '/'], [`It is this ${NOUN}`, '0 – 9'], ['Move in grid or heatmap', 'arrows, Home, End, Page']];
  fill($('#keymap'),
    fixed.map(([text, key]) => [h('span', {}, text), h('kbd', {}, key)]),
    Object.keys(ACTIONS).map(a => [h('span', {}, ACTIONS[a][1]), keyButton(a)]),
    option('Single-key shortcuts', !store.get('ambigmnist.nokeys', false), on => store.set('ambigmnist.nokeys', !on)));
  const set = (name, text) => option(text, R.options[name], on => { R.options[name] = on; store.set(KEPT, R.options); });
  fill($('#options'),
    h('label', {}, 'Your name, for the review file ', h('input', {type: 'text', maxLength: 200, value: store.get('ambigmnist.reviewer', ''), autocomplete: 'off', dir: 'auto',
      onchange() { store.set('ambigmnist.reviewer', this.value.trim()); }})),
    set('blind', 'Start blind: label and model are hidden until you have judged'),
    set('controls', 'Mix in 10 % plain images, to measure yourself'),
    set('repeats', 'Show 5 % of the images twice'),
    set('late', 'Tell what label and model say only at the end'),
    T.invert && option('Show images as stored, in the light theme too', asStored, on => {
      asStored = on;
      store.set('ambigmnist.stored', on);
      layout();
      panel(S.sel);
    }));
  fill($('#meaning'), VERDICTS.map(([, , name, text], v) => [h('dt', {}, glyph(v), name), h('dd', {}, text)]));
  if (!$('#help').open) $('#help').showModal();
}

function option(text, checked, change) {
  const box = h('input', {type: 'checkbox', checked, onchange() { change(box.checked); }});
  return h('label', {}, box, text);
}

function keyButton(action) {
  return h('button', {
    ariaLabel: `${ACTIONS[action][1]}: key ${keys[action]}, change`,
    onclick() { this.textContent = 'press a letter'; },
    onblur() { this.textContent = keys[action].toUpperCase(); },
    onkeydown(e) {
      const key = e.key.toLowerCase();
      if (this.textContent.length < 2 || !/^[a-z]$/.test(key)) return;
      e.preventDefault();
      const taken = Object.keys(keys).find(a => a !== action && keys[a] === key);
      if (taken) { this.textContent = `${key.toUpperCase()} is ${ACTIONS[taken][1]}`; return; }
      keys[action] = key;
      store.set('ambigmnist.keys', keys);
      help();
    },
  }, keys[action].toUpperCase());
}
