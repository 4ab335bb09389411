//! Amazon's registry: credentials are exchanged for a password by a signed call
//! (signature version 4).

use base64::Engine as _;
use hmac::{Hmac, Mac as _};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::hex::hex;

/// A call that is to be signed; every header that is signed is listed, in order.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// Names in lower case, sorted.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
}

/// Who signs, and for what.
#[derive(Debug)]
pub(super) struct Signer<'a> {
    pub(super) access_key_id: &'a str,
    pub(super) secret_access_key: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    /// As `20150830T123600Z`.
    pub(super) time: &'a str,
}

impl Signer<'_> {
    /// The value of the `Authorization` header.
    pub(super) fn authorization(&self, call: &Call<'_>) -> String {
        let day = self.time.get(..8).unwrap_or(self.time);
        let names: Vec<&str> = call.headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let headers: Vec<String> =
            call.headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let headers = headers.concat();
        let body = hex(&Sha256::digest(call.body));
        let request = format!("{}\n{}\n\n{headers}\n{names}\n{body}", call.method, call.path);
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let digest = hex(&Sha256::digest(request.as_bytes()));
        let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{digest}", self.time);
        let first = format!("AWS4{}", self.secret_access_key).into_bytes();
        let parts = [day, self.region, self.service, "aws4_request", &text];
        let signature = parts.iter().fold(first, |key, part| mac(&key, part.as_bytes()));
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            self.access_key_id,
            hex(&signature)
        )
    }
}

/// The user and the password in the answer to `GetAuthorizationToken`.
pub(super) fn password(answer: &[u8]) -> Option<(String, String)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        authorization_data: Vec<One>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct One {
        authorization_token: String,
    }
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    let token = &answer.authorization_data.first()?.authorization_token;
    let decoded = base64::engine::general_purpose::STANDARD.decode(token).ok()?;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("keys of any length are taken");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published example `get-vanilla` of the signature's test suite.
    #[test]
    fn the_published_example_is_signed_alike() {
        let signer = Signer {
            access_key_id: "AKIDEXAMPLE",
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            region: "us-east-1",
            service: "service",
            time: "20150830T123600Z",
        };
        let headers = [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")];
        let call = Call { method: "GET", path: "/", headers: &headers, body: b"" };
        assert_eq!(
            signer.authorization(&call),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
    }

    #[test]
    fn an_answer_holds_a_password() {
        let token = base64::engine::general_purpose::STANDARD.encode("AWS:se:cret");
        let answer =
            format!(r#"{{"authorizationData":[{{"authorizationToken":"{token}","proxyEndpoint":"x"}}]}}"#);
        assert_eq!(password(answer.as_bytes()), Some(("AWS".to_owned(), "se:cret".to_owned())));
        assert_eq!(password(br#"{"authorizationData":[]}"#), None);
    }
}
