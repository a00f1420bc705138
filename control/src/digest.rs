//! Digests, and how they are written.

/// SHA-256 of something: of a key's SubjectPublicKeyInfo, of a token's secret, of a file.
pub type Sha256 = [u8; 32];

/// Lower-case hex, as serial numbers and digests are written everywhere.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Of some bytes.
pub fn sha256(bytes: &[u8]) -> Sha256 {
    let mut hash = [0; 32];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    for (to, from) in hash.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    hash
}
