// The page to draw on: sends orders, and shows what becomes of them.
//
// Text from elsewhere goes into text nodes alone. News come by asking what
// changed since a number; the server answers when something did.
'use strict';

const $ = (id) => document.getElementById(id);
const form = $('order');
const presets = JSON.parse(form.dataset.presets);
const jobs = new Map(); // id -> what the server told
const items = new Map(); // id -> its place in the history
let ids = []; // of the jobs, oldest first
let shown = null; // id of the job in view
let resolution = null; // of the stage in view; null = the last there is
let run = '';
let number = 0;
let asking = false;
let more = false; // to ask for, whatever is known
let told = ''; // to screen readers
let picked = null; // the picture to start from
let sending = false; // an order
let unseen = false; // whether an order was sent that is not in view yet
const clocks = new Map(); // id -> when this page saw it begin

const over = (job) => ['done', 'stopped', 'failed'].includes(job.state);
const busy = () => [...jobs.values()].some((job) => !over(job));
const fields = () => [...form.elements].filter((field) => field.name);

function make(tag, settings = {}, ...children) {
  const element = Object.assign(document.createElement(tag), settings);
  element.append(...children);
  return element;
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function point(image, address) {
  if (image.getAttribute('src') !== address) image.src = address;
}

function tell(text) {
  if (text === told) return;
  told = text;
  set($('news'), text);
}

// What a user should know at once; a false reason hides it.
function complain(text) {
  $('wrong').hidden = !text;
  set($('wrong'), text || '');
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error('The server does not answer. Is it still running?');
  }
  if (!response.ok) {
    const said = (await response.text()).trim();
    throw new Error(said.replace(/^error: (.)/, (_, c) => c.toUpperCase()));
  }
  return response.json();
}

const send = (path, values) =>
  ask(path, { method: 'POST', body: new URLSearchParams(values) });

// News.

async function listen() {
  more = true;
  if (asking) return;
  asking = true;
  let pause = 0;
  try {
    while (more || busy()) {
      more = false;
      const news = await ask(`/state?run=${run}&after=${number}`);
      if (news.run !== run) jobs.clear(); // the server was started anew
      ({ run, number, ids } = news);
      news.jobs.forEach((job) => jobs.set(job.id, job));
      [...jobs.keys()].filter((id) => !ids.includes(id)).forEach(drop);
      lost(false);
      show();
      pause = document.hidden ? 2000 : 150;
      await new Promise((done) => setTimeout(done, pause));
    }
  } catch (error) {
    lost(true, error.message);
    setTimeout(listen, 3000);
  } finally {
    asking = false;
  }
}

function lost(is, why) {
  if (is) complain(why);
  else if (form.dataset.lost) complain('');
  form.dataset.lost = is ? 'yes' : '';
}

function drop(id) {
  jobs.delete(id);
  if (shown === id) shown = null;
}

// The view.

function where(job) {
  if (job.state === 'waiting') {
    const before = ids.filter((id) => {
      const other = jobs.get(id);
      return other && !over(other) && ids.indexOf(id) < ids.indexOf(job.id);
    }).length;
    return before ? `Waiting, ${before} before it` : 'Waiting';
  }
  if (job.state === 'stopping') return 'Stopping after this step';
  if (job.state === 'stopped') return 'Stopped';
  if (job.state === 'failed') return 'Failed';
  if (job.state === 'done') {
    // Without a time it was drawn before the server was started.
    const seconds = job.seconds;
    return seconds === null ? 'Drawn earlier' : `Drawn in ${seconds} s`;
  }
  const size = job.said_sizes[job.stage];
  if (!job.step) {
    // The first time with such settings a program is compiled.
    const long = Date.now() - (clocks.get(job.id) || Date.now()) > 5000;
    return `Drawing ${size}: getting ready${long ? ' (compiling)' : ''}`;
  }
  return `Drawing ${size}: step ${job.step} of ${job.steps}`;
}

function show() {
  if (!jobs.has(shown)) shown = ids.length ? ids[ids.length - 1] : null;
  const job = jobs.get(shown);
  past();
  $('about').hidden = $('ladder').hidden = !job;
  $('nothing').hidden = Boolean(job && job.seen.length);
  if (!job) {
    $('picture').querySelector('img').hidden = true;
    $('picture').setAttribute('href', '#view');
    document.title = 'Imagen';
    return;
  }
  const working = !over(job);
  if (job.state === 'drawing' && !clocks.has(job.id)) {
    clocks.set(job.id, Date.now());
  }
  picture(job);
  ladder(job);
  if (unseen) {
    unseen = false;
    look();
  }
  set($('now'), [where(job), ...facts(job)].join(' · '));
  set($('said'), job.title);
  $('failed').hidden = job.state !== 'failed';
  set($('failed'), job.said);
  $('remarks').replaceChildren(
    ...job.remarks.map((text) => make('li', { textContent: text })),
  );
  $('stop').hidden = !working;
  $('stop').setAttribute('aria-disabled', String(job.state === 'stopping'));
  const done = job.state === 'done';
  $('save').hidden = $('start').hidden = $('recipe').hidden = !done;
  $('save').href = `/png/${job.id}?save=1`;
  $('forget').hidden = working;
  $('another').hidden = working || job.gone;
  $('save-mask').hidden = !job.mask;
  if (job.mask) $('save-mask').href = `/source/${job.mask.id}?save=1`;
  set($('command'), job.command);
  set($('python'), job.python);
  const stage = job.said_sizes[job.stage];
  tell(job.state === 'drawing' ? `Drawing ${stage}` : where(job));
  const drawing = [...jobs.values()].find((j) => j.state === 'drawing');
  document.title = drawing
    ? `${drawing.said_sizes[drawing.stage]} … – Imagen`
    : done
      ? `${job.title} – Imagen`
      : 'Imagen';
}

// Brings the view onto the screen, where it is below or above.
function look() {
  const { top } = $('view').getBoundingClientRect();
  if (top < 0 || top > innerHeight / 2) $('view').scrollIntoView();
}

function facts(job) {
  const found = [`seed ${job.seed}`];
  if (job.negative) found.push(`avoiding “${job.negative}”`);
  const how = {
    mask: `a part of ${job.from}`,
    outpaint: `around ${job.from}`,
    upscale: `${job.from} enlarged`,
  };
  if (job.from) found.push(how[job.change] || `from ${job.from}`);
  return found;
}

// The last stage's own file once all is done, else what there is by now.
function address(job, size) {
  if (job.state === 'done' && size === job.sizes[job.sizes.length - 1]) {
    return `/png/${job.id}`;
  }
  return `/look/${job.id}/${size}?n=${job.changed}`;
}

function picture(job) {
  const image = $('picture').querySelector('img');
  const size = job.seen.includes(resolution)
    ? resolution
    : job.seen[job.seen.length - 1];
  image.hidden = !size;
  if (!size) {
    image.removeAttribute('src');
    $('picture').setAttribute('href', '#view');
    set($('nothing'), where(job));
    return;
  }
  const source = address(job, size);
  point(image, source);
  image.alt = `${job.title}, ${job.said_sizes[job.sizes.indexOf(size)]}`;
  $('picture').href = source;
}

function ladder(job) {
  const list = $('ladder');
  const kind = `${job.id} ${job.said_sizes}`;
  if (list.dataset.kind !== kind) {
    list.dataset.kind = kind;
    list.replaceChildren(...job.sizes.map((size, n) => rung(size, job.said_sizes[n])));
  }
  job.sizes.forEach((size, stage) => {
    const item = list.children[stage];
    const button = item.firstChild;
    const image = button.querySelector('img');
    const there = job.seen.includes(size);
    image.hidden = !there;
    button.querySelector('.blank').hidden = there;
    if (there) point(image, address(job, size));
    const past = over(job) ? job.state === 'done' : stage < job.stage;
    const now = stage === job.stage && job.state !== 'done' && job.steps;
    const share = past ? 1 : now ? job.step / job.steps : 0;
    const bar = item.querySelector('progress');
    bar.value = share;
    bar.hidden = over(job);
    const last = job.sizes[job.sizes.length - 1];
    const steps = job.all[stage];
    const said = `${steps} step${steps > 1 ? 's' : ''}`;
    const on = now && !over(job) && job.step < job.steps;
    set(item.querySelector('small'), on ? `${job.step} of ${said}` : said);
    button.setAttribute('aria-disabled', String(!there));
    const chosen = size === (resolution ?? (over(job) ? last : null));
    button.setAttribute('aria-pressed', String(there && chosen));
  });
}

function rung(size, said) {
  const button = make(
    'button',
    { type: 'button' },
    make('span', { className: 'blank' }),
    make('img', { alt: '', hidden: true }),
    make('span', {}, said, make('small')),
  );
  button.addEventListener('click', () => {
    if (button.getAttribute('aria-disabled') === 'true') return;
    resolution = resolution === size ? null : size;
    show();
  });
  const bar = make('progress', { max: 1, value: 0 });
  bar.setAttribute('aria-label', said);
  return make('li', {}, button, bar);
}

// The history, the newest first.

function past() {
  const list = $('history');
  $('empty').hidden = ids.length > 0;
  [...items.keys()].filter((id) => !jobs.has(id)).forEach((id) => {
    items.get(id).remove();
    items.delete(id);
  });
  ids.forEach((id) => {
    const job = jobs.get(id);
    if (!job) return;
    if (!items.has(id)) {
      items.set(id, item(job));
      list.prepend(items.get(id));
    }
    const button = items.get(id).firstChild;
    button.setAttribute('aria-current', String(id === shown));
    const image = button.querySelector('img');
    const done = job.state === 'done';
    image.hidden = !done;
    if (done) point(image, `/small/${id}`);
    const said = { waiting: 'waiting', drawing: 'drawing …' }[job.state];
    set(button.querySelector('.state'), done ? '' : said || job.state);
  });
}

function item(job) {
  const button = make(
    'button',
    { type: 'button', title: `${job.title} (seed ${job.seed})` },
    make(
      'span',
      { className: 'thumb' },
      make('img', { alt: '', hidden: true, loading: 'lazy' }),
      make('span', { className: 'state' }),
    ),
    make('span', { className: 'name', textContent: job.title }),
  );
  button.addEventListener('click', () => {
    shown = job.id;
    resolution = null;
    show();
    look();
  });
  return make('li', {}, button);
}

// Orders.

async function order(values) {
  complain('');
  try {
    const { id } = await send('/draw', values);
    shown = id;
    resolution = null;
    unseen = true;
    listen();
  } catch (error) {
    complain(error.message);
  }
}

function filled() {
  return fields()
    .filter((field) => !field.disabled && field.value.trim())
    .map((field) => [field.name, field.value]);
}

// Shows what the fields that are left empty mean.
function explain() {
  const values = presets[form.elements.preset.value] || {};
  const upto = Number(form.elements.upto.value) || Infinity;
  form.querySelectorAll('.stages tbody tr').forEach((row) => {
    const off = Number(row.dataset.size) > upto;
    row.classList.toggle('off', off);
    row.querySelectorAll('input').forEach((input) => {
      input.disabled = off;
      input.placeholder = values[input.name] ?? '';
    });
  });
}

// A picture to start from, and a mask for it.

const HINTS = {
  '': 'Noised, and drawn again: strength 0 leaves it as it is, 1 nothing of it.',
  mask: 'What is not painted stays as it is.',
  outpaint: 'The picture shrinks, and a border is drawn around it.',
  upscale: 'Any shape. The sentence may say what it shows, or be left empty.',
};

function arrange() {
  const change = picked ? form.elements.change.value : '';
  $('changes').hidden = !picked;
  form.elements.change.disabled = !picked;
  form.elements.shape.disabled = Boolean(picked);
  $('start-from').querySelectorAll('[data-for]').forEach((part) => {
    const on = Boolean(picked) && part.dataset.for.split(' ').includes(change);
    part.hidden = !on;
    part.querySelectorAll('input').forEach((input) => (input.disabled = !on));
  });
  const { strength } = form.elements;
  strength.placeholder = change === 'mask' ? '1' : strength.dataset.usual;
  const cut = picked && picked.width !== picked.height && change !== 'upscale';
  const more = cut ? ' The middle of it is cut to a square.' : '';
  set($('change-hint'), HINTS[change] + more);
  painting.show(picked && { ...picked, address: seen(picked.id) });
}

const seen = (id) => (jobs.has(id) ? `/png/${id}` : `/source/${id}`);

function name(place, value) {
  $(place).hidden = !value;
  if (!value) return;
  point($(place).querySelector('img'), seen(value.id));
  set($(place).querySelector('span'), value.name);
}

function chosen(picture) {
  picked = picture;
  form.elements.picture.value = picture ? picture.id : '';
  name('chosen', picture);
  masked(null);
  if (picture) $('start-from').open = true;
  else $('file').value = '';
  arrange();
}

function masked(mask) {
  form.elements.mask.value = mask ? mask.id : '';
  name('masked', mask);
  if (!mask) $('mask-file').value = '';
}

// Sends a file: what the server calls it. Null where it was not taken.
async function upload(file, name) {
  complain('');
  try {
    return await ask(`/source?name=${encodeURIComponent(name)}`, {
      method: 'POST',
      body: file,
      headers: { 'Content-Type': 'application/octet-stream' },
    });
  } catch (error) {
    complain(error.message);
    return null;
  }
}

async function choose(field, put) {
  const file = field.files[0];
  if (!file) return;
  const sent = await upload(file, file.name);
  put(sent);
  if (sent) tell(`${sent.name} is chosen`);
}

// Sends what was painted first, where it is to be the mask.
async function submit() {
  if (sending) return;
  sending = true;
  try {
    const { change, mask } = form.elements;
    const paint = !change.disabled && change.value === 'mask' && !mask.value;
    if (paint && painting.painted()) {
      const sent = await upload(await painting.file(), 'mask.png');
      if (!sent) return;
      masked(sent);
    }
    await order(filled());
  } finally {
    sending = false;
  }
}

async function copy(button) {
  const source = $(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    // No clipboard without HTTPS, but on this machine.
    getSelection().selectAllChildren(source);
    if (!document.execCommand('copy')) return;
  }
  const before = button.firstChild.data;
  button.firstChild.data = 'Copied';
  tell('Copied');
  setTimeout(() => (button.firstChild.data = 'Copy'), 1500);
}

function enlarge() {
  const dialog = document.querySelector('dialog');
  const large = dialog.querySelector('img');
  $('picture').addEventListener('click', (event) => {
    event.preventDefault();
    const image = $('picture').querySelector('img');
    if (image.hidden) return;
    large.src = image.src;
    large.alt = image.alt;
    dialog.showModal();
  });
  dialog.addEventListener('click', () => dialog.close());
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  submit();
});
form.elements.prompt.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
});
form.addEventListener('change', explain);
form.elements.change.addEventListener('change', arrange);
form.querySelectorAll('.chip').forEach((chip) => {
  chip.addEventListener('click', () => {
    form.elements.prompt.value = chip.textContent;
    form.elements.prompt.focus();
  });
});
$('file').addEventListener('change', () => choose($('file'), chosen));
$('mask-file').addEventListener('change', () => {
  painting.clear();
  choose($('mask-file'), masked);
});
$('chosen').querySelector('button').addEventListener('click', () => {
  chosen(null);
  $('file').focus();
});
$('masked').querySelector('button').addEventListener('click', () => {
  masked(null);
  $('mask-file').focus();
});
$('unpaint').addEventListener('click', () => {
  painting.clear();
  masked(null);
});
painting.begun(() => masked(null));
$('stop').addEventListener('click', () => {
  send('/stop', { job: shown }).then(listen, (e) => complain(e.message));
});
$('forget').addEventListener('click', () => {
  send('/forget', { job: shown }).then(listen, (e) => complain(e.message));
});
$('another').addEventListener('click', () => {
  const { seed, ...rest } = jobs.get(shown).fields;
  order(rest);
});
$('again').addEventListener('click', () => {
  const job = jobs.get(shown);
  const values = { ...job.fields, seed: job.seed };
  fields().forEach((field) => (field.value = values[field.name] || ''));
  painting.clear();
  chosen(job.source);
  masked(job.mask);
  explain();
  form.elements.prompt.focus();
});
$('start').addEventListener('click', () => {
  const job = jobs.get(shown);
  const { id, file, width, height } = job;
  chosen({ id, name: file, width, height });
  form.elements.change.focus();
});
document.querySelectorAll('[data-copy]').forEach((button) => {
  button.addEventListener('click', () => copy(button));
});
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) listen();
});
enlarge();
explain();
arrange();
listen();
