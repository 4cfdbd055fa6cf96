//! What is remembered of spawns, and what a damaged journal costs.

use std::fs;
use std::path::Path;

use super::*;

fn key(request_id: &str, fingerprint: &str) -> SpawnKey {
    SpawnKey {
        client: None,
        request_id: request_id.to_owned(),
        fingerprint: fingerprint.to_owned(),
    }
}

fn spawns(dir: &Path) -> Spawns {
    let damaged = |reason: &str| panic!("{reason}");
    Spawns::load(dir.join("spawns.journal"), damaged).unwrap()
}

/// Removes an agent that a request started so many seconds ago.
fn remove(spawns: &Spawns, key: &SpawnKey, age_secs: u64) -> AgentId {
    let id = AgentId::generate();
    let spawned_at = now_secs() - age_secs;
    spawns.started(key, id);
    let agents = std::iter::once((key, id, spawned_at));
    spawns.remember(agents).unwrap();
    spawns.removed(key, id, spawned_at);
    id
}

fn is_removed(spawns: &Spawns, key: &SpawnKey, id: AgentId) -> bool {
    matches!(spawns.claim(key), Claim::Removed(known) if known == id)
}

#[test]
fn a_request_that_is_under_way_is_waited_for_and_then_known() {
    let dir = tempfile::tempdir().unwrap();
    let spawns = spawns(dir.path());
    let Claim::New(pending) = spawns.claim(&key("a", "1")) else {
        panic!("not new");
    };
    let Claim::Wait(mut decided) = spawns.claim(&key("a", "1")) else {
        panic!("not under way");
    };
    let id = AgentId::generate();
    spawns.started(&key("a", "1"), id);
    drop(pending);
    assert!(decided.has_changed().is_err(), "the waiter is woken");
    decided.borrow_and_update();
    assert!(matches!(spawns.claim(&key("a", "1")), Claim::Started(known) if known == id));
    assert!(matches!(spawns.claim(&key("a", "2")), Claim::Conflict));
}

#[test]
fn a_refused_request_may_be_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let spawns = spawns(dir.path());
    assert!(matches!(spawns.claim(&key("a", "1")), Claim::New(_)));
    spawns.refused(&key("a", "1"));
    assert!(matches!(spawns.claim(&key("a", "2")), Claim::New(_)));
}

#[test]
fn a_removed_agents_request_is_remembered_across_restarts_for_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let before = spawns(dir.path());
    let (young, old) = (key("young", "1"), key("old", "1"));
    let id = remove(&before, &young, 60);
    remove(&before, &old, REMEMBERED_SECS);
    let after = spawns(dir.path());
    for spawns in [before, after] {
        assert!(is_removed(&spawns, &young, id));
        assert!(matches!(spawns.claim(&key("young", "2")), Claim::Conflict));
        assert!(matches!(spawns.claim(&old), Claim::New(_)));
    }
}

#[test]
fn the_same_id_of_two_clients_is_two_requests_also_when_both_were_removed() {
    let dir = tempfile::tempdir().unwrap();
    let keys = [None, Some("one"), Some("two")].map(|client| SpawnKey {
        client: client.map(str::to_owned),
        ..key("same", client.unwrap_or("none"))
    });
    let before = spawns(dir.path());
    let ids = keys.each_ref().map(|key| remove(&before, key, 60));
    let after = spawns(dir.path());
    for (key, id) in keys.iter().zip(ids) {
        assert!(is_removed(&after, key, id), "{key:?}");
    }
}

#[test]
fn a_line_that_was_cut_short_swallows_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let before = spawns(dir.path());
    let first = remove(&before, &key("first", "1"), 60);
    // As a disk does that is full in the middle of a line.
    let journal = dir.path().join("spawns.journal");
    let mut text = fs::read(&journal).unwrap();
    text.extend(b"{\"client\":null,\"request_id\":\"sec");
    fs::write(&journal, text).unwrap();
    assert!(is_removed(&spawns(dir.path()), &key("first", "1"), first));
    let third = remove(&before, &key("third", "1"), 60);
    let after = spawns(dir.path());
    assert!(is_removed(&after, &key("first", "1"), first));
    assert!(is_removed(&after, &key("third", "1"), third));
}

#[test]
fn damaged_lines_are_told_before_they_are_gone_and_cost_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let before = spawns(dir.path());
    let first = remove(&before, &key("first", "1"), 60);
    remove(&before, &key("second", "1"), 60);
    let third = remove(&before, &key("third", "1"), 60);
    let journal = dir.path().join("spawns.journal");
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(
        &journal,
        text.replace("{\"client\":null,\"request_id\":\"second", "#"),
    )
    .unwrap();
    let mut said = String::new();
    let keep_damaged = |reason: &str| {
        assert_eq!(fs::read_to_string(&journal).unwrap().lines().count(), 3);
        reason.clone_into(&mut said);
        Ok(())
    };
    let after = Spawns::load(journal.clone(), keep_damaged).unwrap();
    assert!(said.contains("the first of them line 2"), "{said}");
    assert!(is_removed(&after, &key("first", "1"), first));
    assert!(is_removed(&after, &key("third", "1"), third));
    // What is left is whole.
    drop(spawns(dir.path()));
}

#[test]
fn a_damaged_journal_that_cannot_be_kept_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let id = remove(&spawns(dir.path()), &key("a", "1"), 60);
    let journal = dir.path().join("spawns.journal");
    let mut text = fs::read(&journal).unwrap();
    text.extend(b"#\n");
    fs::write(&journal, &text).unwrap();
    let full = |_: &str| Err(io::ErrorKind::StorageFull.into());
    let after = Spawns::load(journal.clone(), full).unwrap();
    assert!(is_removed(&after, &key("a", "1"), id));
    assert_eq!(fs::read(&journal).unwrap(), text);
    let other = remove(&after, &key("b", "1"), 60);
    assert!(fs::read(&journal).unwrap().starts_with(&text));
    let last = Spawns::load(journal, |_| Ok(())).unwrap();
    assert!(is_removed(&last, &key("a", "1"), id));
    assert!(is_removed(&last, &key("b", "1"), other));
}

#[test]
fn a_journal_that_cannot_be_tidied_up_is_read_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let id = remove(&spawns(dir.path()), &key("a", "1"), 60);
    // Where the new file would be written there is something else.
    fs::create_dir(dir.path().join("spawns.new")).unwrap();
    assert!(is_removed(&spawns(dir.path()), &key("a", "1"), id));
}

#[test]
fn what_is_old_leaves_the_journal_while_the_server_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (spawns, old) = (spawns(dir.path()), now_secs() - REMEMBERED_SECS);
    let keys: Vec<SpawnKey> = (0..=GROWTH_MIN).map(|n| key(&n.to_string(), "1")).collect();
    let id = AgentId::generate();
    let young = keys.iter().map(|key| (key, id, now_secs()));
    spawns.remember(young).unwrap();
    for key in &keys {
        // A day goes by.
        spawns.set(key, Outcome::Removed(id, old));
    }
    let last = remove(&spawns, &key("last", "1"), 60);
    let text = fs::read_to_string(dir.path().join("spawns.journal")).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(is_removed(&spawns, &key("last", "1"), last));
    assert!(matches!(spawns.claim(&keys[0]), Claim::New(_)));
}
