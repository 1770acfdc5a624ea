//! Arrays as sets: `array_distinct`, `array_union`, `array_intersect`, `array_except`, `arrays_overlap`.
//!
//! The first of equal elements stays, in order; a null equals a null, except in `arrays_overlap`, where it may be anything.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::datatypes::DataType;
use arrow::row::{Row, Rows};
use datafusion::logical_expr::Expr;
use hashbrown::HashSet;

use super::arguments::fixed;
use super::kernel::Kernel;
use super::lists::{Picks, array_argument, arrays_alike, is_null, item_of, keys, list, pool, range};
use super::{Call, Function, function};
use crate::{Result, types};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["array_distinct"], distinct),
    function(&["array_union"], |call| combine(call, "array_union", Keep::All)),
    function(&["array_intersect"], |call| combine(call, "array_intersect", Keep::InSecond)),
    function(&["array_except"], |call| combine(call, "array_except", Keep::NotInSecond)),
    function(&["arrays_overlap"], overlap),
];

/// Which elements of two arrays to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    All,
    InSecond,
    NotInSecond,
}

fn distinct(mut call: Call<'_>) -> Result<Expr> {
    let [source] = fixed(call.values(1..=1)?)?;
    let (source, _) = array_argument(&call, source)?;
    let kernel = Kernel::arrays("array_distinct", call.type_of(&source)?, |args| {
        let list = list(args, 0)?;
        let keys = keys(list.values())?;
        let mut picks = Picks::with_capacity(list.len());
        for row in 0..list.len() {
            match range(list, row) {
                Some(elements) => {
                    let mut seen = HashSet::with_capacity(elements.len());
                    elements.filter(|at| seen.insert(keys.row(*at))).for_each(|at| picks.pick(at));
                    picks.end()?;
                }
                None => picks.null_row(),
            }
        }
        picks.finish(list.values(), item_of(list.data_type())?)
    });
    Ok(kernel.call(vec![source]))
}

/// Two lists over one pool of elements.
struct Pair<'a> {
    values: ArrayRef,
    keys: Rows,
    second: usize,
    lists: [&'a arrow::array::ListArray; 2],
}

impl<'a> Pair<'a> {
    fn of(args: &'a [ArrayRef]) -> Result<Pair<'a>> {
        let lists = [list(args, 0)?, list(args, 1)?];
        let (values, starts) = pool(&[lists[0].values(), lists[1].values()])?;
        let keys = keys(&values)?;
        Ok(Pair { values, keys, second: starts.get(1).copied().unwrap_or(0), lists })
    }

    /// Where the elements of both are in the pool; `None` if one is null.
    fn ranges(&self, row: usize) -> Option<(Range<usize>, Range<usize>)> {
        let (first, second) = (range(self.lists[0], row)?, range(self.lists[1], row)?);
        Some((first, self.second + second.start..self.second + second.end))
    }
}

fn combine(mut call: Call<'_>, name: &'static str, keep: Keep) -> Result<Expr> {
    let lists = call.values(2..=2)?;
    let (args, element) = arrays_alike(&call, lists)?;
    let item = types::list_item(element.clone());
    let kernel = Kernel::arrays(name, types::list(element), move |args| {
        let pair = Pair::of(args)?;
        let rows = pair.lists[0].len();
        let mut picks = Picks::with_capacity(rows);
        for row in 0..rows {
            match pair.ranges(row) {
                Some((first, second)) => {
                    pick(&mut picks, &pair.keys, first, second, keep);
                    picks.end()?;
                }
                None => picks.null_row(),
            }
        }
        picks.finish(&pair.values, item.clone())
    });
    Ok(kernel.call(args))
}

fn pick(picks: &mut Picks, keys: &Rows, first: Range<usize>, second: Range<usize>, keep: Keep) {
    let in_second: HashSet<Row<'_>> = match keep {
        Keep::All => HashSet::new(),
        _ => second.clone().map(|at| keys.row(at)).collect(),
    };
    let wanted = |at: usize| match keep {
        Keep::All => true,
        Keep::InSecond => in_second.contains(&keys.row(at)),
        Keep::NotInSecond => !in_second.contains(&keys.row(at)),
    };
    let mut seen = HashSet::new();
    let more = if keep == Keep::All { second } else { 0..0 };
    first.chain(more).filter(|at| wanted(*at) && seen.insert(keys.row(*at))).for_each(|at| picks.pick(at));
}

fn overlap(mut call: Call<'_>) -> Result<Expr> {
    let lists = call.values(2..=2)?;
    let (args, _) = arrays_alike(&call, lists)?;
    let kernel = Kernel::arrays("arrays_overlap", DataType::Boolean, |args| {
        let pair = Pair::of(args)?;
        let found = (0..pair.lists[0].len()).map(|row| {
            let (first, second) = pair.ranges(row)?;
            let valid = |at: &usize| !is_null(&pair.values, *at);
            let known: HashSet<Row<'_>> = first.clone().filter(valid).map(|at| pair.keys.row(at)).collect();
            if second.clone().filter(valid).any(|at| known.contains(&pair.keys.row(at))) {
                return Some(true);
            }
            let has_null = !first.clone().all(|at| valid(&at)) || !second.clone().all(|at| valid(&at));
            (first.is_empty() || second.is_empty() || !has_null).then_some(false)
        });
        Ok(Arc::new(found.collect::<BooleanArray>()))
    });
    Ok(kernel.call(args))
}
