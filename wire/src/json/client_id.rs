//! Client message ids as text. JSON clients may write any id; the gateway orders and compares 128 bits.
//!
//! | text | 128 bits | kept as `client_ref` |
//! |---|---|---|
//! | canonical ULID: 26 upper-case Crockford digits, the first at most `7` | its value | no, it follows from the bits |
//! | UUID in hyphenated form, either case | its value | yes |
//! | anything else of 1 to 64 `[A-Za-z0-9_-]` | first 16 bytes of its SHA-256, big-endian | yes |

use sha2::{Digest, Sha256};

/// Crockford's base 32: no I, L, O, U.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const ULID_CHARACTERS: usize = 26;

/// The 128 bits of an id, and whether the text must be kept beside them to give it back as written. The text has passed
/// [`crate::rules`].
#[must_use]
pub fn parse_client_id(text: &str) -> (u128, bool) {
    if let Some(id) = parse_ulid(text) {
        return (id, false);
    }
    if let Some(id) = parse_uuid(text) {
        return (id, true);
    }
    let digest = Sha256::digest(text.as_bytes());
    let first: &[u8; 16] = digest.first_chunk().expect("SHA-256 has 32 bytes");
    (u128::from_be_bytes(*first), true)
}

/// The text of an id as its sender wrote it: `client_ref`, or the ULID when that is empty.
#[must_use]
pub fn write_client_id(id: u128, client_ref: &str) -> String {
    if client_ref.is_empty() {
        return ulid_text(id).iter().copied().map(char::from).collect();
    }
    client_ref.to_owned()
}

/// Exactly the hyphenated form; other forms of UUID are ordinary text.
pub(super) fn parse_uuid(text: &str) -> Option<u128> {
    const HYPHENATED_CHARACTERS: usize = 36;
    if text.len() != HYPHENATED_CHARACTERS {
        return None;
    }
    uuid::Uuid::try_parse(text).ok().map(|id| id.as_u128())
}

/// The canonical ULID of 128 bits.
pub(super) fn ulid_text(id: u128) -> [u8; ULID_CHARACTERS] {
    let mut text = [0; ULID_CHARACTERS];
    let mut rest = id;
    for digit in text.iter_mut().rev() {
        *digit = DIGITS[(rest & 31) as usize];
        rest >>= 5;
    }
    text
}

fn parse_ulid(text: &str) -> Option<u128> {
    // 26 digits of 5 bits are 130: the first one may only use 3 of its bits.
    if text.len() != ULID_CHARACTERS || text.as_bytes()[0] > b'7' {
        return None;
    }
    text.bytes().try_fold(0_u128, |id, byte| match VALUES[usize::from(byte)] {
        NO_DIGIT => None,
        value => Some(id << 5 | u128::from(value)),
    })
}

const NO_DIGIT: u8 = 0xff;
/// Value of each byte as a digit.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < DIGITS.len() {
        values[DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulids_are_their_value() {
        assert_eq!(
            parse_client_id("01ARZ3NDEKTSV4RRFFQ69G5FAV"),
            (0x01563e3ab5d3d6764c61efb99302bd5b, false)
        );
        assert_eq!(parse_client_id("7ZZZZZZZZZZZZZZZZZZZZZZZZZ"), (u128::MAX, false));
        assert_eq!(write_client_id(u128::MAX, ""), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
        assert_eq!(write_client_id(0, ""), "00000000000000000000000000");
    }

    #[test]
    fn what_only_looks_like_a_ulid_is_hashed_and_kept() {
        for text in ["8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "01arz3ndektsv4rrffq69g5fav", "01ARZ3NDEKTSV4RRFFQ69G5FAI"]
        {
            let (id, keep) = parse_client_id(text);
            assert!(keep, "{text}");
            assert_eq!(write_client_id(id, text), text);
        }
    }

    #[test]
    fn uuids_are_their_value_and_keep_their_case() {
        let text = "0190A6E2-7c3b-7def-8000-0123456789ab";
        assert_eq!(parse_client_id(text), (0x0190a6e2_7c3b_7def_8000_0123456789ab, true));
    }

    #[test]
    fn the_hash_is_fixed() {
        // printf 'order-17' | sha256sum
        assert_eq!(parse_client_id("order-17").0, HASH_OF_ORDER_17);
    }

    const HASH_OF_ORDER_17: u128 = 0x72a90ea3da8b5dd01bde2f27314e02e2;
}
