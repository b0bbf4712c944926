//! Where to go after login: a path of ours, or nowhere.

const LONGEST: usize = 1000;

/// The path when it can only lead to a page of this site, else `None`. It begins with exactly one `/`, holds only
/// visible ASCII (a browser drops tabs and line ends, a header must not have them), no backslash (browsers read it as
/// a slash), no empty or dot segments, and is no login, logout or machine address.
pub fn validated(next: &str) -> Option<&str> {
    let path = next.split(['?', '#']).next().unwrap_or_default();
    let visible = next.bytes().all(|b| (0x21..=0x7e).contains(&b) && b != b'\\');
    let segments_fine = path.split('/').skip(1).all(|s| !matches!(s, "." | "..")) && !path.contains("//");
    let machine = ["/login", "/logout", "/_fn/", "/functions/", "/api/", "/pkg/"].iter().any(|p| path == *p || path.starts_with(p));
    (next.len() <= LONGEST && next.starts_with('/') && visible && segments_fine && !machine).then_some(next)
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
    fn open_redirects_lead_nowhere() {
        for bad in [
            "",
            "admin",
            "//evil.com",
            "///evil.com",
            "/\\evil.com",
            "\\/evil.com",
            "/\\/evil.com",
            "https://evil.com",
            "https:/evil.com",
            "javascript:alert(1)",
            "/\t/evil.com",
            "/\n/evil.com",
            "/\r\nSet-Cookie: a=b",
            "/a\0b",
            " /admin",
            "/admin ",
            "/.//evil.com",
            "/./admin",
            "/../admin",
            "/a//b",
            "/ünïcode",
            "/login",
            "/login?next=/login",
            "/logout",
            "/_fn/retry_jobs",
            "/functions/v1/job-worker",
            "/api/v1/metrics",
            "@evil.com",
            "?next=//evil.com",
            "#a",
        ] {
            assert_eq!(validated(bad), None, "{bad:?}");
        }
        let long = format!("/{}", "a".repeat(LONGEST));
        assert_eq!(validated(&long), None);
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
