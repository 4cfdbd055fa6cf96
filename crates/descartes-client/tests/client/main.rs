//! The client against real servers, directly and through proxies that lose and cut.

mod connection;
mod loss;
mod requests;
mod streams;

use std::time::Duration;

use descartes_client::{ZmqClient, ZmqRunnerConfig};

/// A client that connects there, with the defaults.
fn client(endpoint: &str) -> ZmqClient {
    ZmqClient::new(config(endpoint))
}

/// A client that takes a request for lost after a second, and does not give it up soon.
fn impatient_client(endpoint: &str) -> ZmqClient {
    ZmqClient::new(ZmqRunnerConfig {
        request_timeout_secs: 1,
        max_request_attempts: 60,
        ..config(endpoint)
    })
}

fn config(endpoint: &str) -> ZmqRunnerConfig {
    ZmqRunnerConfig {
        endpoint: endpoint.to_owned(),
        ..ZmqRunnerConfig::default()
    }
}

/// A grace time that no test waits for.
const SHORT: Duration = Duration::from_millis(100);
