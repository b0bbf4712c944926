//! Why a plain form did not work, carried to the page that it leads back to.
//!
//! Leptos answers a failed form with a redirect that has the error in its address. Anybody could make such an address
//! and have our page say what they like, so the sentence travels in a cookie instead, that only we set, and is shown
//! once.

use super::preferences::cookie;
use crate::error::AppError;
use axum::{
    extract::Request,
    http::{HeaderValue, Method, Uri, header},
    middleware::Next,
    response::Response,
};
use base64::Engine;

const COOKIE: &str = "failure";
const URL: base64::engine::GeneralPurpose = base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The sentence for the page at hand.
#[derive(Debug, Clone)]
pub struct Failure(pub String);

/// The middleware.
pub(super) async fn carry(mut request: Request, next: Next) -> Response {
    let page = request.method() == Method::GET && !request.uri().path().starts_with("/pkg/");
    let carried = cookie(request.headers(), COOKIE).filter(|_| page).and_then(read);
    let shown = carried.is_some();
    if let Some(sentence) = carried {
        request.extensions_mut().insert(Failure(sentence));
    }
    let mut response = next.run(request).await;
    let html = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).is_some_and(|t| t.starts_with("text/html"));
    if shown && html {
        append(&mut response, "failure=; Path=/; Max-Age=0; SameSite=Lax; HttpOnly");
    }
    if response.status().is_redirection()
        && let Some((to, sentence)) = response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok()).and_then(failed)
        && let Ok(to) = HeaderValue::from_str(&to)
    {
        response.headers_mut().insert(header::LOCATION, to);
        append(&mut response, &format!("{COOKIE}={}; Path=/; Max-Age=60; SameSite=Lax; HttpOnly", URL.encode(sentence)));
    }
    response
}

fn append(response: &mut Response, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

fn read(value: &str) -> Option<String> {
    let text = String::from_utf8(URL.decode(value).ok()?).ok()?;
    (!text.is_empty()).then(|| crate::components::text::cut(&text, 600))
}

/// The address without the error and without the notice of a deed before, and the error's sentence.
fn failed(location: &str) -> Option<(String, String)> {
    let uri = location.parse::<Uri>().ok()?;
    let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).ok()?.0;
    let encoded = pairs.iter().find(|(n, _)| n == "__err").map(|(_, v)| v.trim_end_matches('='))?;
    let error = URL.decode(encoded).ok().and_then(|b| serde_json::from_slice::<AppError>(&b).ok());
    let sentence = error.map_or_else(|| "That did not work, and nothing was changed. Try again.".to_owned(), |e| e.to_string());
    let kept: Vec<String> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|p| !["__err", "__path", "notice", "n"].contains(&p.split('=').next().unwrap_or_default()))
        .map(str::to_owned)
        .collect();
    let path = crate::pages::session::safe_next(uri.path());
    Some((if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }, sentence))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_leaves_the_address_and_the_rest_of_it_stays() {
        let error =
            AppError { request_id: Some("r1".into()), ..AppError::invalid("Enter the id of at least one person; nothing was changed.") };
        let json = serde_json::to_string(&error).unwrap();
        for engine in [URL, base64::engine::general_purpose::URL_SAFE] {
            let address = format!(
                "http://127.0.0.1:3000/admin/jobs?status=failed&notice=x&n=3&__path=%2F_fn%2Fa&__err={}",
                engine.encode(&json).replace('=', "%3D")
            );
            let (to, sentence) = failed(&address).unwrap();
            assert_eq!(to, "/admin/jobs?status=failed");
            assert_eq!(sentence, "Enter the id of at least one person; nothing was changed. (request r1)");
            assert_eq!(read(&URL.encode(&sentence)), Some(sentence));
        }
        assert!(failed("/admin?notice=jobs-retried&n=3").is_none());
        assert_eq!(failed("/admin?__err=nonsense").map(|f| f.0).as_deref(), Some("/admin"));
        assert_eq!(read("%%%"), None);
    }
}
