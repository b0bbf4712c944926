//! The session cookie: its text, and the life of the session behind it.

use super::{Site, random_token};
use crate::store::{Token, sessions};
use axum::http::{HeaderMap, HeaderValue, header};
use sqlx::PgExecutor;
use uuid::Uuid;

/// A session ends after so many seconds without a request: 12 hours.
pub const IDLE_SECONDS: i32 = 12 * 3600;
/// A session ends after so many seconds in any case: 7 days.
pub const ABSOLUTE_SECONDS: i32 = 7 * 86_400;

/// The cookie's name. `__Host-` makes browsers refuse it from subdomains, without Secure, or for another path.
pub const fn cookie_name(site: &Site) -> &'static str {
    if site.is_secure() { "__Host-assay" } else { "assay" }
}

/// The `Set-Cookie` value that hands a session over.
pub fn cookie(site: &Site, token: &Token) -> HeaderValue {
    text(site, token.expose(), ABSOLUTE_SECONDS)
}

/// The `Set-Cookie` value that takes the session's cookie away.
pub fn removal(site: &Site) -> HeaderValue {
    text(site, "", 0)
}

fn text(site: &Site, value: &str, max_age: i32) -> HeaderValue {
    let secure = if site.is_secure() { "; Secure" } else { "" };
    let text = format!("{}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age}{secure}", cookie_name(site));
    // Hexadecimal and constants: always a valid header.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The session's token in a request's cookies: the first of our name, and only if it has a token's form.
pub fn token_of(headers: &HeaderMap, site: &Site) -> Option<Token> {
    raw(headers, site).and_then(Token::parse)
}

/// Whether the request carries our cookie at all, whatever its value.
pub fn has_cookie(headers: &HeaderMap, site: &Site) -> bool {
    raw(headers, site).is_some()
}

fn raw<'a>(headers: &'a HeaderMap, site: &Site) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == cookie_name(site))
        .map(|(_, value)| value)
}

/// Begins a session with a fresh token. A token that the browser brought along is never adopted (fixation).
///
/// # Errors
/// Any of the database's.
pub async fn begin<'e>(
    executor: impl PgExecutor<'e>,
    account_id: Uuid,
    address: Option<&str>,
    user_agent: Option<&str>,
) -> sqlx::Result<Token> {
    let token = random_token();
    let user_agent = user_agent.map(|u| u.chars().filter(|c| !c.is_control()).take(200).collect::<String>());
    sessions::add(executor, &token, account_id, IDLE_SECONDS, ABSOLUTE_SECONDS, address, user_agent.as_deref()).await?;
    Ok(token)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_host_bound_over_https_and_plain_on_loopback() {
        let token = Token::from_bytes([1; 32]);
        let https = Site::new(Some("https://a.example")).unwrap();
        let hex = "01".repeat(32);
        assert_eq!(cookie(&https, &token), format!("__Host-assay={hex}; Path=/; HttpOnly; SameSite=Lax; Max-Age=604800; Secure"));
        assert_eq!(cookie(&Site::default(), &token), format!("assay={hex}; Path=/; HttpOnly; SameSite=Lax; Max-Age=604800"));
        assert_eq!(removal(&Site::default()), "assay=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0");
    }

    #[test]
    fn only_a_token_of_our_name_is_read() {
        let site = Site::default();
        let hex = "ab".repeat(32);
        let headers = |text: &str| HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(text).unwrap())]);
        assert!(token_of(&headers(&format!("theme=dark; assay={hex}")), &site).is_some());
        for bad in
            [format!("xassay={hex}"), format!("__Host-assay={hex}"), "assay=".into(), format!("assay={hex}0"), format!("assay=\"{hex}\"")]
        {
            assert!(token_of(&headers(&bad), &site).is_none(), "{bad}");
        }
        // Over https a cookie without the prefix, which a subdomain could have set, counts for nothing.
        let https = Site::new(Some("https://a.example")).unwrap();
        assert!(token_of(&headers(&format!("assay={hex}")), &https).is_none());
        assert!(has_cookie(&headers("assay=nonsense"), &site));
    }
}
