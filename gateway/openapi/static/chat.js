// A small chat that shows an answer while it is written, since Swagger UI shows one only when it is whole.

// Yields the events of a text/event-stream as {event, data}; comments, which keep the connection alive, are left out.
export async function* eventsOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const frames = (rest + value).split('\n\n');
    rest = frames.pop();
    for (const frame of frames) {
      const fields = { event: 'message', data: '' };
      for (const line of frame.split('\n')) {
        const [, name, text] = /^(event|data): ?(.*)$/.exec(line) ?? [];
        if (name) fields[name] = text;
      }
      if (fields.data) yield { event: fields.event, data: JSON.parse(fields.data) };
    }
  }
}

function headersFor(key) {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

function told({ code, message, request_id: id }) {
  return `${code}: ${message} (${id})`;
}

// Asks for a streamed answer; calls `onText` with every piece and returns the last event's data. Throws what went wrong.
async function ask(url, key, body, signal, onText) {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { ...headersFor(key), 'Content-Type': 'application/json' },
    body: JSON.stringify({ ...body, stream: true }),
    signal,
  });
  if (!answer.ok) throw new Error(`${answer.status} ${told((await answer.json()).error)}`);
  for await (const { event, data } of eventsOf(answer.body)) {
    if (event === 'message') onText(data.delta ?? '');
    else if (event === 'error') throw new Error(told(data.error));
    else if (event === 'done') return data;
  }
  throw new Error('The connection ended before the answer did.');
}

// Makes the form work. `base` is where the gateway is; `keyNow` returns the key that is entered, or nothing.
export function startChat(base, keyNow) {
  const [panel, transcript, prompt, model, models, stop, clear, status] = [
    'chat', 'transcript', 'prompt', 'model', 'models', 'stop', 'clear', 'status',
  ].map((id) => document.getElementById(id));
  const form = panel.querySelector('form');
  const send = form.querySelector('[type=submit]');
  let messages = [];
  let running = null;

  function show(role, text) {
    const line = document.createElement('p');
    line.className = role;
    line.append(text);
    transcript.append(line);
    return line;
  }

  async function turn() {
    const begun = performance.now();
    const asked = [...messages, { role: 'user', content: prompt.value }];
    show('user', prompt.value);
    const line = show('assistant', '');
    let text = '';
    let firstMs = null;
    const onText = (piece) => {
      firstMs ??= Math.round(performance.now() - begun);
      text += piece;
      line.append(piece);
    };
    const body = model.value.trim() ? { messages: asked, model: model.value.trim() } : { messages: asked };
    const done = await ask(new URL('ai/chat', base), keyNow(), body, running.signal, onText);
    messages = [...asked, { role: 'assistant', content: text }];
    prompt.value = '';
    status.value = `${done.provider}, ${done.model}: first words after ${firstMs ?? '–'} ms, whole after `
      + `${Math.round(performance.now() - begun)} ms, ${done.tokens_used} tokens`;
  }

  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (running) return;
    running = new AbortController();
    send.disabled = true;
    stop.disabled = false;
    status.value = '';
    try {
      await turn();
    } catch (error) {
      if (error.name === 'AbortError') status.value = 'Stopped';
      else show('error', error.message);
    } finally {
      running = null;
      send.disabled = false;
      stop.disabled = true;
    }
  });
  prompt.addEventListener('keydown', (event) => {
    // Enter that ends the choice of a character (Chinese, Japanese and others) belongs to that.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  stop.addEventListener('click', () => running?.abort());
  clear.addEventListener('click', () => {
    running?.abort();
    messages = [];
    transcript.replaceChildren();
    status.value = '';
  });
  model.addEventListener('focus', async () => {
    if (!keyNow()) return;
    try {
      const answer = await fetch(new URL('v1/models', base), { headers: headersFor(keyNow()) });
      const names = (await answer.json()).data.map(({ id }) => new Option(id, id));
      models.replaceChildren(...names);
    } catch {
      // Suggestions are a help; a key that may not list models can still chat.
    }
  });
}
