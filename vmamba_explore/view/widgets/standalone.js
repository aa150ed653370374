// Runs player.js in a plain page: a stand-in for the model object that Jupyter would give it.

function standaloneModel(state) {
  const listeners = {};
  for (const [name, value] of Object.entries(state)) {
    if (value?.base64 === undefined) continue;
    const bytes = Uint8Array.from(atob(value.base64), (letter) => letter.charCodeAt(0));
    state[name] = new DataView(bytes.buffer);
  }
  return {
    get: (name) => state[name],
    set(name, value) {
      if (state[name] === value) return;
      state[name] = value;
      for (const listener of listeners[`change:${name}`] ?? []) listener();
    },
    on: (event, listener) => (listeners[event] ??= new Set()).add(listener),
    off: (event, listener) => listeners[event]?.delete(listener),
    save_changes() {},
  };
}

function show(id, state) {
  render({ model: standaloneModel(state), el: document.getElementById(id) });
}
