// Everything is there: connect the controls and show the first images.

function theme(scheme) {
  root.style.colorScheme = scheme;
  layout();
  panel(S.sel);
  if (S.model) for (const paintCloud of CLOUDS) paintCloud();
}

function connect() {
  const press = {
    review: start, export: save, help, import: () => $('#file').click(),
    theme() {
      theme(isDark() ? 'light' : 'dark');
      store.set('ambigmnist.theme', root.style.colorScheme);
    },
  };
  for (const name in press) $('#do-' + name).onclick = press[name];
  $('#to-images').onclick = e => { e.preventDefault(); view(false); address(); };
  $('#to-model').onclick = e => { e.preventDefault(); view(true); address(); };
  $('#file').onchange = e => {
    if (e.target.files[0]) load(e.target.files[0]);
    e.target.value = '';
  };
  fill($('#sort'), ORDERS.map(order => h('option', {value: order.name}, order.title))).onchange = e => {
    S.by = e.target.value;
    refilter();
  };
  $('#find').oninput = e => { S.find = e.target.value; refilter(); };
  $('#clear').onclick = clearFilters;
  $('#help-import').onclick = press.import;
  $('#help-export').onclick = save;
  $('#blind').onclick = act.blind;
  $('#leave').onclick = () => dialog.close();
  for (const e of $$('kbd[data-k]')) e.textContent = keys[e.dataset.k].toUpperCase();
  $('#big').width = T.w;
  $('#big').height = T.h;
  let asked = false;
  addEventListener('scroll', () => {
    if (!asked) requestAnimationFrame(() => { asked = false; if (!dialog.open) paint(); });
    asked = true;
  }, {passive: true});
  addEventListener('resize', () => { layout(); if (S.model) for (const paintCloud of CLOUDS) paintCloud(); });
  addEventListener('beforeprint', () => { $('#printed').textContent = new Date().toISOString().slice(0, 10); layout(true); });
  addEventListener('afterprint', () => layout());
  addEventListener('hashchange', () => { if (follow()) select(S.sel, true); });
}

root.style.colorScheme = store.get('ambigmnist.theme', matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
buildPanel();
connect();
Promise.all(sheets.map((sheet, k) => { sheet.src = D.sheets[k]; return sheet.decode(); })).then(() => {
  D.sheets = null;
  recall();
  if (!store.set(`${KEY}.test`, 1)) banner('This browser keeps no data for this file: export before you close the page.');
  store.remove(`${KEY}.test`);
  root.dataset.ready = ''; // what it hides has no size to draw in
  if (follow()) select(S.sel, true);
}, error => banner(`The pictures of this file cannot be shown: ${error.message}`));
