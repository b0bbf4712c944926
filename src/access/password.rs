//! Passwords: argon2id (RFC 9106) with the library's defaults (19 MiB, 2 passes), off the async threads and at most
//! two at once, so that a burst of logins takes neither the memory nor the processors of everybody else.

use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier, password_hash::SaltString};
use std::sync::OnceLock;
use tokio::sync::Semaphore;

/// The fewest characters of a password.
pub const SHORTEST: usize = 12;
/// The most bytes: longer input would only cost time.
pub const LONGEST: usize = 256;

static AT_ONCE: Semaphore = Semaphore::const_new(2);
static DUMMY: OnceLock<String> = OnceLock::new();

/// Why hashing did not happen: the process is stopping or out of memory.
#[derive(Debug, thiserror::Error)]
#[error("the password could not be hashed; try again")]
pub struct HashError;

/// Refuses what is too easy to guess, with a sentence. Length is what counts (NIST SP 800-63B); no rules on signs.
///
/// # Errors
/// The sentence.
pub fn acceptable(password: &str, email: &str) -> Result<(), &'static str> {
    let lower = password.to_lowercase();
    let local_part = email.split('@').next().unwrap_or_default().to_lowercase();
    let mut signs: Vec<char> = password.chars().collect();
    let count = signs.len();
    signs.sort_unstable();
    signs.dedup();
    if count < SHORTEST {
        Err("The password is too short: at least 12 characters, for example four unrelated words.")
    } else if password.len() > LONGEST {
        Err("The password is too long: at most 256 bytes.")
    } else if lower == email.to_lowercase()
        || (local_part.len() >= 4 && lower.replace(local_part.as_str(), "").chars().count() < SHORTEST / 2)
    {
        Err("The password is too close to the e-mail address.")
    } else if signs.len() < 5 {
        Err("The password repeats few characters; use four unrelated words.")
    } else {
        Ok(())
    }
}

/// Hashes a password with a fresh salt; the answer is a PHC string.
///
/// # Errors
/// When the process is stopping.
pub async fn hash(password: String) -> Result<String, HashError> {
    let _permit = AT_ONCE.acquire().await.map_err(|_| HashError)?;
    tokio::task::spawn_blocking(move || hash_now(&password)).await.map_err(|_| HashError)?
}

/// Whether the password is that of the hash. Without a hash (no such account, invitation not accepted yet) the same work is
/// done for nothing and the answer is no, so that the time does not tell accounts from non-accounts.
///
/// # Errors
/// When the process is stopping.
pub async fn verify(password: String, hash: Option<String>) -> Result<bool, HashError> {
    let _permit = AT_ONCE.acquire().await.map_err(|_| HashError)?;
    tokio::task::spawn_blocking(move || {
        let known = hash.is_some();
        let hash = match hash {
            Some(hash) => hash,
            None => dummy()?.to_owned(),
        };
        let parsed = PasswordHash::new(&hash).map_err(|_| HashError)?;
        let too_long = password.len() > LONGEST;
        let tried = if too_long { "" } else { password.as_str() };
        let right = Argon2::default().verify_password(tried.as_bytes(), &parsed).is_ok();
        Ok(right && known && !too_long)
    })
    .await
    .map_err(|_| HashError)?
}

/// A password for a first login or a reset: 20 characters of 32 signs without look-alikes, 100 bits.
pub fn generate() -> String {
    const SIGNS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz234567892";
    let bytes: [u8; 20] = rand::random();
    let mut out = String::with_capacity(23);
    for (i, b) in bytes.iter().enumerate() {
        if i > 0 && i % 5 == 0 {
            out.push('-');
        }
        out.push(char::from(SIGNS[usize::from(b % 32)]));
    }
    out
}

fn dummy() -> Result<&'static str, HashError> {
    if let Some(hash) = DUMMY.get() {
        return Ok(hash);
    }
    let fresh = hash_now(&generate())?;
    Ok(DUMMY.get_or_init(|| fresh))
}

fn hash_now(password: &str) -> Result<String, HashError> {
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).map_err(|_| HashError)?;
    Argon2::default().hash_password(password.as_bytes(), &salt).map(|h| h.to_string()).map_err(|_| HashError)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;

    #[test]
    fn short_and_guessable_passwords_are_refused() {
        for bad in ["", "short", "12345678901", "maria@example.com", "Maria@Example.com", "aaaaaaaaaaaa", "abababababab", "maria.maria."] {
            assert!(acceptable(bad, "maria@example.com").is_err(), "{bad}");
        }
        assert!(acceptable(&"x1y2z3".repeat(60), "a@b.c").is_err());
        assert!(acceptable("christina-12", "christina@example.com").is_err());
        for good in ["correct horse battery", "дванадцять-букв", "abcdefghijkl"] {
            assert_eq!(acceptable(good, "maria@example.com"), Ok(()), "{good}");
        }
        assert_eq!(acceptable(&generate(), "maria@example.com"), Ok(()));
        assert_ne!(generate(), generate());
    }

    #[tokio::test]
    async fn a_hash_verifies_its_password_only() {
        let h = hash("correct horse battery".into()).await.unwrap();
        assert!(h.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{h}");
        assert!(verify("correct horse battery".into(), Some(h.clone())).await.unwrap());
        assert!(!verify("correct horse batterz".into(), Some(h)).await.unwrap());
        assert!(!verify("correct horse battery".into(), None).await.unwrap());
        assert!(!verify("x".repeat(1 << 20), None).await.unwrap());
    }
}
