//! What `public/keys.js` does for the browser half, because it costs a reader less there: putting a page that comes again
//! in place, and telling whether that would disturb.

use leptos::tachys::renderer::types::Element;

/// Whether the page should stay as it is just now: the reader is at work in its rows, or nobody looks. Without the script
/// nobody knows, and the answer is no.
pub fn busy() -> bool {
    #[cfg(feature = "hydrate")]
    {
        function("busy").and_then(|f| f.call0(&wasm_bindgen::JsValue::NULL).ok()).is_some_and(|said| said.is_truthy())
    }
    #[cfg(not(feature = "hydrate"))]
    false
}

/// Puts HTML into an element; what it holds already of the same page stays where nothing differs.
pub fn put(element: &Element, html: &str) {
    #[cfg(feature = "hydrate")]
    if let Some(f) = function("put")
        && f.call2(&wasm_bindgen::JsValue::NULL, element, &wasm_bindgen::JsValue::from_str(html)).is_ok()
    {
        return;
    }
    element.set_inner_html(html);
}

/// A function of the script, once it is there.
#[cfg(feature = "hydrate")]
fn function(name: &str) -> Option<js_sys::Function> {
    use wasm_bindgen::{JsCast, JsValue};
    let get = |of: &JsValue, name: &str| js_sys::Reflect::get(of, &JsValue::from_str(name)).ok();
    get(&get(&leptos::prelude::window(), "assay")?, name)?.dyn_into().ok()
}
