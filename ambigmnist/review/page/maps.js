// Heatmaps: tables that read without a script; this makes them grids of cells to press.

for (const map of $$('.hm')) {
  const cells = [...map.querySelectorAll('[data-t],[data-j]')];
  const number = text => (text == null ? null : +text);
  const of = e => ({kind: map.dataset.kind, t: number(e.dataset.t), j: number(e.dataset.j)});
  map.classList.add('on');
  map.setAttribute('role', 'grid');
  cells.forEach((e, k) => {
    const c = of(e), found = hits(c).length;
    const share = e.dataset.v && c.j !== c.t ? `, ${pct(+e.dataset.v)} of the ${c.kind === 'prob' ? 'doubt' : 'row'}` : '';
    const carried = c.kind === 'prob' && e.dataset.c && +e.dataset.v >= .005 ? `, ${pct(+e.dataset.c)} of the square` : '';
    e.tabIndex = k ? -1 : 0;
    e.ariaLabel = `${about(c)}${share}: ${found} to look at${carried}`;
    e.dataset.key = JSON.stringify(c);
  });

  const hint = e => {
    const c = e.target.closest('[data-key]');
    $('#readout').textContent = c ? c.ariaLabel[0].toUpperCase() + c.ariaLabel.slice(1) : '';
    for (const x of map.querySelectorAll('th')) {
      x.classList.toggle('hot', !!c && (x.dataset.t ? x.dataset.t === c.dataset.t : x.dataset.j != null && x.dataset.j === c.dataset.j));
    }
  };
  map.addEventListener('mouseover', hint);
  map.addEventListener('focusin', hint);
  map.onclick = e => {
    const c = e.target.closest('[data-key]');
    if (!c) return;
    S.cell = c.ariaSelected === 'true' ? null : of(c);
    refilter();
    if (list.getBoundingClientRect().top > innerHeight - 150) $('.list').scrollIntoView();
  };
  map.onkeydown = e => {
    const c = e.target, row = c.parentNode, edge = {Home: 1, End: row.cells.length - 1}[e.key];
    const [down, right] = {ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0]}[e.key] || [0, 0];
    if (e.key === 'Enter' || e.key === ' ') c.click(); else if (edge == null && !down && !right) return;
    e.preventDefault();
    const to = map.rows[row.rowIndex + down]?.cells[edge ?? c.cellIndex + right];
    if (!to?.dataset.key || to === c) return;
    c.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
  };
}

// The map of counts by number, or each row by its sum as the article has it.
if ($('#by-share')) $('#by-share').onclick = function () {
  const share = this.ariaPressed !== 'true';
  this.ariaPressed = String(share);
  for (const e of $$('.hm[data-kind=count] td[data-t]')) {
    const {q, s, v, n} = e.dataset;
    if (e.className !== 'diag') e.className = share ? s : q;
    e.textContent = share ? (+v >= .005 ? Math.round(100 * v) : '') : n;
  }
  $('#count-unit').textContent = share ? 'Per cent of a row; hatched: as labelled' : 'Images; hatched: read as labelled';
  $('#count-top').textContent = share ? $('#count-top').dataset.share : $('#count-top').dataset.count;
};
