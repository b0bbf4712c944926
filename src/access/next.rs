//! Where to go after login: a page of ours, or nowhere.

use crate::model::place;

/// The path when it leads to a page of this site, else `None`: a place of ours that is no login, logout or machine
/// address.
pub fn validated(next: &str) -> Option<&str> {
    let path = next.split(['?', '#']).next().unwrap_or_default();
    let machine = ["/login", "/logout", "/_fn/", "/functions/", "/api/", "/pkg/"].iter().any(|p| path == *p || path.starts_with(p));
    place(next).filter(|_| !machine)
}

/// The address of the login page that comes back to `next` (a path with its query).
pub fn login_address(next: &str) -> String {
    match validated(next) {
        None | Some("/") => "/login".to_owned(),
        Some(path) => format!("/login?next={}", escape(path)),
    }
}

/// Percent-encodes what a query value cannot hold. The input is visible ASCII.
fn escape(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len() + 8), |mut out, b| {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => out.push(char::from(b)),
            other => out.push_str(&format!("%{other:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_page_is_not_gone_to() {
        for bad in [
            "//evil.com",
            "/login",
            "/login?next=/login",
            "/logout",
            "/_fn/retry_jobs",
            "/functions/v1/job-worker",
            "/api/v1/metrics",
            "/pkg/x.js",
        ] {
            assert_eq!(validated(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn pages_of_ours_are_kept() {
        for good in ["/", "/admin", "/admin/jobs?state=failed&page=2", "/clients/user%2F1", "/clients?q=a//b", "/status"] {
            assert_eq!(validated(good), Some(good));
        }
        assert_eq!(login_address("/admin/jobs?state=failed&page=2"), "/login?next=/admin/jobs%3Fstate%3Dfailed%26page%3D2");
        assert_eq!(login_address("//evil.com"), "/login");
        assert_eq!(login_address("/"), "/login");
    }
}
