//! The document around the few pages that need no script at all: account, accounts, invitation. Same style sheet, same
//! header and footer as the rest.

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

/// A whole document. `title` and `body` are HTML already.
pub fn document(stylesheet: &str, title: &str, body: &str) -> String {
    let theme = THEME.try_with(|t| *t).unwrap_or_default().word();
    format!(
        "<!DOCTYPE html><html lang=\"en\" data-theme=\"{theme}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <link rel=\"icon\" href=\"/favicon.svg\" type=\"image/svg+xml\"><link rel=\"stylesheet\" href=\"{stylesheet}\"><title>{title} · Assay</title></head>\
         <body><a class=\"skip\" href=\"#main\">Skip to the content</a>\
         <header class=\"mast\"><a class=\"brand\" href=\"/\"><span>Assay</span></a><nav class=\"mast-nav\" aria-label=\"Main\"><a href=\"/\">Start</a><a href=\"/account\">Account</a></nav></header>\
         <main id=\"main\" class=\"plain\" tabindex=\"-1\">{body}</main>\
         <footer class=\"foot\"><span>Assay {}</span><a href=\"/status\">Status</a><a href=\"/preferences\">Preferences</a></footer></body></html>",
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_links_the_hashed_style_sheet_and_needs_no_script() {
        let html = document("/pkg/assay.abc.css", "Account", "<h1>Account</h1>");
        assert!(html.contains("href=\"/pkg/assay.abc.css\"") && html.contains("<title>Account · Assay</title>"));
        assert!(html.contains("data-theme=\"system\""));
        let dark = THEME.sync_scope(Theme::from_cookie(Some("dark")), || document("/x.css", "Account", ""));
        assert!(dark.contains("data-theme=\"dark\""));
        assert!(!html.contains("<script") && !html.contains("style="));
    }
}
