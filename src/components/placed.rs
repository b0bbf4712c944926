//! HTML that the server made, put in its place. When it comes again, only what differs is changed.

use super::script::put;
use leptos::{
    html::div,
    prelude::*,
    tachys::{html::element::InnerHtmlValue, renderer::types::Element},
};

/// HTML for `inner_html`, in which every text was escaped by the `view!` macro. What the server sent with the document
/// stands there already, and its text is left out in the browser: an empty one changes nothing.
#[derive(Debug, Clone)]
pub struct Placed {
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
    type State = Element;
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
        el.clone()
    }

    fn build(self, el: &Element) -> Self::State {
        put(el, &self.html);
        el.clone()
    }

    fn rebuild(self, el: &mut Element) {
        if !self.html.is_empty() {
            put(el, &self.html);
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
