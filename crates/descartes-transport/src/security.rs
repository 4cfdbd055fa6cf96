//! Who may connect: nobody is asked (NULL), or keys are (CURVE, rfc.zeromq.org, 26).

mod claims;

use std::fmt;
use std::sync::Arc;

use omq_tokio::{CurveServerOptions, Options};

use crate::keys::{Keypair, PublicKey};
use claims::IdentityClaims;

/// Says whether a client with this verified key is let in. Called once per connection, on its task: it must not block.
pub type Admission = Arc<dyn Fn(&PublicKey) -> bool + Send + Sync>;

/// How a server's socket treats those who connect.
#[derive(Clone)]
pub enum ServerSecurity {
    /// No encryption, and everybody who reaches the socket is let in.
    Null,
    /// Everything is encrypted, and only admitted keys get as far as sending or receiving anything.
    Curve {
        /// The server's own keys.
        keypair: Keypair,
        /// Which clients are let in.
        allow: Admission,
    },
}

impl fmt::Debug for ServerSecurity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => formatter.write_str("Null"),
            Self::Curve { keypair, .. } => formatter
                .debug_struct("Curve")
                .field("keypair", keypair)
                .finish_non_exhaustive(),
        }
    }
}

impl ServerSecurity {
    pub(crate) fn apply(self, options: Options) -> Options {
        match self {
            Self::Null => options,
            Self::Curve { keypair, allow } => {
                let claims = IdentityClaims::default();
                // Without an authenticator the library would accept any key.
                let admission = CurveServerOptions::new().authenticator(move |peer| {
                    let key = PublicKey::from_bytes(peer.public_key);
                    allow(&key)
                        && peer
                            .identity
                            .as_ref()
                            .is_none_or(|identity| claims.claim(identity, key))
                });
                options.curve_server_with_options(keypair.to_omq(), admission)
            }
        }
    }
}

/// How a client's socket presents itself.
#[derive(Debug, Clone)]
pub enum ClientSecurity {
    /// No encryption.
    Null,
    /// Encrypted, to the one server that holds the secret half of `server_key`.
    Curve {
        /// The client's own keys.
        keypair: Keypair,
        /// The server's public key.
        server_key: PublicKey,
    },
}

impl ClientSecurity {
    pub(crate) fn apply(self, options: Options) -> Options {
        match self {
            Self::Null => options,
            Self::Curve {
                keypair,
                server_key,
            } => options.curve_client(keypair.to_omq(), server_key.to_omq()),
        }
    }
}
