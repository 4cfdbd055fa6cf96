//! One request, from its sending to its answer: how often it is sent, how long it is waited for, what silence means.

use std::time::{Duration, Instant};

use bytes::Bytes;
use descartes_protocol::limits::MAX_MESSAGE_SIZE;
use descartes_protocol::{Command, ErrorCode, ErrorResponse, Reply, Request, StdinPosition};
use tokio::sync::OwnedSemaphorePermit;

use crate::error::{ClientError, Refusal};
use crate::link::{Answer, Link};

/// How late the reply to a request that was held may be.
const POLL_SLACK: Duration = Duration::from_secs(10);

/// What sending a request twice does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Nothing, as it changes nothing. Without a reply it simply was not answered.
    Harmless,
    /// It is done once: by its id, by its offset, or because doing it again is the same.
    Safe,
    /// It may be done twice, so it is sent once.
    Unsafe,
}

/// A request and how it is to be treated.
#[derive(Debug)]
pub(crate) struct Call {
    /// What it is called in errors.
    pub(crate) name: &'static str,
    pub(crate) repeat: Repeat,
    /// What it may take beyond the usual time.
    pub(crate) extra: Duration,
}

/// A reply, and whether its request was sent more than once.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) reply: Reply,
    pub(crate) repeated: bool,
}

impl Call {
    pub(crate) fn harmless(name: &'static str) -> Self {
        Self {
            name,
            repeat: Repeat::Harmless,
            extra: Duration::ZERO,
        }
    }

    pub(crate) fn safe(name: &'static str) -> Self {
        Self {
            repeat: Repeat::Safe,
            ..Self::harmless(name)
        }
    }

    pub(crate) fn taking(self, extra: Duration) -> Self {
        Self { extra, ..self }
    }

    /// Sent once, unless it changes nothing.
    pub(crate) fn once(self) -> Self {
        let repeat = match self.repeat {
            Repeat::Harmless => Repeat::Harmless,
            Repeat::Safe | Repeat::Unsafe => Repeat::Unsafe,
        };
        Self { repeat, ..self }
    }

    /// How a command is to be treated.
    pub(crate) fn of(command: &Command) -> Self {
        Self {
            name: command.command_type(),
            repeat: repeat(command),
            extra: match command {
                Command::Stop {
                    grace: Some(grace), ..
                } => *grace,
                Command::Read { wait, .. } => *wait,
                _ => Duration::ZERO,
            },
        }
    }

    /// Sends the request until it is answered, as often as that is safe and as the settings allow. While there is no
    /// connection it waits, until there is one or the link gives up.
    pub(crate) async fn make(
        self,
        link: &Link,
        request: &Request,
        turn: OwnedSemaphorePermit,
    ) -> Result<Answered, ClientError> {
        let body = self.encode(request)?;
        let id = request.request_id();
        let config = link.config();
        let may_repeat = self.repeat != Repeat::Unsafe;
        let mut attempts_left = if may_repeat {
            config.request_attempts
        } else {
            1
        };
        let limit = self.limit(config.request_timeout);
        let mut ticket = link.submit(id, body, may_repeat, limit, turn);
        let (began, mut times_sent) = (Instant::now(), 0);
        tracing::debug!(request = self.name, request_id = id, "asking");
        loop {
            let answer = tokio::time::timeout(limit, async {
                if times_sent == 0 {
                    ticket.send().await;
                } else {
                    ticket.send_again().await;
                }
                ticket.answer().await
            });
            if let Ok(answer) = answer.await {
                tracing::debug!(request = self.name, request_id = id, elapsed = ?began.elapsed(), "answered");
                return self.answered(link, id, answer);
            }
            // What could not be sent, as there is no connection, has not been tried.
            if ticket.times_sent() > times_sent {
                times_sent = ticket.times_sent();
                attempts_left -= 1;
                if attempts_left == 0 {
                    return Err(self.silence(id, began.elapsed()));
                }
                tracing::debug!(
                    request = self.name,
                    request_id = id,
                    "sending again what had no reply"
                );
            }
        }
    }

    /// The error for a reply of the wrong type.
    pub(crate) fn unexpected(name: &'static str) -> ClientError {
        ClientError::BadReply {
            request: name,
            problem: "it is of a type that does not answer it".to_owned(),
        }
    }

    /// How long one sending is waited for. A request that the server holds is answered soon after the time that it was
    /// to be held for, or not at all.
    fn limit(&self, request_timeout: Duration) -> Duration {
        let is_poll = self.repeat == Repeat::Harmless && !self.extra.is_zero();
        if is_poll {
            self.extra.saturating_add(request_timeout.min(POLL_SLACK))
        } else {
            self.extra.saturating_add(request_timeout)
        }
    }

    fn encode(&self, request: &Request) -> Result<Bytes, ClientError> {
        let body = request.encode();
        if body.len() > MAX_MESSAGE_SIZE {
            // The server could not even say whose request was too large.
            return Err(ClientError::TooLarge {
                request: self.name,
                bytes: body.len(),
                limit: MAX_MESSAGE_SIZE,
            });
        }
        Ok(body)
    }

    fn answered(&self, link: &Link, id: &str, answer: Answer) -> Result<Answered, ClientError> {
        match answer {
            Answer::Reply { reply, repeated } => match *reply {
                Reply::Error(error) => Err(refused(error)),
                reply => Ok(Answered { reply, repeated }),
            },
            Answer::Undecodable(problem) => Err(ClientError::BadReply {
                request: self.name,
                problem,
            }),
            Answer::Failed { error, sent } if sent && self.repeat != Repeat::Harmless => {
                Err(self.unknown(id, error.at(link.config()).to_string()))
            }
            Answer::Failed { error, .. } => Err(error.at(link.config())),
            Answer::Broken(reason) => Err(self.broken(link, id, reason)),
            Answer::Disconnected => Err(ClientError::Disconnected { request: self.name }),
        }
    }

    fn broken(&self, link: &Link, id: &str, reason: String) -> ClientError {
        match self.repeat {
            Repeat::Harmless => ClientError::Unreachable {
                endpoint: link.config().endpoint.to_string(),
                reason,
            },
            Repeat::Safe | Repeat::Unsafe => self.unknown(id, reason),
        }
    }

    fn silence(&self, id: &str, waited: Duration) -> ClientError {
        match self.repeat {
            Repeat::Harmless => ClientError::TimedOut {
                request: self.name,
                waited,
            },
            Repeat::Safe | Repeat::Unsafe => {
                self.unknown(id, format!("no reply within {:.1} s", waited.as_secs_f64()))
            }
        }
    }

    fn unknown(&self, id: &str, reason: String) -> ClientError {
        ClientError::OutcomeUnknown {
            request: self.name,
            request_id: id.to_owned(),
            reason,
        }
    }
}

/// What repeating a command does.
fn repeat(command: &Command) -> Repeat {
    match command {
        Command::GetStatus
        | Command::QueryOutput { .. }
        | Command::StreamLogs
        | Command::Read {
            offset: Some(_), ..
        }
        | Command::Read { since: Some(_), .. } => Repeat::Harmless,
        Command::Pause { .. }
        | Command::Resume
        | Command::Stop { .. }
        | Command::Kill
        | Command::CloseStdin
        | Command::WriteStdin {
            position: StdinPosition::Offset(_) | StdinPosition::Writer { .. },
            ..
        } => Repeat::Safe,
        Command::Read { .. }
        | Command::WriteStdin {
            position: StdinPosition::Next,
            ..
        }
        | Command::Signal { .. }
        | Command::CustomAction { .. } => Repeat::Unsafe,
    }
}

fn refused(error: ErrorResponse) -> ClientError {
    ClientError::from(Box::new(Refusal {
        code: error.error_code,
        message: error.error,
        status: None,
        data: None,
    }))
}

/// The refusal in a reply that says `success: false`.
pub(crate) fn refusal(error: Option<String>, code: Option<ErrorCode>) -> Refusal {
    Refusal {
        code: code.unwrap_or(ErrorCode::Internal),
        message: error.unwrap_or_else(|| "the server gave no reason".to_owned()),
        status: None,
        data: None,
    }
}
