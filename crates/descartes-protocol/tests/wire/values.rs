//! Identifiers, times, names, undecoded values and topics.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use descartes_protocol::{
    AgentConfig, AgentId, AgentStatus, EndReason, ErrorCode, MapWriter, OutputTime, PauseMode, Raw,
    Stream, StreamSelection, StringMap, Timestamp, UpdateType, topics,
};

const AGENT: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

#[test]
fn ids_made_one_after_the_other_ascend() {
    let ids: Vec<_> = (0..1000).map(|_| AgentId::generate()).collect();
    let sorted: BTreeSet<_> = ids.iter().copied().collect();
    assert_eq!(sorted.into_iter().collect::<Vec<_>>(), ids);
}

#[test]
fn an_id_is_the_same_as_text_bytes_and_json() {
    let id: AgentId = AGENT.parse().unwrap();
    assert_eq!(id.to_string(), AGENT);
    assert_eq!(AgentId::from_bytes(*id.as_bytes()), id);
    let json = serde_json::to_string(&id).unwrap();
    assert_eq!(json, format!("\"{AGENT}\""));
    assert_eq!(serde_json::from_str::<AgentId>(&json).unwrap(), id);
    assert!(serde_json::from_str::<AgentId>("\"42\"").is_err());
}

#[test]
fn a_time_survives_the_way_through_the_standard_library() {
    let time = Timestamp {
        secs_since_epoch: 1_700_000_000,
        nanos_since_epoch: 999_999_999,
    };
    assert_eq!(time.to_system_time().map(Timestamp::from), Some(time));
    let before_epoch = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(Timestamp::from(before_epoch), Timestamp::default());
}

#[test]
fn a_time_that_the_standard_library_cannot_hold_is_none() {
    let time = Timestamp {
        secs_since_epoch: u64::MAX,
        nanos_since_epoch: u32::MAX,
    };
    assert_eq!(time.to_system_time(), None);
}

#[test]
fn every_name_reads_back_and_is_the_same_in_json() {
    macro_rules! check {
        ($($enum:ty),*) => {$(
            for value in <$enum>::ALL {
                assert_eq!(value.as_str().parse::<$enum>(), Ok(*value));
                assert_eq!(serde_json::to_value(value).unwrap(), value.as_str());
            }
            assert!("Unheard-of".parse::<$enum>().is_err());
        )*};
    }
    check!(
        AgentStatus,
        EndReason,
        ErrorCode,
        PauseMode,
        Stream,
        StreamSelection,
        UpdateType
    );
}

#[test]
fn the_last_three_statuses_are_final() {
    let last: Vec<_> = AgentStatus::ALL
        .iter()
        .filter(|status| status.is_final())
        .map(|it| it.as_str())
        .collect();
    assert_eq!(last, ["completed", "failed", "terminated"]);
}

#[test]
fn a_map_gives_back_what_was_written() {
    let inner = MapWriter::new().bool("deep", true).finish();
    let texts = ["a".to_owned(), String::new()];
    let times = [7, 9].map(|offset| OutputTime {
        offset,
        time: Timestamp::default(),
    });
    let data = MapWriter::new()
        .str("text", "é")
        .uint("most", u64::MAX)
        .int("least", i64::MIN)
        .float("half", 0.5)
        .bin("bytes", &[0xff; 300])
        .str_list("texts", &texts)
        .output_times("times", &times)
        .raw("inner", &inner)
        .nil("nothing")
        .finish();
    let get = |key| data.get(key).unwrap();
    assert_eq!(get("text").as_str(), Some("é"));
    assert_eq!(
        (get("most").as_u64(), get("most").as_i64()),
        (Some(u64::MAX), None)
    );
    assert_eq!(
        (get("least").as_u64(), get("least").as_i64()),
        (None, Some(i64::MIN))
    );
    assert_eq!(get("half").as_f64(), Some(0.5));
    assert_eq!(get("bytes").as_bin(), Some(Bytes::from(vec![0xff; 300])));
    assert_eq!(get("texts").as_str_list(), Some(texts.to_vec()));
    assert_eq!(get("times").as_output_times(), Some(times.to_vec()));
    assert_eq!(get("texts").as_output_times(), None);
    assert_eq!(
        get("inner").get("deep").and_then(|deep| deep.as_bool()),
        Some(true)
    );
    assert!(get("nothing").is_nil());
    assert_eq!(data.get("missing"), None);
    let keys: Vec<_> = data.entries().map(|(key, _)| key.to_owned()).collect();
    assert_eq!(
        keys,
        [
            "text", "most", "least", "half", "bytes", "texts", "times", "inner", "nothing"
        ]
    );
}

#[test]
fn a_map_of_any_size_is_well_formed_and_begins_with_its_shortest_head() {
    for (entries, head) in [
        (0, &b"\x80"[..]),
        (15, b"\x8f"),
        (16, b"\xde\x00\x10"),
        (65_536, b"\xdf\x00\x01\x00\x00"),
    ] {
        let writer = (0..entries).fold(MapWriter::new(), |writer, number| {
            writer.uint(&number.to_string(), number)
        });
        let data = writer.finish();
        assert!(data.as_bytes().starts_with(head), "{entries}");
        let read = Raw::from_encoded(data.as_bytes().clone()).unwrap();
        assert_eq!(read.entries().count() as u64, entries);
    }
}

#[test]
fn a_value_that_is_no_map_has_no_entries() {
    let list = Raw::from_encoded(Bytes::from_static(b"\x92\xa1a\x01")).unwrap();
    assert_eq!(list.get("a"), None);
    assert_eq!(list.entries().count(), 0);
    assert_eq!(
        (list.as_u64(), list.as_str(), list.as_bin()),
        (None, None, None)
    );
}

#[test]
fn a_key_that_is_no_string_is_passed_over() {
    let map = Raw::from_encoded(Bytes::from_static(b"\x82\x01\x02\xa1a\x03")).unwrap();
    let entries: Vec<_> = map
        .entries()
        .map(|(key, value)| (key.to_owned(), value.as_u64()))
        .collect();
    assert_eq!(entries, [("a".to_owned(), Some(3))]);
}

#[test]
fn raw_bytes_have_to_be_one_value() {
    for bytes in [&b""[..], b"\x01\x02", b"\x92\x01", b"\xc1", b"\xa1\xff"] {
        assert!(
            Raw::from_encoded(Bytes::copy_from_slice(bytes)).is_err(),
            "{bytes:x?}"
        );
    }
}

#[test]
fn topics_name_agent_stream_and_server() {
    let agent = AGENT.parse().unwrap();
    assert_eq!(topics::status(agent), format!("status/{AGENT}"));
    assert_eq!(
        topics::log(agent, Stream::Stdout),
        format!("log/{AGENT}/stdout")
    );
    assert_eq!(topics::server("server-01"), "server/server-01");
}

#[test]
fn the_debug_form_of_a_config_shows_no_secrets() {
    let config = AgentConfig {
        name: "a".into(),
        environment: StringMap::from([("API_KEY".into(), "hunter2".into())]),
        ..AgentConfig::default()
    };
    let shown = format!("{config:?}");
    assert!(
        shown.contains("API_KEY") && !shown.contains("hunter2"),
        "{shown}"
    );
}
