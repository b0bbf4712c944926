//! A person is known by a pseudonym. An e-mail address as an id names somebody in every address, list and log line.

/// Whether an id looks like an e-mail address: something, one `@`, and a name with a dot in it. The index `persons_email`
/// and `store::persons::emails` say the same in SQL.
pub fn looks_like_email(id: &str) -> bool {
    let Some((name, host)) = id.split_once('@') else { return false };
    let parts = host.rsplit_once('.').is_some_and(|(domain, last)| !domain.is_empty() && !last.is_empty());
    !name.is_empty() && parts && !host.contains('@') && !id.chars().any(char::is_whitespace)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Ids, and whether they look like an address.
    pub(crate) const IDS: [(&str, bool); 15] = [
        ("a@b.ch", true),
        ("Anna.Muster+whoop@mail.example.com", true),
        ("a@.b.ch", true),
        ("a-b", false),
        ("", false),
        ("@", false),
        ("@b.ch", false),
        ("a@", false),
        ("a@b", false),
        ("a@b.", false),
        ("a@.ch", false),
        ("a@b@c.ch", false),
        ("team a@b.ch", false),
        ("a@b.ch ", false),
        ("user.42", false),
    ];

    #[test]
    fn an_address_is_known_by_its_form() {
        for (id, address) in IDS {
            assert_eq!(looks_like_email(id), address, "{id:?}");
        }
    }
}
