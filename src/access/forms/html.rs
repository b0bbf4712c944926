//! A page's body, put together from escaped parts only.

use super::field::{self, Field, Refused};
use chrono::{DateTime, Utc};

/// HTML under construction. Texts are escaped; tags come from here. What follows a [`Html::section`] is in its panel.
pub(super) struct Html {
    text: String,
    open: bool,
    refused: Option<Refused>,
}

/// Escapes what a text or an attribute in quotes cannot hold.
pub(super) fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
        out
    })
}

pub(in crate::access) use crate::components::text::segment;

impl Html {
    pub(super) fn new() -> Self {
        Self::again(None)
    }

    /// A page whose form was refused, if one was: it is filled in again, and what is wrong stands above the page.
    pub(super) fn again(refused: Option<Refused>) -> Self {
        Self { text: String::new(), open: false, refused }
    }

    /// What was sent in a field of the form that was refused, if it is this one.
    pub(super) fn sent(&self, action: &str, name: &str) -> Option<&str> {
        self.refused.as_ref()?.sent(action, name)
    }

    fn add(mut self, html: &str) -> Self {
        self.text.push_str(html);
        self
    }

    fn close(mut self) -> Self {
        if self.open {
            self.text.push_str("</section>");
            self.open = false;
        }
        self
    }

    pub(super) fn heading(self, text: &str) -> Self {
        let summary = self.refused.as_ref().map(Refused::summary).unwrap_or_default();
        self.add(&format!("<h1>{}</h1>{summary}", escape(text)))
    }

    /// Begins a panel.
    pub(super) fn section(self, text: &str) -> Self {
        let mut page = self.close().add(&format!("<section class=\"panel\"><div class=\"panel-head\"><h2>{}</h2></div>", escape(text)));
        page.open = true;
        page
    }

    pub(super) fn text(self, text: &str) -> Self {
        self.add(&format!("<p>{}</p>", escape(text)))
    }

    /// A sentence that screen readers announce.
    pub(super) fn notice(self, text: &str) -> Self {
        self.add(&format!("<p class=\"alert note\" role=\"status\"><strong>{}</strong></p>", escape(text)))
    }

    /// What the deed before came to, if there was one; screen readers announce it.
    pub(super) fn said(self, sentence: Option<&str>) -> Self {
        match sentence {
            Some(text) => self.add(&format!("<p class=\"alert good\" role=\"status\"><strong>{}</strong></p>", escape(text))),
            None => self,
        }
    }

    /// A sentence that must be read before going on.
    pub(super) fn warning(self, text: &str) -> Self {
        self.add(&format!("<p class=\"alert bad\"><strong>{}</strong></p>", escape(text)))
    }

    /// A secret or link to copy.
    pub(super) fn code(self, text: &str) -> Self {
        self.add(&format!("<p><code>{}</code></p>", escape(text)))
    }

    /// A way on; `to` is made by our code.
    pub(super) fn link(self, to: &str, text: &str) -> Self {
        self.add(&format!("<p>{}</p>", anchor(to, text)))
    }

    /// HTML made by the functions below.
    pub(super) fn part(self, html: &str) -> Self {
        self.add(html)
    }

    /// A form that posts to a path of ours.
    pub(super) fn form(self, action: &str, fields: &[Field], button: &str) -> Self {
        let fields = field::render(fields, action, self.refused.as_ref());
        self.add(&styled(action, &fields, button, "sheet-form", "button"))
    }

    /// A form whose deed cannot be undone.
    pub(super) fn danger(self, action: &str, fields: &[Field], button: &str) -> Self {
        let fields = field::render(fields, action, self.refused.as_ref());
        self.add(&styled(action, &fields, button, "sheet-form confirm", "button danger"))
    }

    /// A form that only asks: its fields become the address.
    pub(super) fn query_form(self, action: &str, fields: &[Field], button: &str) -> Self {
        self.add(&format!(
            "<form method=\"get\" action=\"{}\" class=\"filter\">{}<button class=\"button small\" type=\"submit\">{}</button></form>",
            escape(action),
            field::render(fields, action, None),
            escape(button)
        ))
    }

    /// A table that scrolls in its own box; cells are HTML made by [`escape`] and the functions below. The first cell of
    /// a row is its head.
    pub(super) fn table(self, caption: &str, head: &[&str], rows: &[Vec<String>]) -> Self {
        let caption = escape(caption);
        let head: String = head
            .iter()
            .map(|h| if h.is_empty() { "<td></td>".to_owned() } else { format!("<th scope=\"col\">{}</th>", escape(h)) })
            .collect();
        let row = |cells: &Vec<String>| {
            let cells: String = cells
                .iter()
                .enumerate()
                .map(|(n, c)| if n == 0 { format!("<th scope=\"row\">{c}</th>") } else { format!("<td>{c}</td>") })
                .collect();
            format!("<tr>{cells}</tr>")
        };
        let body: String = rows.iter().map(row).collect();
        self.add(&format!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\"><table><caption class=\"sr-only\">{caption}</caption>\
             <thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        ))
    }

    pub(super) fn into_string(self) -> String {
        self.close().text
    }
}

/// A link; `to` is made by our code.
pub(super) fn anchor(to: &str, text: &str) -> String {
    format!("<a href=\"{}\">{}</a>", escape(to), escape(text))
}

/// A form that is one small button, for a table's cell.
pub(super) fn deed(action: &str, button: &str) -> String {
    styled(action, "", button, "sheet-deed", "button small")
}

fn styled(action: &str, fields: &str, button: &str, form: &str, kind: &str) -> String {
    format!(
        "<form method=\"post\" action=\"{}\" class=\"{form}\">{fields}<button class=\"{kind}\" type=\"submit\">{}</button></form>",
        escape(action),
        escape(button)
    )
}

/// A moment, to the minute.
pub(super) fn time(at: DateTime<Utc>) -> String {
    format!("<time datetime=\"{}\">{} UTC</time>", at.format("%Y-%m-%dT%H:%M:%SZ"), at.format("%F %H:%M"))
}

/// A day, or a word where there is none.
pub(super) fn day(at: Option<DateTime<Utc>>, none: &str) -> String {
    at.map_or_else(|| escape(none), |t| format!("<time datetime=\"{}\">{}</time>", t.format("%F"), t.format("%F")))
}
