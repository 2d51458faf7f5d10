// A mask painted over a picture: what is painted is drawn anew.
//
// The canvas has the picture's own pixels, whatever its size on the page. What
// is painted is opaque there and shown through by the style; `file` turns it
// into the white on black that the server takes.
'use strict';

const painting = (() => {
  const COLOUR = '#ffffff';
  const easel = document.getElementById('easel');
  const canvas = document.getElementById('canvas');
  const image = easel.querySelector('img');
  const size = document.getElementById('brush-size');
  const pen = canvas.getContext('2d');
  let address = '';
  let last = null; // where the pointer was, in the picture's pixels
  let painted = false;
  let listener = () => {};

  // A picture of so many pixels, or none.
  function show(picture) {
    easel.hidden = !picture;
    const wanted = picture ? picture.address : '';
    if (wanted === address) return;
    address = wanted;
    painted = false;
    if (!picture) {
      canvas.width = canvas.height = 1;
      image.removeAttribute('src');
      return;
    }
    image.src = address;
    canvas.width = picture.width; // this clears it too
    canvas.height = picture.height;
  }

  function clear() {
    pen.clearRect(0, 0, canvas.width, canvas.height);
    painted = false;
  }

  function place(event) {
    // A tall picture does not fill its box: the rest is left and right of it.
    const box = canvas.getBoundingClientRect();
    const { width, height } = canvas;
    const scale = Math.min(box.width / width, box.height / height);
    return [
      (event.clientX - box.left - box.width / 2) / scale + width / 2,
      (event.clientY - box.top - box.height / 2) / scale + height / 2,
    ];
  }

  function stroke(from, to) {
    // The brush is a share of the shorter side, in percent.
    const width = (size.value / 100) * Math.min(canvas.width, canvas.height);
    pen.strokeStyle = COLOUR;
    pen.lineWidth = Math.max(1, width);
    pen.lineCap = pen.lineJoin = 'round';
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(...to);
    pen.stroke();
    painted = true;
  }

  canvas.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    last = place(event);
    stroke(last, last);
    listener();
  });
  canvas.addEventListener('pointermove', (event) => {
    if (!last) return;
    const here = place(event);
    stroke(last, here);
    last = here;
  });
  ['pointerup', 'pointercancel', 'lostpointercapture'].forEach((name) => {
    canvas.addEventListener(name, () => (last = null));
  });

  // A PNG file, white where something is painted and black elsewhere.
  function file() {
    const copy = document.createElement('canvas');
    copy.width = canvas.width;
    copy.height = canvas.height;
    const paper = copy.getContext('2d');
    paper.drawImage(canvas, 0, 0);
    paper.globalCompositeOperation = 'source-in';
    paper.fillStyle = '#ffffff';
    paper.fillRect(0, 0, copy.width, copy.height);
    paper.globalCompositeOperation = 'destination-over';
    paper.fillStyle = '#000000';
    paper.fillRect(0, 0, copy.width, copy.height);
    return new Promise((done) => copy.toBlob(done, 'image/png'));
  }

  return {
    show,
    clear,
    file,
    painted: () => painted,
    begun: (call) => (listener = call),
  };
})();
