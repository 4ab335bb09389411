//! Who may ask, and as which user: the token, signed URLs, and Basic user names.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, StatusCode};
use wire::files::{ACCESS_TOKEN_HEADER, BadExpiration, Operation, SignedUrl, same};
use wire::query::Query;

use super::HttpFailure;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Checks the token where it is required by header.
pub(crate) fn check_token(
    token: Option<&str>,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Result<(), HttpFailure> {
    let Some(token) = token else { return Ok(()) };
    let own_check =
        matches!((method, path), (&Method::GET, "/health" | "/files") | (&Method::POST, "/files"));
    if own_check || carried(headers).is_some_and(|carried| same(carried, token.as_bytes())) {
        return Ok(());
    }
    Err(unauthorized(
        "unauthorized access, please provide a valid access token or method signing if supported",
    ))
}

/// Checks a `/files` request: the token if one is carried, else the signature.
pub(crate) fn check_files(
    token: Option<&str>,
    headers: &HeaderMap,
    query: &Query,
    operation: Operation,
) -> Result<(), HttpFailure> {
    let Some(token) = token else { return Ok(()) };
    if let Some(carried) = carried(headers) {
        let matches = same(carried, token.as_bytes());
        return matches
            .then_some(())
            .ok_or_else(|| unauthorized("access token present in header but does not match"));
    }
    let url = SignedUrl::of(query, operation)
        .map_err(|BadExpiration| unauthorized("invalid signature expiration"))?;
    let url = url.ok_or_else(|| unauthorized("missing signature query parameter"))?;
    if !url.is_opened_by(token) {
        return Err(unauthorized("invalid signature"));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if url.expiration.is_some_and(|expiration| expiration < now.cast_signed()) {
        return Err(unauthorized("signature is already expired"));
    }
    Ok(())
}

/// The user that an RPC names. Anything that is no Basic user name counts as none.
pub(crate) fn basic_user(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(credentials.trim()).ok()?).ok()?;
    decoded.split_once(':').map(|(name, _)| name.to_owned())
}

fn carried(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(ACCESS_TOKEN_HEADER).map(http::HeaderValue::as_bytes).filter(|value| !value.is_empty())
}

fn unauthorized(message: &str) -> HttpFailure {
    HttpFailure::new(StatusCode::UNAUTHORIZED, message)
}

#[cfg(test)]
mod tests {
    use wire::files::signature;

    use super::*;

    #[test]
    fn basic_names_end_at_the_first_colon() {
        let user = |value: &'static str| {
            let mut headers = HeaderMap::new();
            super::super::error::set(&mut headers, AUTHORIZATION, value);
            basic_user(&headers)
        };
        assert_eq!(user("Basic dXNlcjo=").as_deref(), Some("user"));
        assert_eq!(user("basic dXNlcjpwYXNzOndvcmQ").as_deref(), Some("user"));
        assert_eq!(user("Bearer dXNlcjo="), None);
        assert_eq!(user("Basic ?"), None);
    }

    #[test]
    fn a_signature_opens_files_until_it_expires() {
        let check = |query: &str, token| {
            check_files(token, &HeaderMap::new(), &Query::parse(Some(query)), Operation::Read)
                .map_err(|failure| failure.message)
        };
        let vector = "path=/home/user/a%20b.txt&username=user&signature=v1_Y8IQlyJqKv53mNXK/5F%2BX/AcrsOQon44dTy59t1O9Hw";
        assert_eq!(check(vector, Some("secret-token")), Ok(()));
        assert_eq!(check(vector, Some("other")), Err("invalid signature".into()));
        assert_eq!(check("path=/x", Some("t")), Err("missing signature query parameter".into()));
        assert_eq!(check("path=/x", None), Ok(()));
        let old = signature("/x", Operation::Read, "", "t", Some(5));
        let old = format!("path=/x&signature_expiration=5&signature={}", old.replace('+', "%2B"));
        assert_eq!(check(&old, Some("t")), Err("signature is already expired".into()));
    }
}
