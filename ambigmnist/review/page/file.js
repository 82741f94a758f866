// The review file: what load_review reads in Python, checked here by the same rules.

const reviewer = () => String(store.get('ambigmnist.reviewer', '') || 'anonymous').slice(0, 200);

function reviewFile() {
  const now = new Date().toISOString(), times = log.map(d => d.at).sort();
  const superseded = log.filter(d => mine.get(d.index) !== d);
  const byTime = (a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0);
  return {
    schema: 'ambigmnist.review', version: 1,
    created: times[0] || now, updated: times[times.length - 1] || now,
    dataset: D.dataset, tool: D.tool, report: D.report,
    reviewer: reviewer(), settings: R.settings(),
    decisions: [...mine.values()].sort((a, b) => a.index - b.index),
    history: [...superseded, ...past].sort(byTime),
    ...more,
  };
}

function save() {
  const blob = new Blob([JSON.stringify(reviewFile(), null, 1) + '\n'], {type: 'application/json'});
  const url = URL.createObjectURL(blob), who = reviewer().replace(/[^A-Za-z0-9]+/g, '-').slice(0, 40);
  h('a', {href: url, download: `review-${D.dataset.images_sha256.slice(0, 8)}-${who}.json`}).click();
  setTimeout(() => URL.revokeObjectURL(url), 5000);
  exported = true;
}

const isInt = v => Number.isInteger(v), isText = (v, most) => typeof v === 'string' && [...v].length <= most;
const isTime = v => typeof v === 'string' && /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)$/.test(v)
  && !Number.isNaN(Date.parse(v.replace(' ', 'T')));
const isObject = v => typeof v === 'object' && v !== null && !Array.isArray(v);

// Whether the labels fit the verdict, as Decision has it.
function fits({verdict, given, labels}) {
  switch (verdict) {
    case 'keep': return labels.length === 1 && labels[0] === given;
    case 'relabel': return labels.length === 1 && labels[0] !== given;
    case 'ambiguous': return labels.length >= 2 && new Set(labels).size === labels.length;
    case 'unreadable': case 'skip': return labels.length === 0;
    default: return false;
  }
}

function isDecision(d) {
  if (!isObject(d) || !isInt(d.index) || d.index < 0 || d.index >= D.dataset.n) return false;
  if (!Array.isArray(d.labels) || ![d.given, ...d.labels].every(c => isInt(c) && c >= 0 && c < K)) return false;
  if (!fits(d) || !isTime(d.at)) return false;
  if (d.note !== undefined && !isText(d.note, 2000)) return false;
  if (![d.blind, d.control].every(v => v === undefined || typeof v === 'boolean')) return false;
  if (d.ms != null && !(isInt(d.ms) && d.ms >= 0)) return false;
  if (d.weights == null) return true;
  return d.verdict === 'ambiguous' && Array.isArray(d.weights) && d.weights.length === d.labels.length
    && d.weights.every(w => typeof w === 'number' && w >= 0 && w <= 1)
    && Math.abs(d.weights.reduce((a, b) => a + b, 0) - 1) <= 1e-6;
}

// What is wrong with a review, or null. Everything is looked at before anything is changed.
function fault(review) {
  if (!isObject(review) || review.schema !== 'ambigmnist.review') return 'it is not a review file';
  if (!isInt(review.version) || review.version < 1) return `its version is ${shown(review.version)}, expected 1`;
  if (review.version > 1) return `it has version ${review.version}, this page reads version 1`;
  for (const key of ['images_sha256', 'labels_sha256']) {
    const got = review.dataset?.[key];
    if (got !== D.dataset[key]) return `it belongs to other data (${key} is ${shown(got).slice(0, 12)}…, here ${D.dataset[key].slice(0, 12)}…)`;
  }
  if (review.dataset.n !== D.dataset.n || JSON.stringify(review.dataset.classes) !== JSON.stringify(C)) return 'its classes are others';
  if (!isText(review.reviewer, 200)) return 'it does not say who reviewed';
  if (!Array.isArray(review.decisions)) return 'it has no decisions';
  if (review.history !== undefined && !(Array.isArray(review.history) && review.history.every(isDecision))) return 'its history is not valid';
  const seen = new Set();
  for (const d of review.decisions) {
    if (!isDecision(d)) return `its decision on image ${shown(d?.index)} is not valid`;
    if (seen.has(d.index)) return `it decides image ${d.index} twice`;
    const n = place.get(d.index);
    if (n !== undefined && GIVEN[n] !== d.given) return `image ${d.index} has another label here`;
    seen.add(d.index);
  }
  return null;
}
const shown = value => String(value).slice(0, 40);

async function load(file) {
  let why = null, review;
  try { review = JSON.parse(await file.text()); } catch { why = 'it is not complete JSON'; }
  why ||= fault(review);
  if (why) return banner(`“${file.name}” was not imported: ${why}. Nothing was changed.`);
  const defaults = {note: '', blind: false, control: false, ms: null};
  log.push(...review.decisions.map(d => ({...defaults, ...d})));
  past.push(...(review.history || []));
  const known = Object.keys(reviewFile());
  for (const key in review) if (!known.includes(key)) more = {...more, [key]: review[key]};
  keep(0, true);
  exported = true;
  const foreign = review.decisions.filter(d => !place.has(d.index)).length;
  banner(foreign ? `Imported: ${several(review.decisions.length, 'decision')}, ${int(foreign)} of them on images that this page does not show.` : '');
  panel(S.sel);
}
