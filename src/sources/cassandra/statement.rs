//! What to ask Cassandra: one statement and the values it is run with.
//!
//! In: a table, the columns wanted, conditions of the query, the number of token ranges. Out: [`Select`]. If each column of the partition key is
//! equal to given values, the partitions are asked for one by one; else all token ranges are, and conditions on clustering
//! columns are left to the nodes to filter by. A condition is used only if Cassandra's order and equality are Spark's.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::TimestampMicrosecondType;

use crate::Result;
use crate::cassandra::convert::{self, put_cell};
use crate::cassandra::encode::Rows;
use crate::cassandra::table::{Table, TableColumn, names, quoted};
use crate::cassandra::types::CqlType;
use crate::sources::predicate::{Predicate, Test};

/// More partitions than this are not asked for one by one.
const MOST_PARTITIONS: usize = 10_000;

/// A statement, and what it is bound to: once for each partition or token range.
#[derive(Debug)]
pub(super) struct Select {
    pub cql: String,
    pub values: Rows,
}

/// A condition on a clustering column, as CQL: operator and value.
type Bound = (&'static str, Vec<u8>);

impl Select {
    /// The statement for these columns of the table (rising indexes; without any the first is read, to count rows).
    pub(super) fn new(table: &Table, columns: &[usize], filters: &[Predicate], ranges: u32) -> Result<Select> {
        let wanted = columns.iter().filter_map(|column| table.columns.get(*column));
        let wanted = if columns.is_empty() { names(table.columns.first()) } else { names(wanted) };
        let from = format!("SELECT {wanted} FROM {}", table.quoted());
        let (clustering, bounds) = clustering(table, filters)?;
        Ok(match partitions(table, filters)? {
            Some(partitions) => Select::of_partitions(&from, table, &partitions, &clustering, &bounds),
            None => Select::of_ranges(&from, table, ranges, &clustering, &bounds),
        })
    }

    fn of_partitions(from: &str, table: &Table, keys: &[Vec<Vec<u8>>], clustering: &str, bounds: &[Vec<u8>]) -> Select {
        let equal: Vec<String> = table
            .columns
            .iter()
            .take(table.partition_key)
            .map(|column| format!("{} = ?", quoted(&column.name)))
            .collect();
        let mut values = Rows::default();
        keys.iter().for_each(|key| values.push_encoded(key.iter().chain(bounds)));
        Select { cql: format!("{from} WHERE {}{clustering}", equal.join(" AND ")), values }
    }

    fn of_ranges(from: &str, table: &Table, ranges: u32, clustering: &str, bounds: &[Vec<u8>]) -> Select {
        let token = format!("token({})", table.quoted_partition_key());
        let filtering = if clustering.is_empty() { "" } else { " ALLOW FILTERING" };
        let cql = format!("{from} WHERE {token} > ? AND {token} <= ?{clustering}{filtering}");
        let mut values = Rows::default();
        for range in token_ranges(ranges) {
            let [from, to] = range.map(|token| encoded(&token.to_be_bytes()));
            values.push_encoded([&from, &to].into_iter().chain(bounds));
        }
        Select { cql, values }
    }
}

/// All tokens in so many ranges of the same size: behind the first up to and including the second.
fn token_ranges(count: u32) -> impl Iterator<Item = [i64; 2]> {
    let (count, all) = (i128::from(count.max(1)), 1i128 << 64);
    let bound = move |n: i128| (i128::from(i64::MIN) + all * n / count).min(i128::from(i64::MAX)) as i64;
    (0..count).map(move |n| [bound(n), bound(n + 1)])
}

/// A value with its length.
fn encoded(value: &[u8]) -> Vec<u8> {
    let length = i32::try_from(value.len()).unwrap_or(i32::MAX);
    length.to_be_bytes().into_iter().chain(value.iter().copied()).collect()
}

/// The partition keys that rows can have, if conditions say, each as the values of its columns.
fn partitions(table: &Table, filters: &[Predicate]) -> Result<Option<Vec<Vec<Vec<u8>>>>> {
    let mut keys: Vec<Vec<Vec<u8>>> = vec![Vec::new()];
    for (n, column) in table.columns.iter().take(table.partition_key).enumerate() {
        let Some(values) = equal_to(n, column, filters)? else { return Ok(None) };
        if keys.len().saturating_mul(values.len()) > MOST_PARTITIONS {
            return Ok(None);
        }
        let with = |key: &Vec<Vec<u8>>, value: &Vec<u8>| key.iter().chain([value]).cloned().collect::<Vec<_>>();
        keys = keys.iter().flat_map(|key| values.iter().map(move |value| with(key, value))).collect();
    }
    Ok(Some(keys))
}

/// The different values that a column can have.
fn equal_to(n: usize, column: &TableColumn, filters: &[Predicate]) -> Result<Option<Vec<Vec<u8>>>> {
    let usable = |filter: &&Predicate| filter.column == n && filter.test == Test::In && exact(column, &filter.values);
    let shortest = filters.iter().filter(usable).min_by_key(|filter| filter.values.len());
    let Some(filter) = shortest else { return Ok(None) };
    Ok(values(column, &filter.values)?.map(|mut values| {
        values.sort();
        values.dedup();
        values
    }))
}

/// CQL's conditions on clustering columns and their values: equalities of the first ones, then a range of one.
fn clustering(table: &Table, filters: &[Predicate]) -> Result<(String, Vec<Vec<u8>>)> {
    let (mut cql, mut found) = (String::new(), Vec::new());
    let columns = table.columns.iter().enumerate().skip(table.partition_key).take(table.clustering);
    for (n, column) in columns {
        let equal = equal_to(n, column, filters)?.filter(|values| values.len() == 1);
        let goes_on = equal.is_some();
        let bounds: Vec<Bound> = match equal {
            Some(values) => values.into_iter().map(|value| ("=", value)).collect(),
            None => range(n, column, filters)?,
        };
        for (operator, value) in bounds {
            cql.push_str(&format!(" AND {} {operator} ?", quoted(&column.name)));
            found.push(value);
        }
        if !goes_on {
            break;
        }
    }
    Ok((cql, found))
}

/// A lower and an upper bound of a column, as far as there are.
fn range(n: usize, column: &TableColumn, filters: &[Predicate]) -> Result<Vec<Bound>> {
    let mut bounds = Vec::new();
    for side in [[Test::Greater, Test::GreaterOrEqual], [Test::Less, Test::LessOrEqual]] {
        let usable = |filter: &&Predicate| {
            filter.column == n && side.contains(&filter.test) && ordered(&column.cql) && exact(column, &filter.values)
        };
        let Some(filter) = filters.iter().find(usable) else { continue };
        let value = values(column, &filter.values)?.and_then(|values| values.into_iter().next());
        bounds.extend(value.map(|value| (operator(filter.test), value)));
    }
    Ok(bounds)
}

fn operator(test: Test) -> &'static str {
    match test {
        Test::In => "=",
        Test::Less => "<",
        Test::LessOrEqual => "<=",
        Test::Greater => ">",
        Test::GreaterOrEqual => ">=",
    }
}

/// True if Cassandra's order of the type is that of what it is in Spark.
fn ordered(cql: &CqlType) -> bool {
    use CqlType as C;
    matches!(cql, C::Ascii | C::Text | C::Blob | C::TinyInt | C::SmallInt | C::Int | C::BigInt | C::Timestamp | C::Date)
}

/// True if a value of the column equals one of these in Cassandra whenever it does in Spark.
fn exact(column: &TableColumn, values: &ArrayRef) -> bool {
    match column.cql {
        CqlType::Timestamp => {
            let whole = |micros: i64| micros.rem_euclid(1000) == 0;
            values
                .as_primitive_opt::<TimestampMicrosecondType>()
                .is_some_and(|micros| micros.iter().flatten().all(whole))
        }
        CqlType::Boolean | CqlType::Uuid | CqlType::Timeuuid | CqlType::Inet => true,
        ref cql => ordered(cql),
    }
}

/// The values as the statement is bound to them; none if one of them is no value of the type, so that no row is equal to it.
fn values(column: &TableColumn, values: &ArrayRef) -> Result<Option<Vec<Vec<u8>>>> {
    let Ok(cells) = convert::cells(values, &column.cql, &column.name) else { return Ok(None) };
    let one = |row| {
        let mut cell = Vec::new();
        put_cell(cells.as_ref(), row, &mut cell);
        cell
    };
    Ok(Some((0..values.len()).map(one).collect()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, StringArray, TimestampMicrosecondArray};

    use super::*;
    use crate::cassandra::options::TableName;

    /// `((a int, b text), c timestamp, d int), v int`
    fn table() -> Table {
        let column = |name: &str, cql| TableColumn { name: name.into(), cql };
        Table {
            name: TableName { keyspace: "ks".into(), table: "T".into() },
            columns: vec![
                column("a", CqlType::Int),
                column("b", CqlType::Text),
                column("c", CqlType::Timestamp),
                column("d", CqlType::Int),
                column("v", CqlType::Int),
            ],
            partition_key: 2,
            clustering: 2,
        }
    }

    fn ints(column: usize, test: Test, values: &[i32]) -> Predicate {
        Predicate { column, test, values: Arc::new(Int32Array::from(values.to_vec())) }
    }

    fn texts(column: usize, values: &[&str]) -> Predicate {
        Predicate { column, test: Test::In, values: Arc::new(StringArray::from(values.to_vec())) }
    }

    fn time(column: usize, test: Test, micros: i64) -> Predicate {
        let values = TimestampMicrosecondArray::from(vec![micros]).with_timezone("UTC");
        Predicate { column, test, values: Arc::new(values) }
    }

    fn select(filters: &[Predicate]) -> (String, usize) {
        let select = Select::new(&table(), &[0, 4], filters, 4).unwrap();
        (select.cql, select.values.len())
    }

    #[test]
    fn without_conditions_all_token_ranges_are_read() {
        let expected = r#"SELECT "a", "v" FROM "ks"."T" WHERE token("a", "b") > ? AND token("a", "b") <= ?"#;
        assert_eq!(select(&[]), (expected.to_owned(), 4));
        let ranges: Vec<[i64; 2]> = token_ranges(3).collect();
        assert_eq!((ranges[0][0], ranges[2][1]), (i64::MIN, i64::MAX));
        assert!(ranges.windows(2).all(|pair| pair[0][1] == pair[1][0]));
    }

    #[test]
    fn a_whole_partition_key_asks_for_partitions() {
        let filters = [ints(0, Test::In, &[1, 2, 1]), texts(1, &["x", "y"])];
        let expected = r#"SELECT "a", "v" FROM "ks"."T" WHERE "a" = ? AND "b" = ?"#;
        assert_eq!(select(&filters), (expected.to_owned(), 4));
        let (cql, ranges) = select(&filters[..1]);
        assert!(cql.contains("token(") && ranges == 4, "{cql}");
    }

    #[test]
    fn clustering_columns_are_equal_up_to_a_range() {
        let key = [ints(0, Test::In, &[1]), texts(1, &["x"])];
        let with = |more: &[Predicate]| select(&[&key[..], more].concat()).0;
        let equal = time(2, Test::In, 5000);
        let cql = with(&[equal.clone(), ints(3, Test::Greater, &[1]), ints(3, Test::LessOrEqual, &[9])]);
        assert!(cql.ends_with(r#"AND "c" = ? AND "d" > ? AND "d" <= ?"#), "{cql}");
        let cql = with(&[time(2, Test::Less, 5000), ints(3, Test::In, &[1])]);
        assert!(cql.ends_with(r#"AND "c" < ?"#), "{cql}");
        let cql = select(&[equal]).0;
        assert!(cql.ends_with(r#"AND "c" = ? ALLOW FILTERING"#), "{cql}");
    }

    #[test]
    fn what_cassandra_would_round_is_left_to_the_query() {
        let (cql, _) = select(&[time(2, Test::Less, 5001)]);
        assert!(!cql.contains(r#""c" <"#), "{cql}");
        let (cql, _) = select(&[ints(4, Test::In, &[1])]);
        assert!(!cql.contains(r#""v" ="#), "{cql}");
    }
}
