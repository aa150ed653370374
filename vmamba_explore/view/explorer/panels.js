// Tabs: several parts in one place, of which one is seen. The explorer's element keeps which one.

import { element } from "../widgets/drawing.js";

let tabCount = 0; // of all tabs in this page, for their ids

// place: under which name the element keeps it. panels: {name, title, about, parts, opens?}; opens()
// says whether what has changed brings it to the front.
export function createPanels(view, place, label, panels) {
  const list = element("div", { class: "vmx-tabs vmx-tool", role: "tablist", "aria-label": label });
  const node = element("div", { class: "vmx-panels" }, list);
  const tabs = panels.map(({ name, title, about, parts }) => {
    const id = `vmx-tab-${++tabCount}`;
    const tab = element("button", {
      type: "button", role: "tab", id, title: about, "aria-controls": `${id}-panel`, "data-panel": name,
    }, title);
    const panel = element("div", {
      class: "vmx-panel", role: "tabpanel", tabindex: 0, id: `${id}-panel`, "aria-labelledby": id, "data-panel": name,
    }, ...parts.flatMap((part) => part.nodes));
    view.listen(tab, "click", () => open(name));
    list.append(tab);
    node.append(panel);
    return { name, tab, panel };
  });
  let shown = "";

  function open(name, focus = false) {
    if (shown === name) return;
    view.root.dataset[place] = shown = name;
    for (const each of tabs) {
      const chosen = each.name === name;
      each.panel.hidden = !chosen;
      each.tab.setAttribute("aria-selected", chosen);
      each.tab.tabIndex = chosen ? 0 : -1;
      if (chosen && focus) each.tab.focus();
    }
  }

  // Arrows lead from tab to tab, as readers of screens expect.
  view.listen(list, "keydown", ({ key, shiftKey }) => {
    if (shiftKey) return; // the view's
    const at = tabs.findIndex(({ name }) => name === shown);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[key];
    if (to !== undefined) open(tabs.at(to % tabs.length).name, true);
  });
  const kept = panels.find(({ name }) => name === view.root.dataset[place]);
  open((kept ?? panels[0]).name);

  return {
    nodes: [node],
    update() {
      const asked = panels.find(({ opens }) => opens?.());
      if (asked) open(asked.name);
    },
  };
}
