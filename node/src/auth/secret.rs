//! Random secrets and their comparison.

/// Crockford's base32 without letters that look like digits.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters of a claim code: 80 bits.
const CODE_CHARS: usize = 16;

/// Returns `N` random bytes from the operating system.
pub(super) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// Characters of a token.
pub(crate) const TOKEN_LENGTH: usize = 64;

/// Returns 256 random bits as hexadecimal digits, [`TOKEN_LENGTH`] of them.
pub(super) fn random_token() -> String {
    hex::encode(random_bytes::<32>())
}

/// Returns a claim code such as `K7QF-0ZR2-…`.
pub(super) fn claim_code() -> String {
    let bytes = random_bytes::<CODE_CHARS>();
    let chars: Vec<char> = bytes
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
        .collect();
    chars
        .chunks(4)
        .map(String::from_iter)
        .collect::<Vec<_>>()
        .join("-")
}

/// Undoes what people do to codes: case, spaces, hyphens, O for 0, I and L for 1.
pub(super) fn normalise_code(code: &str) -> String {
    code.chars()
        .filter(char::is_ascii_alphanumeric)
        .take(64)
        .map(|c| match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        })
        .collect()
}

/// Compares in a time that does not depend on where the texts differ.
pub(super) fn same(a: &str, b: &str) -> bool {
    // Hashes are compared instead of texts; archy_registry::Blake3Hash hides the values that timing could tell.
    let key = random_bytes::<32>();
    let hash = |text: &str| {
        let mut bytes = key.to_vec();
        bytes.extend_from_slice(text.as_bytes());
        archy_registry::Blake3Hash::of(&bytes)
    };
    hash(a) == hash(b)
}
