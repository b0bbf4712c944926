//! The fields of a plain page's forms, and how a form comes back that was refused: filled in as it was sent, with the
//! sentence at its field.

use super::html::escape;
use crate::access::AccessError;

/// A field of a form.
pub(super) struct Field {
    label: String,
    name: &'static str,
    hint: String,
    kind: Kind,
}

enum Kind {
    /// A value that nobody sees.
    Hidden(String),
    /// Whose password the form is about, for password managers; it is not sent.
    Username(String),
    /// One line: the input's type, its value, what a browser may fill in, and whether it must be filled in.
    Line { kind: &'static str, value: String, autocomplete: &'static str, required: bool },
    /// One of several: values and words.
    Choice(Vec<(String, String)>),
    /// Any of several.
    Boxes(Vec<(String, String)>),
}

/// What was sent and refused.
pub(super) struct Refused {
    action: String,
    /// Where the mistake is; empty: in no single field.
    field: &'static str,
    /// What is wrong, and how to mend it.
    pub(super) sentence: String,
    values: Vec<(String, String)>,
}

impl Refused {
    /// A form that was sent to `action` with these values. A password among them is never shown again.
    pub(super) fn new(action: &str, field: &'static str, sentence: &str, values: &[(&str, &str)]) -> Self {
        let values = values.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Self { action: action.to_owned(), field, sentence: sentence.to_owned(), values }
    }

    /// For what its sender can mend; `None` for everything else.
    pub(super) fn of(error: &AccessError, action: &str, values: &[(&str, &str)]) -> Option<Self> {
        match error {
            AccessError::Invalid(what) => Some(Self::new(action, what.field, what.sentence, values)),
            AccessError::Conflict(sentence) => Some(Self::new(action, "", sentence, values)),
            AccessError::NotFound(_) | AccessError::Database(_) | AccessError::Hash(_) => None,
        }
    }

    /// What was sent in a field, if it was this form.
    pub(super) fn sent(&self, action: &str, name: &str) -> Option<&str> {
        (self.action == action).then(|| self.values.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()))?
    }

    /// The sentence above the page; it takes the focus, and leads to the field.
    pub(super) fn summary(&self) -> String {
        let way = if self.field.is_empty() { String::new() } else { format!(" <a href=\"#{}\">To the field</a>", id(self.field)) };
        format!(
            "<div class=\"alert bad\" role=\"alert\" tabindex=\"-1\" autofocus><strong class=\"alert-word\">Problem</strong>\
             <div class=\"alert-body\">{}{way}</div></div>",
            escape(&self.sentence)
        )
    }
}

/// Of the one field that is marked.
fn id(name: &str) -> String {
    format!("mend-{name}")
}

/// A labelled input that must be filled in.
pub(super) fn input(label: &str, name: &'static str, kind: &'static str, autocomplete: &'static str, hint: &str) -> Field {
    field(label, name, hint, Kind::Line { kind, value: String::new(), autocomplete, required: true })
}

/// A labelled input with a value, which may be left empty.
pub(super) fn filled(label: &str, name: &'static str, kind: &'static str, value: &str, hint: &str) -> Field {
    field(label, name, hint, Kind::Line { kind, value: value.to_owned(), autocomplete: "", required: false })
}

/// Whose password the form is about.
pub(super) fn username(email: &str) -> Field {
    field("", "", "", Kind::Username(email.to_owned()))
}

/// A hidden value.
pub(super) fn hidden(name: &'static str, value: &str) -> Field {
    field("", name, "", Kind::Hidden(value.to_owned()))
}

/// A labelled choice of one.
pub(super) fn choice(label: &str, name: &'static str, options: &[(&str, &str)]) -> Field {
    field(label, name, "", Kind::Choice(owned(options)))
}

/// Boxes to tick, the first one ticked; all have one name.
pub(super) fn boxes(legend: &str, name: &'static str, options: &[(&str, &str)]) -> Field {
    field(legend, name, "", Kind::Boxes(owned(options)))
}

fn field(label: &str, name: &'static str, hint: &str, kind: Kind) -> Field {
    Field { label: label.to_owned(), name, hint: hint.to_owned(), kind }
}

fn owned(options: &[(&str, &str)]) -> Vec<(String, String)> {
    options.iter().map(|(value, words)| ((*value).to_owned(), (*words).to_owned())).collect()
}

/// The fields of the form that is sent to `action`.
pub(super) fn render(fields: &[Field], action: &str, refused: Option<&Refused>) -> String {
    let refused = refused.filter(|r| r.action == action);
    fields.iter().map(|f| f.render(refused)).collect()
}

impl Field {
    fn render(&self, refused: Option<&Refused>) -> String {
        let (name, label) = (self.name, escape(&self.label));
        let sent = refused.map(|r| r.values.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect::<Vec<_>>());
        let hint = if self.hint.is_empty() { String::new() } else { format!(" <small>{}</small>", escape(&self.hint)) };
        let (marks, problem) = match refused.filter(|r| r.field == name && !name.is_empty()) {
            Some(r) => (
                format!(" id=\"{0}\" aria-invalid=\"true\" aria-describedby=\"{0}-why\"", id(name)),
                format!("<small class=\"bad-text\" id=\"{}-why\">{}</small>", id(name), escape(&r.sentence)),
            ),
            None => Default::default(),
        };
        match &self.kind {
            Kind::Hidden(value) => format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value)),
            Kind::Username(email) => {
                format!("<input type=\"text\" autocomplete=\"username\" value=\"{}\" readonly hidden>", escape(email))
            }
            Kind::Line { kind, value, autocomplete, required } => {
                let value = match &sent {
                    _ if *kind == "password" => "",
                    Some(sent) => sent.first().copied().unwrap_or_default(),
                    None => value.as_str(),
                };
                let autocomplete = if autocomplete.is_empty() { String::new() } else { format!(" autocomplete=\"{autocomplete}\"") };
                let value = if value.is_empty() && *required { String::new() } else { format!(" value=\"{}\"", escape(value)) };
                let required = if *required { " required" } else { "" };
                format!(
                    "<p><label>{label} <input name=\"{name}\" type=\"{kind}\"{value}{autocomplete}{required}{marks}></label>{problem}{hint}</p>"
                )
            }
            Kind::Choice(options) => {
                let chosen = |value: &str| if sent.as_ref().is_some_and(|s| s.contains(&value)) { " selected" } else { "" };
                let options: String = options
                    .iter()
                    .map(|(value, words)| format!("<option value=\"{}\"{}>{}</option>", escape(value), chosen(value), escape(words)))
                    .collect();
                format!("<p><label>{label} <select name=\"{name}\"{marks}>{options}</select></label>{problem}</p>")
            }
            Kind::Boxes(options) => {
                let ticked = |n: usize, value: &str| if sent.as_ref().map_or(n == 0, |s| s.contains(&value)) { " checked" } else { "" };
                let options: String = options
                    .iter()
                    .enumerate()
                    .map(|(n, (value, words))| {
                        format!(
                            "<p><label><input type=\"checkbox\" name=\"{name}\" value=\"{}\"{}> {}</label></p>",
                            escape(value),
                            ticked(n, value),
                            escape(words)
                        )
                    })
                    .collect();
                // A group cannot be invalid itself; it is described by what is wrong with it.
                let marks = marks.replace(" aria-invalid=\"true\"", "");
                format!("<fieldset{marks}><legend>{label}</legend>{problem}{options}</fieldset>")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(refused: Option<&Refused>) -> String {
        let fields = [
            username("me@example.com"),
            input("E-mail", "email", "email", "off", ""),
            input("Password", "secret", "password", "off", "Long."),
            choice("Role", "role", &[("trainer", "trainer"), ("admin", "administrator")]),
            boxes("Reads", "scope", &[("a", "A"), ("b", "B")]),
        ];
        render(&fields, "/there", refused)
    }

    #[test]
    fn a_refused_form_comes_back_as_it_was_sent_with_the_sentence_at_its_field_and_without_the_password() {
        let sent = [("email", "<x>"), ("secret", "hunter2"), ("role", "admin"), ("scope", "b")];
        let refused = Refused::new("/there", "email", "That is not an e-mail address.", &sent);
        let html = form(Some(&refused));
        assert!(html.contains("value=\"&lt;x&gt;\"") && html.contains("value=\"admin\" selected") && !html.contains("hunter2"), "{html}");
        assert!(html.contains("value=\"b\" checked") && !html.contains("value=\"a\" checked"));
        assert!(html.contains("id=\"mend-email\" aria-invalid=\"true\" aria-describedby=\"mend-email-why\""));
        assert!(html.contains("id=\"mend-email-why\">That is not an e-mail address.<"));
        assert_eq!(html.matches("aria-invalid").count(), 1);
        let summary = refused.summary();
        assert!(summary.contains("tabindex=\"-1\" autofocus") && summary.contains("href=\"#mend-email\""));
    }

    #[test]
    fn another_form_of_the_page_stays_as_it_was() {
        let elsewhere = Refused::new("/elsewhere", "email", "No.", &[("email", "typed"), ("role", "admin")]);
        assert_eq!(form(Some(&elsewhere)), form(None));
        assert!(form(None).contains("value=\"a\" checked") && !form(None).contains("typed"));
    }

    #[test]
    fn what_is_wrong_with_no_single_field_is_said_above_only() {
        let refused = Refused::new("/there", "", "There is one already.", &[("email", "a@b")]);
        assert!(!form(Some(&refused)).contains("mend-") && form(Some(&refused)).contains("value=\"a@b\""));
        assert!(refused.summary().contains("There is one already.") && !refused.summary().contains("href"));
    }
}
