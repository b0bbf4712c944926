//! What a deed on the plain pages came to. The answer to a form is a redirect with `?notice=code`, so a reload does not
//! repeat it; the page then says the sentence that belongs to the code.

use crate::access::guard;
use axum::{http::Uri, response::Response};

/// Back to a page, which says what came of it.
pub(super) fn redirect(path: &str, code: &str) -> Response {
    guard::redirect(&format!("{path}?notice={code}"))
}

/// The sentence that an address asks for, if it is one of ours: the address is anybody's to write.
pub(super) fn of(uri: &Uri) -> Option<&'static str> {
    let code = uri.query()?.split('&').find_map(|pair| pair.strip_prefix("notice="))?;
    sentence(code)
}

fn sentence(code: &str) -> Option<&'static str> {
    Some(match code {
        "password-changed" => "Your password was changed. All other sessions ended.",
        "session-ended" => "The session was ended.",
        "others-ended" => "All your other sessions were ended.",
        "factor-on" => "Your second factor is on. All other sessions ended.",
        "factor-off" => "Your second factor is off. All other sessions ended.",
        "key-revoked" => "The key was revoked; programs that use it are refused.",
        "shut-out" => "The account was shut out. All its sessions ended.",
        "let-in" => "The account may log in again.",
        "made-admin" => "The account is an administrator’s now. All its sessions ended.",
        "made-trainer" => "The account is a trainer’s now. All its sessions ended.",
        "signed-out" => "All sessions of the account were ended.",
        "their-factor-off" => "The second factor was turned off, and all sessions of the account were ended.",
        "factor-demanded" => "A second factor is demanded of administrators now.",
        "factor-left" => "Each administrator decides about a second factor now.",
        "assigned" => "The trainer sees this person now.",
        "unassigned" => "The trainer no longer sees this person.",
        "named" => "The name was saved.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_makes_a_page_say_only_what_we_wrote() {
        let said = |address: &str| address.parse::<Uri>().ok().as_ref().and_then(of);
        assert_eq!(said("/account?x=1&notice=named"), Some("The name was saved."));
        for odd in
            ["/account", "/account?notice=", "/account?notice=%3Cb%3E", "/account?notices=named", "/account?notice=your-account-is-lost"]
        {
            assert_eq!(said(odd), None, "{odd}");
        }
    }
}
