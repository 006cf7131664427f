//! The signature by which whoever has a bootstrap token knows a text of the cluster's: a JWS (RFC 7515) whose content is
//! elsewhere (its appendix F), HMAC with SHA-256, the token's secret part as the key. The controller-manager makes one for
//! each token (staging/src/k8s.io/cluster-bootstrap/token/jws/jws.go of kubernetes).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use cluster::BootstrapToken;
use ring::hmac;
use serde::Deserialize;

/// The one algorithm that is taken (RFC 7518, 3.1): one that a header may choose freely would be `none`.
const ALGORITHM: &str = "HS256";

/// Why a signature proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureProblem {
    /// It has another form.
    #[error("the signature is malformed: {0}")]
    Malformed(&'static str),
    /// It is another token's.
    #[error("the signature is that of another token")]
    OtherToken,
    /// Who made it does not have the token's secret part, or signed another text.
    #[error("the signature was not made with this token")]
    Wrong,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

/// Whether whoever has the token signed this text.
///
/// # Errors
/// [`SignatureProblem`].
pub fn check_signature(signature: &str, text: &str, token: &BootstrapToken) -> Result<(), SignatureProblem> {
    let malformed = SignatureProblem::Malformed;
    let mut parts = signature.split('.');
    let (Some(header), Some(""), Some(tag), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed("it is not a header, nothing, and a signature"));
    };
    let read = |part: &str| BASE64URL.decode(part).map_err(|_| malformed("it is not in base64url"));
    let told: Header =
        serde_json::from_slice(&read(header)?).map_err(|_| malformed("its header cannot be read"))?;
    if told.alg != ALGORITHM {
        return Err(malformed("it is not of HS256"));
    }
    if told.kid != token.id() {
        return Err(SignatureProblem::OtherToken);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.secret().as_bytes());
    let signed = format!("{header}.{}", BASE64URL.encode(text));
    hmac::verify(&key, signed.as_bytes(), &read(tag)?).map_err(|_| SignatureProblem::Wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with openssl, as kubernetes makes it:
    // h=$(printf '{"alg":"HS256","kid":"abcdef"}' | basenc --base64url | tr -d =)
    // p=$(printf 'apiVersion: v1\n' | basenc --base64url | tr -d =)
    // printf "$h.$p" | openssl dgst -sha256 -hmac 0123456789abcdef -binary | basenc --base64url | tr -d =
    const TEXT: &str = "apiVersion: v1\n";
    const SIGNATURE: &str =
        "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..K1chermAQEq0rdqy-ehj0VDfmA_ytv8Wzh9g26FldrE";

    fn token(text: &str) -> BootstrapToken {
        text.parse().unwrap()
    }

    fn check(signature: &str, text: &str) -> Result<(), SignatureProblem> {
        check_signature(signature, text, &token("abcdef.0123456789abcdef"))
    }

    #[test]
    fn whoever_has_the_token_signed() {
        assert_eq!(check(SIGNATURE, TEXT), Ok(()));
    }

    #[test]
    fn another_text_secret_token_or_algorithm_is_refused() {
        assert_eq!(check(SIGNATURE, "apiVersion: v2\n"), Err(SignatureProblem::Wrong));
        let other = |token: &str| check_signature(SIGNATURE, TEXT, &token.parse().unwrap());
        assert_eq!(other("abcdef.1123456789abcdef"), Err(SignatureProblem::Wrong));
        assert_eq!(other("bbcdef.0123456789abcdef"), Err(SignatureProblem::OtherToken));
        let (_, tag) = SIGNATURE.rsplit_once('.').unwrap();
        let with = |header: &str| check(&format!("{}..{tag}", BASE64URL.encode(header)), TEXT);
        let none = with(r#"{"alg":"none","kid":"abcdef"}"#);
        assert_eq!(none, Err(SignatureProblem::Malformed("it is not of HS256")));
        // The header is signed as well.
        assert_eq!(with(r#"{"kid":"abcdef","alg":"HS256"}"#), Err(SignatureProblem::Wrong));
        for malformed in ["", "a.b", "a..b.c", "!..!", &SIGNATURE.replace("..", ".x.")] {
            let problem = check(malformed, TEXT).unwrap_err();
            assert!(matches!(problem, SignatureProblem::Malformed(_)), "{malformed}: {problem}");
        }
        let cut = SIGNATURE.trim_end_matches(|c| c != '.');
        assert_eq!(check(cut, TEXT), Err(SignatureProblem::Wrong), "no signature at all");
    }
}
