//! Reads typed keys out of a TOML table and collects every fault on the way.

use toml::{Table, Value};

use super::error::{ConfigFault, Problem};
use super::suggest;

/// One table being read. [`Reader::finish`] reports the keys that nobody asked for.
pub(super) struct Reader<'a> {
    table: &'a Table,
    path: String,
    known: Vec<&'static str>,
    faults: &'a mut Vec<ConfigFault>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(table: &'a Table, path: String, faults: &'a mut Vec<ConfigFault>) -> Self {
        Self {
            table,
            path,
            known: Vec::new(),
            faults,
        }
    }

    pub(super) fn value(&mut self, key: &'static str) -> Option<&'a Value> {
        self.known.push(key);
        self.table.get(key)
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<&'a str> {
        let value = self.value(key)?;
        let Some(text) = value.as_str() else {
            self.wrong_type(key, "a string");
            return None;
        };
        if text.contains('\0') {
            self.fault(key, Problem::Nul);
            return None;
        }
        Some(text)
    }

    pub(super) fn switch(&mut self, key: &'static str) -> Option<bool> {
        let switch = self.value(key)?.as_bool();
        if switch.is_none() {
            self.wrong_type(key, "true or false");
        }
        switch
    }

    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<&'a str>> {
        const EXPECTED: &str = "a list of strings";
        let Some(list) = self.value(key)?.as_array() else {
            self.wrong_type(key, EXPECTED);
            return None;
        };
        let texts: Option<Vec<_>> = list.iter().map(Value::as_str).collect();
        match texts {
            None => self.wrong_type(key, EXPECTED),
            Some(ref texts) if texts.iter().any(|text| text.contains('\0')) => {
                self.fault(key, Problem::Nul);
            }
            Some(_) => {}
        }
        texts
    }

    pub(super) fn table(&mut self, key: &'static str) -> Option<&'a Table> {
        let table = self.value(key)?.as_table();
        if table.is_none() {
            self.wrong_type(key, "a table");
        }
        table
    }

    /// One of several words, each of which stands for something.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let word = self.text(key)?;
        let chosen = choices.iter().find(|(known, _)| *known == word);
        if chosen.is_none() {
            let known: Vec<_> = choices.iter().map(|(known, _)| *known).collect();
            let nearest = suggest::nearest(word, known.iter().copied());
            let value = word.to_owned();
            self.fault(
                key,
                Problem::UnknownValue {
                    value,
                    known,
                    nearest,
                },
            );
        }
        chosen.map(|(_, meaning)| *meaning)
    }

    /// A reader for a table inside this one.
    pub(super) fn inner<'b>(&'b mut self, key: &str, table: &'b Table) -> Reader<'b> {
        Reader::new(table, self.path_of(key), self.faults)
    }

    pub(super) fn fault(&mut self, key: &str, problem: Problem) {
        let path = self.path_of(key);
        self.faults.push(ConfigFault::new(path, problem));
    }

    pub(super) fn wrong_type(&mut self, key: &str, expected: &'static str) {
        self.fault(key, Problem::WrongType { expected });
    }

    pub(super) fn finish(mut self) {
        for key in self.table.keys() {
            if !self.known.contains(&key.as_str()) {
                let nearest = suggest::nearest(key, self.known.iter().copied());
                self.fault(key, Problem::UnknownKey { nearest });
            }
        }
    }

    fn path_of(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }
}
