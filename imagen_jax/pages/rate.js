// Makes the rating page handier; without it everything works as a plain form.
//
// Keys: 1 2 3, or the arrows left, down, right, answer the question that is
// next; Enter sends. A press or click on a picture enlarges it.
'use strict';

const form = document.querySelector('form.vote');

function answered(question) {
  return question.querySelector('input:checked') !== null;
}

function key(event, choices) {
  const digit = Number(event.key);
  if (digit >= 1 && digit <= choices.length) return choices[digit - 1];
  if (event.key === 'ArrowLeft') return choices[0];
  if (event.key === 'ArrowRight') return choices[choices.length - 1];
  if (event.key === 'ArrowDown' && choices.length > 2) return choices[1];
  return null;
}

function rate() {
  const questions = [...form.querySelectorAll('fieldset')];
  const button = form.querySelector('button');
  const keys = form.querySelector('#keys');
  let active = questions[0];
  let sent = false;

  function show() {
    questions.forEach((q) => q.classList.toggle('active', q === active));
    button.setAttribute('aria-disabled', String(!questions.every(answered)));
  }

  function choose(input) {
    input.checked = true;
    input.focus({ preventScroll: true });
    active = questions.find((q) => !answered(q)) || active;
    show();
  }

  keys.checked = localStorage.getItem('keys') !== 'off';
  keys.closest('label').hidden = false;
  const labels = () => {
    form.querySelectorAll('kbd').forEach((k) => (k.hidden = !keys.checked));
  };
  labels();
  keys.addEventListener('change', () => {
    localStorage.setItem('keys', keys.checked ? 'on' : 'off');
    labels();
  });

  form.addEventListener('change', (event) => {
    const question = event.target.closest('fieldset');
    if (!question) return;
    active = questions.find((q) => !answered(q)) || question;
    show();
  });

  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    if (document.querySelector('dialog[open]')) return;
    if (event.key === 'Enter' && questions.every(answered)) {
      if (event.target.closest('a, button')) return;
      event.preventDefault();
      form.requestSubmit();
      return;
    }
    if (!keys.checked) return;
    // Arrows within a question that has the focus stay the browser's own.
    const arrow = event.key.startsWith('Arrow');
    if (arrow && event.target.closest('fieldset input:focus-visible')) {
      if (event.target.closest('fieldset') === active) return;
    }
    const input = key(event, [...active.querySelectorAll('input')]);
    if (!input) return;
    event.preventDefault();
    choose(input);
  });

  form.addEventListener('submit', (event) => {
    if (sent) event.preventDefault();
    sent = true;
    form.setAttribute('aria-busy', 'true');
  });

  // A page out of the browser's memory, by its back button, is an old one.
  window.addEventListener('pageshow', (event) => {
    if (event.persisted) location.reload();
  });

  show();
}

function enlarge() {
  const dialog = document.querySelector('dialog');
  if (!dialog || !dialog.showModal) return;
  const large = dialog.querySelector('img');
  document.querySelectorAll('a.picture').forEach((link) => {
    link.addEventListener('click', (event) => {
      event.preventDefault();
      const image = link.querySelector('img');
      large.src = image.src;
      large.alt = image.alt;
      dialog.showModal();
    });
  });
  dialog.addEventListener('click', () => dialog.close());
}

if (form) rate();
enlarge();
