// The model: two clouds of images, drawn here; curves and tables are in the page already.

const CLOUDS = [];

function cloud(canvas) {
  const data = D.clouds[canvas.dataset.cloud];
  const own = {x: column(data.x), y: column(data.y)}, rest = {x: column(data.rest_x), y: column(data.rest_y), label: column(data.rest_label)};
  const side = v => 12 + v / 65535 * (canvas.clientWidth - 24), up = v => canvas.clientHeight - 12 - v / 65535 * (canvas.clientHeight - 24);
  let hot = null;

  function paintCloud() {
    const spot = (n, fillStyle, radius) => {
      g.fillStyle = fillStyle;
      g.beginPath();
      g.arc(side(own.x[n]), up(own.y[n]), radius, 0, 7);
      g.fill();
    };
    const dots = devicePixelRatio, w = canvas.clientWidth, high = canvas.clientHeight;
    if (!w) return;
    canvas.width = w * dots;
    canvas.height = high * dots;
    const g = canvas.getContext('2d'), colour = isDark() ? CLOUD_COLOURS.dark : CLOUD_COLOURS.light;
    g.scale(dots, dots);
    g.fillStyle = colour.muted;
    g.font = '9px system-ui, sans-serif';
    g.textAlign = 'center';
    g.textBaseline = 'middle';
    g.globalAlpha = .55;
    for (let k = 0; k < rest.x.length; k++) g.fillText([...C[rest.label[k]]][0] || '·', side(rest.x[k]), up(rest.y[k]));
    g.globalAlpha = 1;
    for (let n = 0; n < N; n++) {
      if (!VERDICT[n]) spot(n, colour.clean, 1.5);
    }
    for (let n = 0; n < N; n++) {
      if (VERDICT[n]) spot(n, colour[VERDICTS[VERDICT[n]][0]], 3.5);
    }
    for (const n of [hot, S.sel]) {
      if (n == null) continue;
      g.strokeStyle = colour.ink;
      g.lineWidth = 1.5;
      g.beginPath();
      g.arc(side(own.x[n]), up(own.y[n]), 7, 0, 7);
      g.stroke();
    }
  }

  function nearestTo(e) {
    const box = canvas.getBoundingClientRect(), x = e.clientX - box.left, y = e.clientY - box.top;
    let best = null, least = 14 ** 2;
    for (let n = 0; n < N; n++) {
      const d = (side(own.x[n]) - x) ** 2 + (up(own.y[n]) - y) ** 2;
      if (d < least) { least = d; best = n; }
    }
    return best;
  }

  const tip = canvas.nextElementSibling;
  canvas.onmousemove = e => {
    const n = nearestTo(e);
    if (n === hot) return;
    hot = n;
    canvas.style.cursor = n == null ? '' : 'pointer';
    fill(tip, n == null ? 'Point at a dot to see its image; click it to open it.' : [picture(n), glyph(VERDICT[n]),
      h('span', {}, `#${where(n)}, label `, named(C[GIVEN[n]]), ', model ', named(C[READ[n]]))]);
    paintCloud();
  };
  canvas.onclick = e => {
    const n = nearestTo(e);
    if (n != null) visit(n);
  };
  fill(tip, 'Point at a dot to see its image; click it to open it.');
  CLOUDS.push(paintCloud);
}

const CLOUD_COLOURS = { // a canvas knows no light-dark()
  light: {ink: '#191b1f', muted: '#868b95', clean: '#27703a', mislabelled: '#b42318', ambiguous: '#7b2fb5', model_weak: '#0b6685', unreadable: '#6a6052'},
  dark: {ink: '#eceef1', muted: '#747a86', clean: '#86d596', mislabelled: '#ff9c8c', ambiguous: '#d3a8ff', model_weak: '#70c8ea', unreadable: '#c6bba9'},
};

// From a mark in the model's view to the image in the other.
function visit(n) {
  view(false);
  if (!S.view.includes(n)) clearFilters();
  select(n, true);
  openSheet();
  list.focus({preventScroll: true});
}

function view(model) {
  S.model = model;
  $('#images').hidden = model;
  $('#model').hidden = !model;
  for (const [id, on] of [['#to-images', !model], ['#to-model', model]]) {
    if (on) $(id).setAttribute('aria-current', 'page'); else $(id).removeAttribute('aria-current');
  }
  if (model) for (const paintCloud of CLOUDS) paintCloud(); else layout();
}

for (const e of $$('canvas[data-cloud]')) cloud(e);
for (const e of $$('#model tr[data-t]')) {
  const t = +e.dataset.t;
  fill(e.cells[0], h('button', {class: 'link', onclick() {
    S.cell = {kind: 'prob', t, j: null};
    view(false);
    refilter();
  }}, named(C[t])));
}
