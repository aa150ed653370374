// Runs a widget in a plain page: a stand-in for the model object that Jupyter would give it.

function withBytes(value) {
  if (value === null || typeof value !== "object") return value;
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
  return {
    alone: true, // no kernel, now or later
    get: (name) => state[name],
    set(name, value) {
      if (state[name] === value) return;
      state[name] = value;
      for (const listener of listeners[`change:${name}`] ?? []) listener();
    },
    on: (event, listener) => (listeners[event] ??= new Set()).add(listener),
    off: (event, listener) => listeners[event]?.delete(listener),
    save_changes() {},
    send() {}, // nobody is there
  };
}

export function show(render, id, state) {
  render({ model: standaloneModel(state), el: document.getElementById(id) });
}
