//! The document around the few pages that the server makes by itself: account, accounts, invitation. Same style sheet,
//! same keys, same header and footer as the rest.

use crate::{access::forms::Sheet, components::menu::MENU, model::Role, pages::session::SetTheme};
use axum::http::{Method, Uri};
use leptos::server_fn::ServerFn;
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

/// What a document takes from the request it answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// How it is painted.
    pub theme: Theme,
    /// The address's path: it decides which entry of the menu is the current one.
    pub path: String,
    /// The address to return to, where it can be asked for again and holds no secret.
    pub back: Option<String>,
}

impl View {
    /// Of a request, and the theme in its cookies.
    pub fn of(method: &Method, uri: &Uri, theme: Theme) -> Self {
        let path = uri.path().to_owned();
        let again = method == Method::GET && !path.starts_with("/invite/");
        Self { theme, path, back: again.then(|| uri.path_and_query().map(ToString::to_string)).flatten() }
    }
}

tokio::task_local! {
    /// Of the request at hand.
    pub static VIEW: View;
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

/// As in the application's own header.
const LOGO: &str = "<svg class=\"logo\" viewBox=\"0 0 24 24\" width=\"24\" height=\"24\" aria-hidden=\"true\">\
    <path class=\"logo-ring\" d=\"M12 1.5 21.1 6.8V17.2L12 22.5 2.9 17.2V6.8Z\"></path><path class=\"logo-line\" d=\"M6.5 15.5H10L12 8l2 7.5h3.5\"></path></svg>";

/// A whole document.
pub fn document(stylesheet: &str, sheet: &Sheet<'_>) -> String {
    let title = escaped(sheet.title);
    let View { theme, path, back } = VIEW.try_with(View::clone).unwrap_or_default();
    let links: String = MENU
        .iter()
        .filter(|entry| entry.is_for(sheet.role))
        .map(|entry| {
            let current = if entry.covers(&path) { " aria-current=\"page\"" } else { "" };
            format!("<a href=\"{}\"{current}>{}</a>", entry.href, entry.text)
        })
        .collect();
    format!(
        "<!DOCTYPE html><html lang=\"en\" data-theme=\"{}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <link rel=\"icon\" href=\"/favicon.svg\" type=\"image/svg+xml\"><link rel=\"stylesheet\" href=\"{stylesheet}\">\
         <script src=\"/keys.js\" defer></script><title>{title} · Assay</title></head>\
         <body><a class=\"skip\" href=\"#main\">Skip to the content</a>\
         <header class=\"mast\"><a class=\"brand\" href=\"/\">{LOGO}<span>Assay</span></a><nav class=\"mast-nav\" aria-label=\"Main\">{links}</nav>{}</header>\
         <main id=\"main\" class=\"sheet\" tabindex=\"-1\">{}</main>\
         <footer class=\"foot\"><span>Assay {}</span><a href=\"/status\">Status</a><a href=\"/preferences\">Preferences</a>\
         <button class=\"quiet with-js\" type=\"button\" data-keys>Keyboard</button></footer></body></html>",
        theme.word(),
        menu(sheet.role, theme, back.as_deref().unwrap_or("/")),
        sheet.body,
        env!("CARGO_PKG_VERSION")
    )
}

/// Theme, account and the way out, as in the application's own header.
fn menu(role: Option<Role>, theme: Theme, back: &str) -> String {
    let themes: String = [(Theme::System, "System"), (Theme::Light, "Light"), (Theme::Dark, "Dark")]
        .iter()
        .map(|(t, words)| {
            format!("<button type=\"submit\" name=\"theme\" value=\"{}\" aria-pressed=\"{}\">{words}</button>", t.word(), *t == theme)
        })
        .collect();
    let link = |to: &str, words: &str| format!("<a class=\"button wide\" href=\"{to}\">{words}</a>");
    let (account, out) = match role {
        Some(_) => (
            link("/account", "Account"),
            "<form method=\"post\" action=\"/logout\"><button class=\"button wide\" type=\"submit\">Log out</button></form>".to_owned(),
        ),
        None => (String::new(), link("/login", "Log in")),
    };
    let users = if role == Some(Role::Admin) { link("/admin/users", "Accounts and invitations") } else { String::new() };
    format!(
        "<details class=\"menu\"><summary><span class=\"menu-name\">{}</span></summary><div class=\"menu-body\">{account}{users}\
         <form method=\"post\" action=\"{}\" class=\"segments\"><input type=\"hidden\" name=\"back\" value=\"{}\">\
         <fieldset><legend>Theme</legend>{themes}</fieldset></form>{out}</div></details>",
        if role.is_some() { "Account" } else { "Display" },
        SetTheme::url(),
        escaped(back)
    )
}

/// A title or a path may hold a person's name.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::access::guard::{Decision, decide};

    fn at(path: &str, theme: Theme, role: Option<Role>) -> String {
        let sheet = Sheet { title: "<b>Erika", body: "<h1>Account</h1>", role };
        let view = View::of(&Method::GET, &path.parse().unwrap(), theme);
        VIEW.sync_scope(view, || document("/pkg/assay.abc.css", &sheet))
    }

    #[test]
    fn the_document_links_the_hashed_style_sheet_and_has_no_script_but_the_keys() {
        let html = at("/account", Theme::System, Some(Role::Trainer));
        assert!(html.contains("href=\"/pkg/assay.abc.css\"") && html.contains("<title>&lt;b&gt;Erika · Assay</title>"));
        assert!(
            html.contains("data-theme=\"system\"")
                && at("/account", Theme::from_cookie(Some("dark")), None).contains("data-theme=\"dark\"")
        );
        assert_eq!(html.matches("<script").count(), 1);
        assert!(html.contains("<script src=\"/keys.js\" defer></script>") && !html.contains("style="));
        assert!(!html.contains("/admin"));
    }

    #[test]
    fn the_menu_is_that_of_the_application_and_says_where_one_is() {
        let html = at("/admin/settings/retention", Theme::Light, Some(Role::Admin));
        assert!(html.contains("<a href=\"/admin/calibration\">Calibration</a>"));
        assert!(html.contains("<a href=\"/admin/nodes\" aria-current=\"page\">System</a>"));
        assert_eq!(html.matches("aria-current").count(), 1);
        assert!(
            html.contains("value=\"light\" aria-pressed=\"true\"") && html.contains("name=\"back\" value=\"/admin/settings/retention\"")
        );
        assert!(!at("/account", Theme::System, Some(Role::Admin)).contains("aria-current"));
    }

    #[test]
    fn the_theme_s_form_leads_back_with_the_filter_and_never_to_a_secret_or_to_what_was_sent() {
        assert!(at("/admin/audit?text=a&action=b", Theme::Dark, Some(Role::Admin)).contains("value=\"/admin/audit?text=a&amp;action=b\""));
        let html = at("/invite/0123456789", Theme::System, None);
        assert!(!html.contains("0123456789") && html.contains("name=\"back\" value=\"/\""));
        assert_eq!(View::of(&Method::POST, &"/account/password".parse().unwrap(), Theme::System).back, None);
    }

    #[test]
    fn nobody_is_offered_what_is_refused() {
        for role in [Role::Admin, Role::Trainer] {
            assert!(MENU.iter().filter(|e| e.is_for(Some(role))).all(|e| decide(e.href, Some(role)) == Decision::Allow));
        }
    }
}
