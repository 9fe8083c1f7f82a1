//! Durations, sizes and decimal fractions as a config writes them, read exactly.

use crate::time::Millis;

/// Reads `250ms`, `10s`, `2m`, `1h`, `1d`.
pub fn duration(text: &str) -> Option<Millis> {
    const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    quantity(text, &UNITS).map(Millis)
}

/// Reads `512B`, `64KiB`, `20MiB`, `1GB` as bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 7] = [
        ("B", 1),
        ("KB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
    ];
    quantity(text, &UNITS)
}

/// A whole number directly followed by one of the units.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, suffix) = text.split_at(digits);
    let (_, unit) = units.iter().find(|(name, _)| *name == suffix)?;
    number.parse::<u64>().ok()?.checked_mul(*unit)
}

/// Why a number is not a decimal fraction that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecimalFault {
    /// Below zero, infinite, or not a number at all.
    OutOfRange,
    /// It has more decimals than are kept.
    TooFine,
}

/// Reads a number of at most `places` decimals, scaled by 10 to the `places`: `0.0375` with 6 places is 37 500.
///
/// Works on the digits as they were written, so nothing is ever rounded.
pub(crate) fn decimal(text: &str, places: usize) -> Result<u64, DecimalFault> {
    if text.contains(['e', 'E']) {
        let float: f64 = text.parse().map_err(|_| DecimalFault::OutOfRange)?;
        // Floats print without an exponent, and with the fewest digits that tell them apart.
        return if float.is_finite() { decimal(&float.to_string(), places) } else { Err(DecimalFault::OutOfRange) };
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = whole.strip_prefix('+').unwrap_or(whole);
    let fraction = fraction.trim_end_matches('0');
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(DecimalFault::OutOfRange);
    }
    if fraction.len() > places {
        return Err(DecimalFault::TooFine);
    }
    format!("{whole}{fraction:0<places$}").parse().map_err(|_| DecimalFault::OutOfRange)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in
            [("0s", 0), ("250ms", 250), ("10s", 10_000), ("2m", 120_000), ("1h", 3_600_000), ("1d", 86_400_000)]
        {
            assert_eq!(duration(text), Some(Millis(ms)), "{text}");
        }
        for text in
            ["", "10", "s", "-1s", "1.5s", "10 s", "10S", "1w", "99999999999999999999s", "18446744073709551615d"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("512B", 512), ("64KiB", 65_536), ("20MiB", 20_971_520), ("1GB", 1_000_000_000)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "20", "MiB", "20mib", "20 MiB", "99999999999GiB", "-1B"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn decimals_are_exact() {
        for (text, scaled) in [
            ("0.0375", 37_500),
            ("2.00", 2_000_000),
            ("0.028", 28_000),
            ("15", 15_000_000),
            ("+1.5", 1_500_000),
            ("0.000001", 1),
            ("1e-1", 100_000),
            ("0.1000000000", 100_000),
        ] {
            assert_eq!(decimal(text, 6), Ok(scaled), "{text}");
        }
    }

    #[test]
    fn decimals_refuse_what_they_cannot_hold() {
        for text in ["-1", "-0.0", "nan", "inf", "+inf", "1e999", "1e30", "", ".5", "1.-5", "99999999999999999999"] {
            assert_eq!(decimal(text, 6), Err(DecimalFault::OutOfRange), "{text}");
        }
        for text in ["0.0000001", "1e-7", "2.00000000000000001"] {
            assert_eq!(decimal(text, 6), Err(DecimalFault::TooFine), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_length_of_time_reads_back_as_it_prints(ms in any::<u64>()) {
            prop_assert_eq!(duration(&Millis(ms).to_string()), Some(Millis(ms)));
        }

        #[test]
        fn any_picodollar_price_survives_a_float(scaled in 0_u64..1_000_000_000_000) {
            let text = format!("{}.{:06}", scaled / 1_000_000, scaled % 1_000_000);
            prop_assert_eq!(decimal(&text, 6), Ok(scaled));
            let through_json = format!("{:?}", text.parse::<f64>().unwrap());
            prop_assert_eq!(decimal(&through_json, 6), Ok(scaled));
        }
    }
}
