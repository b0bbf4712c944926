//! HTML that the server made, put in its place as a whole. When the same page comes again it is not replaced but brought
//! up to date, node by node, so that focus, scrolled tables, opened details and half-typed words stay as they are.

use leptos::{
    html::div,
    prelude::*,
    tachys::{html::element::InnerHtmlValue, renderer::types::Element},
};

/// HTML for `inner_html`, in which every text was escaped by the `view!` macro. What the server sent with the document
/// stands there already, and its text is left out in the browser: an empty one changes nothing.
#[derive(Debug, Clone)]
pub struct Placed {
    /// Which page it is.
    pub page: String,
    /// What stands in it.
    pub html: String,
}

impl Placed {
    /// The element that holds it.
    pub fn into_view(self) -> AnyView {
        div().class("page").inner_html(self).into_any()
    }
}

impl InnerHtmlValue for Placed {
    type AsyncOutput = Self;
    type State = (Element, String);
    type Cloneable = Self;
    type CloneableOwned = Self;

    fn html_len(&self) -> usize {
        self.html.len()
    }

    fn to_html(self, buf: &mut String) {
        buf.push_str(&self.html);
    }

    fn to_template(_buf: &mut String) {}

    fn hydrate<const FROM_SERVER: bool>(self, el: &Element) -> Self::State {
        (el.clone(), self.page)
    }

    fn build(self, el: &Element) -> Self::State {
        el.set_inner_html(&self.html);
        (el.clone(), self.page)
    }

    fn rebuild(self, (el, page): &mut Self::State) {
        if self.html.is_empty() {
            return;
        }
        if self.page == *page {
            #[cfg(feature = "hydrate")]
            browser::bring_up_to_date(el, &self.html);
        } else {
            el.set_inner_html(&self.html);
            *page = self.page;
        }
    }

    fn into_cloneable(self) -> Self {
        self
    }

    fn into_cloneable_owned(self) -> Self {
        self
    }

    fn dry_resolve(&mut self) {}

    async fn resolve(self) -> Self {
        self
    }
}

#[cfg(feature = "hydrate")]
mod browser {
    use leptos::prelude::document;
    use wasm_bindgen::JsCast;
    use web_sys::{Element, HtmlElement, Node};

    /// Makes the children of an element what the HTML says. A node that had to move loses the focus: it is given back.
    pub(super) fn bring_up_to_date(element: &Element, html: &str) {
        let focused = document().active_element();
        if let Ok(fresh) = element.clone_node() {
            if let Some(fresh) = fresh.dyn_ref::<Element>() {
                fresh.set_inner_html(html);
            }
            children(element, &fresh);
        }
        if let Some(focused) = focused.filter(|f| f.is_connected() && document().active_element().as_ref() != Some(f))
            && let Ok(focused) = focused.dyn_into::<HtmlElement>()
        {
            let _ = focused.focus();
        }
    }

    fn children(old: &Node, fresh: &Node) {
        let (mut here, mut next) = (old.first_child(), fresh.first_child());
        while let Some(wanted) = next {
            // Before the node is moved away from its brothers.
            next = wanted.next_sibling();
            match find(here.as_ref(), &wanted) {
                Found::Here(found) => {
                    here = found.next_sibling();
                    update(&found, &wanted);
                }
                // What stood before it has gone, so nothing needs to move.
                Found::Next(found, gone) => {
                    here = found.next_sibling();
                    let _ = old.remove_child(&gone);
                    update(&found, &wanted);
                }
                Found::Behind(found) => {
                    let _ = old.insert_before(&found, here.as_ref());
                    update(&found, &wanted);
                }
                Found::Nowhere => {
                    let _ = old.insert_before(&wanted, here.as_ref());
                }
            }
        }
        while let Some(rest) = here {
            here = rest.next_sibling();
            let _ = old.remove_child(&rest);
        }
    }

    enum Found {
        Here(Node),
        /// The next one, and the present one before it.
        Next(Node, Node),
        Behind(Node),
        Nowhere,
    }

    /// The node that becomes the wanted one: the present one or the next if it is of its kind, else the first behind them
    /// that bears the same id, so that a row moves with what was ticked in it.
    fn find(here: Option<&Node>, wanted: &Node) -> Found {
        let Some(present) = here else { return Found::Nowhere };
        if alike(present, wanted) {
            return Found::Here(present.clone());
        }
        let named = |node: &Node| node.dyn_ref::<Element>().is_some_and(|e| !e.id().is_empty());
        let mut behind = present.next_sibling();
        match &behind {
            // A present one with a name may only have moved: it is looked for again.
            Some(node) if alike(node, wanted) && !named(present) => return Found::Next(node.clone(), present.clone()),
            _ => {}
        }
        while let Some(node) = behind.filter(|_| named(wanted)) {
            if alike(&node, wanted) {
                return Found::Behind(node);
            }
            behind = node.next_sibling();
        }
        Found::Nowhere
    }

    fn alike(a: &Node, b: &Node) -> bool {
        match (a.dyn_ref::<Element>(), b.dyn_ref::<Element>()) {
            (Some(a), Some(b)) => a.tag_name() == b.tag_name() && a.id() == b.id(),
            (None, None) => a.node_type() == b.node_type(),
            _ => false,
        }
    }

    fn update(old: &Node, fresh: &Node) {
        if let (Some(a), Some(b)) = (old.dyn_ref::<Element>(), fresh.dyn_ref::<Element>()) {
            attributes(a, b);
            children(old, fresh);
        } else if old.node_value() != fresh.node_value() {
            old.set_node_value(fresh.node_value().as_deref());
        }
    }

    /// Whether details and dialogs are open is the reader's business, and data attributes are the scripts'.
    fn attributes(old: &Element, fresh: &Element) {
        let names = |e: &Element| e.get_attribute_names().iter().filter_map(|n| n.as_string()).collect::<Vec<_>>();
        for name in names(fresh) {
            let value = fresh.get_attribute(&name);
            if name != "open" && old.get_attribute(&name) != value {
                let _ = old.set_attribute(&name, &value.unwrap_or_default());
            }
        }
        for name in names(old) {
            if name != "open" && !name.starts_with("data-") && !fresh.has_attribute(&name) {
                let _ = old.remove_attribute(&name);
            }
        }
    }
}
