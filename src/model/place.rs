//! Where a reader may be sent to next: a place of this site, or nowhere. The one rule, for server and browser.

/// The longest address that is followed.
pub const LONGEST: usize = 2000;

/// The path with its query when it can only lead to a place of this site, else `None`. It begins with exactly one `/`,
/// holds only visible ASCII (a browser drops tabs and line ends, a header must not have them), no backslash (browsers
/// read it as a slash), and its path no empty and no dot segments.
pub fn place(text: &str) -> Option<&str> {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    let visible = text.bytes().all(|b| (0x21..=0x7e).contains(&b) && b != b'\\');
    let segments_fine = path.split('/').skip(1).all(|s| !matches!(s, "." | "..")) && !path.contains("//");
    (text.len() <= LONGEST && text.starts_with('/') && visible && segments_fine).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_off_the_site() {
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
            "@evil.com",
            "?next=//evil.com",
            "#a",
        ] {
            assert_eq!(place(bad), None, "{bad:?}");
        }
        assert_eq!(place(&format!("/{}", "a".repeat(LONGEST))), None);
        for good in ["/", "/admin", "/clients/a%20b?tier=poor&page=2", "/clients/user%2F1", "/clients?q=a//b", "/login"] {
            assert_eq!(place(good), Some(good));
        }
    }
}
