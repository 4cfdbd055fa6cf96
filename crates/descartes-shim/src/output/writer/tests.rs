use super::*;

fn writer(dir: &std::path::Path, bytes_max: u64) -> Writer {
    let dir = File::open(dir).unwrap();
    Writer::new(dir.into(), "stdout", bytes_max)
}

fn at(ms: u64) -> WallTime {
    WallTime::from_millis(ms)
}

fn names(dir: &std::path::Path) -> Vec<String> {
    let files = std::fs::read_dir(dir.join("stdout")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Of all files of the stream.
fn bytes_on_disk(dir: &std::path::Path) -> u64 {
    let files = std::fs::read_dir(dir.join("stdout")).unwrap();
    files.map(|it| it.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn a_stream_above_its_limit_keeps_its_tail_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path(), 4096);
    let all: Vec<u8> = (0..50_000_u32).map(|n| (n % 251) as u8).collect();
    for part in all.chunks(77) {
        writer.append(part, at(0));
        assert!(bytes_on_disk(dir.path()) <= 4096);
    }
    let chunk = segments::read(&dir.path().join("stdout"), 0, usize::MAX).unwrap();
    assert!(chunk.data.len() >= 3400, "{}", chunk.data.len());
    assert_eq!(chunk.offset, chunk.first_offset);
    assert_eq!(chunk.data, all[usize::try_from(chunk.offset).unwrap()..]);
}

#[test]
fn what_cannot_be_written_is_counted_and_leaves_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path(), 1 << 20);
    writer.append(b"before", at(0));
    // A folder in the place of the next segment makes opening it fail.
    std::fs::create_dir(dir.path().join("stdout").join(segments::name(6))).unwrap();
    writer.segment_bytes_max = 6;
    writer.append(b"lost", at(0));
    writer.append(b"after", at(0));
    assert_eq!((writer.next, writer.lost), (15, 4));
    std::fs::remove_dir(dir.path().join("stdout").join(segments::name(6))).unwrap();
    let chunk = segments::read(&dir.path().join("stdout"), 6, 100).unwrap();
    assert_eq!((chunk.offset, chunk.data.as_slice()), (10, &b"after"[..]));
}

/// The offsets and times of the entries that are kept.
fn entries(stdout: &std::path::Path) -> Vec<(u64, u64)> {
    let found = times::between(stdout, 0, u64::MAX, usize::MAX).unwrap();
    let known = found.known.iter();
    known.map(|it| (it.offset, it.time.millis())).collect()
}

#[test]
fn times_go_with_the_segments_that_they_belong_to() {
    let dir = tempfile::tempdir().unwrap();
    let stdout = dir.path().join("stdout");
    let mut writer = writer(dir.path(), 4096);
    writer.append(&[b'a'; 600], at(1000));
    writer.append(b"bc", at(1009));
    writer.append(b"de", at(1010));
    assert_eq!(entries(&stdout), [(0, 1000), (602, 1010)]);
    // A second of silence, then a flood within one millisecond.
    writer.append(&vec![b'x'; 50_000], at(2000));
    let starts = segments::starts(&stdout).unwrap();
    assert!((7..=9).contains(&starts.len()), "{starts:?}");
    let indexes: Vec<_> = starts.iter().copied().map(times::name).collect();
    let others = names(dir.path())
        .into_iter()
        .filter(|name| name.ends_with("times") && !indexes.contains(name));
    assert_eq!(others.count(), 0, "an index outlived its segment");
    let kept = entries(&stdout);
    assert!(kept.len() == 1 && kept[0].0 >= starts[0], "{kept:?}");
    assert_eq!(kept[0].1, 2000);
}

#[test]
fn a_flood_costs_few_indexes_and_always_leaves_one() {
    let dir = tempfile::tempdir().unwrap();
    let stdout = dir.path().join("stdout");
    let mut writer = writer(dir.path(), 4096);
    for _ in 0..1000 {
        writer.append(&[b'x'; 77], at(5));
        let indexes = names(dir.path());
        let indexes = indexes.iter().filter(|name| name.ends_with("times"));
        assert_eq!(indexes.count(), 1);
        assert_eq!(entries(&stdout).len(), 1);
    }
}

#[test]
fn output_without_a_place_for_its_times_is_written_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let stdout = dir.path().join("stdout");
    std::fs::create_dir_all(stdout.join(times::name(0))).unwrap();
    let mut writer = writer(dir.path(), 4096);
    writer.append(&[b'x'; 600], at(1000));
    assert_eq!(segments::read(&stdout, 0, 999).unwrap().data, [b'x'; 600]);
    assert_eq!(writer.lost, 0);
    // The next segment has a place.
    let second = segments::starts(&stdout).unwrap()[1];
    assert_eq!(entries(&stdout), [(second, 1000)]);
}

#[test]
fn bytes_that_were_lost_leave_no_time_in_a_segment_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let stdout = dir.path().join("stdout");
    let mut writer = writer(dir.path(), 4096);
    writer.open_segment().unwrap();
    // Opened for reading, so that writing to it fails.
    writer.file = Some(File::open(stdout.join(segments::name(0))).unwrap());
    writer.append(b"lost", at(1000));
    assert_eq!(names(dir.path()), Vec::<String>::new());
    writer.append(b"kept", at(1001));
    assert_eq!(entries(&stdout), [(4, 1001)]);
}

#[test]
fn data_and_times_together_stay_within_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path(), 4096);
    // A byte whenever it needs an entry of its own: the most index for the least output.
    for n in 0..20_000 {
        writer.append(b"x", at(1_700_000_000_000 + n * 10));
        assert!(bytes_on_disk(dir.path()) <= 4096, "after {n} bytes");
    }
    let end = writer.end();
    let extent = segments::extent(&dir.path().join("stdout")).unwrap();
    assert_eq!((end.bytes, end.lost, end.kept), (20_000, 0, extent.bytes));
    assert_eq!(writer.kept + writer.index_bytes, bytes_on_disk(dir.path()));
    assert_eq!(entries(&dir.path().join("stdout")).len() as u64, end.kept);
}

/// A stream of four segments and a bit, of which each byte tells its offset.
fn four_segments(dir: &std::path::Path) -> (Writer, Vec<u64>) {
    let mut writer = writer(dir, 4096);
    for offset in 0..2100_u32 {
        writer.append(&[(offset % 251) as u8], at(7));
    }
    let starts = segments::starts(&dir.join("stdout")).unwrap();
    assert_eq!(starts.len(), 5);
    (writer, starts)
}

/// That everything on disk is what was written there, and as much as is said to be kept.
#[track_caller]
fn assert_true(dir: &std::path::Path, writer: &Writer) {
    let stdout = dir.join("stdout");
    let (mut offset, mut kept) = (0, 0);
    loop {
        let chunk = segments::read(&stdout, offset, 100).unwrap();
        if chunk.data.is_empty() {
            break;
        }
        let expected = (chunk.offset..).map(|offset| (offset % 251) as u8);
        assert!(
            chunk
                .data
                .iter()
                .copied()
                .eq(expected.take(chunk.data.len()))
        );
        offset = chunk.offset + chunk.data.len() as u64;
        kept += chunk.data.len() as u64;
    }
    let end = writer.end();
    assert_eq!((end.kept, end.lost), (kept, end.bytes - kept));
}

fn append_more(writer: &mut Writer, count: u64) {
    for offset in writer.next..writer.next + count {
        writer.append(&[(offset % 251) as u8], at(8));
    }
}

#[test]
fn a_deleted_folder_is_noticed_and_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = four_segments(dir.path());
    std::fs::remove_dir_all(dir.path().join("stdout")).unwrap();
    append_more(&mut writer, 700);
    let end = writer.end();
    assert_eq!((end.bytes, end.lost, end.kept), (2800, 2100, 700));
    assert_true(dir.path(), &writer);
    assert_eq!(entries(&dir.path().join("stdout"))[0], (2100, 8));
}

#[test]
fn a_deleted_segment_is_a_gap_be_it_the_newest_or_not() {
    for which in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, starts) = four_segments(dir.path());
        let path = dir
            .path()
            .join("stdout")
            .join(segments::name(starts[which]));
        let length = std::fs::metadata(&path).unwrap().len();
        std::fs::remove_file(path).unwrap();
        // Another segment is begun within this.
        append_more(&mut writer, 600);
        assert_eq!(writer.end().lost, length);
        assert_true(dir.path(), &writer);
        let index = dir.path().join("stdout").join(times::name(starts[which]));
        assert!(!index.exists(), "an index outlived its segment");
    }
}

#[test]
fn a_segment_that_was_cut_or_replaced_gets_no_byte_at_a_wrong_place() {
    for length in [0, 10] {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, starts) = four_segments(dir.path());
        let newest = dir.path().join("stdout").join(segments::name(starts[4]));
        let before = std::fs::read(&newest).unwrap();
        File::options()
            .write(true)
            .open(&newest)
            .unwrap()
            .set_len(length)
            .unwrap();
        append_more(&mut writer, 5);
        assert_eq!(writer.end().lost, before.len() as u64 - length);
        assert_true(dir.path(), &writer);
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, starts) = four_segments(dir.path());
    let newest = dir.path().join("stdout").join(segments::name(starts[4]));
    std::fs::copy(&newest, dir.path().join("copy")).unwrap();
    std::fs::rename(dir.path().join("copy"), &newest).unwrap();
    append_more(&mut writer, 5);
    assert_eq!(writer.end().lost, 0);
    assert_true(dir.path(), &writer);
}

#[test]
fn what_was_deleted_after_the_last_byte_is_no_longer_kept_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = four_segments(dir.path());
    std::fs::remove_dir_all(dir.path().join("stdout")).unwrap();
    writer.settle();
    let end = writer.end();
    assert_eq!((end.bytes, end.lost, end.kept), (2100, 2100, 0));
}

#[test]
fn what_one_file_does_not_take_the_next_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = four_segments(dir.path());
    let newest = writer.segments.back().unwrap().start;
    let path = dir.path().join("stdout").join(segments::name(newest));
    // Opened for reading, so that writing to it fails.
    writer.file = Some(File::open(path).unwrap());
    append_more(&mut writer, 20);
    assert_eq!(writer.end().lost, 0);
    assert_true(dir.path(), &writer);
}

#[test]
fn a_disk_that_is_full_now_and_then_leaves_few_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path(), 1 << 20);
    for _ in 0..1000 {
        append_more(&mut writer, 1);
        // A folder in the place of the next segment makes opening it fail.
        writer.close_segment();
        let next = dir.path().join("stdout").join(segments::name(writer.next));
        std::fs::create_dir(&next).unwrap();
        append_more(&mut writer, 1);
        std::fs::remove_dir(&next).unwrap();
    }
    assert_eq!((writer.next, writer.lost), (2000, 1000));
    let starts = segments::starts(&dir.path().join("stdout")).unwrap();
    assert_eq!(starts.len(), SEGMENTS_MAX);
    assert_eq!(*starts.last().unwrap(), 1998);
    assert_eq!(writer.kept + writer.index_bytes, bytes_on_disk(dir.path()));
}

#[test]
fn output_whose_folder_was_moved_away_goes_on_in_another() {
    let dir = tempfile::tempdir().unwrap();
    let (stdout, away) = (dir.path().join("stdout"), dir.path().join("away"));
    let mut writer = writer(dir.path(), 8000);
    writer.append(b"seen", at(1000));
    writer.append(b"again", at(1001));
    std::fs::rename(&stdout, &away).unwrap();
    writer.append(b"unseen", at(1500));
    writer.append(b"after", at(2500));
    let chunk = segments::read(&stdout, 0, 100).unwrap();
    assert_eq!((chunk.offset, chunk.data.as_slice()), (15, &b"after"[..]));
    let end = writer.end();
    assert_eq!((end.bytes, end.lost, end.kept), (20, 15, 5));
}
