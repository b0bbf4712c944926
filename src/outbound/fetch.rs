//! Fetching a payload that lies behind a link, without being led anywhere else.
//!
//! The link comes out of a signed delivery; still, what is written there must not make this program talk to its own
//! network. So: https on its usual port, hosts of a list, every resolved address public and the connection made to just
//! those addresses, no redirect, no proxy, bounded in size and time.

use flate2::read::GzDecoder;
use reqwest::{Url, header, redirect::Policy};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// A payload behind a link is a delivery like any other and is parsed as a whole, so it may be as large as one that is sent
/// (`gateway/body.rs`, `MAX_BODY`).
const LARGEST: usize = 16 << 20;

/// What may be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRules {
    /// Domains whose hosts, and who themselves, may be asked. In lower case, without a leading dot.
    pub hosts: Vec<String>,
    /// The largest payload, in bytes, also after it was unpacked.
    pub max_bytes: usize,
    /// How long all of it may take.
    pub timeout: Duration,
}

impl Default for FetchRules {
    fn default() -> Self {
        Self { hosts: vec!["amazonaws.com".into()], max_bytes: LARGEST, timeout: Duration::from_secs(30) }
    }
}

/// Why nothing was fetched, for people. The link itself is never quoted: whoever holds it can read the payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The link breaks a rule.
    #[error("The link is not followed: {0}.")]
    Forbidden(String),
    /// The host's name leads into a network that is not public.
    #[error("The link is not followed: its host leads to {0}, which is not a public address.")]
    NotPublic(IpAddr),
    /// The host's name leads nowhere.
    #[error("The host of the link cannot be found just now.")]
    Unresolved,
    /// No connection, or it broke.
    #[error("The server behind the link cannot be reached: {0}.")]
    Unreachable(String),
    /// Anything but 200.
    #[error("The server behind the link answered {}{}.", .0, hint(.0))]
    Answered(u16),
    /// More than the rules allow.
    #[error("The payload is larger than {0} bytes.")]
    TooLarge(usize),
    /// Longer than the rules allow.
    #[error("The payload did not arrive within {0} s.")]
    TooSlow(u64),
    /// A content coding other than gzip, or broken gzip.
    #[error("The payload is packed in a way that cannot be undone.")]
    Packed,
}

/// What an answer means at S3.
const fn hint(status: &u16) -> &'static str {
    if *status == 403 { ": the link has probably expired" } else { "" }
}

impl FetchError {
    /// Whether another try may go better.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unresolved | Self::Unreachable(_) | Self::TooSlow(_) => true,
            Self::Answered(status) => matches!(status, 408 | 429 | 500..),
            Self::Forbidden(_) | Self::NotPublic(_) | Self::TooLarge(_) | Self::Packed => false,
        }
    }
}

/// What is let through. Only tests have another than [`GUARD`].
#[derive(Debug, Clone, Copy)]
struct Guard {
    scheme: &'static str,
    any_port: bool,
    allowed: fn(IpAddr) -> bool,
}

const GUARD: Guard = Guard { scheme: "https", any_port: false, allowed: is_public };

/// Fetches payloads under rules. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fetcher {
    rules: FetchRules,
    guard: Guard,
}

impl Default for Fetcher {
    fn default() -> Self {
        Self::new(FetchRules::default())
    }
}

impl Fetcher {
    /// A fetcher under these rules.
    pub const fn new(rules: FetchRules) -> Self {
        Self { rules, guard: GUARD }
    }

    /// One that reaches a test's own server.
    #[cfg(test)]
    pub(crate) fn for_test(rules: FetchRules) -> Self {
        Self { rules, guard: Guard { scheme: "http", any_port: true, allowed: |ip| ip.is_loopback() } }
    }

    /// Fetches what lies behind the link, gzip undone.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn get(&self, link: &str) -> Result<Vec<u8>, FetchError> {
        let (url, host) = self.check(link)?;
        let slow = FetchError::TooSlow(self.rules.timeout.as_secs());
        tokio::time::timeout(self.rules.timeout, self.fetch(url, &host)).await.unwrap_or(Err(slow))
    }

    /// The link as an address, with its host, if the rules allow it.
    fn check(&self, link: &str) -> Result<(Url, String), FetchError> {
        let no = |why: &str| Err(FetchError::Forbidden(why.to_owned()));
        let Ok(url) = Url::parse(link) else { return no("it is not an address") };
        if url.scheme() != self.guard.scheme {
            return no("it must begin with https");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return no("it carries a name or password");
        }
        if url.port().is_some() && !self.guard.any_port {
            return no("it names a port of its own");
        }
        // The parser has written numbers in any of their disguises (0x7f.1, 2130706433) as addresses by now.
        let Some(host) = url.domain().map(|host| host.trim_end_matches('.').to_ascii_lowercase()) else {
            return no("it names an address instead of a host");
        };
        let listed = self
            .rules
            .hosts
            .iter()
            .any(|allowed| host == *allowed || host.strip_suffix(allowed.as_str()).is_some_and(|rest| rest.ends_with('.')));
        if !listed {
            return no("its host is not on the list of hosts that payloads come from");
        }
        Ok((url, host))
    }

    /// The addresses a connection may be made to. One that is not public spoils them all: such a name is a trap.
    fn judge(&self, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, FetchError> {
        match found.iter().find(|address| !(self.guard.allowed)(address.ip())) {
            Some(inside) => Err(FetchError::NotPublic(inside.ip())),
            None if found.is_empty() => Err(FetchError::Unresolved),
            None => Ok(found),
        }
    }

    async fn fetch(&self, url: Url, host: &str) -> Result<Vec<u8>, FetchError> {
        let port = url.port_or_known_default().unwrap_or(443);
        let found = tokio::net::lookup_host((host, port)).await.map_err(|_| FetchError::Unresolved)?;
        let addresses = self.judge(found.collect())?;
        // The client gets the judged addresses, so that a second look-up cannot answer otherwise. `host_str` is what it
        // looks up: the same name, perhaps with the final dot.
        let name = url.host_str().unwrap_or(host).to_owned();
        let client = reqwest::Client::builder()
            .https_only(self.guard.scheme == "https")
            .redirect(Policy::none())
            .no_proxy()
            .resolve_to_addrs(&name, &addresses)
            .connect_timeout(Duration::from_secs(10))
            .build()
            .map_err(unreachable)?;
        let mut response = client.get(url).send().await.map_err(unreachable)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(FetchError::Answered(response.status().as_u16()));
        }
        let packed = match response.headers().get(header::CONTENT_ENCODING).map(|v| v.to_str().unwrap_or("?")) {
            None | Some("" | "identity") => false,
            Some("gzip") => true,
            Some(_) => return Err(FetchError::Packed),
        };
        let max = self.rules.max_bytes;
        if response.content_length().is_some_and(|length| length > max as u64) {
            return Err(FetchError::TooLarge(max));
        }
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(unreachable)? {
            if body.len() + part.len() > max {
                return Err(FetchError::TooLarge(max));
            }
            body.extend_from_slice(&part);
        }
        if !packed {
            return Ok(body);
        }
        tokio::task::spawn_blocking(move || gunzip(&body, max)).await.unwrap_or(Err(FetchError::Packed))
    }
}

fn gunzip(packed: &[u8], max: usize) -> Result<Vec<u8>, FetchError> {
    let mut content = Vec::new();
    GzDecoder::new(packed).take(max as u64 + 1).read_to_end(&mut content).map_err(|_| FetchError::Packed)?;
    if content.len() > max { Err(FetchError::TooLarge(max)) } else { Ok(content) }
}

/// The innermost cause; the outer ones quote the link.
fn unreachable(error: reqwest::Error) -> FetchError {
    FetchError::Unreachable(super::cause(error))
}

/// Whether an address belongs to the public internet. Everything that is reserved, local, or stands for another
/// address that is, does not.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224.., _, _)       // this network, private, loopback, multicast and reserved
            | (100, 64..=127, _)           // shared by carriers
            | (169, 254, _)                // link-local: where clouds keep their credentials
            | (172, 16..=31, _)
            | (192, 168, _)
            | (192, 0, 0 | 2)              // protocol assignments, documentation
            | (192, 88, 99)                // 6to4 relays
            | (198, 18 | 19, _)            // benchmarks
            | (198, 51, 100)               // documentation
            | (203, 0, 113)
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // NAT64: an IPv4 address in another dress, as networks without IPv4 see all of S3.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public_v4(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low))),
        [0x2001, second, ..] if second < 0x0200 || second == 0x0db8 => false, // protocol assignments, documentation
        [0x2002, ..] => false,                                                // 6to4
        [0x3fff, second, ..] if second < 0x1000 => false,                     // documentation
        [first, ..] => (0x2000..0x4000).contains(&first),                     // what is given out as global unicast
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
