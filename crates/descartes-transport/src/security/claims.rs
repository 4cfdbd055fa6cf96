//! Routing identities that clients choose for themselves belong to the key that used them first.
//!
//! Replies are routed by identity. The library keeps an identity with its key while that key is connected; but a reply
//! to a client that has just left would go to whoever connects next under the same identity. So it stays reserved.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::keys::PublicKey;

/// How many identities are remembered for each key; beyond that, its oldest become free again. It bounds memory: keys
/// are admitted by a list, identities are not.
const CLAIMS_PER_KEY_MAX: usize = 256;

#[derive(Debug, Default)]
pub(super) struct IdentityClaims(Mutex<Claims>);

#[derive(Debug, Default)]
struct Claims {
    owners: HashMap<Bytes, PublicKey>,
    by_key: HashMap<PublicKey, VecDeque<Bytes>>,
}

impl IdentityClaims {
    /// Whether `key` may use `identity`; from then on no other key may.
    pub(super) fn claim(&self, identity: &[u8], key: PublicKey) -> bool {
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = claims.owners.get(identity) {
            return *owner == key;
        }
        let identity = Bytes::copy_from_slice(identity);
        claims.owners.insert(identity.clone(), key);
        let held = claims.by_key.entry(key).or_default();
        held.push_back(identity);
        if held.len() > CLAIMS_PER_KEY_MAX
            && let Some(oldest) = held.pop_front()
        {
            claims.owners.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: PublicKey = PublicKey::from_bytes([1; 32]);
    const BOB: PublicKey = PublicKey::from_bytes([2; 32]);

    #[test]
    fn an_identity_stays_with_the_key_that_used_it_first() {
        let claims = IdentityClaims::default();
        assert!(claims.claim(b"worker", ALICE));
        assert!(!claims.claim(b"worker", BOB));
        assert!(claims.claim(b"worker", ALICE));
        assert!(claims.claim(b"other", BOB));
    }

    #[test]
    fn a_key_that_uses_ever_new_identities_does_not_make_memory_grow() {
        let claims = IdentityClaims::default();
        for number in 0..3 * CLAIMS_PER_KEY_MAX {
            assert!(claims.claim(number.to_string().as_bytes(), ALICE));
        }
        assert_eq!(claims.0.lock().unwrap().owners.len(), CLAIMS_PER_KEY_MAX);
        assert!(claims.claim(b"0", BOB), "the oldest are free again");
    }
}
