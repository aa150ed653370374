// Runs before a page's own code: keeps what widget code (it comes from a blob: address) has begun and
// not ended, outside its own elements.
window.vmxOpen = { listeners: new Map(), timers: new Set(), observers: new Set() };
window.vmxRoots = []; // weak references to every explorer that was on the page

{
  const { listeners, timers, observers } = window.vmxOpen;
  const ours = () => new Error().stack.includes("blob:");
  const outside = (target) =>
    [window, document, document.body, document.documentElement].includes(target) ||
    target instanceof MediaQueryList;
  const key = (type, options) => `${type} ${Boolean(options?.capture ?? options)}`;
  const forget = (handler, type, options) => {
    const kinds = listeners.get(handler);
    kinds?.delete(key(type, options));
    if (kinds?.size === 0) listeners.delete(handler); // or it would be held from here
  };

  const { addEventListener, removeEventListener } = EventTarget.prototype;
  EventTarget.prototype.addEventListener = function (type, handler, options) {
    if (handler && outside(this ?? window) && ours()) {
      if (!listeners.has(handler)) listeners.set(handler, new Set());
      listeners.get(handler).add(key(type, options));
      const ended = () => forget(handler, type, options);
      options?.signal && addEventListener.call(options.signal, "abort", ended);
    }
    return addEventListener.call(this ?? window, type, handler, options);
  };
  EventTarget.prototype.removeEventListener = function (type, handler, options) {
    forget(handler, type, options);
    return removeEventListener.call(this ?? window, type, handler, options);
  };

  for (const [begin, end, once] of [
    ["setTimeout", "clearTimeout", true],
    ["setInterval", "clearInterval", false],
    ["requestAnimationFrame", "cancelAnimationFrame", true],
  ]) {
    const [start, stop] = [window[begin], window[end]];
    window[begin] = (callback, ...rest) => {
      const mine = ours();
      const id = start((...values) => {
        if (once) timers.delete(`${begin} ${id}`);
        // biome-ignore lint/security/noGlobalEval: text is what timers take, too
        return typeof callback === "function" ? callback(...values) : window.eval(callback);
      }, ...rest);
      if (mine) timers.add(`${begin} ${id}`);
      return id;
    };
    window[end] = (id) => {
      timers.delete(`${begin} ${id}`);
      stop(id);
    };
  }

  for (const kind of [MutationObserver, ResizeObserver, IntersectionObserver]) {
    const { observe, disconnect } = kind.prototype;
    kind.prototype.observe = function (...values) {
      if (ours()) observers.add(this);
      return observe.apply(this, values);
    };
    kind.prototype.disconnect = function () {
      observers.delete(this);
      return disconnect.call(this);
    };
  }
}

window.vmxCount = () => ({
  listeners: [...window.vmxOpen.listeners.values()].reduce((sum, kinds) => sum + kinds.size, 0),
  timers: window.vmxOpen.timers.size,
  observers: window.vmxOpen.observers.size,
});
