//! This side's standard input, read on a thread of its own: a read of a terminal cannot be called off.

use std::io::{self, Read};

use tokio::sync::mpsc;

const PIECE_BYTES: usize = 64 * 1024;
const PIECES_MAX: usize = 1;

/// Standard input, piece by piece; from a terminal, line by line.
#[derive(Debug)]
pub(crate) struct Input {
    pieces: mpsc::Receiver<Vec<u8>>,
}

impl Input {
    pub(crate) fn start() -> Self {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        std::thread::spawn(move || {
            let mut buffer = vec![0; PIECE_BYTES];
            loop {
                match io::stdin().lock().read(&mut buffer) {
                    Ok(0) => return,
                    Ok(count) => {
                        if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                            return;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
            }
        });
        Self { pieces }
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        self.pieces.recv().await
    }
}
