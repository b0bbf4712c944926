// Keys, the command palette, native dialogs, and how a page that comes again is put in place. Everything here also works
// without it, by links and forms.
(() => {
  "use strict";
  const GO = { o: ["/admin", "Overview"], p: ["/clients", "People"], j: ["/admin/jobs", "Jobs"], d: ["/admin/dead-letters", "Dead letters"],
    w: ["/admin/webhooks", "Webhooks"], l: ["/admin/logs", "Logs"], c: ["/admin/calibration", "Calibration"], n: ["/admin/nodes", "Nodes"],
    s: ["/admin/settings", "Settings"] };
  const MORE = [["/admin/schedules", "Schedules"], ["/admin/kinds", "Kinds of jobs"], ["/admin/limits", "Rate limits"], ["/admin/connections", "Connections"], ["/admin/trainers", "Trainers and clients"],
    ["/admin/webhooks?tab=replay", "Replay deliveries"], ["/admin/webhooks?tab=test", "Send a test event"], ["/admin/webhooks?tab=refused", "Deliveries turned away"],
    ["/admin/jobs?status=failed", "Failed jobs"], ["/admin/logs?tab=audit", "Audit log"], ["/admin/users", "Accounts and invitations"],
    ["/admin/settings/registry", "Registry"], ["/admin/settings/retention", "How long things are kept"], ["/admin/connect", "Connect a person"]];
  const EVERYBODY = [["/status", "Status"], ["/preferences", "Preferences"], ["/account", "Account"]];
  const STORE = "assay-keys";
  const memory = () => { try { return localStorage; } catch { return null; } };
  const on = () => memory()?.getItem(STORE) !== "off";
  const admin = () => document.querySelector('.mast-nav a[href="/admin"]') !== null;
  const make = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  // A link of the page takes the router's way; what is not on the page is loaded.
  const visit = (href) => {
    const link = [...document.querySelectorAll("a")].find((a) => a.getAttribute("href") === href);
    if (link) link.click(); else location.assign(href);
  };

  // A page that comes again: only what differs is changed, so that the focus, typed words and whatever was opened, scrolled
  // or selected stay as they are. The page of another address is put there whole.
  const here = () => location.pathname + location.search;
  const arrived = here(), places = new WeakMap();
  // What the reader or this script did to an element, and the server does not know of.
  const OURS = ["open", "tabindex", "data-sent"];
  // An element is known by its id, a row by where its head leads; all others by their kind, and among these by their place.
  const key = (node) => node.getAttribute("id") || (node.nodeName === "TR" && node.querySelector("th a")?.getAttribute("href"));
  const label = (node) => {
    if (!(node instanceof Element)) return node.nodeName;
    const known = key(node);
    return known ? `${node.nodeName} ${known}` : ["class", "name", "aria-labelledby"].reduce((text, a) => `${text} ${node.getAttribute(a)}`, node.nodeName);
  };
  // What is known by a name that nothing else has; of what shares one, only the name.
  const named = (root) => {
    const all = new Map();
    for (const node of root.querySelectorAll("[id], tr")) if (key(node)) all.set(label(node), all.has(label(node)) ? null : node);
    return all;
  };
  const blend = (old, fresh, kept) => {
    if (old.isEqualNode(fresh)) return;
    if (!(old instanceof Element)) { old.nodeValue = fresh.nodeValue; return; }
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !OURS.includes(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value && !OURS.includes(name)) old.setAttribute(name, value);
    let at = old.firstChild;
    for (const child of fresh.childNodes) {
      const name = label(child);
      // What left before it is stepped over, but only for an element: texts and comments are too much alike.
      let same = at;
      while (same && label(same) !== name) same = child instanceof Element ? same.nextSibling : null;
      if (same) {
        while (at !== same) { const gone = at; at = at.nextSibling; gone.remove(); }
      } else {
        // It stood elsewhere, and comes with all that was done to it; or it is new.
        same = kept.get(name) ?? child.cloneNode(false);
        old.insertBefore(same, at);
      }
      blend(same, child, kept);
      at = same.nextSibling;
    }
    while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
  };
  const toHeading = () => {
    const heading = document.querySelector("main h1");
    heading?.setAttribute("tabindex", "-1");
    heading?.focus({ preventScroll: true });
  };
  // The focus that went with what was replaced goes to where it was, or to the same link of the new page where that is in
  // sight; else to the heading, from where the new page is read.
  const refocus = (element, was) => {
    if (document.activeElement === was) return;
    const links = was.matches("a[href]") ? [...element.querySelectorAll("a[href]")] : [];
    const to = element.contains(was) ? was : links.find((a) => a.getAttribute("href") === was.getAttribute("href")) ?? links.find((a) => a.textContent === was.textContent);
    const box = to?.getBoundingClientRect();
    if (to === was || (box && box.bottom > 0 && box.top < innerHeight)) to.focus({ preventScroll: true });
    if (document.activeElement !== to) toHeading();
  };
  const put = (element, html) => {
    const before = places.get(element) ?? arrived, was = document.activeElement;
    const inside = element.contains(was);
    places.set(element, here());
    if (before === here()) {
      const fresh = element.cloneNode(false);
      fresh.innerHTML = html;
      const kept = named(element), wanted = named(fresh);
      for (const name of kept.keys()) if (!wanted.get(name)) kept.delete(name);
      blend(element, fresh, kept);
    } else {
      element.innerHTML = html;
    }
    // Where the path is another one, the application takes the reader to the new heading.
    if (inside && before.split("?")[0] === location.pathname) refocus(element, was);
  };
  // Whether something was typed or chosen that is still to be sent; what only asks for another view does not count.
  const begun = (field) => {
    if (field.form?.getAttribute("method") !== "post") return false;
    if (field instanceof HTMLSelectElement) return field.selectedIndex !== Math.max([...field.options].findIndex((o) => o.defaultSelected), 0);
    return ["checkbox", "radio"].includes(field.type) ? field.checked !== field.defaultChecked : field.value !== field.defaultValue;
  };
  // Whether a page that comes again would disturb: rows would move under the pointer or the focus, something is half done, a
  // question waits, a text is selected, or nobody looks.
  const busy = () => {
    const rows = (state) => document.querySelector(`.page :is(tbody, ul, ol):${state}`) !== null;
    const chosen = getSelection();
    return document.hidden || document.querySelector("dialog[open]") !== null || rows("focus-within") || (matchMedia("(hover: hover)").matches && rows("hover"))
      || [...document.querySelectorAll(".page :is(input, textarea, select)")].some(begun)
      || (chosen?.type === "Range" && (document.querySelector(".page")?.contains(chosen.anchorNode) ?? false));
  };
  window.assay = { put, busy };

  const open = (dialog) => {
    const before = document.activeElement;
    document.body.append(dialog);
    dialog.addEventListener("close", () => { dialog.remove(); before?.focus?.(); });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    dialog.showModal();
  };
  const close = () => make("form", { method: "dialog" }, make("button", { class: "button", type: "submit" }, "Close"));

  const help = () => {
    const rows = [["/", "Search this page"], ["?", "These keys"], ["Ctrl K", "Go anywhere"]];
    if (admin()) for (const [key, [, name]] of Object.entries(GO)) rows.push([`g ${key}`, name]);
    else rows.push(["g p", "People"]);
    const list = make("dl", { class: "keys" });
    for (const [keys, what] of rows) list.append(make("div", {}, make("dt", {}, ...keys.split(" ").map((k) => make("kbd", {}, k))), make("dd", {}, what)));
    const box = make("input", { type: "checkbox", id: "keys-on" });
    box.checked = on();
    box.addEventListener("change", () => memory()?.setItem(STORE, box.checked ? "on" : "off"));
    open(make("dialog", { class: "over", "aria-labelledby": "keys-title" }, make("h2", { id: "keys-title" }, "Keyboard"), list,
      make("label", { class: "keys-switch", for: "keys-on" }, box, " Single keys are on (Ctrl K always is)"), close()));
  };

  const palette = () => {
    const places = [...(admin() ? [...Object.values(GO), ...MORE] : document.querySelector(".mast-nav a") ? [GO.p] : []), ...EVERYBODY];
    const input = make("input", { type: "search", role: "combobox", "aria-expanded": "true", "aria-controls": "palette-list", "aria-label": "Go to a page, or search", autocomplete: "off" });
    const list = make("ul", { id: "palette-list", role: "listbox", "aria-label": "Pages" });
    let chosen = 0, shown = [];
    const draw = () => {
      const text = input.value.trim().toLowerCase();
      shown = places.filter(([, name]) => name.toLowerCase().includes(text));
      if (text) {
        const q = encodeURIComponent(input.value.trim());
        if (document.querySelector(".mast-nav a")) shown.push([`/clients?q=${q}`, `Find a person: ${input.value.trim()}`]);
        if (admin()) shown.push([`/admin/jobs?q=${q}`, `Find jobs: ${input.value.trim()}`], [`/admin/webhooks?q=${q}`, `Find a delivery: ${input.value.trim()}`], [`/admin/logs?q=${q}`, `Find in the logs: ${input.value.trim()}`]);
      }
      chosen = Math.min(chosen, Math.max(shown.length - 1, 0));
      list.replaceChildren(...shown.map(([href, name], i) => {
        const item = make("li", { role: "option", id: `palette-${i}`, "aria-selected": String(i === chosen) }, name);
        item.addEventListener("click", () => go(href));
        return item;
      }));
      input.setAttribute("aria-activedescendant", shown.length ? `palette-${chosen}` : "");
      list.children[chosen]?.scrollIntoView({ block: "nearest" });
    };
    const dialog = make("dialog", { class: "over palette", "aria-label": "Go anywhere" }, input, list);
    const go = (href) => { dialog.close(); visit(href); };
    input.addEventListener("input", () => { chosen = 0; draw(); });
    input.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        chosen = (chosen + (event.key === "ArrowDown" ? 1 : shown.length - 1)) % Math.max(shown.length, 1);
        draw();
      } else if (event.key === "Enter") {
        event.preventDefault();
        if (shown[chosen]) go(shown[chosen][0]);
      }
    });
    draw();
    open(dialog);
    input.focus();
  };

  let pressed = 0;
  addEventListener("keydown", (event) => {
    const inDialog = document.querySelector("dialog:modal") !== null;
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      if (!inDialog) palette();
      return;
    }
    const typing = event.target instanceof Element && event.target.closest("input, textarea, select, [contenteditable]") !== null;
    if (typing || inDialog || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || !on()) return;
    if (performance.now() - pressed < 1500 && Object.hasOwn(GO, event.key)) {
      pressed = 0;
      if (admin() || event.key === "p") { event.preventDefault(); visit(GO[event.key][0]); }
    } else if (event.key === "g") {
      pressed = performance.now();
    } else if (event.key === "/") {
      event.preventDefault();
      const field = document.querySelector('main input[type="search"]');
      if (field) { field.focus(); field.select(); } else palette();
    } else if (event.key === "?") {
      event.preventDefault();
      help();
    }
  });
  addEventListener("click", (event) => {
    if (event.target instanceof Element && event.target.closest("[data-keys]")) help();
  });

  // Boxes to tick: how many are, all of the page at once, and a row of boxes with the shift key.
  let lastBox = null;
  // A page that is shown anew has lost its ticks: they are remembered as long as its address stays.
  let place = "";
  const ticked = new Set();
  const count = () => {
    const boxes = [...document.querySelectorAll('input[form="chosen"]')], n = boxes.filter((box) => box.checked).length;
    for (const box of boxes) if (box.checked) ticked.add(box.value); else ticked.delete(box.value);
    const words = document.querySelector("#chosen [data-count]");
    if (words) words.textContent = n ? `${n} of the ${boxes.length} on this page ticked:` : "With the ticked rows of this page:";
    const head = document.querySelector("[data-all]");
    if (head) { head.checked = n > 0 && n === boxes.length; head.indeterminate = n > 0 && n < boxes.length; }
  };
  const all = () => {
    if (place !== location.href) { place = location.href; ticked.clear(); }
    const lost = [...document.querySelectorAll('input[form="chosen"]')].filter((box) => ticked.has(box.value) && !box.checked);
    for (const box of lost) box.checked = true;
    const corner = document.querySelector("#chosen") && document.querySelector("thead td");
    if (!corner || corner.firstChild) return;
    const box = make("input", { type: "checkbox", "data-all": "", "aria-label": "Tick all rows of this page" });
    corner.append(make("label", { class: "pick" }, box));
    if (ticked.size) count();
  };
  addEventListener("click", (event) => {
    const box = event.target;
    if (!(box instanceof HTMLInputElement) || box.type !== "checkbox") return;
    const boxes = [...document.querySelectorAll('input[form="chosen"]')];
    if ("all" in box.dataset) for (const other of boxes) other.checked = box.checked;
    else if (boxes.includes(box)) {
      const [from, to] = [boxes.indexOf(lastBox), boxes.indexOf(box)].sort((a, b) => a - b);
      if (event.shiftKey && from >= 0) for (const other of boxes.slice(from, to + 1)) other.checked = box.checked;
      lastBox = box;
    } else return;
    count();
  });

  // The server opens a question in the page; here it becomes a real dialog: focus inside, Escape keeps. Whoever asked it
  // has the focus again when the question is gone and the page is still the same.
  let asker = "", asked = "";
  addEventListener("click", (event) => {
    const link = event.target instanceof Element && event.target.closest('.page a[href*="ask="]');
    if (link) asker = link.getAttribute("href");
  });
  const back = () => {
    const same = asked === location.pathname;
    asked = "";
    const links = [...document.querySelectorAll('.page a[href*="ask="]')];
    if (same) (links.find((a) => a.getAttribute("href") === asker) ?? document.querySelector('.page button[name="ask"]'))?.focus();
  };
  const raise = () => {
    if (document.documentElement.hasAttribute("data-hydrated")) all();
    if (asked && !document.querySelector("dialog.confirm")) back();
    const dialog = document.querySelector("dialog.confirm[open]:not(:modal)");
    if (!dialog || !document.documentElement.hasAttribute("data-hydrated")) return;
    asked = location.pathname;
    dialog.close();
    dialog.showModal();
    (dialog.querySelector("a.button") ?? dialog.querySelector("button"))?.focus();
    dialog.addEventListener("cancel", (event) => { event.preventDefault(); dialog.querySelector("a.button")?.click(); });
  };
  new MutationObserver(raise).observe(document.documentElement, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-hydrated"] });
  raise();

  // The button that shows what changed goes away; the focus goes on to the heading of the page.
  addEventListener("click", (event) => {
    if (event.target instanceof Element && event.target.closest(".news button")) toHeading();
  });

  // A filter that is not set stays out of the address.
  addEventListener("formdata", (event) => {
    if (event.target.getAttribute("method") !== "get") return;
    for (const name of new Set(event.formData.keys())) if (!event.formData.getAll(name).some((value) => value !== "")) event.formData.delete(name);
  });

  // One press sends once: the button stays as it is and says that it is busy.
  addEventListener("submit", (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement) || form.method !== "post") return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    // After all others have heard of it: what the page sends by itself is not ours.
    setTimeout(() => {
      if (event.defaultPrevented) return;
      form.dataset.sent = "1";
      event.submitter?.setAttribute("aria-busy", "true");
    });
  });
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
    for (const button of document.querySelectorAll("button[aria-busy=true]:not(:disabled)")) button.removeAttribute("aria-busy");
  });

  // A page that the server makes by itself has no other script to wait for.
  if (document.querySelector("main.sheet")) document.documentElement.setAttribute("data-hydrated", "");
})();
