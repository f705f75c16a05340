//! Base58btc of a fixed number of bytes, several digits at a time: DIDs and signatures are read and written all the
//! time. For public values only, how long it takes depends on them.

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const VALUES: [Option<u8>; 256] = values();
/// Words of 64 bits that a number may have: 64 bytes.
const WORDS: usize = 8;
/// Digits that fit into a word: 58^10 < 2^59.
const DIGITS_AT_ONCE: usize = 10;
const AT_ONCE: u64 = 58_u64.pow(DIGITS_AT_ONCE as u32);

/// Reads exactly `N` bytes; at most 64.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    const { assert!(N <= WORDS * 8) };
    // The least significant word comes first.
    let mut words = [0_u64; WORDS];
    for digits in text.as_bytes().chunks(DIGITS_AT_ONCE) {
        let (mut carry, mut base) = (0_u64, 1_u64);
        for digit in digits {
            carry = carry * 58 + u64::from(VALUES[usize::from(*digit)]?);
            base *= 58;
        }
        for word in &mut words {
            let next = u128::from(*word) * u128::from(base) + u128::from(carry);
            (*word, carry) = (next as u64, (next >> 64) as u64);
        }
        if carry > 0 {
            return None;
        }
    }
    let mut bytes = [0; WORDS * 8];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words.iter().rev()) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    let (above, bytes) = bytes.split_at(WORDS * 8 - N);
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let ones = text
        .bytes()
        .take_while(|digit| *digit == ALPHABET[0])
        .count();
    // Every zero byte in front is written as one digit.
    if above.iter().any(|byte| *byte > 0) || zeros != ones {
        return None;
    }
    bytes.try_into().ok()
}

/// Writes at most 64 bytes.
pub(crate) fn encode<const N: usize>(bytes: &[u8; N]) -> String {
    const { assert!(N <= WORDS * 8) };
    let mut padded = [0; WORDS * 8];
    padded[WORDS * 8 - N..].copy_from_slice(bytes);
    // The most significant word comes first.
    let mut words = [0_u64; WORDS];
    for (word, bytes) in words.iter_mut().zip(padded.chunks_exact(8)) {
        *word = bytes
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    let mut digits = Vec::with_capacity(2 * N);
    while words.iter().any(|word| *word > 0) {
        let mut rest = 0_u64;
        for word in &mut words {
            let divided = u128::from(rest) << 64 | u128::from(*word);
            *word = (divided / u128::from(AT_ONCE)) as u64;
            rest = (divided % u128::from(AT_ONCE)) as u64;
        }
        for _ in 0..DIGITS_AT_ONCE {
            digits.push(ALPHABET[(rest % 58) as usize]);
            rest /= 58;
        }
    }
    while digits.last() == Some(&ALPHABET[0]) {
        digits.pop();
    }
    digits.extend(
        bytes
            .iter()
            .take_while(|byte| **byte == 0)
            .map(|_| ALPHABET[0]),
    );
    digits
        .iter()
        .rev()
        .map(|digit| char::from(*digit))
        .collect()
}

const fn values() -> [Option<u8>; 256] {
    let mut values = [None; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        values[ALPHABET[value] as usize] = Some(value as u8);
        value += 1;
    }
    values
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reads_as_bs58<const N: usize>(text: &str) {
        let expected = bs58::decode(text).into_vec().ok();
        let expected = expected.and_then(|bytes| <[u8; N]>::try_from(bytes).ok());
        assert_eq!(decode::<N>(text), expected, "{text}");
    }

    proptest! {
        #[test]
        fn bytes_are_written_and_read_as_by_bs58(zeros in 0_usize..34, bytes: [u8; 34]) {
            let mut bytes = bytes;
            bytes[..zeros].fill(0);
            let text = encode(&bytes);
            prop_assert_eq!(&text, &bs58::encode(bytes).into_string());
            prop_assert_eq!(decode(&text), Some(bytes));
            reads_as_bs58::<33>(&text);
            reads_as_bs58::<35>(&text);
        }

        #[test]
        fn signatures_are_written_and_read_as_by_bs58(low: [u8; 32], high: [u8; 32]) {
            let mut bytes = [0; 64];
            bytes[..32].copy_from_slice(&high);
            bytes[32..].copy_from_slice(&low);
            let text = encode(&bytes);
            prop_assert_eq!(&text, &bs58::encode(bytes).into_string());
            prop_assert_eq!(decode(&text), Some(bytes));
        }

        #[test]
        fn texts_are_read_as_by_bs58(text in "1{0,3}[1-9A-Za-z]{0,100}|\\PC{0,12}") {
            reads_as_bs58::<34>(&text);
            reads_as_bs58::<64>(&text);
        }
    }

    #[test]
    fn the_ends_of_what_fits_are_read_as_by_bs58() {
        for text in [
            "",
            "1",
            "z",
            "0",
            "é",
            &"1".repeat(64),
            &"1".repeat(65),
            &"z".repeat(88),
        ] {
            reads_as_bs58::<1>(text);
            reads_as_bs58::<64>(text);
        }
        assert_eq!(decode(&encode(&[0xff; 64])), Some([0xff; 64]));
        assert_eq!(decode(&encode(&[0; 64])), Some([0; 64]));
    }
}
