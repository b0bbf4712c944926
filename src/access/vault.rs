//! Encryption of second-factor secrets at rest: AES-256-GCM with a key derived from `ASSAY_SECRET_KEY`, bound to the
//! account, so that a row copied to another account does not open.

use ring::{aead, hmac};
use std::fmt;
use uuid::Uuid;

/// Seals and opens. Debug shows nothing.
pub struct Vault(aead::LessSafeKey);

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(…)")
    }
}

impl Vault {
    /// From `ASSAY_SECRET_KEY`; `None` when it is shorter than 32 characters.
    pub fn new(secret: &str) -> Option<Self> {
        if secret.len() < 32 {
            return None;
        }
        // The secret is long and random, not a password: one HMAC separates this use from any other.
        let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), b"assay second factor v1");
        aead::UnboundKey::new(&aead::AES_256_GCM, key.as_ref()).ok().map(|k| Self(aead::LessSafeKey::new(k)))
    }

    /// Nonce (12 bytes) and ciphertext with tag; `None` only if the system has no randomness or memory.
    pub fn seal(&self, account: Uuid, secret: &[u8]) -> Option<Vec<u8>> {
        let nonce: [u8; 12] = rand::random();
        let mut sealed = secret.to_vec();
        self.0
            .seal_in_place_append_tag(aead::Nonce::assume_unique_for_key(nonce), aead::Aad::from(account.as_bytes()), &mut sealed)
            .ok()?;
        Some([nonce.as_slice(), &sealed].concat())
    }

    /// The secret; `None` when the key is another, the account is another or a bit was changed.
    pub fn open(&self, account: Uuid, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, ciphertext) = sealed.split_at_checked(12)?;
        let nonce = aead::Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = ciphertext.to_vec();
        let opened = self.0.open_in_place(nonce, aead::Aad::from(account.as_bytes()), &mut plain).ok()?;
        Some(opened.to_vec())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_and_account_open() {
        let (vault, other) = (Vault::new(&"k".repeat(32)).unwrap(), Vault::new(&"l".repeat(32)).unwrap());
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let sealed = vault.seal(a, b"secret").unwrap();
        assert_ne!(sealed, vault.seal(a, b"secret").unwrap());
        assert_eq!(vault.open(a, &sealed).unwrap(), b"secret");
        assert!(vault.open(b, &sealed).is_none() && other.open(a, &sealed).is_none());
        let mut bent = sealed.clone();
        *bent.last_mut().unwrap() ^= 1;
        assert!(vault.open(a, &bent).is_none() && vault.open(a, &sealed[..5]).is_none());
        assert!(Vault::new("short").is_none());
    }
}
