//! The file of an ipc socket: its mode, its lock, and what may be in its way.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use descartes_transport::{
    BindError, Endpoint, EventSocket, Limits, RequestSocket, ServerSecurity,
};
use tempfile::TempDir;

use crate::support::{exchange, requester, subscriber, until_wanted};

struct Place {
    _directory: TempDir,
    path: PathBuf,
    endpoint: Endpoint,
}

fn place() -> Place {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("server.sock");
    let endpoint = format!("ipc://{}", path.display()).parse().unwrap();
    Place {
        _directory: directory,
        path,
        endpoint,
    }
}

async fn bind(endpoint: &Endpoint) -> Result<RequestSocket, BindError> {
    RequestSocket::bind(endpoint, ServerSecurity::Null, &Limits::default()).await
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn both_sockets_serve_over_ipc() {
    let place = place();
    let server = bind(&place.endpoint).await.unwrap();
    let events_endpoint = place.endpoint.default_pub().unwrap();
    let events = EventSocket::bind(&events_endpoint, ServerSecurity::Null, &Limits::default())
        .await
        .unwrap();
    assert_eq!(server.local_endpoint(), &place.endpoint);
    let client = requester(&place.endpoint).await;
    exchange(&server, &client).await;
    let _subscriber = subscriber(&events_endpoint, "status/").await;
    until_wanted(&mut events.interest(), "status/1", true).await;
}

#[tokio::test]
async fn the_socket_and_its_lock_are_for_the_owner_only() {
    let place = place();
    let server = bind(&place.endpoint).await.unwrap();
    assert_eq!(mode(&place.path), 0o600);
    assert_eq!(mode(place.path.with_extension("sock.lock")), 0o600);
    assert_eq!(
        names_in(place.path.parent().unwrap()),
        ["server.sock", "server.sock.lock"]
    );
    server.close().await;
    assert_eq!(names_in(place.path.parent().unwrap()), ["server.sock.lock"]);
}

#[tokio::test]
async fn a_path_in_use_is_refused_and_left_alone() {
    let place = place();
    let server = bind(&place.endpoint).await.unwrap();
    let before = fs::metadata(&place.path).unwrap().ino();
    let error = bind(&place.endpoint).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "failed to bind ROUTER socket to {}: Address already in use",
            place.endpoint
        )
    );
    assert!(error.hint().unwrap().contains("fuser -v"), "{error:?}");
    assert_eq!(fs::metadata(&place.path).unwrap().ino(), before);
    let client = requester(&place.endpoint).await;
    exchange(&server, &client).await;
}

#[tokio::test]
async fn a_path_is_free_again_after_closing_and_after_dropping() {
    let place = place();
    let first = bind(&place.endpoint).await.unwrap();
    first.close().await;
    let second = bind(&place.endpoint).await.unwrap();
    drop(second);
    assert!(!place.path.exists());
    let third = bind(&place.endpoint).await.unwrap();
    let client = requester(&place.endpoint).await;
    exchange(&third, &client).await;
}

#[tokio::test]
async fn what_a_killed_server_left_is_replaced() {
    let place = place();
    drop(UnixListener::bind(&place.path).unwrap());
    let staging = PathBuf::from(format!("{}~", place.path.display()));
    fs::create_dir(&staging).unwrap();
    drop(UnixListener::bind(staging.join("s")).unwrap());
    let server = bind(&place.endpoint).await.unwrap();
    assert!(!staging.exists());
    let client = requester(&place.endpoint).await;
    exchange(&server, &client).await;
}

#[tokio::test]
async fn a_socket_that_another_program_listens_on_is_not_taken_over() {
    let place = place();
    let other = UnixListener::bind(&place.path).unwrap();
    let error = bind(&place.endpoint).await.unwrap_err();
    assert!(matches!(error, BindError::AddressInUse { .. }), "{error:?}");
    assert!(place.path.exists());
    drop(other);
}

#[tokio::test]
async fn a_file_that_is_not_a_socket_is_not_replaced() {
    let place = place();
    fs::write(&place.path, "precious").unwrap();
    let error = bind(&place.endpoint).await.unwrap_err();
    assert!(matches!(error, BindError::PathOccupied { .. }), "{error:?}");
    assert_eq!(fs::read_to_string(&place.path).unwrap(), "precious");
}

#[tokio::test]
async fn a_file_put_in_the_sockets_place_survives_its_closing() {
    let place = place();
    let server = bind(&place.endpoint).await.unwrap();
    fs::remove_file(&place.path).unwrap();
    fs::write(&place.path, "precious").unwrap();
    server.close().await;
    assert_eq!(fs::read_to_string(&place.path).unwrap(), "precious");
}

#[tokio::test]
async fn a_directory_that_does_not_exist_is_named_as_the_fault() {
    let endpoint = "ipc:///nonexistent/server.sock".parse().unwrap();
    let error = bind(&endpoint).await.unwrap_err();
    assert_eq!(error.hint(), Some("the socket's directory has to exist"));
}
