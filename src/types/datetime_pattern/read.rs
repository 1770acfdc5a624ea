//! Reading a text by a compiled pattern, in Java's strict style (letter case aside).

use super::resolve::Fields;
use super::{Field, Item, Need, OffsetStyle, Sign, cut, names};
use crate::types::zone::Zone;

/// Reads `items` from the start of `text`: the fields found (added to `fields`) and what is left of the text.
pub(super) fn read<'a>(items: &[Item], text: &'a str, mut fields: Fields) -> Option<(Fields, &'a str)> {
    let mut rest = text;
    for item in items {
        match item {
            Item::Optional(inner) => {
                if let Some((found, left)) = read(inner, rest, fields.clone()) {
                    (fields, rest) = (found, left);
                }
            }
            _ => rest = step(item, rest, &mut fields)?,
        }
    }
    Some((fields, rest))
}

fn step<'a>(item: &Item, text: &'a str, fields: &mut Fields) -> Option<&'a str> {
    match item {
        Item::Literal(literal) => strip_ignoring_case(text, literal),
        Item::Number { field, least, most, sign, reserved, adjacent } => {
            let width = Width { least: *least, most: *most, reserved: *reserved, adjacent: *adjacent };
            let (value, rest) = number(text, width, *sign)?;
            fields.set(*field, value)?;
            Some(rest)
        }
        Item::ShortYear => {
            let (value, rest) = digits(text, 2, 2)?;
            fields.set(Field::Year, 2000 + value)?;
            Some(rest)
        }
        Item::Fraction(most) => fraction(text, *most, fields),
        Item::Name(field, full) => name(text, *field, *full, fields),
        Item::ZoneName(_) | Item::ZoneId => zone(text, matches!(item, Item::ZoneName(_)), fields),
        Item::Offset(style) => offset(text, *style, fields),
        Item::LocalizedOffset(_) => localized_offset(text, fields),
        Item::Optional(_) => Some(text),
    }
}

fn strip_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    let same = head == prefix || head.eq_ignore_ascii_case(prefix);
    if same { text.get(prefix.len()..) } else { None }
}

/// Between `least` and `most` digits as a number.
fn digits(text: &str, least: usize, most: usize) -> Option<(i64, &str)> {
    let width = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if width < least {
        return None;
    }
    let value = text
        .get(..width)?
        .bytes()
        .try_fold(0i64, |value, digit| value.checked_mul(10)?.checked_add(i64::from(digit - b'0')))?;
    Some((value, text.get(width..)?))
}

struct Width {
    least: usize,
    most: usize,
    reserved: usize,
    adjacent: bool,
}

fn number(text: &str, width: Width, sign: Sign) -> Option<(i64, &str)> {
    let (negative, positive) = (text.starts_with('-'), text.starts_with('+'));
    let signed = negative && sign != Sign::Never || positive && sign == Sign::WhenWide;
    if (negative || positive) && !signed {
        return None;
    }
    let unsigned = text.get(usize::from(signed)..)?;
    let most = width_given(unsigned, &width);
    let (value, rest) = digits(unsigned, width.least, most)?;
    let length = unsigned.len() - rest.len();
    let plus_is_right = sign != Sign::WhenWide || negative || positive == (length > width.least);
    if !plus_is_right || (negative && value == 0) {
        return None;
    }
    Some((if negative { -value } else { value }, rest))
}

/// How many digits this number may take, leaving `reserved` ones to its neighbours.
fn width_given(text: &str, width: &Width) -> usize {
    if width.reserved == 0 || width.adjacent {
        return width.most;
    }
    let run = text.bytes().take(width.most + width.reserved).take_while(u8::is_ascii_digit).count();
    run.saturating_sub(width.reserved).max(width.least).min(width.most)
}

fn fraction<'a>(text: &'a str, most: usize, fields: &mut Fields) -> Option<&'a str> {
    let (value, rest) = digits(text, 1, most)?;
    let width = text.len() - rest.len();
    fields.set_nanos(value * 10i64.pow(9 - width.min(9) as u32))?;
    Some(rest)
}

fn name<'a>(text: &'a str, field: Field, full: bool, fields: &mut Fields) -> Option<&'a str> {
    let (all, first, letters) = names(field, full);
    let (at, rest) =
        all.iter().enumerate().find_map(|(at, name)| Some((at, strip_ignoring_case(text, cut(name, letters))?)))?;
    fields.set(field, first + i64::try_from(at).ok()?)?;
    Some(rest)
}

/// Names of zones that are written short, and a region that observes them.
const ZONE_NAMES: &[(&str, &str)] = &[
    ("EST", "America/New_York"),
    ("EDT", "America/New_York"),
    ("CST", "America/Chicago"),
    ("CDT", "America/Chicago"),
    ("MST", "America/Denver"),
    ("MDT", "America/Denver"),
    ("PST", "America/Los_Angeles"),
    ("PDT", "America/Los_Angeles"),
    ("AKST", "America/Anchorage"),
    ("AKDT", "America/Anchorage"),
    ("HST", "Pacific/Honolulu"),
    ("BST", "Europe/London"),
    ("WET", "Europe/Lisbon"),
    ("WEST", "Europe/Lisbon"),
    ("CET", "Europe/Paris"),
    ("CEST", "Europe/Paris"),
    ("EET", "Europe/Bucharest"),
    ("EEST", "Europe/Bucharest"),
    ("MSK", "Europe/Moscow"),
    ("IST", "Asia/Kolkata"),
    ("JST", "Asia/Tokyo"),
    ("KST", "Asia/Seoul"),
    ("AEST", "Australia/Sydney"),
    ("AEDT", "Australia/Sydney"),
    ("NZST", "Pacific/Auckland"),
    ("NZDT", "Pacific/Auckland"),
];

/// The longest start of the text that is a zone.
fn zone<'a>(text: &'a str, short_names: bool, fields: &mut Fields) -> Option<&'a str> {
    let belongs = |byte: &u8| byte.is_ascii_alphanumeric() || b"/_+-:".contains(byte);
    let run = text.bytes().take_while(belongs).count();
    let longest = (1..=run).rev().find_map(|width| Some((width, known_zone(text.get(..width)?, short_names)?)));
    let (width, zone) = longest?;
    fields.set_zone(zone)?;
    text.get(width..)
}

fn known_zone(text: &str, short_names: bool) -> Option<Zone> {
    let named = ZONE_NAMES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
    match named {
        Some((_, region)) if short_names => Zone::try_parse(region),
        // Java's own short names are no zones in a text.
        _ if text.len() == 3 && !matches!(text, "UTC" | "GMT" | "CET" | "EET" | "MET" | "WET") => None,
        _ => Zone::try_parse(text),
    }
}

fn offset<'a>(text: &'a str, style: OffsetStyle, fields: &mut Fields) -> Option<&'a str> {
    if let Some(rest) = strip_ignoring_case(text, style.zero) {
        let goes_on = style.zero.starts_with('+') && rest.starts_with(|c: char| c.is_ascii_digit());
        if !goes_on {
            fields.set_zone(Zone::fixed(0)?)?;
            return Some(rest);
        }
    }
    let (sign, rest) = sign(text)?;
    let (hours, mut rest) = digits(rest, 2, 2)?;
    let (mut minutes, mut seconds) = (0, 0);
    match pair(rest, style.colon) {
        Some(found) if style.minutes != Need::Never => (minutes, rest) = found,
        _ if style.minutes == Need::Always => return None,
        _ => {}
    }
    if let (true, Some(found)) = (style.seconds != Need::Never, pair(rest, style.colon)) {
        (seconds, rest) = found;
    }
    set_offset(sign, [hours, minutes, seconds], fields)?;
    Some(rest)
}

fn localized_offset<'a>(text: &'a str, fields: &mut Fields) -> Option<&'a str> {
    let rest = strip_ignoring_case(text, "GMT")?;
    let Some((sign, rest)) = sign(rest) else {
        fields.set_zone(Zone::fixed(0)?)?;
        return Some(rest);
    };
    let (hours, rest) = digits(rest, 1, 2)?;
    let (minutes, rest) = pair(rest, true).unwrap_or((0, rest));
    let (seconds, rest) = pair(rest, true).unwrap_or((0, rest));
    set_offset(sign, [hours, minutes, seconds], fields)?;
    Some(rest)
}

fn sign(text: &str) -> Option<(i64, &str)> {
    match text.strip_prefix('-') {
        Some(rest) => Some((-1, rest)),
        None => Some((1, text.strip_prefix('+')?)),
    }
}

fn pair(text: &str, colon: bool) -> Option<(i64, &str)> {
    let text = if colon { text.strip_prefix(':')? } else { text };
    digits(text, 2, 2)
}

fn set_offset(sign: i64, [hours, minutes, seconds]: [i64; 3], fields: &mut Fields) -> Option<()> {
    if minutes > 59 || seconds > 59 {
        return None;
    }
    let total = sign * (hours * 3600 + minutes * 60 + seconds);
    fields.set_zone(Zone::fixed(i32::try_from(total).ok()?)?)
}
