//! Why a body could not be decoded.

use crate::codec::Fault;
use crate::{ErrorCode, ErrorResponse, Reply};

/// A body that is no message. Its text names the field and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct DecodeError {
    /// The request's id, if that much could be read.
    pub request_id: Option<String>,
    fault: Fault,
}

impl DecodeError {
    pub(crate) fn new(fault: Fault, request_id: Option<&str>) -> Self {
        let request_id = request_id.map(str::to_owned);
        Self { request_id, fault }
    }

    /// The code to answer with: `malformed_message`, `unsupported_message` or `message_too_large`.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.fault.code()
    }

    /// The answer to a client that sent such a body.
    #[must_use]
    pub fn to_reply(&self) -> Reply {
        Reply::Error(ErrorResponse {
            request_id: self.request_id.clone(),
            error: self.to_string(),
            error_code: self.code(),
        })
    }
}
