//! CURVE keys and their text form, Z85 (rfc.zeromq.org, 32): 32 bytes as 40 printable characters.

use std::fmt;
use std::str::FromStr;

use omq_tokio::{CurveKeypair, CurvePublicKey, CurveSecretKey};

const Z85_LEN: usize = 40;

/// A long-term key pair, of a server or of a client.
#[derive(Debug, Clone)]
pub struct Keypair {
    /// The half that others may know.
    pub public: PublicKey,
    secret: SecretKey,
}

impl Keypair {
    /// A new pair from the operating system's random numbers.
    #[must_use]
    pub fn generate() -> Self {
        Self::from(SecretKey(CurveKeypair::generate().secret))
    }

    /// The secret half as Z85, for a key file that only its owner can read.
    #[must_use]
    pub fn secret_z85(&self) -> String {
        self.secret.0.to_z85()
    }

    pub(crate) fn to_omq(&self) -> CurveKeypair {
        CurveKeypair {
            public: self.secret.0.derive_public(),
            secret: self.secret.0.clone(),
        }
    }
}

impl From<SecretKey> for Keypair {
    fn from(secret: SecretKey) -> Self {
        Self {
            public: secret.public(),
            secret,
        }
    }
}

/// The public half of a key pair: the identity of a server or a client.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads the 40 characters of a Z85 key.
    ///
    /// # Errors
    /// [`KeyError::Length`] when there are not 40, [`KeyError::NotZ85`] when they are no Z85.
    pub fn from_z85(text: &str) -> Result<Self, KeyError> {
        check_length(text)?;
        let key = CurvePublicKey::from_z85(text).map_err(|_| KeyError::NotZ85)?;
        Ok(Self(*key.as_bytes()))
    }

    /// The key as 40 characters of Z85.
    #[must_use]
    pub fn to_z85(&self) -> String {
        self.to_omq().to_z85()
    }

    pub(crate) const fn to_omq(self) -> CurvePublicKey {
        CurvePublicKey(self.0)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.to_z85())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_z85(text)
    }
}

/// The secret half of a key pair. Wiped from memory when dropped; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(CurveSecretKey);

impl SecretKey {
    /// Reads the 40 characters of a Z85 key.
    ///
    /// # Errors
    /// [`KeyError::Length`] when there are not 40, [`KeyError::NotZ85`] when they are no Z85.
    pub fn from_z85(text: &str) -> Result<Self, KeyError> {
        check_length(text)?;
        CurveSecretKey::from_z85(text)
            .map(Self)
            .map_err(|_| KeyError::NotZ85)
    }

    /// The public half that belongs to this key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(*self.0.derive_public().as_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretKey(redacted)")
    }
}

/// Why a text is not a key. It never repeats the text, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A key has 40 characters.
    #[error("key has {length} characters instead of 40")]
    Length {
        /// How many characters it has.
        length: usize,
    },
    /// A character outside the Z85 alphabet, or a group of five above 2³² − 1.
    #[error("key is not Z85")]
    NotZ85,
}

fn check_length(text: &str) -> Result<(), KeyError> {
    let length = text.chars().count();
    if length == Z85_LEN {
        Ok(())
    } else {
        Err(KeyError::Length { length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text_form() {
        let pair = Keypair::generate();
        assert_eq!(
            PublicKey::from_z85(&pair.public.to_string()),
            Ok(pair.public)
        );
        let secret = SecretKey::from_z85(&pair.secret_z85()).unwrap();
        assert_eq!(secret.public(), pair.public);
    }

    /// The example keys of `zmq_curve(7)`.
    #[test]
    fn the_public_half_is_the_one_that_libzmq_derives() {
        let secret = SecretKey::from_z85("JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6").unwrap();
        assert_eq!(
            secret.public().to_z85(),
            "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
        );
    }

    #[test]
    fn a_secret_is_not_printed() {
        let pair = Keypair::generate();
        assert!(!format!("{pair:?}").contains(&pair.secret_z85()));
    }

    #[test]
    fn a_text_that_is_no_key_is_refused_without_repeating_it() {
        assert_eq!(
            PublicKey::from_z85("short"),
            Err(KeyError::Length { length: 5 })
        );
        assert_eq!(PublicKey::from_z85(&"~".repeat(40)), Err(KeyError::NotZ85));
        assert_eq!(SecretKey::from_z85(&"#".repeat(40)), Err(KeyError::NotZ85));
        assert_eq!(PublicKey::from_z85(&"é".repeat(40)), Err(KeyError::NotZ85));
    }
}
