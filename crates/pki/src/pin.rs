//! By what a node that joins knows the cluster's CA: the digest of its public key, as kubeadm writes it.

use std::fmt;
use std::io::Cursor;
use std::str::FromStr;

use ring::digest;
use x509_parser::error::PEMError;
use x509_parser::pem::Pem;

use crate::inspect::inspect_der;
use crate::{CertificateInfo, PkiError};

/// What stands before the digits (cmd/kubeadm/app/util/pubkeypin/pubkeypin.go).
const PREFIX: &str = "sha256:";

/// The SHA-256 of a certificate's SubjectPublicKeyInfo: `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPin([u8; digest::SHA256_OUTPUT_LEN]);

impl fmt::Display for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for KeyPin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let digits = text.strip_prefix(PREFIX)?.as_bytes();
            let mut bytes = [0; digest::SHA256_OUTPUT_LEN];
            if digits.len() != 2 * bytes.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
                *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
            }
            Some(Self(bytes))
        };
        read().ok_or_else(|| format!("expected {PREFIX} and 64 hexadecimal digits"))
    }
}

impl KeyPin {
    fn of(certificate: &CertificateInfo) -> Self {
        let mut bytes = [0; digest::SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, &certificate.public_key).as_ref());
        Self(bytes)
    }
}

/// Those of a PEM text's certificates, which are authorities': one each, in their order.
///
/// # Errors
/// When there is none, or one cannot be read or is no authority's.
pub fn pins(certificates_pem: &str) -> Result<Vec<KeyPin>, PkiError> {
    Ok(authorities(certificates_pem)?.into_iter().map(|(pin, _)| pin).collect())
}

/// The part of a PEM text of authorities' certificates that has one of these pins; empty where none has. What stands beside
/// a pinned certificate is no more proven than anything else.
///
/// # Errors
/// As [`pins`].
pub fn pinned(certificates_pem: &str, pins: &[KeyPin]) -> Result<String, PkiError> {
    let all = authorities(certificates_pem)?.into_iter();
    Ok(all.filter(|(pin, _)| pins.contains(pin)).map(|(_, text)| text).collect())
}

/// Each certificate's pin and text.
fn authorities(certificates_pem: &str) -> Result<Vec<(KeyPin, &str)>, PkiError> {
    let (mut found, mut rest) = (Vec::new(), certificates_pem);
    while !rest.trim().is_empty() {
        let bad = |error: PEMError| PkiError::BadCertificate { reason: error.to_string() };
        let (block, length) = match Pem::read(Cursor::new(rest)) {
            Ok(read) => read,
            Err(PEMError::MissingHeader) => break,
            Err(error) => return Err(bad(error)),
        };
        let info = inspect_der(block.contents)?;
        if !info.is_ca {
            return Err(PkiError::NotAnAuthority { subject: info.subject });
        }
        let (text, behind) = rest.split_at(length);
        found.push((KeyPin::of(&info), text));
        rest = behind;
    }
    if found.is_empty() { Err(PkiError::NoPem { wanted: "certificate" }) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with openssl, and its pin as kubeadm's documentation makes it:
    // openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=kubernetes -days 36500
    // openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | sha256sum
    const CA: &str = "\
-----BEGIN CERTIFICATE-----
MIIBgjCCASegAwIBAgIUTNZKAx2f1EC10ov6Czc/bN+cJm0wCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKa3ViZXJuZXRlczAgFw0yNjExMzAyMDM5MDRaGA8yMTI2MTEw
NjIwMzkwNFowFTETMBEGA1UEAwwKa3ViZXJuZXRlczBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABDJKPmPCgCmfxIHAhPj2Rdj0Gi1hfBGo781T6HU603VGgFvkNfao
hU7orFcqHgj7qMWe9txsx9rTqoHjd2Mq/ISjUzBRMB0GA1UdDgQWBBRnVFlc+hF1
X4seuMSrPtenRbbbODAfBgNVHSMEGDAWgBRnVFlc+hF1X4seuMSrPtenRbbbODAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0kAMEYCIQCOaua6OD01Wv2BRwb5
ftcPI6sUCTFR+f8YYvWM/DN4cgIhAKjxBVHewK5qXJKSOktHqk1KRUbtavMUkvl7
/CIgun+5
-----END CERTIFICATE-----
";
    const PIN: &str = "sha256:eeae63f86c4b242eb0cfb9169f808645880d6f698e8f3810471434f7d68f5e78";

    #[test]
    fn a_pin_is_kubeadm_s() {
        let pin: KeyPin = PIN.parse().unwrap();
        assert_eq!(pins(CA).unwrap(), [pin]);
        assert_eq!(pin.to_string(), PIN);
        assert_eq!(PIN.to_uppercase().replace("SHA256", "sha256").parse::<KeyPin>().unwrap(), pin);
        assert_eq!(pins(&format!("{CA}{CA}")).unwrap(), [pin, pin]);
    }

    #[test]
    fn what_stands_beside_a_pinned_certificate_is_not_pinned() {
        let config = cluster::ClusterConfig::default();
        let terms = crate::Terms::of_leaves(&config, jiff::Timestamp::now());
        let other = crate::Authority::generate("kubernetes", terms).unwrap();
        let other = other.cert_pem();
        let pin: KeyPin = PIN.parse().unwrap();
        for both in [format!("{CA}{other}"), format!("# one\n{other}\n{CA}\n# end\n")] {
            let found = pinned(&both, &[pin]).unwrap();
            assert_eq!(pins(&found).unwrap(), [pin], "{found}");
            assert_eq!(pinned(&both, &pins(&both).unwrap()).unwrap().matches("BEGIN").count(), 2);
            assert_eq!(pinned(&both, &[]).unwrap(), "");
        }
        assert_eq!(pinned(CA, &[pin]).unwrap(), CA);
    }

    #[test]
    fn what_is_no_pin_is_refused() {
        let digits = PIN.trim_start_matches(PREFIX);
        for text in ["", digits, "sha256:", &PIN[..70], &format!("{PIN}0"), &PIN.replace('0', "x")] {
            assert!(text.parse::<KeyPin>().is_err(), "{text}");
        }
    }

    #[test]
    fn who_is_no_authority_has_no_pin() {
        let config = cluster::ClusterConfig::default();
        let terms = crate::Terms::of_leaves(&config, jiff::Timestamp::now());
        let ca = crate::Authority::generate("kubernetes", terms).unwrap();
        let leaf = ca.issue(&crate::Leaf::kubelet("a"), terms).unwrap().cert_pem;
        assert!(matches!(pins(&leaf), Err(PkiError::NotAnAuthority { .. })));
        assert!(matches!(pins(""), Err(PkiError::NoPem { .. })));
        let both = format!("{}{leaf}", ca.cert_pem());
        assert!(pins(&both).is_err(), "one that is none beside one");
    }
}
