use super::*;
use std::fs;

/// A stream's folder, and what writes its times.
struct Stream {
    dir: tempfile::TempDir,
    recorder: Recorder,
}

impl Stream {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            recorder: Recorder::default(),
        }
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A segment whose bytes came one by one, at these times.
    fn segment(&mut self, start: u64, came_ms: &[u64]) {
        self.unknown(start, came_ms.len());
        self.recorder.end_segment();
        for (offset, &ms) in (start..).zip(came_ms) {
            let now = WallTime::from_millis(ms);
            if self.recorder.is_due(now) {
                if !self.recorder.has_index() {
                    let file = File::create(self.dir().join(name(start))).unwrap();
                    self.recorder.begin_index(file, start);
                }
                self.recorder.note(offset, now);
            }
        }
    }

    /// A segment without an index.
    fn unknown(&self, start: u64, length: usize) {
        fs::write(self.dir().join(segments::name(start)), vec![b'x'; length]).unwrap();
    }

    fn between(&self, from: u64, to: u64, most: usize) -> (Vec<(u64, u64)>, u64) {
        let found = between(self.dir(), from, to, most).unwrap();
        let known = found.known.iter();
        let known = known.map(|it| (it.offset, it.time.millis())).collect();
        (known, found.end)
    }

    fn since(&self, ms: u64) -> u64 {
        since(self.dir(), WallTime::from_millis(ms)).unwrap()
    }
}

#[test]
fn an_entry_stands_for_what_comes_within_ten_milliseconds() {
    let mut stream = Stream::new();
    stream.segment(100, &[5000, 5009, 5010, 5019, 9000]);
    let all = vec![(100, 5000), (102, 5010), (104, 9000)];
    assert_eq!(stream.between(100, 105, 9), (all, 105));
    // The reply's own offset gets the time of the entry that stands for it.
    assert_eq!(stream.between(103, 104, 9), (vec![(103, 5010)], 104));
    assert_eq!(stream.between(105, 105, 9), (vec![], 105));
}

#[test]
fn an_index_is_these_bytes() {
    let mut stream = Stream::new();
    let ms = 1_700_000_000_000;
    let mut came = vec![ms; 300];
    came.push(ms + 10);
    came.push(ms - 1);
    stream.segment(1000, &came);
    let index = fs::read(stream.dir().join("00000000000000001000.times")).unwrap();
    let first = &b"\x01\x00\x80\xa0\xab\xfe\xf9\x62"[..];
    let bytes = [first, b"\xac\x02\x14", b"\x01\x15"].concat();
    assert_eq!(index, bytes);
}

#[test]
fn times_that_do_not_fit_are_left_for_the_next_read() {
    let mut stream = Stream::new();
    stream.segment(0, &[0, 100, 200]);
    stream.segment(3, &[300, 400]);
    let first = vec![(0, 0), (1, 100), (2, 200)];
    assert_eq!(stream.between(0, 5, 3), (first, 3));
    assert_eq!(stream.between(3, 5, 3), (vec![(3, 300), (4, 400)], 5));
}

#[test]
fn a_time_counts_until_the_next_one_also_in_later_segments_but_not_before_it() {
    let mut stream = Stream::new();
    stream.unknown(0, 2);
    stream.segment(2, &[200]);
    stream.unknown(3, 2);
    stream.segment(5, &[500]);
    assert_eq!(stream.between(0, 6, 9), (vec![(2, 200), (5, 500)], 6));
    assert_eq!(stream.between(4, 6, 9), (vec![(4, 200), (5, 500)], 6));
    assert_eq!(stream.between(4, 5, 9), (vec![(4, 200)], 5));
    assert_eq!(stream.between(0, 2, 9), (vec![], 2));
}

#[test]
fn output_since_a_time_begins_behind_the_last_byte_that_is_older() {
    let mut stream = Stream::new();
    assert_eq!(stream.since(0), 0);
    stream.segment(0, &[1000, 1005, 2000]);
    stream.segment(3, &[3000, 4000]);
    let since = [0, 1000, 1009, 1010, 2000, 2010, 3000, 3010, 4000, 4010];
    let begins = [0, 0, 0, 2, 2, 3, 3, 4, 4, 5];
    assert_eq!(since.map(|ms| stream.since(ms)), begins);
}

#[test]
fn bytes_of_unknown_time_count_as_new_unless_later_ones_are_old() {
    let mut stream = Stream::new();
    stream.unknown(0, 2);
    assert_eq!(stream.since(u64::MAX), 0);
    stream.segment(2, &[1000]);
    stream.unknown(3, 2);
    assert_eq!((stream.since(500), stream.since(5000)), (0, 5));
    stream.segment(5, &[9000]);
    assert_eq!((stream.since(5000), stream.since(9500)), (5, 6));
}

#[test]
fn a_clock_that_was_set_back_does_not_hide_what_came_after() {
    let mut stream = Stream::new();
    stream.segment(0, &[1000, 90_000, 91_000, 2000, 3000]);
    let times = vec![(1, 90_000), (2, 91_000), (3, 2000)];
    assert_eq!(stream.between(1, 4, 9), (times, 4));
    assert_eq!(stream.since(2500), 4);
}

#[test]
fn an_index_that_ends_early_or_is_damaged_counts_as_far_as_it_goes() {
    let came: Vec<u64> = (0..100).map(|n| 1_700_000_000_000 + n * 1000).collect();
    let mut stream = Stream::new();
    stream.segment(0, &came);
    let path = stream.dir().join(name(0));
    let index = fs::read(&path).unwrap();
    let (whole, _) = stream.between(0, 100, 200);
    assert_eq!(whole.len(), 100);
    for cut in 0..index.len() {
        fs::write(&path, &index[..cut]).unwrap();
        let (known, end) = stream.between(0, 100, 200);
        assert_eq!((&known[..], end), (&whole[..known.len()], 100), "{cut}");
        let zeros = [&index[..cut], &[0; 64]].concat();
        fs::write(&path, zeros).unwrap();
        let (known, _) = stream.between(0, 100, 200);
        assert!(known.len() <= whole.len(), "{cut}: {known:?}");
        assert!(stream.since(u64::MAX) <= 100);
    }
    for damaged in [&b"\x02"[..], &[0xff; 40], &[1; 40], b"\x01\x00\x01"] {
        fs::write(&path, damaged).unwrap();
        let (known, _) = stream.between(0, 100, 200);
        assert!(known.is_sorted_by(|a, b| a.0 < b.0), "{known:?}");
        stream.since(0);
    }
}

#[test]
fn an_index_stays_small_whatever_an_agent_does() {
    let mut stream = Stream::new();
    // A byte each ten milliseconds, for three hours.
    let came: Vec<u64> = (0..1_000_000).map(|n| n * 10).collect();
    stream.segment(0, &came);
    let index = fs::metadata(stream.dir().join(name(0))).unwrap().len();
    assert!((64 * 1024..512 * 1024).contains(&index), "{index}");
}

#[test]
fn what_the_disk_refuses_is_tried_again_and_leaves_nothing_behind() {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let mut recorder = Recorder::default();
    let file = memfd_create("index", MemfdFlags::ALLOW_SEALING).unwrap();
    let index = File::from(file.try_clone().unwrap());
    recorder.begin_index(index.try_clone().unwrap(), 0);
    recorder.note(0, WallTime::from_millis(1000));
    let length = index.metadata().unwrap().len();
    fcntl_add_seals(&file, SealFlags::GROW).unwrap();
    let later = WallTime::from_millis(2000);
    recorder.note(1, later);
    assert!(recorder.is_due(later) && recorder.has_index());
    assert_eq!(index.metadata().unwrap().len(), length);
}

#[test]
fn the_slower_entries_of_a_long_index_still_tell_old_from_new() {
    let mut stream = Stream::new();
    let came: Vec<u64> = (0..60_000).map(|n| n * 10).collect();
    stream.segment(0, &came);
    let (known, _) = stream.between(0, 60_000, 60_000);
    assert!(known.len() < 60_000, "the interval never doubled");
    let interval = 20;
    for ms in (0..600_000).step_by(9973) {
        let begins = stream.since(ms);
        // Nothing that is new is left out, and no more than an interval too much comes along.
        assert!(begins * 10 <= ms.next_multiple_of(10), "{ms}: {begins}");
        assert!(begins * 10 + interval > ms, "{ms}: {begins}");
    }
}
