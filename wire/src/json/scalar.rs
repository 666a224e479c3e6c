//! One JSON value where a frame wants a string or a number, and what to say when it is neither.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::client_id::parse_uuid;
use crate::ids::ConversationId;
use crate::request::Refusal;
use crate::rules::quote;

/// A value whose type is judged only when a frame asks for it: another frame may use the same field name differently.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Scalar<'a> {
    /// Not there, or `null`.
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Number(u64),
    /// What it is, for the error message.
    Other(String),
}

/// Where a value stands, for error messages: frame type and field.
#[derive(Clone, Copy)]
pub(super) struct Place(pub &'static str, pub &'static str);

impl<'a> Scalar<'a> {
    /// A number; digits in a string are one, too.
    pub fn number(&self, place: Place) -> Result<Option<u64>, Refusal> {
        match self {
            Self::Absent => Ok(None),
            Self::Number(value) => Ok(Some(*value)),
            Self::Text(text) if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() => {
                text.parse().map(Some).map_err(|_| self.refusal(place, "a number below 2^64"))
            }
            Self::Text(_) | Self::Other(_) => Err(self.refusal(place, "a whole number, not negative")),
        }
    }

    pub fn required_number(&self, place: Place) -> Result<u64, Refusal> {
        self.number(place)?.ok_or_else(|| self.refusal(place, "a whole number"))
    }

    pub fn text(self, place: Place) -> Result<Option<Cow<'a, str>>, Refusal> {
        match self {
            Self::Absent => Ok(None),
            Self::Text(text) => Ok(Some(text)),
            Self::Number(_) | Self::Other(_) => Err(self.refusal(place, "a string")),
        }
    }

    pub fn required_text(self, place: Place) -> Result<Cow<'a, str>, Refusal> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(self.refusal(place, "a string")),
        }
    }

    pub fn conversation(&self, place: Place) -> Result<ConversationId, Refusal> {
        match self {
            Self::Text(text) => parse_uuid(text).map(ConversationId),
            _ => None,
        }
        .ok_or_else(|| self.refusal(place, "a UUID such as \"0190a6e2-7c3b-7def-8000-0123456789ab\""))
    }

    /// 400, with the field, the value, and what it should be.
    pub fn refusal(&self, Place(frame, field): Place, wanted: &str) -> Refusal {
        Refusal::malformed(match self {
            Self::Absent => format!("{frame}: {field} is missing: give {wanted}"),
            Self::Text(text) => format!("{frame}: {field} is {}: give {wanted}", quote(text)),
            Self::Number(value) => format!("{frame}: {field} is {value}: give {wanted}"),
            Self::Other(what) => format!("{frame}: {field} is {what}: give {wanted}"),
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(u64::try_from(value).map_or_else(|_| Scalar::Other(value.to_string()), Scalar::Number))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        /// Above this, neighbouring whole numbers share one double: the value written is lost.
        const EXACT_MAX: f64 = 9_007_199_254_740_991.0;
        let exact = (0.0..=EXACT_MAX).contains(&value) && value.fract() == 0.0;
        Ok(if exact { Scalar::Number(value as u64) } else { Scalar::Other(value.to_string()) })
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Other(value.to_string()))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Absent)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other("a list".to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other("an object".to_owned()))
    }
}
