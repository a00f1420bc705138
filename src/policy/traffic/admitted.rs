//! Whom rules have admitted, as records say it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::line::{Line, Told, Was};
use super::read;
use crate::policy::subject::Caller;

/// Whom each rule has admitted, and at which ports, by the rule's name.
#[derive(Debug, Default)]
pub(crate) struct Admitted {
    pub(crate) rules: BTreeMap<String, BTreeSet<(Caller, u16)>>,
    /// What was left out, and why.
    pub(crate) warnings: Vec<String>,
}

impl Admitted {
    /// Reads files and directories of records. The called side's count: only it decides.
    pub(crate) fn read(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let mut admitted = Self::default();
        let skipped = read::files(paths, &mut |line| admitted.take(line))?;
        admitted.warnings = skipped.told();
        Ok(admitted)
    }

    fn take(&mut self, bytes: &[u8]) -> bool {
        let line = Line::of(bytes);
        let Some(line) = line.filter(|line| line.at().is_some() && line.conn().is_some()) else {
            return false;
        };
        let is_allowed = line.told() == Some(Told::Decided(Was::Allowed));
        if let (Some(rule), Some(caller), true) = (line.rule(), line.caller(), is_allowed) {
            let rule = self.rules.entry(rule.to_owned()).or_default();
            rule.insert((caller, line.port));
        }
        true
    }
}
