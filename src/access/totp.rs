//! The second factor: time-based codes (RFC 6238: SHA-1, six digits, steps of 30 seconds, one step of tolerance either
//! way). A code counts once. The secret lies encrypted in the database and is shown only while it is being set up.

use super::{AccessError, Vault};
use crate::store::{Caller, Db, accounts, audit, audit::Actor, sessions};
use ring::hmac;
use serde_json::json;
use sqlx::PgConnection;
use subtle::ConstantTimeEq;
use uuid::Uuid;

const STEP_SECONDS: i64 = 30;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

const ON_ALREADY: AccessError =
    AccessError::Conflict("A second factor is on already. To change it, turn it off first; that asks for your password.");
const NONE_SET: AccessError = AccessError::NotFound("There is no such account, or it has no second factor.");

/// What the set-up page shows. Nothing is stored until a first code has proved that the app has the secret.
#[derive(Clone)]
pub struct Enrolment {
    /// For typing into the app, in base32.
    pub secret: String,
    /// For the app: `otpauth://totp/…`.
    pub address: String,
    /// The secret, encrypted for this account: goes through the form as a hidden field and comes back in [`finish`].
    pub sealed: String,
}

impl std::fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Enrolment(…)")
    }
}

/// Makes a fresh secret (160 bits).
///
/// # Errors
/// When encryption is not possible.
pub fn begin(vault: &Vault, caller: &Caller) -> Result<Enrolment, AccessError> {
    let secret: [u8; 20] = rand::random();
    let sealed = vault.seal(caller.account_id, &secret).ok_or(AccessError::Conflict("The secret could not be encrypted; try again."))?;
    Ok(enrolment(caller, &secret, &sealed))
}

/// The set-up that a form came from: after a mistyped code the app keeps what it has. `None`: the form is none of ours.
pub fn resume(vault: &Vault, caller: &Caller, sealed: &str) -> Option<Enrolment> {
    let sealed = hex::decode(sealed).ok()?;
    Some(enrolment(caller, &vault.open(caller.account_id, &sealed)?, &sealed))
}

fn enrolment(caller: &Caller, secret: &[u8], sealed: &[u8]) -> Enrolment {
    let text = base32(secret);
    let label: String = caller.email.bytes().filter(|b| b.is_ascii_alphanumeric() || b"@.-_".contains(b)).map(char::from).collect();
    let address = format!("otpauth://totp/Assay:{}?secret={text}&issuer=Assay", label.replace('@', "%40"));
    Enrolment { secret: text, address, sealed: hex::encode(sealed) }
}

/// Turns the second factor on, if none is on and the code fits the secret of [`begin`]; the account's other sessions end.
/// `now` in Unix seconds.
///
/// # Errors
/// A wrong code or form, a second factor that is on, or the database's.
pub async fn finish(db: &Db, vault: &Vault, caller: &Caller, actor: &Actor, sealed: &str, code: &str, now: i64) -> Result<(), AccessError> {
    const DAMAGED: AccessError = AccessError::invalid("code", "The form is damaged; begin the set-up again.");
    let sealed = hex::decode(sealed).map_err(|_| DAMAGED)?;
    let secret = vault.open(caller.account_id, &sealed).ok_or(DAMAGED)?;
    let step = matching_step(&secret, code, now)
        .ok_or(AccessError::invalid("code", "That code does not fit. Check the clock of your phone and take the next code."))?;
    let mut tx = db.begin_service().await?;
    // A set-up page that was left open must not replace the factor that is on.
    if !accounts::set_totp(&mut *tx, caller.account_id, &sealed, step).await? {
        return Err(ON_ALREADY);
    }
    let ended = sessions::revoke_others(&mut *tx, caller).await?;
    note(&mut tx, actor, caller.account_id, true, ended).await?;
    tx.commit().await?;
    Ok(())
}

/// Turns the caller's own second factor off, after the password was asked again; the other sessions end.
///
/// # Errors
/// None is on, or the database's.
pub async fn remove_own(db: &Db, caller: &Caller, actor: &Actor) -> Result<(), AccessError> {
    let mut tx = db.begin_service().await?;
    if !accounts::clear_totp(&mut *tx, caller.account_id).await? {
        return Err(NONE_SET);
    }
    let ended = sessions::revoke_others(&mut *tx, caller).await?;
    note(&mut tx, actor, caller.account_id, false, ended).await?;
    tx.commit().await?;
    Ok(())
}

/// Turns another's second factor off, for somebody who lost the phone; all sessions of that account end.
///
/// # Errors
/// No such account, none is on, or the database's.
pub async fn remove(db: &Db, actor: &Actor, account_id: Uuid) -> Result<(), AccessError> {
    let mut tx = db.begin_service().await?;
    if !accounts::clear_totp(&mut *tx, account_id).await? {
        return Err(NONE_SET);
    }
    let ended = sessions::revoke_all(&mut *tx, account_id).await?;
    note(&mut tx, actor, account_id, false, ended).await?;
    tx.commit().await?;
    Ok(())
}

async fn note(tx: &mut PgConnection, actor: &Actor, account_id: Uuid, on: bool, ended: u64) -> sqlx::Result<()> {
    let detail = json!({ "after": on, "sessions_ended": ended });
    audit::write(tx, actor, "account.second_factor", Some(&account_id.to_string()), &detail).await
}

/// The step a code belongs to, within one step of `now` (Unix seconds); `None`: it is wrong.
pub fn matching_step(secret: &[u8], given: &str, now: i64) -> Option<i64> {
    let given: String = given.chars().filter(|c| !c.is_whitespace()).collect();
    let current = now.div_euclid(STEP_SECONDS);
    // All three are compared, whichever fits, so that the time says nothing.
    [current - 1, current, current + 1].into_iter().fold(None, |found, step| {
        let fits: bool = code(secret, step).as_bytes().ct_eq(given.as_bytes()).into();
        if fits { Some(step) } else { found }
    })
}

/// The six digits of a step.
pub(super) fn code(secret: &[u8], step: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let bytes = tag.as_ref();
    let at = usize::from(bytes.last().copied().unwrap_or_default() & 0x0f);
    let number = bytes.get(at..at + 4).map_or(0, |b| b.iter().fold(0_u32, |n, b| (n << 8) | u32::from(*b)));
    format!("{:06}", (number & 0x7fff_ffff) % 1_000_000)
}

fn base32(bytes: &[u8]) -> String {
    let mut out = String::new();
    let (mut buffer, mut bits) = (0_u32, 0);
    for b in bytes {
        buffer = (buffer << 8) | u32::from(*b);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(char::from(BASE32[(buffer >> bits) as usize & 31]));
        }
    }
    if bits > 0 {
        out.push(char::from(BASE32[(buffer << (5 - bits)) as usize & 31]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B (last six of the eight digits).
    #[test]
    fn the_codes_of_the_rfc() {
        let secret = b"12345678901234567890";
        for (time, digits) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code(secret, time / STEP_SECONDS), digits);
            assert_eq!(matching_step(secret, digits, time), Some(time / STEP_SECONDS));
            assert_eq!(matching_step(secret, digits, time + 30), Some(time / STEP_SECONDS));
            assert_eq!(matching_step(secret, digits, time + 90), None);
        }
        assert_eq!(matching_step(secret, "287 082", 59), Some(1));
        for bad in ["", "28708", "2870822", "abcdef"] {
            assert_eq!(matching_step(secret, bad, 59), None);
        }
    }

    /// RFC 4648, section 10, without padding.
    #[test]
    fn base32_of_the_rfc() {
        for (plain, text) in
            [("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foob", "MZXW6YQ"), ("fooba", "MZXW6YTB"), ("foobar", "MZXW6YTBOI")]
        {
            assert_eq!(base32(plain.as_bytes()), text);
        }
    }
}
