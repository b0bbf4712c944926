//! Whose address a request comes from. `X-Forwarded-For` is a claim: it is believed only from proxies the operator
//! named, and only as far as those proxies wrote it. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A list of networks such as `10.0.0.0/8` or `2001:db8::1`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<(IpAddr, u8)>);

impl Networks {
    /// Parses a comma-separated list of addresses and networks; blanks are trimmed, empty entries skipped.
    ///
    /// # Errors
    /// A sentence that names the entry.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(network).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the networks holds the address. An IPv4 address written as IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|&(network, prefix)| match (network, address) {
            (IpAddr::V4(n), IpAddr::V4(a)) => masked4(n, prefix) == masked4(a, prefix),
            (IpAddr::V6(n), IpAddr::V6(a)) => masked6(n, prefix) == masked6(a, prefix),
            _ => false,
        })
    }
}

fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let wrong = || format!("\"{text}\" is neither an address nor a network; write 10.0.0.0/8, 192.0.2.1 or 2001:db8::/32.");
    let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix: u8 = prefix.map_or(Ok(longest), str::parse).map_err(|_| wrong())?;
    if prefix > longest {
        return Err(wrong());
    }
    Ok((address, prefix))
}

fn masked4(address: Ipv4Addr, prefix: u8) -> u32 {
    address.to_bits().checked_shr(32 - u32::from(prefix)).unwrap_or(0)
}

fn masked6(address: Ipv6Addr, prefix: u8) -> u128 {
    address.to_bits().checked_shr(128 - u32::from(prefix)).unwrap_or(0)
}

/// The caller's address: the peer, unless the peer is a trusted proxy. Then the rightmost forwarded address that is
/// not a trusted proxy itself; everything left of it could have been written by the caller. What cannot be read ends
/// the walk at the last address that could.
pub fn client<'a>(peer: IpAddr, forwarded: impl DoubleEndedIterator<Item = &'a str>, trusted: &Networks) -> IpAddr {
    let mut client = peer.to_canonical();
    for hop in forwarded.rev().flat_map(|value| value.rsplit(',')) {
        if !trusted.contains(client) {
            break;
        }
        let Some(address) = hop_address(hop.trim()) else { break };
        client = address.to_canonical();
    }
    client
}

/// One hop: an address, with or without a port.
fn hop_address(text: &str) -> Option<IpAddr> {
    let plain = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    plain.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|s| s.ip()))
}

/// What a limit is counted by: an IPv4 address, or the /64 of an IPv6 one, since a single customer owns all of it.
pub fn limited_as(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(a) => a.to_string(),
        IpAddr::V6(a) => format!("{}/64", Ipv6Addr::from_bits(a.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_hold_what_they_should() {
        let list = Networks::parse("10.0.0.0/8, 192.0.2.1,2001:db8::/32,,0.0.0.0/32").unwrap();
        for (address, inside) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
            ("::ffff:10.1.1.1", true),
            ("0.0.0.0", true),
            ("0.0.0.1", false),
        ] {
            assert_eq!(list.contains(ip(address)), inside, "{address}");
        }
        assert!(Networks::parse("0.0.0.0/0").unwrap().contains(ip("255.1.2.3")));
        assert!(Networks::parse("::/0").unwrap().contains(ip("ffff::")));
        assert!(!Networks::default().contains(ip("127.0.0.1")));
        for bad in ["10.0.0.0/33", "::/129", "10.0.0/8", "localhost", "10.0.0.1/-1", "1/2/3"] {
            assert!(Networks::parse(bad).unwrap_err().contains(bad), "{bad}");
        }
    }

    #[test]
    fn a_forwarded_address_is_believed_only_from_a_trusted_proxy() {
        let trusted = Networks::parse("10.0.0.0/8").unwrap();
        let seen = |peer: &str, forwarded: &[&str]| client(ip(peer), forwarded.iter().copied(), &trusted).to_string();
        assert_eq!(seen("203.0.113.9", &["1.2.3.4"]), "203.0.113.9");
        assert_eq!(seen("10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        // The caller wrote the left part; the proxy appended the right one.
        assert_eq!(seen("10.0.0.1", &["6.6.6.6, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(seen("10.0.0.1", &["6.6.6.6", "1.2.3.4, 10.0.0.2"]), "1.2.3.4");
        assert_eq!(seen("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        assert_eq!(seen("10.0.0.1", &["1.2.3.4, nonsense"]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &["1.2.3.4:5678"]), "1.2.3.4");
        assert_eq!(seen("10.0.0.1", &["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(seen("10.0.0.1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(seen("::ffff:10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn an_ipv6_customer_is_one_caller() {
        assert_eq!(limited_as(ip("2001:db8:1:2:3:4:5:6")), limited_as(ip("2001:db8:1:2::9")));
        assert_ne!(limited_as(ip("2001:db8:1:2::")), limited_as(ip("2001:db8:1:3::")));
        assert_eq!(limited_as(ip("::ffff:192.0.2.1")), "192.0.2.1");
    }
}
