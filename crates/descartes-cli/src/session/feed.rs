//! Several output streams as one sequence of pieces.

use descartes_client::protocol::Stream;
use descartes_client::{ClientError, OutputChunk, OutputReader};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Pieces that may wait to be printed; then the readers wait.
const PIECES_MAX: usize = 2;

/// Some output, and where the agent wrote it.
pub(crate) type Piece = (Stream, OutputChunk);

/// Reads streams until they end.
#[derive(Debug)]
pub(crate) struct Feed {
    pieces: mpsc::Receiver<Result<Piece, ClientError>>,
    _readers: JoinSet<()>,
}

impl Feed {
    pub(crate) fn start(readers: Vec<(Stream, OutputReader)>) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let mut tasks = JoinSet::new();
        for (stream, reader) in readers {
            tasks.spawn(read(stream, reader, sender.clone()));
        }
        Self {
            pieces,
            _readers: tasks,
        }
    }

    /// The next piece of any stream; `None` when all have ended.
    pub(crate) async fn next(&mut self) -> Option<Result<Piece, ClientError>> {
        self.pieces.recv().await
    }
}

async fn read(
    stream: Stream,
    mut reader: OutputReader,
    pieces: mpsc::Sender<Result<Piece, ClientError>>,
) {
    while let Some(next) = reader.next().await.transpose() {
        let failed = next.is_err();
        let piece = next.map(|chunk| (stream, chunk));
        if pieces.send(piece).await.is_err() || failed {
            return;
        }
    }
}
