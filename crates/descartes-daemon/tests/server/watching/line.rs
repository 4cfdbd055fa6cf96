//! A line between a client and a server that is cut, late, or swallows what it should carry.

use std::net::SocketAddr;
use std::time::Duration;

use descartes_testkit::soon;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::plan::Trouble;

/// More bytes than a server sends before the first reply.
const HANDSHAKE_BYTES_MAX: usize = 256;

/// How long a client waits that connects while there is no server: without it, it would try without a pause.
const NO_SERVER_PAUSE: Duration = Duration::from_millis(20);

/// What is done with the bytes of all connections now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    HandOn,
    Hold,
    ThrowAway,
}

/// Both in one, so that no connection after a cut loses a byte to the trouble before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    mode: Mode,
    /// How often the line was cut.
    cuts: u64,
}

/// A listener that hands everything on to a server, which may come back at another address.
pub(crate) struct Line {
    /// Where clients connect to.
    pub(crate) endpoint: String,
    ends: Ends,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Ends {
    server: watch::Receiver<SocketAddr>,
    state: watch::Sender<State>,
    /// The number of cuts before the last connection that has brought a reply.
    carries: watch::Sender<Option<u64>>,
}

impl Line {
    pub(crate) async fn to(server: watch::Receiver<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let ends = Ends {
            server,
            state: watch::Sender::new(State {
                mode: Mode::HandOn,
                cuts: 0,
            }),
            carries: watch::Sender::new(None),
        };
        Self {
            endpoint: format!("tcp://{address}"),
            ends: ends.clone(),
            task: tokio::spawn(accept(listener, ends)),
        }
    }

    /// Waits until a connection has brought a reply since the last cut.
    pub(crate) async fn carries(&self) {
        let cuts = self.ends.state.borrow().cuts;
        let mut told = self.ends.carries.subscribe();
        let is_told = told.wait_for(|carries| *carries == Some(cuts));
        soon("a reply on a new connection", is_told)
            .await
            .expect("the line is there");
    }

    /// Makes trouble, at the end of which all connections are cut.
    pub(crate) async fn cut(&self, trouble: Trouble) {
        let (mode, time) = match trouble {
            Trouble::Cut => (Mode::HandOn, Duration::ZERO),
            Trouble::Delay(time) => (Mode::Hold, time),
            Trouble::Hole(time) => (Mode::ThrowAway, time),
        };
        self.turn_to(mode);
        tokio::time::sleep(time).await;
        if mode == Mode::Hold {
            // What was held arrives, so that it is late and not lost.
            self.turn_to(Mode::HandOn);
            tokio::time::sleep(time).await;
        }
        self.ends.state.send_modify(|state| {
            state.cuts += 1;
            state.mode = Mode::HandOn;
        });
    }

    fn turn_to(&self, mode: Mode) {
        self.ends.state.send_modify(|state| state.mode = mode);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, ends: Ends) {
    while let Ok((client, _)) = listener.accept().await {
        let ends = ends.clone();
        let mut state = ends.state.subscribe();
        let before = state.borrow().cuts;
        tokio::spawn(async move {
            tokio::select! {
                () = connect(client, &ends, before) => {}
                _ = state.wait_for(|state| state.cuts > before) => {}
            }
        });
    }
}

async fn connect(mut client: TcpStream, ends: &Ends, cuts_before: u64) {
    let mut address = ends.server.clone();
    let to = *address.borrow_and_update();
    let Ok(mut server) = TcpStream::connect(to).await else {
        let _ = tokio::time::timeout(NO_SERVER_PAUSE, address.changed()).await;
        return;
    };
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let mut bytes_left = HANDSHAKE_BYTES_MAX;
    let carried = |bytes: usize| {
        bytes_left = bytes_left.saturating_sub(bytes);
        if bytes_left == 0 {
            // Not back to that of a connection that has not noticed yet that it was cut.
            ends.carries
                .send_modify(|carries| *carries = (*carries).max(Some(cuts_before)));
        }
    };
    // An end on one side is one for both: nobody here goes on with half a connection.
    tokio::select! {
        () = hand_on(from_client, to_server, ends.state.subscribe(), |_| {}) => {}
        () = hand_on(from_server, to_client, ends.state.subscribe(), carried) => {}
    }
}

async fn hand_on(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
    mut carried: impl FnMut(usize),
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let now = state.wait_for(|state| state.mode != Mode::Hold).await;
        let is_lost = now.is_ok_and(|state| state.mode == Mode::ThrowAway);
        if is_lost {
            continue;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
        carried(length);
    }
}
