//! What has to be true of all that a follower was told.

use std::collections::BTreeMap;

use descartes_client::StatusItem;
use descartes_client::protocol::{AgentId, AgentInfo, AgentStatus, StatusUpdate};

/// All events of a server's run up to some moment, by its epoch.
pub(crate) type Known = BTreeMap<String, Vec<StatusUpdate>>;

/// A list, and the updates that came between it and the next one: a run of the server.
struct Run<'a> {
    included: BTreeMap<AgentId, u64>,
    updates: Vec<&'a StatusUpdate>,
}

/// How often it was told that events are gone.
pub(crate) fn gaps(items: &[StatusItem]) -> usize {
    let is_gap = |item: &&StatusItem| matches!(item, StatusItem::Agents { gap: true, .. });
    items.iter().filter(is_gap).count()
}

/// No event of any run is missing, and none is there twice: an update tells of it, or the list before includes it.
/// `known` has the events of each run from the first one to after the list.
pub(crate) fn check_all(items: &[StatusItem], known: &Known) {
    for run in runs(items) {
        check_order(&run);
        let Some(last) = run.updates.last() else {
            continue;
        };
        let of_the_run = &known[&last.epoch];
        let told: BTreeMap<u64, &StatusUpdate> = run
            .updates
            .iter()
            .map(|update| (sequence(update), *update))
            .collect();
        for number in 1..=sequence(last) {
            let event = of_the_run.iter().find(|event| sequence(event) == number);
            match (told.get(&number), event) {
                (Some(told), Some(event)) => assert_eq!(*told, event),
                (None, Some(event)) => assert!(
                    is_included(&run.included, event),
                    "event {number} is missing: {event:?}"
                ),
                // It came after those that are known.
                (Some(_), None) => {}
                (None, None) => panic!("event {number} of {} is missing", last.epoch),
            }
        }
    }
}

/// The same of the events of one agent.
pub(crate) fn check_one(items: &[StatusItem], agent: AgentId) {
    for run in runs(items) {
        assert!(run.included.keys().all(|listed| *listed == agent));
        assert!(run.updates.iter().all(|update| update.agent_id == agent));
        check_order(&run);
    }
}

/// The agent's end was told, and always in the same way.
pub(crate) fn check_end(items: &[StatusItem], agent: AgentId, code: i32) {
    let status = match code {
        0 => AgentStatus::Completed,
        _ => AgentStatus::Failed,
    };
    let ends: Vec<_> = items
        .iter()
        .flat_map(|item| match item {
            StatusItem::Agents { agents, .. } => agents.iter().filter_map(listed_end).collect(),
            StatusItem::Update(update) => Vec::from_iter(told_end(update)),
        })
        .filter(|(ended, ..)| *ended == agent)
        .collect();
    assert!(!ends.is_empty(), "nobody told of the end of {agent}");
    for end in ends {
        assert_eq!(end, (agent, status, Some(code.into())));
    }
}

/// Whether an item tells of the agent's end.
pub(crate) fn tells_end(item: &StatusItem, agent: AgentId) -> bool {
    match item {
        StatusItem::Agents { agents, .. } => agents
            .iter()
            .any(|info| info.id == agent && info.status.is_final()),
        StatusItem::Update(update) => told_end(update).is_some_and(|(ended, ..)| ended == agent),
    }
}

type End = (AgentId, AgentStatus, Option<i64>);

fn listed_end(info: &AgentInfo) -> Option<End> {
    let end = (info.id, info.status, info.exit_code.map(i64::from));
    info.status.is_final().then_some(end)
}

fn told_end(update: &StatusUpdate) -> Option<End> {
    let status = update.status.filter(|status| status.is_final())?;
    let code = update.data.as_ref().and_then(|data| data.get("exit_code"));
    Some((update.agent_id, status, code.and_then(|code| code.as_i64())))
}

/// The first item is a list, and each further list tells of a gap.
fn runs(items: &[StatusItem]) -> Vec<Run<'_>> {
    let mut runs: Vec<Run<'_>> = Vec::new();
    for item in items {
        match item {
            StatusItem::Agents { agents, gap } => {
                assert_eq!(*gap, !runs.is_empty(), "a list without a gap");
                let included = agents.iter().map(|info| (info.id, info.agent_sequence));
                runs.push(Run {
                    included: included.collect(),
                    updates: Vec::new(),
                });
            }
            StatusItem::Update(update) => {
                let run = runs.last_mut().expect("a list comes first");
                run.updates.push(update);
            }
        }
    }
    let epochs: Vec<_> = runs
        .iter()
        .filter_map(|run| run.updates.first())
        .map(|update| &update.epoch)
        .collect();
    let different: std::collections::BTreeSet<_> = epochs.iter().collect();
    assert_eq!(
        different.len(),
        epochs.len(),
        "a list in the middle of a run"
    );
    runs
}

/// All are of one run of the server, their numbers ascend, and those of each agent go on by one from the list on.
fn check_order(run: &Run<'_>) {
    let mut last_of = run.included.clone();
    let mut before: Option<&StatusUpdate> = None;
    for update in &run.updates {
        if let Some(before) = before {
            assert_eq!(update.epoch, before.epoch);
            assert!(
                sequence(update) > sequence(before),
                "{update:?} after {before:?}"
            );
        }
        let last = last_of.entry(update.agent_id).or_default();
        assert_eq!(
            update.agent_sequence,
            Some(*last + 1),
            "{update:?} after {last}"
        );
        *last += 1;
        before = Some(update);
    }
}

fn is_included(included: &BTreeMap<AgentId, u64>, event: &StatusUpdate) -> bool {
    let last = included.get(&event.agent_id);
    last.is_some_and(|last| event.agent_sequence <= Some(*last))
}

fn sequence(update: &StatusUpdate) -> u64 {
    update.sequence.expect("a kept event has a number")
}
