//! Quantities as a manifest writes them: spans of time, sizes, CPUs and relative paths.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::string_serde;
use crate::text::is_hidden;

/// A text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a span of time.
    #[error(
        "{0:?} is not a span of time: write a whole number and ms, s, m or h, as in 30s; at most 24h"
    )]
    Span(String),
    /// Not a size.
    #[error(
        "{0:?} is not a size: write a whole number and K, M, G or T (powers of 1024), as in 512M"
    )]
    Size(String),
    /// Not a number of CPUs.
    #[error(
        "{0:?} is not a number of CPUs: write a decimal such as \"0.5\" or \"2\", at most three decimals"
    )]
    Cpus(String),
    /// Not a relative path.
    #[error(
        "{0:?} is not a path below the manifest: no leading /, no .., no empty or hidden control characters"
    )]
    Path(String),
}

/// A span of time: `500ms`, `30s`, `5m`, `2h`; at most 24 h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

impl Span {
    /// Returns the span as a duration.
    pub const fn as_duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let invalid = || QuantityError::Span(text.chars().take(40).collect());
        let (number, unit) = split_number(text).ok_or_else(invalid)?;
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(invalid()),
        };
        match number.checked_mul(unit_ms) {
            Some(ms) if ms <= 24 * 3_600_000 => Ok(Self(Duration::from_millis(ms))),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        match ms {
            0 => f.write_str("0s"),
            ms if ms % 3_600_000 == 0 => write!(f, "{}h", ms / 3_600_000),
            ms if ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            ms if ms % 1_000 == 0 => write!(f, "{}s", ms / 1_000),
            ms => write!(f, "{ms}ms"),
        }
    }
}
string_serde!(Span);

/// A number of bytes: `512M`, `2G`, or plain digits; units are powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// Returns the number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let invalid = || QuantityError::Size(text.chars().take(40).collect());
        let (number, unit) = split_number(text).ok_or_else(invalid)?;
        let shift = match unit {
            "" => 0,
            "K" => 10,
            "M" => 20,
            "G" => 30,
            "T" => 40,
            _ => return Err(invalid()),
        };
        number
            .checked_mul(1 << shift)
            .filter(|bytes| *bytes < 1 << 53)
            .map(Self)
            .ok_or_else(invalid)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
            if self.0 != 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}
string_serde!(Size);

/// A number of CPUs in thousandths, written as a decimal text (`"1.5"`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpus(u32);

impl Cpus {
    /// Returns thousandths of a CPU.
    pub const fn millis(self) -> u32 {
        self.0
    }
}

impl FromStr for Cpus {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let invalid = || QuantityError::Cpus(text.chars().take(40).collect());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || whole.len() > 4 || fraction.len() > 3 {
            return Err(invalid());
        }
        let whole: u32 = whole.parse().map_err(|_| invalid())?;
        let fraction: u32 = format!("{fraction:0<3}").parse().map_err(|_| invalid())?;
        match whole * 1000 + fraction {
            0 => Err(invalid()),
            millis => Ok(Self(millis)),
        }
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0 / 1000, self.0 % 1000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}
string_serde!(Cpus);

/// A path below the manifest's directory: no leading `/`, no `..`, at most 255 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RelativePath(String);

impl RelativePath {
    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RelativePath {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let part = |part: &str| !part.is_empty() && part != "..";
        let plain = !text.chars().any(|c| is_hidden(c) || c == '\\');
        if text.len() <= 255 && plain && text.split('/').all(part) {
            Ok(Self(text.to_owned()))
        } else {
            Err(QuantityError::Path(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
string_serde!(RelativePath);

/// Splits `30s` into 30 and `s`.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_and_written_the_same() {
        for (text, ms) in [
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("24h", 86_400_000),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.as_duration(), Duration::from_millis(ms));
            assert_eq!(span.to_string(), text);
        }
        assert_eq!("90s".parse::<Span>().unwrap().to_string(), "90s");
        assert_eq!("120s".parse::<Span>().unwrap().to_string(), "2m");
        for text in [
            "",
            "s",
            "1",
            "1 s",
            "-1s",
            "1.5s",
            "25h",
            "1d",
            "99999999999999999999s",
            "1S",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        for (text, bytes) in [
            ("0", 0),
            ("1023", 1023),
            ("1K", 1024),
            ("512M", 512 << 20),
            ("3T", 3 << 40),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!(size.bytes(), bytes);
            assert_eq!(size.to_string(), text);
        }
        for text in [
            "",
            "M",
            "1MB",
            "1m",
            "1.5G",
            "-1",
            "8192T",
            "18446744073709551616",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        for (text, millis) in [("1", 1000), ("0.5", 500), ("1.25", 1250), ("0.001", 1)] {
            let cpus: Cpus = text.parse().unwrap();
            assert_eq!(cpus.millis(), millis);
            assert_eq!(cpus.to_string(), text);
        }
        for text in [
            "", ".", "0", "0.000", ".5", "1.", "0.0001", "10000", "-1", "1e3", "1,5",
        ] {
            assert!(text.parse::<Cpus>().is_err(), "{text}");
        }
    }

    #[test]
    fn relative_paths_stay_below() {
        for text in [".", "a", "a/b.c", "./a", "a b"] {
            assert!(text.parse::<RelativePath>().is_ok(), "{text}");
        }
        for text in [
            "",
            "/a",
            "..",
            "a/..",
            "a/../b",
            "a//b",
            "a\\b",
            "a\nb",
            "a\u{2028}",
        ] {
            assert!(text.parse::<RelativePath>().is_err(), "{text:?}");
        }
    }
}
