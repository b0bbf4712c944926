//! HTML that the server made, put in its place. When it comes again, only what differs is changed.

use super::script::put;
use leptos::{
    html::div,
    prelude::*,
    tachys::{
        html::attribute::{Attribute, NextAttribute},
        renderer::types::Element,
    },
};

/// HTML for an element's inside, in which every text was escaped by the `view!` macro. What the server sent with the
/// document stands there already, and its text is left out in the browser: an empty one changes nothing.
///
/// An attribute of our own, that names no key: `inner_html` is emptied before it is set again where attributes are erased
/// types, and with what stood there the reader's focus would go.
#[derive(Debug, Clone)]
pub struct Placed {
    /// What stands in it.
    pub html: String,
}

impl Placed {
    /// The element that holds it.
    pub fn into_view(self) -> AnyView {
        div().add_any_attr(self).into_any()
    }
}

impl Attribute for Placed {
    const MIN_LENGTH: usize = 0;
    type AsyncOutput = Self;
    type State = Element;
    type Cloneable = Self;
    type CloneableOwned = Self;

    fn html_len(&self) -> usize {
        self.html.len()
    }

    fn to_html(self, _buf: &mut String, class: &mut String, _style: &mut String, inner_html: &mut String) {
        class.push_str("page");
        inner_html.push_str(&self.html);
    }

    fn hydrate<const FROM_SERVER: bool>(self, el: &Element) -> Self::State {
        el.clone()
    }

    fn build(self, el: &Element) -> Self::State {
        el.set_class_name("page");
        if !self.html.is_empty() {
            put(el, &self.html);
        }
        el.clone()
    }

    fn rebuild(self, el: &mut Element) {
        self.build(el);
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

impl NextAttribute for Placed {
    type Output<NewAttr: Attribute> = (Self, NewAttr);

    fn add_any_attr<NewAttr: Attribute>(self, new_attr: NewAttr) -> Self::Output<NewAttr> {
        (self, new_attr)
    }
}
