// Runs a widget in a plain page: a stand-in for the model object that Jupyter would give it.

function withBytes(value) {
  if (value === null || typeof value !== "object" || ArrayBuffer.isView(value)) return value;
  if (Array.isArray(value)) return value.map(withBytes);
  if (value.base64 !== undefined) {
    const bytes = Uint8Array.from(atob(value.base64), (letter) => letter.charCodeAt(0));
    return new DataView(bytes.buffer);
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withBytes(item)]));
}

export function standaloneModel(packed) {
  const state = withBytes(packed);
  const listeners = {};
  const model = {
    alone: true, // no Python, now or later
    get: (name) => state[name],
    set(name, value) {
      model.put({ [name]: value });
    },
    // Sets several, then tells of each that has changed.
    put(values) {
      const changed = Object.keys(values).filter((name) => state[name] !== values[name]);
      Object.assign(state, values);
      for (const name of changed) model.emit(`change:${name}`);
    },
    emit(event, ...values) {
      for (const listener of [...(listeners[event] ?? [])]) listener(...values);
    },
    on: (event, listener) => (listeners[event] ??= new Set()).add(listener),
    off: (event, listener) => listeners[event]?.delete(listener),
    save_changes() {},
    send() {}, // no answer will come
  };
  return model;
}

export function show(render, id, state) {
  render({ model: standaloneModel(state), el: document.getElementById(id) });
}
