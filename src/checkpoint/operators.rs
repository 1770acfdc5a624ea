//! The operators that keep state: which of a changed query goes on with whose state.
//!
//! In: the stateful operators of the plan that starts, and those of the plan before (file `operators`). Out: the name of each
//! one's state, which stays the same whatever moves around it in the plan. As in Spark the operators must be of the same kinds
//! in the same order, and keep keys and values of the same types; what lies between them may change.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::table::StateTable;
use crate::store::Folder;
use crate::{Error, Result};

const FILE: &str = "operators";

/// An operator that keeps state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatefulOperator {
    /// What its state is called; in a plan, the operator's id.
    pub name: String,
    /// What it does: `aggregate`, `dedup`, ...
    pub kind: String,
    /// The types of its keys.
    pub keys: Vec<String>,
    /// What it keeps for a key: functions and types.
    pub values: Vec<String>,
    /// How its state reads as tables; nothing if it does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<StateTable>,
}

#[derive(Serialize, Deserialize)]
struct Operators {
    operators: Vec<StatefulOperator>,
}

/// The names of the plan's operators' states by their ids. `fresh`: there is no state yet, so nothing can be wrong.
pub(super) fn adopt(root: &Folder, plan: Vec<StatefulOperator>, fresh: bool) -> Result<HashMap<String, String>> {
    let before = read(root)?.filter(|_| !fresh);
    let kept = match &before {
        Some(before) => matched(before, &plan)?,
        None => plan.clone(),
    };
    if before.as_ref() != Some(&kept) {
        write(root, &kept)?;
    }
    Ok(plan.into_iter().map(|operator| operator.name).zip(kept.into_iter().map(|operator| operator.name)).collect())
}

/// The operators before, if those of the plan can go on with their state.
fn matched(before: &[StatefulOperator], plan: &[StatefulOperator]) -> Result<Vec<StatefulOperator>> {
    let kinds = |operators: &[StatefulOperator]| operators.iter().map(|o| o.kind.clone()).collect::<Vec<_>>();
    if before.is_empty() && !plan.is_empty() {
        let message = format!("the checkpoint is that of a query without state, but this one has {:?}", kinds(plan));
        return Err(refused("STREAMING_STATEFUL_OPERATOR_MISSING_STATE_DIRECTORY", message));
    }
    if kinds(before) != kinds(plan) {
        let message = format!(
            "the checkpoint has state of the operators {:?} but the query has {:?}",
            kinds(before),
            kinds(plan)
        );
        return Err(refused("STREAMING_STATEFUL_OPERATOR_NOT_MATCH_IN_STATE_METADATA", message));
    }
    before.iter().zip(plan).try_for_each(|(before, now)| check(before, now))?;
    let kept = |(before, now): (&StatefulOperator, &StatefulOperator)| StatefulOperator {
        tables: now.tables.clone(),
        ..before.clone()
    };
    Ok(before.iter().zip(plan).map(kept).collect())
}

fn check(before: &StatefulOperator, now: &StatefulOperator) -> Result<()> {
    let name = &now.name;
    let differ = |what: &str, before: &[String], now: &[String]| {
        format!("the {what} of operator '{name}' were {before:?} and are {now:?}")
    };
    if before.keys != now.keys {
        let message = differ("keys", &before.keys, &now.keys);
        return Err(refused("STATE_STORE_KEY_SCHEMA_NOT_COMPATIBLE", message));
    }
    if before.values != now.values {
        let message = differ("values", &before.values, &now.values);
        return Err(refused("STATE_STORE_VALUE_SCHEMA_NOT_COMPATIBLE", message));
    }
    Ok(())
}

fn refused(condition: &str, message: String) -> Error {
    Error::query(condition, message)
        .hint("Undo the change, or start with another checkpointLocation: the state is then computed anew.")
}

pub(super) fn read(root: &Folder) -> Result<Option<Vec<StatefulOperator>>> {
    let Some(text) = root.read_text(FILE)? else { return Ok(None) };
    let read: Operators = serde_json::from_str(&text).map_err(|e| root.corrupt(FILE, &e.to_string()))?;
    Ok(Some(read.operators))
}

fn write(root: &Folder, operators: &[StatefulOperator]) -> Result<()> {
    let text = serde_json::to_string(&Operators { operators: operators.to_vec() });
    root.write(FILE, text.map_err(|e| Error::internal(e.to_string()))?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(name: &str, keys: &[&str], values: &[&str]) -> StatefulOperator {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let kind = name.split('-').next().unwrap_or_default().to_owned();
        StatefulOperator { name: name.to_owned(), kind, keys: texts(keys), values: texts(values), tables: Vec::new() }
    }

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::local(dir.path(), true);
        (dir, folder)
    }

    #[test]
    fn an_operator_that_moved_keeps_its_state() {
        let (_dir, root) = folder();
        adopt(&root, vec![operator("aggregate-1", &["Utf8"], &["sum"])], true).unwrap();
        let names = adopt(&root, vec![operator("aggregate-4", &["Utf8"], &["sum"])], false).unwrap();
        assert_eq!(names["aggregate-4"], "aggregate-1");
        let again = adopt(&root, vec![operator("aggregate-2", &["Utf8"], &["sum"])], false).unwrap();
        assert_eq!(again["aggregate-2"], "aggregate-1");
    }

    #[test]
    fn c07_changes_that_lose_state_are_refused() {
        let (_dir, root) = folder();
        adopt(&root, vec![operator("aggregate-1", &["Utf8"], &["sum"])], true).unwrap();
        let refused = [
            (vec![operator("aggregate-1", &["Int64"], &["sum"])], "STATE_STORE_KEY_SCHEMA_NOT_COMPATIBLE"),
            (vec![operator("aggregate-1", &["Utf8"], &["avg"])], "STATE_STORE_VALUE_SCHEMA_NOT_COMPATIBLE"),
            (vec![operator("dedup-1", &["Utf8"], &[])], "STREAMING_STATEFUL_OPERATOR_NOT_MATCH_IN_STATE_METADATA"),
            (Vec::new(), "STREAMING_STATEFUL_OPERATOR_NOT_MATCH_IN_STATE_METADATA"),
        ];
        for (plan, condition) in refused {
            let error = adopt(&root, plan, false).unwrap_err();
            assert_eq!(error.condition(), Some(condition), "{error}");
        }
    }
}
