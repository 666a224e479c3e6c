//! Access tokens: who a connection speaks for (RFC 7519, HS256).

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidegate_wire::{DeviceId, UserId};

/// File of the secret in the data directory.
pub const SECRET_FILE: &str = "token.secret";

/// What a token says. `sub` is the user; ids may be strings or numbers, we write strings.
#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
struct Claims {
    #[serde(serialize_with = "as_text", deserialize_with = "from_text_or_number")]
    sub: u64,
    #[serde(serialize_with = "as_text", deserialize_with = "from_text_or_number", default = "first_device")]
    device: u64,
    /// Seconds since 1970.
    exp: u64,
}

/// Who holds a valid token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    pub user: UserId,
    pub device: DeviceId,
    /// Seconds since 1970.
    pub expires_at: u64,
}

/// Why a token is not accepted; the text goes to the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TokenError {
    Missing,
    Expired { at: u64 },
    Invalid(String),
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str(
                "no token: send it as Authorization: Bearer TOKEN, as ?token=TOKEN, or as the subprotocol \
                 tidegate.token.TOKEN",
            ),
            Self::Expired { at } => {
                write!(f, "the token expired at {at} (seconds since 1970): get a new one")
            }
            Self::Invalid(problem) => write!(f, "the token is not valid: {problem}"),
        }
    }
}

/// Checks and signs tokens with one secret.
pub struct Keys {
    decoding: DecodingKey,
    encoding: EncodingKey,
    validation: Validation,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    #[must_use]
    pub fn hs256(secret: &[u8]) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        // The time of expiry is compared with the time of the turn, not with the machine's clock.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["exp", "sub"]);
        Self {
            decoding: DecodingKey::from_secret(secret),
            encoding: EncodingKey::from_secret(secret),
            validation,
        }
    }

    /// Who this token is for, at `now_ms` since 1970.
    pub fn verify(&self, token: Option<&str>, now_ms: u64) -> Result<Identity, TokenError> {
        let token = token.ok_or(TokenError::Missing)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation)
            .map_err(|error| TokenError::Invalid(error.to_string()))?
            .claims;
        if claims.exp <= now_ms / 1000 {
            return Err(TokenError::Expired { at: claims.exp });
        }
        if claims.sub == 0 {
            return Err(TokenError::Invalid("user 0: ids start at 1".into()));
        }
        Ok(Identity { user: UserId(claims.sub), device: DeviceId(claims.device), expires_at: claims.exp })
    }

    pub fn sign(&self, identity: Identity) -> anyhow::Result<String> {
        let claims = Claims { sub: identity.user.0, device: identity.device.0, exp: identity.expires_at };
        Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)?)
    }
}

/// The secret of a data directory; made if there is none. True if it was made.
pub fn secret_of(data_dir: &Path) -> io::Result<(String, bool)> {
    let path = data_dir.join(SECRET_FILE);
    match fs::read_to_string(&path) {
        Ok(secret) => return Ok((secret.trim().to_owned(), false)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let secret: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::create_dir_all(data_dir)?;
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => {
            writeln!(file, "{secret}")?;
            file.sync_all()?;
            Ok((secret, true))
        }
        // Somebody else made one at the same time: theirs counts.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => secret_of(data_dir),
        Err(error) => Err(error),
    }
}

fn first_device() -> u64 {
    1
}

fn as_text<S: Serializer>(id: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn from_text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Id {
        Number(u64),
        Text(String),
    }
    match Id::deserialize(deserializer)? {
        Id::Number(id) => Ok(id),
        Id::Text(text) => {
            text.parse().map_err(|_| serde::de::Error::custom(format!("id {text:?} is no 64-bit number")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity { user: UserId(7), device: DeviceId(2), expires_at: 2000 };

    #[test]
    fn a_token_says_who_until_it_expires() {
        let keys = Keys::hs256(b"secret");
        let token = keys.sign(IDENTITY).unwrap();
        assert_eq!(keys.verify(Some(&token), 1_999_999), Ok(IDENTITY));
        assert_eq!(keys.verify(Some(&token), 2_000_000), Err(TokenError::Expired { at: 2000 }));
        assert_eq!(keys.verify(None, 0), Err(TokenError::Missing));
    }

    #[test]
    fn a_token_of_another_secret_or_algorithm_is_not_valid() {
        let token = Keys::hs256(b"other").sign(IDENTITY).unwrap();
        let keys = Keys::hs256(b"secret");
        assert!(matches!(keys.verify(Some(&token), 0), Err(TokenError::Invalid(_))));
        assert!(matches!(keys.verify(Some("x"), 0), Err(TokenError::Invalid(_))));
        // {"alg":"none"}
        let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiI3IiwiZXhwIjo5OTk5OTk5OTk5fQ.";
        assert!(matches!(keys.verify(Some(unsigned), 0), Err(TokenError::Invalid(_))));
    }

    #[test]
    fn the_secret_of_a_directory_is_made_once_and_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (secret, made) = secret_of(dir.path()).unwrap();
        assert!(made && secret.len() == 64);
        assert_eq!(secret_of(dir.path()).unwrap(), (secret, false));
        let mode = fs::metadata(dir.path().join(SECRET_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
