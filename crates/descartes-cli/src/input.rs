//! This side's standard input, read on a thread of its own: a read of a terminal cannot be called off.

use std::io::{self, Read};
use std::time::Instant;

use tokio::sync::mpsc;

use crate::error::{CliError, Result};
use crate::exit;

const PIECE_BYTES: usize = 64 * 1024;
const PIECES_MAX: usize = 1;

/// Standard input, piece by piece; from a terminal, line by line.
#[derive(Debug)]
pub(crate) struct Input {
    pieces: mpsc::Receiver<io::Result<Piece>>,
}

/// Some input, and when it was read.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) data: Vec<u8>,
    pub(crate) read_at: Instant,
}

impl Input {
    pub(crate) fn start() -> Self {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        std::thread::spawn(move || {
            let mut buffer = vec![0; PIECE_BYTES];
            loop {
                let piece = match io::stdin().lock().read(&mut buffer) {
                    Ok(0) => return,
                    Ok(count) => Ok(Piece {
                        data: buffer[..count].to_vec(),
                        read_at: Instant::now(),
                    }),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let is_last = piece.is_err();
                if sender.blocking_send(piece).is_err() || is_last {
                    return;
                }
            }
        });
        Self { pieces }
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Result<Piece>> {
        let piece = self.pieces.recv().await?;
        Some(piece.map_err(|error| {
            let message = format!("failed to read standard input: {error}");
            CliError::new(exit::REFUSED, message)
        }))
    }
}
