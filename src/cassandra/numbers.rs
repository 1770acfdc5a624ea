//! Numbers of any length, and whole numbers of variable length, as CQL writes them.
//!
//! In: bytes. Out: values, and back. `varint` is two's complement, the highest byte first, as few bytes as will do; `decimal`
//! is a scale of four bytes and a varint; a vint tells by the ones that its first byte begins with how many bytes follow.

use arrow::datatypes::i256;

/// More bytes than any number has that fits DECIMAL(38, s) after rounding.
const LONGEST: usize = 32;

/// The value of a varint; `None` if it has no bytes or is too large for anything.
pub(crate) fn varint(bytes: &[u8]) -> Option<i256> {
    let first = *bytes.first()?;
    if bytes.len() > LONGEST {
        return None;
    }
    let mut wide = [if first & 0x80 == 0 { 0 } else { 0xff }; LONGEST];
    wide[LONGEST - bytes.len()..].copy_from_slice(bytes);
    Some(i256::from_be_bytes(wide))
}

/// Appends a varint.
pub(crate) fn put_varint(value: i128, out: &mut Vec<u8>) {
    let bytes = value.to_be_bytes();
    let sign = if value < 0 { 0xff } else { 0 };
    // The first byte that stays must show the sign.
    let redundant = bytes.windows(2).take_while(|pair| pair[0] == sign && (pair[1] ^ sign) & 0x80 == 0).count();
    out.extend_from_slice(&bytes[redundant..]);
}

/// The unscaled value of `unscaled / 10^scale` at another scale, half away from zero as Spark rounds; `None` beyond 38 digits.
pub(crate) fn rescale(unscaled: i256, scale: i32, wanted: i32) -> Option<i128> {
    let shift = i64::from(wanted) - i64::from(scale);
    let moved = if shift >= 0 {
        match unscaled == i256::ZERO {
            true => unscaled,
            false => unscaled.checked_mul(power(shift)?)?,
        }
    } else {
        match power(-shift) {
            Some(divisor) => divide(unscaled, divisor)?,
            None => i256::ZERO,
        }
    };
    let value = moved.to_i128()?;
    (value.unsigned_abs() < 10u128.pow(38)).then_some(value)
}

fn power(exponent: i64) -> Option<i256> {
    i256::from_i128(10).checked_pow(u32::try_from(exponent).ok().filter(|exponent| *exponent <= 76)?)
}

fn divide(value: i256, divisor: i256) -> Option<i256> {
    let (whole, rest) = (value.checked_div(divisor)?, value.checked_rem(divisor)?);
    // Twice the rest may not fit; what is missing to the divisor does.
    let rest = rest.checked_abs()?;
    let up = rest >= divisor.checked_sub(rest)?;
    let away = if value.is_negative() { i256::MINUS_ONE } else { i256::ONE };
    if up { whole.checked_add(away) } else { Some(whole) }
}

/// Takes a signed vint off the front.
pub(crate) fn take_vint(bytes: &mut &[u8]) -> Option<i64> {
    let raw = take_unsigned_vint(bytes)?;
    Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

/// Appends a signed vint.
pub(crate) fn put_vint(value: i64, out: &mut Vec<u8>) {
    put_unsigned_vint(((value << 1) ^ (value >> 63)) as u64, out);
}

/// Takes an unsigned vint off the front.
pub(crate) fn take_unsigned_vint(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    let more = first.leading_ones() as usize;
    let (tail, rest) = rest.split_at_checked(more)?;
    let head = if more >= 8 { 0 } else { u64::from(first & (0xff >> more)) };
    *bytes = rest;
    Some(tail.iter().fold(head, |value, byte| value << 8 | u64::from(*byte)))
}

/// Appends an unsigned vint.
pub(crate) fn put_unsigned_vint(value: u64, out: &mut Vec<u8>) {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    // Each byte carries seven bits; the ninth carries eight.
    let more = ((bits - 1) / 7).min(8);
    let start = out.len();
    if more == 8 {
        out.push(0xff);
        out.extend_from_slice(&value.to_be_bytes());
        return;
    }
    out.extend_from_slice(&value.to_be_bytes()[7 - more..]);
    out[start] |= !(0xffu16 >> more) as u8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_as_short_as_can_be_and_come_back() {
        let cases: [(i128, &[u8]); 7] = [
            (0, &[0]),
            (127, &[0x7f]),
            (128, &[0, 0x80]),
            (-128, &[0x80]),
            (-129, &[0xff, 0x7f]),
            (-1, &[0xff]),
            (256, &[1, 0]),
        ];
        for (value, expected) in cases {
            let mut bytes = Vec::new();
            put_varint(value, &mut bytes);
            assert_eq!(bytes, expected, "{value}");
            assert_eq!(varint(&bytes), Some(i256::from_i128(value)));
        }
        for value in [i128::MAX, i128::MIN, 10i128.pow(38) - 1] {
            let mut bytes = Vec::new();
            put_varint(value, &mut bytes);
            assert_eq!(varint(&bytes), Some(i256::from_i128(value)));
        }
        assert_eq!((varint(&[]), varint(&[1; 33])), (None, None));
    }

    #[test]
    fn vints_come_back() {
        for value in [0, 1, -1, 63, 64, -64, -65, 8191, 8192, 1 << 20, 1 << 35, 1 << 55, 1 << 62, i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            put_vint(value, &mut bytes);
            let mut rest = bytes.as_slice();
            assert_eq!(take_vint(&mut rest), Some(value), "{bytes:x?}");
            assert!(rest.is_empty(), "{value}");
        }
        let mut bytes = Vec::new();
        put_unsigned_vint(300, &mut bytes);
        assert_eq!(bytes, [0x81, 0x2c]);
        assert_eq!(take_unsigned_vint(&mut &[0x81u8][..]), None);
    }

    #[test]
    fn scales_round_half_away_from_zero() {
        let at = |unscaled: i128, scale, wanted| rescale(i256::from_i128(unscaled), scale, wanted);
        assert_eq!((at(15, 1, 0), at(-15, 1, 0), at(14, 1, 0)), (Some(2), Some(-2), Some(1)));
        assert_eq!((at(7, 0, 2), at(7, -2, 0), at(1, 100, 18)), (Some(700), Some(700), Some(0)));
        assert_eq!((at(0, -100, 18), at(1, -100, 18)), (Some(0), None));
        assert_eq!(at(10i128.pow(20), 0, 18), None);
    }
}
