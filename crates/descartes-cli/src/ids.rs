//! Ids as people see them: as much of each as tells it from all others.

use descartes_client::protocol::AgentId;

/// The shortest that is shown. Ids begin with the time, so these many tell agents of different minutes apart.
const LENGTH_MIN: usize = 8;

/// How many characters tell all of these ids apart.
pub(crate) fn length(ids: impl IntoIterator<Item = AgentId>) -> usize {
    let mut texts: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
    texts.sort_unstable();
    texts.dedup();
    let neighbours = texts.windows(2);
    let shared = neighbours.map(|pair| {
        let same = pair[0].bytes().zip(pair[1].bytes());
        same.take_while(|(one, other)| one == other).count() + 1
    });
    let length = shared.max().unwrap_or(0).max(LENGTH_MIN);
    // A hyphen at the end says nothing.
    let ends_in_hyphen = texts
        .first()
        .is_some_and(|text| text.as_bytes().get(length - 1) == Some(&b'-'));
    length + usize::from(ends_in_hyphen)
}

/// The beginning of an id.
pub(crate) fn cut(id: AgentId, length: usize) -> String {
    id.to_string().chars().take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(texts: &[&str]) -> Vec<AgentId> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn ids_are_shown_as_long_as_tells_them_apart() {
        let one = ids(&["01900000-0000-7000-8000-000000000001"]);
        assert_eq!(length(one.clone()), 8);
        assert_eq!(cut(one[0], 8), "01900000");
        let close = ids(&[
            "01900000-0000-7000-8000-000000000001",
            "01900000-0a00-7000-8000-000000000001",
        ]);
        assert_eq!(length(close.clone()), 11);
        assert_ne!(cut(close[0], 11), cut(close[1], 11));
        let apart = ids(&[
            "01900000-0000-7000-8000-000000000001",
            "01900001-0000-7000-8000-000000000001",
        ]);
        assert_eq!(length(apart), 8);
    }
}
