//! The GROUP BY clause: expressions, ordinals, ALL, ROLLUP, CUBE, GROUPING SETS.
//!
//! In: the clause's tree and the SELECT list's aliases. Out: the trees of all keys and, for several groupings, which keys
//! each of them has.

use std::ops::ControlFlow;

use super::aliases::Aliases;
use super::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, GroupByWithModifier, SelectItem,
    visit_expressions, visit_expressions_mut,
};
use super::default_name;
use super::expression::Item;
use super::grouping::is_global;
use super::query::ordinal;
use crate::functions::aggregate;
use crate::{Error, Result};

/// What a query groups by.
pub(super) enum GroupBy {
    /// There is no GROUP BY.
    None,
    /// `GROUP BY ALL`: every item without an aggregate.
    All,
    /// Keys, and which of them each grouping has if there are several.
    Keys {
        /// The keys.
        keys: Vec<Expr>,
        /// Indexes of keys.
        sets: Option<Vec<Vec<usize>>>,
    },
}

impl GroupBy {
    /// The groupings, if there are several.
    pub(super) fn sets(&self) -> Option<Vec<Vec<usize>>> {
        match self {
            GroupBy::Keys { sets, .. } => sets.clone(),
            _ => None,
        }
    }
}

/// Reads the clause.
///
/// # Errors
/// `GROUP_BY_POS_OUT_OF_RANGE`.
pub(super) fn of(clause: &GroupByExpr, aliases: &Aliases) -> Result<GroupBy> {
    let (trees, modifiers) = match clause {
        GroupByExpr::All(_) => return Ok(GroupBy::All),
        GroupByExpr::Expressions(trees, modifiers) => (trees, modifiers),
    };
    if trees.is_empty() && modifiers.is_empty() {
        return Ok(GroupBy::None);
    }
    let mut reading = Reading { aliases, keys: Vec::new() };
    let mut parts = trees.iter().map(|tree| reading.part(tree)).collect::<Result<Vec<_>>>()?;
    for modifier in modifiers {
        parts = vec![reading.modified(modifier, parts)?];
    }
    let several = parts.iter().any(|sets| sets.len() != 1);
    let sets = several.then(|| product(&parts));
    Ok(GroupBy::Keys { keys: reading.keys, sets })
}

/// The items, with all keys in `grouping_id()`.
pub(super) fn with_ids(items: Vec<SelectItem>, grouped: &GroupBy) -> Vec<SelectItem> {
    let GroupBy::Keys { keys, sets: Some(_) } = grouped else { return items };
    items.into_iter().map(|item| with_id(item, keys)).collect()
}

fn with_id(mut item: SelectItem, keys: &[Expr]) -> SelectItem {
    let before = item.clone();
    let _: ControlFlow<()> = visit_expressions_mut(&mut item, |expr| {
        if let Expr::Function(call) = expr
            && call.name.to_string().eq_ignore_ascii_case("grouping_id")
            && let FunctionArguments::List(list) = &mut call.args
            && list.args.is_empty()
        {
            list.args = keys.iter().map(|key| FunctionArg::Unnamed(FunctionArgExpr::Expr(key.clone()))).collect();
        }
        ControlFlow::Continue(())
    });
    match (&before, item) {
        (SelectItem::UnnamedExpr(written), SelectItem::UnnamedExpr(expr)) if *written != expr => {
            let alias = super::ast::Ident::new(default_name(written));
            SelectItem::ExprWithAlias { expr, alias }
        }
        (_, item) => item,
    }
}

/// The items of `GROUP BY ALL` that become keys.
pub(super) fn all(items: Vec<Item>, trees: &[SelectItem]) -> Vec<Expr> {
    let plain = |item: &Item| !is_global(std::slice::from_ref(item), None);
    let tree = |tree: &SelectItem| match tree {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr.clone()),
        _ => None,
    };
    items.iter().zip(trees).filter(|(item, _)| plain(item)).filter_map(|(_, item)| tree(item)).collect()
}

/// True if an item's tree calls an aggregate function.
fn has_aggregate(tree: &Expr) -> bool {
    let found: ControlFlow<()> = visit_expressions(tree, |part| match is_aggregate_call(part) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// True for the call of an aggregate function.
pub(super) fn is_aggregate_call(tree: &Expr) -> bool {
    let Expr::Function(call) = tree else { return false };
    let name = call.name.to_string();
    call.over.is_none() && aggregate::names().any(|known| name.eq_ignore_ascii_case(known))
}

fn at_aggregate(place: &Expr, item: &Expr) -> Error {
    let message = format!("GROUP BY {place} names the item '{item}', which has an aggregate function");
    Error::query("GROUP_BY_POS_AGGREGATE", message)
}

/// Sets of keys, by their indexes.
type Sets = Vec<Vec<usize>>;

struct Reading<'a> {
    aliases: &'a Aliases,
    keys: Vec<Expr>,
}

impl Reading<'_> {
    /// One element of the clause as the sets it stands for.
    fn part(&mut self, tree: &Expr) -> Result<Sets> {
        match tree {
            Expr::Rollup(groups) => {
                let groups = self.groups(groups)?;
                Ok((0..=groups.len()).rev().map(|count| groups[..count].concat()).collect())
            }
            Expr::Cube(groups) => Ok(subsets(&self.groups(groups)?)),
            Expr::GroupingSets(groups) => self.groups(groups),
            Expr::Tuple(trees) => Ok(vec![trees.iter().map(|tree| self.key(tree)).collect::<Result<_>>()?]),
            tree => Ok(vec![vec![self.key(tree)?]]),
        }
    }

    fn groups(&mut self, groups: &[Vec<Expr>]) -> Result<Sets> {
        groups.iter().map(|group| group.iter().map(|tree| self.key(tree)).collect()).collect()
    }

    /// `GROUP BY a, b WITH ROLLUP` and its kin.
    fn modified(&mut self, modifier: &GroupByWithModifier, parts: Vec<Sets>) -> Result<Sets> {
        let single: Sets = parts.into_iter().flatten().collect();
        match modifier {
            GroupByWithModifier::Rollup => Ok((0..=single.len()).rev().map(|count| single[..count].concat()).collect()),
            GroupByWithModifier::Cube => Ok(subsets(&single)),
            GroupByWithModifier::GroupingSets(tree) => self.part(tree),
            GroupByWithModifier::Totals => Err(Error::unsupported("WITH TOTALS is not supported")),
        }
    }

    /// The index of a key, which may be an ordinal or an alias.
    fn key(&mut self, tree: &Expr) -> Result<usize> {
        let place =
            ordinal(tree, self.aliases.len()).map_err(|error| error.with_condition("GROUP_BY_POS_OUT_OF_RANGE"))?;
        let tree = match place.and_then(|place| self.aliases.expression(place)) {
            Some(item) if has_aggregate(&item) => return Err(at_aggregate(tree, &item)),
            Some(item) => item,
            None => self.aliases.resolve(tree),
        };
        let known = self.keys.iter().position(|key| *key == tree);
        Ok(known.unwrap_or_else(|| {
            self.keys.push(tree);
            self.keys.len() - 1
        }))
    }
}

/// All subsets, the largest first.
fn subsets(groups: &[Vec<usize>]) -> Sets {
    let count = groups.len().min(20);
    let chosen = |mask: usize| (0..count).filter(move |bit| mask & (1 << (count - 1 - bit)) != 0);
    (0..1usize << count).rev().map(|mask| chosen(mask).flat_map(|group| groups[group].clone()).collect()).collect()
}

/// Each choice of one set per part, joined.
fn product(parts: &[Sets]) -> Sets {
    parts.iter().fold(vec![Vec::new()], |done, sets| {
        done.iter().flat_map(|left| sets.iter().map(move |right| [left.clone(), right.clone()].concat())).collect()
    })
}
