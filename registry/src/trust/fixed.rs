//! 2^−x and days without floating point, so that every machine computes the same digits.
//!
//! x = n + f is a quotient of two integers; f is cut to 32 binary digits. 2^−f is the product of the
//! constants 2^−(1/2), 2^−(1/4), … for the digits of f that are set, each product cut to 62 binary digits;
//! 2^−n is a shift. The result differs from the true value by less than 2^−31 and never rises with x.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// 1 in fixed point.
pub(super) const ONE: u64 = 1 << 62;

/// 2^−(2^−k) for k = 1 to 32, times 2^62, rounded to nearest.
const ROOTS: [u64; 32] = [
    0x2d413cccfe779921,
    0x35d13f32b5a75abd,
    0x3ab031b9f7490e4c,
    0x3d495f454921b30b,
    0x3ea0ecb6dc8a80cf,
    0x3f4f83033d21b05d,
    0x3fa784571ee3e213,
    0x3fd3b2d65447b229,
    0x3fe9d59487236bb4,
    0x3ff4e9d4703df843,
    0x3ffa74acbdf6c9d5,
    0x3ffd3a46ffc6e30f,
    0x3ffe9d1fa8010199,
    0x3fff4e8ede053ad5,
    0x3fffa747318376ac,
    0x3fffd3a38961e6ff,
    0x3fffe9d1c0d8fd14,
    0x3ffff4e8df7680c5,
    0x3ffffa746f7dc0ec,
    0x3ffffd3a37af8098,
    0x3ffffe9d1bd3e854,
    0x3fffff4e8de8fe2c,
    0x3fffffa746f44197,
    0x3fffffd3a37a116b,
    0x3fffffe9d1bd04de,
    0x3ffffff4e8de8179,
    0x3ffffffa746f407f,
    0x3ffffffd3a37a030,
    0x3ffffffe9d1bd014,
    0x3fffffff4e8de809,
    0x3fffffffa746f404,
    0x3fffffffd3a37a02,
];

/// Returns 2^−(numerator/denominator) times 2^62; `denominator` must not be 0.
pub(super) fn half_to_the(numerator: u64, denominator: u64) -> u64 {
    let whole = numerator / denominator;
    if whole >= 62 {
        return 0;
    }
    let rest = u128::from(numerator % denominator);
    let digits = (rest << 32) / u128::from(denominator);
    let mut product = ONE;
    for (index, root) in ROOTS.iter().enumerate() {
        if (digits >> (31 - index)) & 1 == 1 {
            product = scale(product, *root);
        }
    }
    product >> whole
}

/// Multiplies with a fixed-point factor of at most 1, cutting off what is below the last digit.
pub(super) fn scale(value: u64, factor: u64) -> u64 {
    let product = (u128::from(value) * u128::from(factor)) >> 62;
    u64::try_from(product).unwrap_or(u64::MAX)
}

/// Returns the day of a date (UTC).
pub(super) fn date(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

/// Returns the days from `first` to `last`; 0 when `last` is earlier.
pub(super) fn days_between(first: Date, last: Date) -> u64 {
    u64::try_from(last.duration_since(first).as_hours() / 24).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_those_of_a_table_computed_with_sixty_digits() {
        for (numerator, denominator, expected) in [
            (0, 1, ONE),
            (1, 1, ONE >> 1),
            (2, 1, ONE >> 2),
            (61, 1, 2),
            (62, 1, 0),
            (1, 2, 0x2d41_3ccc_fe77_9921),
            (3, 2, 0x2d41_3ccc_fe77_9921 >> 1),
        ] {
            assert_eq!(half_to_the(numerator, denominator), expected);
        }
    }

    #[test]
    fn it_stays_close_to_the_true_value_and_never_rises() {
        let mut before = ONE;
        for numerator in 0..20_000 {
            let value = half_to_the(numerator, 777);
            assert!(value <= before);
            before = value;
            let exact = (-(numerator as f64) / 777.0).exp2();
            let found = value as f64 / ONE as f64;
            assert!(
                (found - exact).abs() < 1.0 / f64::from(1 << 30),
                "{numerator}"
            );
        }
    }

    #[test]
    fn neighbours_at_every_binary_digit_keep_their_order() {
        let denominator = 1_u64 << 32;
        for bit in 0..32 {
            let below = half_to_the((1 << bit) - 1, denominator);
            let at = half_to_the(1 << bit, denominator);
            assert!(at < below, "bit {bit}");
        }
    }
}
