//! Any bytes: the decoder must not panic, and what it reads it must read the same again after writing it.

#![no_main]

use bytes::Bytes;
use descartes_protocol::{Command, LogStream, Reply, Request, StatusUpdate};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    if let Ok(request) = Request::decode(body.clone()) {
        let again = Request::decode(request.encode()).expect("what was written can be read");
        // Compared as bytes, since a float that is no number equals nothing.
        assert_eq!(again.encode(), request.encode());
        if let Request::Control(control) = request {
            let _ = Command::parse(&control.command_type, control.payload.as_ref());
        }
    }
    if let Ok(reply) = Reply::decode(body.clone()) {
        let again = Reply::decode(reply.encode()).expect("what was written can be read");
        assert_eq!(again.encode(), reply.encode());
    }
    if let Ok(update) = StatusUpdate::decode(body.clone()) {
        assert_eq!(StatusUpdate::decode(update.encode()), Ok(update));
    }
    if let Ok(piece) = LogStream::decode(body) {
        assert_eq!(LogStream::decode(piece.encode()), Ok(piece));
    }
});
