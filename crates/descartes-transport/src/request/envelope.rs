//! What stands before a request's body, and comes back before its reply.
//!
//! ```text
//! [body]                      DEALER that leaves the delimiter out
//! ["", body]                  REQ, and DEALER that writes it
//! [hop, .., hop, "", body]    either of them behind proxies: each adds the identity of its own client
//! ```

use std::sync::Arc;

use bytes::Bytes;
use omq_tokio::Message;

/// How many proxies a request may have passed.
pub const HOPS_MAX: usize = 8;

/// Longest identity that a proxy may have added, in bytes (ZMTP 3.1, section 3.4.1).
pub const HOP_SIZE_MAX: usize = 255;

/// Why a message is not one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A request is one frame after the envelope.
    #[error("request has {frames} frames after its envelope instead of 1")]
    BodyFrames {
        /// How many it has.
        frames: usize,
    },
    /// It passed too many proxies, or they gave longer identities than the protocol knows.
    #[error(
        "request's envelope is not at most {HOPS_MAX} identities of at most {HOP_SIZE_MAX} bytes"
    )]
    Envelope,
}

/// The frames before the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Envelope {
    Bare,
    Delimited,
    Proxied { hops: Arc<[Bytes]> },
}

impl Envelope {
    /// Splits a message, its sender already removed, into envelope and body. Where the body is at fault, the envelope
    /// is still the one in which to say so.
    pub(super) fn unwrap(message: Message) -> (Self, Result<Bytes, FrameError>) {
        let frames = message.len();
        if frames <= 1 {
            let body = message
                .into_bytes()
                .map_err(|_| FrameError::BodyFrames { frames });
            return (Self::Bare, body);
        }
        let is_delimiter = |index: &usize| message.get(*index).is_some_and(<[u8]>::is_empty);
        let Some(delimiter) = (0..frames.min(HOPS_MAX + 1)).find(is_delimiter) else {
            let error = if frames > HOPS_MAX + 1 {
                FrameError::Envelope
            } else {
                FrameError::BodyFrames { frames }
            };
            return (Self::Bare, Err(error));
        };
        let Some(envelope) = Self::of_hops(&message, delimiter) else {
            return (Self::Bare, Err(FrameError::Envelope));
        };
        let after = frames - delimiter - 1;
        let body = message.part_bytes(delimiter + 1).filter(|_| after == 1);
        (
            envelope,
            body.ok_or(FrameError::BodyFrames { frames: after }),
        )
    }

    pub(super) fn wrap(&self, body: Bytes) -> Message {
        match self {
            Self::Bare => Message::single(body),
            Self::Delimited => Message::multipart([Bytes::new(), body]),
            Self::Proxied { hops } => {
                Message::multipart(hops.iter().cloned().chain([Bytes::new(), body]))
            }
        }
    }

    fn of_hops(message: &Message, hops: usize) -> Option<Self> {
        if hops == 0 {
            return Some(Self::Delimited);
        }
        // Copied, so that a few bytes of identity do not keep the buffer alive in which the request was read.
        let copy = |index| {
            message
                .get(index)
                .filter(|hop| hop.len() <= HOP_SIZE_MAX)
                .map(Bytes::copy_from_slice)
        };
        let hops = (0..hops).map(copy).collect::<Option<Arc<[Bytes]>>>()?;
        Some(Self::Proxied { hops })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unwrap(frames: &[&'static str]) -> (Envelope, Result<Bytes, FrameError>) {
        Envelope::unwrap(Message::multipart(
            frames.iter().map(|frame| Bytes::from(*frame)),
        ))
    }

    /// The request's body, after checking that a reply goes back in the same frames.
    fn body(frames: &[&'static str]) -> Bytes {
        let (envelope, body) = unwrap(frames);
        let reply: Vec<Bytes> = envelope.wrap(Bytes::from("reply")).iter().collect();
        let mut expected: Vec<Bytes> = frames.iter().map(|frame| Bytes::from(*frame)).collect();
        *expected.last_mut().unwrap() = Bytes::from("reply");
        assert_eq!(reply, expected, "{frames:?}");
        body.unwrap()
    }

    fn refusal(frames: &[&'static str]) -> (Envelope, FrameError) {
        let (envelope, body) = unwrap(frames);
        (envelope, body.unwrap_err())
    }

    #[test]
    fn every_shape_of_envelope_is_understood_and_answered_in() {
        assert_eq!(body(&["body"]), "body");
        assert_eq!(body(&["", "body"]), "body");
        assert_eq!(body(&["proxy", "", "body"]), "body");
        assert_eq!(
            body(&["1", "2", "3", "4", "5", "6", "7", "8", "", "body"]),
            "body"
        );
    }

    #[test]
    fn an_empty_body_is_a_body() {
        assert_eq!(body(&[""]), "");
        assert_eq!(body(&["", ""]), "");
        assert_eq!(body(&["proxy", "", ""]), "");
    }

    #[test]
    fn frames_that_are_not_one_body_are_refused_in_the_envelope_they_came_in() {
        let hops = Envelope::Proxied {
            hops: Arc::from([Bytes::from("proxy")]),
        };
        assert_eq!(
            refusal(&["", "a", "b"]),
            (Envelope::Delimited, FrameError::BodyFrames { frames: 2 })
        );
        assert_eq!(
            refusal(&["", "", "a"]),
            (Envelope::Delimited, FrameError::BodyFrames { frames: 2 })
        );
        assert_eq!(
            refusal(&["a", "b"]),
            (Envelope::Bare, FrameError::BodyFrames { frames: 2 })
        );
        assert_eq!(
            refusal(&["proxy", ""]),
            (hops, FrameError::BodyFrames { frames: 0 })
        );
        assert_eq!(
            unwrap(&[]),
            (Envelope::Bare, Err(FrameError::BodyFrames { frames: 0 }))
        );
    }

    #[test]
    fn an_envelope_without_end_is_refused() {
        let frames = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "", "body"];
        assert_eq!(refusal(&frames), (Envelope::Bare, FrameError::Envelope));
        let long: &'static str = "x".repeat(HOP_SIZE_MAX + 1).leak();
        assert_eq!(
            refusal(&[long, "", "body"]),
            (Envelope::Bare, FrameError::Envelope)
        );
    }
}
