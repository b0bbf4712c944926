//! What the program knows of its own address: decides the cookie's name, HSTS and what "same origin" means.

/// The public address, parsed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Site {
    origin: Option<String>,
    secure: bool,
}

impl Site {
    /// From `ASSAY_PUBLIC_URL`: `https://host[:port]`. Absent: http, and the Host header names the origin.
    ///
    /// # Errors
    /// A sentence when it is not an http(s) address.
    pub fn new(public_url: Option<&str>) -> Result<Self, String> {
        let Some(url) = public_url.map(str::trim).filter(|u| !u.is_empty()) else { return Ok(Self::default()) };
        let wrong = || "ASSAY_PUBLIC_URL is not an address; it looks like https://assay.example.com.".to_owned();
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let scheme = scheme.to_ascii_lowercase();
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if !matches!(scheme.as_str(), "http" | "https") || host.is_empty() || host.contains(['@', ' ', '\\']) {
            return Err(wrong());
        }
        let default_port = if scheme == "https" { ":443" } else { ":80" };
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix(default_port).unwrap_or(&host);
        Ok(Self { origin: Some(format!("{scheme}://{host}")), secure: scheme == "https" })
    }

    /// Whether people come over https: then the cookie is `__Host-assay` with Secure, and HSTS is sent.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// `https://host[:port]`, where it is known.
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// Whether an Origin header names this site: the public address, or the host the request itself was sent to.
    pub fn is_ours(&self, origin: &str, host: Option<&str>) -> bool {
        let origin = origin.to_ascii_lowercase();
        if self.origin.as_deref() == Some(origin.as_str()) {
            return true;
        }
        let schemes: &[&str] = if self.secure { &["https://"] } else { &["https://", "http://"] };
        host.is_some_and(|h| schemes.iter().any(|s| origin.strip_prefix(s) == Some(&h.to_ascii_lowercase())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_whole() {
        let site = Site::new(Some("https://Assay.example.com:443/")).unwrap_or_default();
        assert!(site.is_secure());
        assert!(site.is_ours("https://assay.example.com", None));
        assert!(site.is_ours("https://internal:8443", Some("internal:8443")));
        for foreign in [
            "https://assay.example.com.evil.com",
            "http://assay.example.com",
            "https://evil.com",
            "null",
            "",
            "https://assay.example.com:8443",
        ] {
            assert!(!site.is_ours(foreign, Some("assay.example.com.")), "{foreign}");
        }
        let local = Site::default();
        assert!(!local.is_secure());
        assert!(local.is_ours("http://127.0.0.1:3000", Some("127.0.0.1:3000")));
        assert!(!local.is_ours("http://127.0.0.1:3001", Some("127.0.0.1:3000")));
        assert!(!local.is_ours("http://127.0.0.1:3000", None));
    }

    #[test]
    fn a_malformed_address_is_a_sentence() {
        for bad in ["assay.example.com", "ftp://x", "https://", "https://a b", "https://user@host"] {
            assert!(Site::new(Some(bad)).is_err(), "{bad}");
        }
        assert_eq!(Site::new(Some("  ")), Ok(Site::default()));
    }
}
