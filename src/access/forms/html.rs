//! A page's body, put together from escaped parts only.

use chrono::{DateTime, Utc};

/// HTML under construction. Texts are escaped; tags come from here. What follows a [`Html::section`] is in its panel.
pub(super) struct Html {
    text: String,
    open: bool,
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
    pub(super) const fn new() -> Self {
        Self { text: String::new(), open: false }
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
        self.add(&format!("<h1>{}</h1>", escape(text)))
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

    /// A form that posts to a path of ours; `fields` are made by the functions below.
    pub(super) fn form(self, action: &str, fields: &[String], button: &str) -> Self {
        self.add(&form(action, fields, button))
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

/// A form as a section.
pub(super) fn form(action: &str, fields: &[String], button: &str) -> String {
    styled(action, fields, button, "sheet-form", "button")
}

/// A form that is one small button, for a table's cell.
pub(super) fn deed(action: &str, button: &str) -> String {
    styled(action, &[], button, "sheet-deed", "button small")
}

/// A form whose deed cannot be undone.
pub(super) fn danger(action: &str, fields: &[String], button: &str) -> String {
    styled(action, fields, button, "sheet-form confirm", "button danger")
}

fn styled(action: &str, fields: &[String], button: &str, form: &str, kind: &str) -> String {
    format!(
        "<form method=\"post\" action=\"{}\" class=\"{form}\">{}<button class=\"{kind}\" type=\"submit\">{}</button></form>",
        escape(action),
        fields.concat(),
        escape(button)
    )
}

/// A form that only asks: its fields become the address.
pub(super) fn query_form(action: &str, fields: &[String], button: &str) -> String {
    format!(
        "<form method=\"get\" action=\"{}\" class=\"filter\">{}<button class=\"button small\" type=\"submit\">{}</button></form>",
        escape(action),
        fields.concat(),
        escape(button)
    )
}

/// A labelled input that must be filled in.
pub(super) fn input(label: &str, name: &str, kind: &str, autocomplete: &str, hint: &str) -> String {
    let hint = if hint.is_empty() { String::new() } else { format!(" <small>{}</small>", escape(hint)) };
    format!(
        "<p><label>{} <input name=\"{name}\" type=\"{kind}\" autocomplete=\"{autocomplete}\" required></label>{hint}</p>",
        escape(label)
    )
}

/// A labelled input with a value, which may be left empty.
pub(super) fn filled(label: &str, name: &str, kind: &str, value: &str, hint: &str) -> String {
    let hint = if hint.is_empty() { String::new() } else { format!(" <small>{}</small>", escape(hint)) };
    format!("<p><label>{} <input name=\"{name}\" type=\"{kind}\" value=\"{}\"></label>{hint}</p>", escape(label), escape(value))
}

/// Whose password the form is about, for password managers; it is not sent.
pub(super) fn username(email: &str) -> String {
    format!("<input type=\"text\" autocomplete=\"username\" value=\"{}\" readonly hidden>", escape(email))
}

/// A hidden value.
pub(super) fn hidden(name: &str, value: &str) -> String {
    format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value))
}

/// A labelled choice of one.
pub(super) fn choice(label: &str, name: &str, options: &[(&str, &str)]) -> String {
    let options: String =
        options.iter().map(|(value, text)| format!("<option value=\"{}\">{}</option>", escape(value), escape(text))).collect();
    format!("<p><label>{} <select name=\"{name}\">{options}</select></label></p>", escape(label))
}

/// Boxes to tick, the first one ticked; all have one name.
pub(super) fn boxes(legend: &str, name: &str, options: &[(&str, &str)]) -> String {
    let options: String = options
        .iter()
        .enumerate()
        .map(|(n, (value, text))| {
            let ticked = if n == 0 { " checked" } else { "" };
            format!("<p><label><input type=\"checkbox\" name=\"{name}\" value=\"{}\"{ticked}> {}</label></p>", escape(value), escape(text))
        })
        .collect();
    format!("<fieldset><legend>{}</legend>{options}</fieldset>", escape(legend))
}

/// A moment, to the minute.
pub(super) fn time(at: DateTime<Utc>) -> String {
    format!("<time datetime=\"{}\">{} UTC</time>", at.format("%Y-%m-%dT%H:%M:%SZ"), at.format("%F %H:%M"))
}

/// A day, or a word where there is none.
pub(super) fn day(at: Option<DateTime<Utc>>, none: &str) -> String {
    at.map_or_else(|| escape(none), |t| format!("<time datetime=\"{}\">{}</time>", t.format("%F"), t.format("%F")))
}
