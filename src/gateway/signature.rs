//! Terra's signature: `t=<unix seconds>,v1=<hex>[,v1=<hex>…]`, HMAC-SHA256 over `t`, a dot and the raw body.
//!
//! Pure: the time is an argument. Promises: comparison in constant time; schemes other than `v1` are ignored, so
//! nothing can be talked down to a weaker one; only the dotted form verifies; a signature is refused when it is too
//! old or too far in the future. Source: Terra's documentation, "reference/signing", and its SDKs.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::{Choice, ConstantTimeEq};

/// The header's present name and the deprecated one, which Terra still sends beside it.
pub const HEADERS: [&str; 2] = ["x-terra-signature", "terra-signature"];

/// More signatures than this in one header are not read: Terra sends one for each active secret.
const MAX_SIGNATURES: usize = 8;

/// Why a delivery is not believed. The words are all a forger learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// No header.
    Missing,
    /// A header that is not `t=…,v1=…`.
    Malformed,
    /// Well formed, but `t` lies outside the tolerance.
    Stale,
    /// Well formed and fresh, but made with another secret or for another body.
    Mismatch,
}

impl Problem {
    /// The reason code of the answer and of the counters.
    pub const fn code(self) -> &'static str {
        match self {
            Problem::Missing => "signature_missing",
            Problem::Malformed => "signature_malformed",
            Problem::Stale => "signature_stale",
            Problem::Mismatch => "signature_mismatch",
        }
    }

    /// What it means and what to do.
    pub const fn sentence(self) -> &'static str {
        match self {
            Problem::Missing => "The request carries no terra-signature header.",
            Problem::Malformed => "The terra-signature header is not of the form t=<unix seconds>,v1=<64 hexadecimal digits>.",
            Problem::Stale => "The signature's time is too far from this server's clock. Check both clocks, then sign again.",
            Problem::Mismatch => "The signature does not belong to this body. Check the signing secret and that the raw body is signed.",
        }
    }
}

/// A parsed header: the time as text, because the text is what was signed, and the signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim<'a> {
    time: &'a str,
    seconds: i64,
    signatures: Vec<[u8; 32]>,
}

impl<'a> Claim<'a> {
    /// Parses one header value.
    ///
    /// # Errors
    /// [`Problem::Malformed`] without exactly one `t` of digits and at least one `v1` of 64 lower- or upper-case
    /// hexadecimal digits. An unreadable `v1` is ignored like an unknown scheme, as long as another one is readable.
    pub fn parse(value: &'a str) -> Result<Self, Problem> {
        let (mut time, mut signatures) = (None, Vec::new());
        for part in value.split(',') {
            let Some((scheme, text)) = part.split_once('=') else { continue };
            match (scheme.trim(), text.trim()) {
                ("t", _) if time.is_some() => return Err(Problem::Malformed),
                ("t", text) => time = Some(text),
                ("v1", text) if signatures.len() < MAX_SIGNATURES => {
                    let mut bytes = [0; 32];
                    if hex::decode_to_slice(text, &mut bytes).is_ok() {
                        signatures.push(bytes);
                    }
                }
                _ => {}
            }
        }
        let time = time.filter(|t| (1..=12).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit())).ok_or(Problem::Malformed)?;
        let seconds = time.parse().map_err(|_| Problem::Malformed)?;
        if signatures.is_empty() {
            return Err(Problem::Malformed);
        }
        Ok(Self { time, seconds, signatures })
    }

    /// Whether the claimed time is at most `tolerance` seconds from `now` (Unix seconds), in either direction.
    pub fn is_fresh(&self, now: i64, tolerance: u32) -> bool {
        self.seconds.abs_diff(now) <= u64::from(tolerance)
    }

    /// The number of the secret that one of the signatures was made with. Every pair is compared, whatever was found
    /// before, so the time taken says nothing.
    pub fn verify(&self, secrets: &Secrets, body: &[u8]) -> Option<usize> {
        let mut found = None;
        for (number, secret) in secrets.0.iter().enumerate() {
            let wanted = secret.mac(self.time, body);
            let any = self.signatures.iter().fold(Choice::from(0), |any, given| any | given.ct_eq(&wanted));
            if bool::from(any) && found.is_none() {
                found = Some(number);
            }
        }
        found
    }
}

/// Every well-formed and fresh claim among the values of both headers; else why there is none.
///
/// # Errors
/// [`Problem::Missing`], [`Problem::Malformed`] or [`Problem::Stale`].
pub fn claim<'a>(values: impl Iterator<Item = &'a [u8]>, now: i64, tolerance: u32) -> Result<Vec<Claim<'a>>, Problem> {
    let (mut problem, mut fresh): (_, Vec<Claim<'a>>) = (Problem::Missing, Vec::new());
    for value in values.take(4) {
        match std::str::from_utf8(value).map_err(|_| Problem::Malformed).and_then(Claim::parse) {
            Ok(claim) if !claim.is_fresh(now, tolerance) => problem = Problem::Stale,
            Ok(claim) if fresh.contains(&claim) => {} // the deprecated header repeats the other
            Ok(claim) => fresh.push(claim),
            Err(_) if problem == Problem::Missing => problem = Problem::Malformed,
            Err(_) => {}
        }
    }
    if fresh.is_empty() { Err(problem) } else { Ok(fresh) }
}

/// One signing secret, prepared for many signatures. Its text cannot be read back.
#[derive(Clone)]
struct Secret {
    keyed: Hmac<Sha256>,
    name: String,
}

impl Secret {
    fn mac(&self, time: &str, body: &[u8]) -> [u8; 32] {
        let mut mac = self.keyed.clone();
        mac.update(time.as_bytes());
        mac.update(b".");
        mac.update(body);
        mac.finalize().into_bytes().into()
    }
}

/// All active secrets, newest first. Nothing prints or serialises them.
#[derive(Clone, Default)]
pub struct Secrets(Vec<Secret>);

impl Secrets {
    /// Prepares secrets; blank ones are left out. Each is used as its UTF-8 text, as Terra does.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let prepare = |text: &str| {
            let keyed = Hmac::<Sha256>::new_from_slice(text.as_bytes()).ok()?; // any length is accepted
            let mut name = hex::encode(Sha256::digest(text.as_bytes()));
            name.truncate(12);
            Some(Secret { keyed, name })
        };
        Self(texts.into_iter().map(str::trim).filter(|t| !t.is_empty()).filter_map(prepare).collect())
    }

    /// Whether none is configured: then nothing can be verified.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A name for whoever signs with secret `number`: a few digits of its hash. Two nodes name it alike.
    pub fn sender(&self, number: usize) -> &str {
        self.0.get(number).map_or("unknown", |s| &s.name)
    }

    /// The header value Terra would send with `body` at `now` (Unix seconds); `None` without a secret.
    pub fn sign(&self, now: i64, body: &[u8]) -> Option<String> {
        let secret = self.0.first()?;
        let time = now.to_string();
        Some(format!("t={time},v1={}", hex::encode(secret.mac(&time, body))))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
    use super::*;

    const NOW: i64 = 1_753_000_000;

    fn verified(header: &str, body: &[u8], secrets: &Secrets) -> bool {
        claim([header.as_bytes()].into_iter(), NOW, 300).is_ok_and(|claims| claims.iter().any(|c| c.verify(secrets, body).is_some()))
    }

    /// RFC 4231 has no vector of this message; this one was computed with Python's hmac module.
    #[test]
    fn the_signature_is_hmac_sha256_over_time_dot_body() {
        let secrets = Secrets::new(["secret"]);
        assert_eq!(
            secrets.sign(1_700_000_000, br#"{"type":"body"}"#).unwrap(),
            "t=1700000000,v1=6df44bafee2e32f124f329a45a6c73c512bcf4e4546dd24284122a4fdcc1b6db"
        );
    }

    #[test]
    fn a_signature_verifies_with_any_active_secret_and_any_v1() {
        let (old, new) = (Secrets::new(["old"]), Secrets::new(["new", " ", "old"]));
        let header = old.sign(NOW, b"{}").unwrap();
        assert!(verified(&header, b"{}", &new));
        assert!(!verified(&header, b"{} ", &new));
        assert!(!verified(&header, b"{}", &Secrets::new(["new"])));
        assert!(!verified(&header, b"{}", &Secrets::default()));
        let both = format!("t={NOW}, v1={}, v0=zz ,{}", "0".repeat(64), header.split_once(',').unwrap().1);
        assert!(verified(&both, b"{}", &old));
    }

    #[test]
    fn tolerance_holds_in_both_directions() {
        let secrets = Secrets::new(["s"]);
        for (offset, fresh) in [(0, true), (-300, true), (300, true), (-301, false), (301, false), (-100_000, false)] {
            let header = secrets.sign(NOW + offset, b"x").unwrap();
            assert_eq!(verified(&header, b"x", &secrets), fresh, "{offset}");
        }
        let edge = Claim { time: "0", seconds: i64::MAX, signatures: vec![] };
        assert!(!edge.is_fresh(i64::MIN, u32::MAX));
    }

    #[test]
    fn malformed_headers_are_told_from_missing_and_stale_ones() {
        let code = |value: &str| claim([value.as_bytes()].into_iter(), NOW, 300).unwrap_err().code();
        let hex = "0".repeat(64);
        for bad in [
            "",
            "t=1",
            "v1=00",
            "t=x,v1=00",
            "t=,v1=",
            "nonsense",
            &format!("v1={hex}"),
            &format!("t=-1,v1={hex}"),
            &format!("t=1e3,v1={hex}"),
            &format!("t=1,t=2,v1={hex}"),
            &format!("t=9999999999999,v1={hex}"),
            &format!("t={NOW},v0={hex}"),
            &format!("t={NOW},v1={}", &hex[1..]),
            &format!("t={NOW},v1={hex}0"),
            &format!("t={NOW};v1={hex}"),
            "t=٣,v1=00",
        ] {
            assert_eq!(code(bad), "signature_malformed", "{bad}");
        }
        assert_eq!(code(&format!("t=1,v1={hex}")), "signature_stale");
        assert_eq!(claim(std::iter::empty(), NOW, 300).unwrap_err(), Problem::Missing);
        assert_eq!(claim([b"\xff\xfe".as_slice()].into_iter(), NOW, 300).unwrap_err(), Problem::Malformed);
    }

    #[test]
    fn either_header_is_enough_and_a_broken_one_beside_it_harmless() {
        let secrets = Secrets::new(["s"]);
        let good = secrets.sign(NOW, b"x").unwrap();
        let claims = claim([b"junk".as_slice(), good.as_bytes(), good.as_bytes()].into_iter(), NOW, 300).unwrap();
        assert_eq!(claims.len(), 1);
        assert_eq!(claims.first().and_then(|c| c.verify(&secrets, b"x")), Some(0));
    }

    /// The earlier system accepted `HMAC(t + body)` without the dot as well (weak point 7).
    #[test]
    fn the_form_without_a_dot_does_not_verify() {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"s").unwrap();
        mac.update(format!("{NOW}x").as_bytes());
        let header = format!("t={NOW},v1={}", hex::encode(mac.finalize().into_bytes()));
        assert!(!verified(&header, b"x", &Secrets::new(["s"])));
    }

    #[test]
    fn secrets_are_never_printed() {
        assert_eq!(format!("{:?}", Secrets::new(["hunter2", "x"])), "Secrets(2)");
    }
}
