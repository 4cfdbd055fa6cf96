//! Making a connection, and making it again.

use bytes::Bytes;
use descartes_protocol::{HealthCheckRequest, Reply, Request};
use descartes_transport::{ConnectionState, ConnectionWatch, HandshakeFault, Requester};

use crate::config::Checked;
use crate::error::{ClientError, ConfigError};

/// After so many in a row a server's no is final. The first may be of a server that is just starting or stopping.
const REFUSALS_MAX: u32 = 5;

/// A connection that the server has let in.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) requester: Requester,
    pub(crate) watch: ConnectionWatch,
}

/// Why there is no connection.
#[derive(Debug, Clone)]
pub(crate) enum DialError {
    /// A socket cannot be made with these settings.
    Config(ConfigError),
    Unreachable(String),
    NotAdmitted(HandshakeFault),
    WrongServer {
        expected: String,
        found: String,
    },
}

impl DialError {
    pub(crate) fn at(self, config: &Checked) -> ClientError {
        let endpoint = config.endpoint.to_string();
        match self {
            Self::Config(error) => ClientError::Config(error),
            Self::Unreachable(reason) => ClientError::Unreachable { endpoint, reason },
            Self::NotAdmitted(fault) => ClientError::NotAdmitted { endpoint, fault },
            Self::WrongServer { expected, found } => ClientError::WrongServer {
                endpoint,
                expected,
                found,
            },
        }
    }
}

/// One attempt.
pub(crate) async fn first(config: &Checked) -> Result<Connection, DialError> {
    let attempt = tokio::time::timeout(config.connection_timeout, attempt(config));
    attempt.await.unwrap_or_else(|_| {
        let waited = config.connection_timeout.as_secs();
        Err(DialError::Unreachable(format!(
            "no answer within {waited} s"
        )))
    })
}

/// As many attempts as the settings allow; why the last one failed. Each failure is told.
pub(crate) async fn again(
    config: &Checked,
    tell: impl Fn(String),
) -> Result<Connection, DialError> {
    let mut failure = DialError::Unreachable("the connection broke".to_owned());
    let mut refusals = 0;
    for number in 0..config.redials {
        if number > 0 {
            tokio::time::sleep(config.reconnect_delay).await;
        }
        failure = match first(config).await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        tell(failure.clone().at(config).to_string());
        match failure {
            // Trying again would not change these.
            DialError::Config(_) | DialError::WrongServer { .. } => break,
            DialError::NotAdmitted(_) => refusals += 1,
            DialError::Unreachable(_) => refusals = 0,
        }
        if refusals == REFUSALS_MAX {
            break;
        }
    }
    Err(failure)
}

async fn attempt(config: &Checked) -> Result<Connection, DialError> {
    tracing::debug!(endpoint = %config.endpoint, "connecting");
    let requester = Requester::connect(&config.endpoint, config.security.clone(), &config.limits)
        .await
        .map_err(|error| DialError::Config(error.into()))?;
    let mut watch = requester.connection();
    let mut state = watch.state();
    loop {
        match state {
            ConnectionState::Connected => break,
            ConnectionState::Connecting => {}
            ConnectionState::Failing { reason } => return Err(DialError::Unreachable(reason)),
            ConnectionState::Mismatched { fault } | ConnectionState::Refused { fault } => {
                return Err(DialError::NotAdmitted(fault));
            }
        }
        let changed = watch.changed().await;
        state = changed.map_err(|closed| DialError::Unreachable(closed.to_string()))?;
    }
    if let Some(expected) = &config.server_id {
        expect_server(&requester, expected).await?;
    }
    Ok(Connection { requester, watch })
}

/// Asks the server who it is, before anything else.
async fn expect_server(requester: &Requester, expected: &str) -> Result<(), DialError> {
    let request = Request::from(HealthCheckRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
    });
    let closed = |closed: descartes_transport::Closed| DialError::Unreachable(closed.to_string());
    requester.send(request.encode()).await.map_err(closed)?;
    let body: Bytes = requester.recv().await.map_err(closed)?;
    let found = match Reply::decode(body) {
        Ok(Reply::HealthCheck(health)) => health
            .metadata
            .and_then(|metadata| metadata.get("server_id").cloned()),
        _ => None,
    };
    match found {
        Some(found) if found == expected => Ok(()),
        found => Err(DialError::WrongServer {
            expected: expected.to_owned(),
            found: found.unwrap_or_else(|| "unknown".to_owned()),
        }),
    }
}
