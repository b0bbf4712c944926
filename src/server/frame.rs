//! The document around the few pages that need no script at all: account, accounts, invitation. Same style sheet, same
//! header and footer as the rest.

use crate::{access::forms::Sheet, model::Role};
use std::path::Path;

/// The reader's theme, painted by the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Theme {
    /// As the device says.
    #[default]
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Theme {
    /// From the cookie's value; anything else is the device's.
    pub fn from_cookie(value: Option<&str>) -> Self {
        match value {
            Some("light") => Self::Light,
            Some("dark") => Self::Dark,
            _ => Self::System,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

tokio::task_local! {
    /// Of the request at hand.
    pub static THEME: Theme;
}

/// The hashed name of the style sheet, from the site's hash.txt.
pub fn stylesheet(hash_file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(hash_file).map_err(|e| format!("{} cannot be read: {e}.", hash_file.display()))?;
    let hash = text
        .lines()
        .find_map(|l| l.strip_prefix("css: "))
        .ok_or_else(|| format!("{} names no style sheet; run 'make build' again.", hash_file.display()))?;
    Ok(format!("/pkg/assay.{}.css", hash.trim()))
}

/// The main pages by role, as the application's own header has them.
const MEMBERS: [(&str, &str); 1] = [("/clients", "People")];
const ADMINS: [(&str, &str); 9] = [
    ("/admin", "Overview"),
    ("/clients", "People"),
    ("/admin/jobs", "Jobs"),
    ("/admin/dead-letters", "Dead letters"),
    ("/admin/webhooks", "Webhooks"),
    ("/admin/logs", "Logs"),
    ("/admin/nodes", "System"),
    ("/admin/users", "Accounts"),
    ("/admin/audit", "Audit log"),
];

/// A whole document.
pub fn document(stylesheet: &str, sheet: &Sheet<'_>) -> String {
    let title = escaped(sheet.title);
    let theme = THEME.try_with(|t| *t).unwrap_or_default().word();
    let pages: &[(&str, &str)] = match sheet.role {
        Some(Role::Admin) => &ADMINS,
        Some(Role::Trainer) => &MEMBERS,
        None => &[],
    };
    let links: String = pages.iter().map(|(to, text)| format!("<a href=\"{to}\">{text}</a>")).collect();
    let account = if sheet.role.is_some() {
        "<a class=\"button small\" href=\"/account\">Account</a>"
    } else {
        "<a class=\"button small\" href=\"/login\">Log in</a>"
    };
    format!(
        "<!DOCTYPE html><html lang=\"en\" data-theme=\"{theme}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <link rel=\"icon\" href=\"/favicon.svg\" type=\"image/svg+xml\"><link rel=\"stylesheet\" href=\"{stylesheet}\"><title>{title} · Assay</title></head>\
         <body><a class=\"skip\" href=\"#main\">Skip to the content</a>\
         <header class=\"mast\"><a class=\"brand\" href=\"/\"><span>Assay</span></a><nav class=\"mast-nav\" aria-label=\"Main\">{links}</nav>{account}</header>\
         <main id=\"main\" class=\"sheet\" tabindex=\"-1\">{}</main>\
         <footer class=\"foot\"><span>Assay {}</span><a href=\"/status\">Status</a><a href=\"/preferences\">Preferences</a></footer></body></html>",
        sheet.body,
        env!("CARGO_PKG_VERSION")
    )
}

/// A title may hold a person's name.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::guard::{Decision, decide};

    #[test]
    fn the_document_links_the_hashed_style_sheet_and_needs_no_script() {
        let sheet = Sheet { title: "<b>Erika", body: "<h1>Account</h1>", role: Some(Role::Trainer) };
        let html = document("/pkg/assay.abc.css", &sheet);
        assert!(html.contains("href=\"/pkg/assay.abc.css\"") && html.contains("<title>&lt;b&gt;Erika · Assay</title>"));
        let dark = THEME.sync_scope(Theme::from_cookie(Some("dark")), || document("/x.css", &sheet));
        assert!(html.contains("data-theme=\"system\"") && dark.contains("data-theme=\"dark\""));
        assert!(!html.contains("<script") && !html.contains("style=") && !html.contains("/admin"));
    }

    #[test]
    fn nobody_is_offered_what_is_refused() {
        for (pages, role) in [(&ADMINS[..], Role::Admin), (&MEMBERS[..], Role::Trainer)] {
            assert!(pages.iter().all(|(to, _)| decide(to, Some(role)) == Decision::Allow));
        }
    }
}
