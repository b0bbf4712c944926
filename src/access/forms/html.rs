//! A page's body, put together from escaped parts only.

/// HTML under construction. Texts are escaped; tags come from here.
pub(super) struct Html(String);

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

impl Html {
    pub(super) const fn new() -> Self {
        Self(String::new())
    }

    fn add(mut self, html: &str) -> Self {
        self.0.push_str(html);
        self
    }

    pub(super) fn heading(self, text: &str) -> Self {
        self.add(&format!("<h1>{}</h1>", escape(text)))
    }

    pub(super) fn section(self, text: &str) -> Self {
        self.add(&format!("<h2>{}</h2>", escape(text)))
    }

    pub(super) fn text(self, text: &str) -> Self {
        self.add(&format!("<p>{}</p>", escape(text)))
    }

    /// A sentence that screen readers announce.
    pub(super) fn notice(self, text: &str) -> Self {
        self.add(&format!("<p role=\"status\"><strong>{}</strong></p>", escape(text)))
    }

    /// A secret or link to copy.
    pub(super) fn code(self, text: &str) -> Self {
        self.add(&format!("<p><code>{}</code></p>", escape(text)))
    }

    pub(super) fn link(self, to: &'static str, text: &str) -> Self {
        self.add(&format!("<p><a href=\"{to}\">{}</a></p>", escape(text)))
    }

    /// A form that posts to a path of ours; `fields` are made by the functions below.
    pub(super) fn form(self, action: &str, fields: &[String], button: &str) -> Self {
        self.add(&form(action, fields, button))
    }

    /// A table; cells are HTML made by [`escape`] or [`form`].
    pub(super) fn table(self, head: &[&str], rows: &[Vec<String>]) -> Self {
        let head: String = head.iter().map(|h| format!("<th scope=\"col\">{}</th>", escape(h))).collect();
        let body: String =
            rows.iter().map(|r| format!("<tr>{}</tr>", r.iter().map(|c| format!("<td>{c}</td>")).collect::<String>())).collect();
        self.add(&format!("<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"))
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// A form as a cell or section.
pub(super) fn form(action: &str, fields: &[String], button: &str) -> String {
    format!(
        "<form method=\"post\" action=\"{}\">{}<button type=\"submit\">{}</button></form>",
        escape(action),
        fields.concat(),
        escape(button)
    )
}

/// A labelled input.
pub(super) fn input(label: &str, name: &str, kind: &str, autocomplete: &str, hint: &str) -> String {
    let hint = if hint.is_empty() { String::new() } else { format!(" <small>{}</small>", escape(hint)) };
    format!(
        "<p><label>{} <input name=\"{name}\" type=\"{kind}\" autocomplete=\"{autocomplete}\" required></label>{hint}</p>",
        escape(label)
    )
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
