//! The few bytes of DER that turn old private key forms into PKCS#8 (RFC 5958).

const INTEGER_0: [u8; 3] = [0x02, 0x01, 0x00];
const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;
const CONTEXT_0: u8 = 0xa0;
/// AlgorithmIdentifier of RSA: rsaEncryption (1.2.840.113549.1.1.1) and NULL.
const RSA: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// Object id of elliptic curve keys: id-ecPublicKey (1.2.840.10045.2.1).
const EC_PUBLIC_KEY: [u8; 9] = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// Object id of the curve P-256, which is taken when the key does not name its curve.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Wraps an RSAPrivateKey.
pub(crate) fn pkcs8_from_pkcs1(key: &[u8]) -> Vec<u8> {
    private_key_info(&RSA, key)
}

/// Wraps an ECPrivateKey (RFC 5915), whose optional field `[0]` names the curve.
pub(crate) fn pkcs8_from_sec1(key: &[u8]) -> Vec<u8> {
    let curve = curve_of(key).unwrap_or(&P256);
    let algorithm = element(SEQUENCE, &[EC_PUBLIC_KEY.as_slice(), curve].concat());
    private_key_info(&algorithm, key)
}

fn private_key_info(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[&INTEGER_0, algorithm, &element(OCTET_STRING, key)].concat())
}

/// ECPrivateKey is a SEQUENCE of version, key, `[0]` parameters, `[1]` public key.
fn curve_of(key: &[u8]) -> Option<&[u8]> {
    let (_, mut fields, _) = split(key)?;
    while let Some((tag, content, rest)) = split(fields) {
        if tag == CONTEXT_0 {
            return Some(content);
        }
        fields = rest;
    }
    None
}

/// The private number of an elliptic curve key: PKCS#8 is a SEQUENCE of version, algorithm, and an OCTET STRING with the
/// ECPrivateKey, whose second field it is.
pub(crate) fn scalar_of(pkcs8: &[u8]) -> Option<&[u8]> {
    let (_, fields, _) = split(pkcs8)?;
    let (_, _, fields) = split(fields)?;
    let (_, _, fields) = split(fields)?;
    let (_, key, _) = split(fields)?;
    let (_, fields, _) = split(key)?;
    let (_, _, fields) = split(fields)?;
    let (tag, scalar, _) = split(fields)?;
    (tag == OCTET_STRING).then_some(scalar)
}

/// Splits the first element off: its tag, its content, and what follows it.
fn split(data: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = data.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.len() > size_of::<u32>() {
            return None;
        }
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let significant: &[u8] = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    match significant {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        long => {
            // At most eight bytes of length: a usize.
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(content);
    out
}
