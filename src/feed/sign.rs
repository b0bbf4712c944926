//! Terra's signature, from the sending side.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The value of `terra-signature` for a body sent at Unix second `t`: `t=…,v1=…`, where `v1` is the lower-case
/// hexadecimal HMAC-SHA256 of `t`, a point and the exact body, keyed with the secret's text
/// (docs.tryterra.co, reference/signing).
pub fn sign(secret: &str, t: i64, body: &[u8]) -> String {
    // A key of any length is fine for HMAC; the error type only exists for the trait's sake.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(t.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("t={t},v1={}", hex::encode(mac.finalize().into_bytes()))
}
