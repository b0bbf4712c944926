//! The main pages, for the masthead of the application and for that of the server's own plain pages.

use crate::model::Role;

/// An entry of the main menu.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Where it leads.
    pub href: &'static str,
    /// Words.
    pub text: &'static str,
    /// Whether it is for administrators only.
    pub admin: bool,
    /// The pages that belong to it besides its own: their addresses, and all below them.
    also: &'static [&'static str],
}

const fn entry(href: &'static str, text: &'static str, also: &'static [&'static str]) -> Entry {
    Entry { href, text, admin: true, also }
}

/// In their order.
pub static MENU: [Entry; 8] = [
    entry("/admin", "Overview", &[]),
    Entry { admin: false, ..entry("/clients", "People", &["/admin/people"]) },
    entry("/admin/jobs", "Jobs", &[]),
    entry("/admin/dead-letters", "Dead letters", &[]),
    entry("/admin/webhooks", "Webhooks", &[]),
    entry("/admin/logs", "Logs", &["/admin/audit"]),
    entry("/admin/calibration", "Calibration", &[]),
    // Views of one page, each with an address of its own.
    entry(
        "/admin/nodes",
        "System",
        &[
            "/admin/schedules",
            "/admin/kinds",
            "/admin/limits",
            "/admin/connections",
            "/admin/connect",
            "/admin/trainers",
            "/admin/settings",
        ],
    ),
];

/// Pages that the server makes by itself, outside the application's routes, with all below them.
const OWN: [&str; 8] =
    ["/account", "/admin/audit", "/admin/connect", "/admin/people", "/admin/settings/retention", "/admin/users", "/invite", "/preferences"];

/// Whether a path is the place or below it.
fn below(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a link to this address says, so that the application's router leaves a page of the server's own to the browser.
pub fn rel(href: &str) -> Option<&'static str> {
    let path = href.split(['?', '#']).next().unwrap_or_default();
    OWN.iter().any(|place| below(path, place)).then_some("external")
}

impl Entry {
    /// Whether somebody is offered it.
    pub fn is_for(&self, role: Option<Role>) -> bool {
        role.is_some_and(|role| role == Role::Admin || !self.admin)
    }

    /// Whether the page of this path is one of the entry's.
    pub fn covers(&self, path: &str) -> bool {
        // All administrators' pages lie below the overview; only it itself is it.
        path == self.href || self.href != "/admin" && below(path, self.href) || self.also.iter().any(|place| below(path, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_of_the_menu_has_one_entry_that_is_current() {
        for (path, entry) in [
            ("/admin", "Overview"),
            ("/clients", "People"),
            ("/clients/a%2Fb/steps", "People"),
            ("/admin/people/x", "People"),
            ("/admin/jobs/1", "Jobs"),
            ("/admin/audit", "Logs"),
            ("/admin/connect", "System"),
            ("/admin/connections", "System"),
            ("/admin/settings/retention", "System"),
            ("/admin/trainers/1", "System"),
            ("/admin/calibration", "Calibration"),
        ] {
            let current: Vec<&str> = MENU.iter().filter(|e| e.covers(path)).map(|e| e.text).collect();
            assert_eq!(current, [entry], "{path}");
        }
        assert!(!MENU.iter().any(|e| e.covers("/account") || e.covers("/status") || e.covers("/clientsx")));
    }

    #[test]
    fn a_link_to_a_page_of_the_servers_own_is_not_for_the_router() {
        for own in ["/account", "/account/keys/1/revoke", "/admin/connect?user=a", "/admin/people/a%2Fb", "/admin/settings/retention#days"]
        {
            assert_eq!(rel(own), Some("external"), "{own}");
        }
        for ours in
            ["", "#health", "/", "/admin", "/admin/connections", "/admin/settings", "/admin/jobs?q=/account", "/clients", "/accounts"]
        {
            assert_eq!(rel(ours), None, "{ours}");
        }
    }

    #[test]
    fn a_trainer_is_offered_the_people_and_nobody_nothing() {
        let offered = |role| MENU.iter().filter(|e| e.is_for(role)).map(|e| e.text).collect::<Vec<_>>();
        assert_eq!(offered(Some(Role::Trainer)), ["People"]);
        assert_eq!(offered(Some(Role::Admin)).len(), MENU.len());
        assert!(offered(None).is_empty());
    }
}
