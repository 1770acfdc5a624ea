//! Actions: they run a static query and give its rows.
//!
//! In: the plan. Out: rows, counts, texts. The plain forms block the calling thread (also inside a tokio runtime); the
//! `_async` forms do not. A stream is refused: it must be started.

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use serde::de::DeserializeOwned;

use super::DataFrame;
use crate::frame::Row;
use crate::frame::column::expr;
use crate::frame::show::vertical;
use crate::items::Decoder;
use crate::plan::batch;
use crate::show::{self, ShowOptions};
use crate::types::zone::Zone;
use crate::{Error, Result, types};

impl DataFrame {
    /// Runs the query and gives all rows, as record batches.
    ///
    /// # Errors
    /// If it reads a stream, and whatever fails while it runs.
    pub fn collect(&self) -> Result<Vec<RecordBatch>> {
        batch::collect_blocking(self.plan().clone(), &self.session().conf())
    }

    /// As [`DataFrame::collect`], without blocking.
    ///
    /// # Errors
    /// As [`DataFrame::collect`].
    pub async fn collect_async(&self) -> Result<Vec<RecordBatch>> {
        batch::collect(self.plan().clone(), &self.session().conf()).await
    }

    /// Runs the query and gives all rows, one by one.
    ///
    /// # Errors
    /// As [`DataFrame::collect`].
    pub fn collect_rows(&self) -> Result<Vec<Row>> {
        Ok(Row::all(&self.collect()?))
    }

    /// Runs the query and gives all rows as values of a type of the program, its fields being the columns.
    ///
    /// # Errors
    /// If a row does not fit the type, and as [`DataFrame::collect`].
    pub fn collect_as<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        let decoder = Decoder::<T>::new(&self.schema())?;
        let mut all = Vec::new();
        for rows in self.collect()? {
            all.extend(decoder.items(&rows)?);
        }
        Ok(all)
    }

    /// Number of rows.
    ///
    /// # Errors
    /// As [`DataFrame::collect`].
    pub fn count(&self) -> Result<u64> {
        let rows = self.agg([expr("count(1)").alias("count")])?.collect_rows()?;
        match rows.first().map(|row| row.get(0)).transpose()? {
            Some(ScalarValue::Int64(Some(count))) => Ok(count.unsigned_abs()),
            other => Err(Error::internal(format!("counting gave {other:?}"))),
        }
    }

    /// The first `count` rows.
    ///
    /// # Errors
    /// As [`DataFrame::collect`].
    pub fn take(&self, count: usize) -> Result<Vec<Row>> {
        self.limit(count)?.collect_rows()
    }

    /// The first row, if there is one.
    ///
    /// # Errors
    /// As [`DataFrame::collect`].
    pub fn first(&self) -> Result<Option<Row>> {
        Ok(self.take(1)?.into_iter().next())
    }

    /// True if there is no row.
    ///
    /// # Errors
    /// As [`DataFrame::collect`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.first()?.is_none())
    }

    /// Prints the first 20 rows as a table, texts cut at 20 characters.
    ///
    /// # Errors
    /// As [`DataFrame::collect`].
    pub fn show(&self) -> Result<()> {
        self.show_with(20, 20)
    }

    /// Prints the first `rows` rows as a table, texts cut at `truncate` characters (0: never).
    ///
    /// # Errors
    /// As [`DataFrame::collect`].
    pub fn show_with(&self, rows: usize, truncate: usize) -> Result<()> {
        print(&self.show_string(rows, truncate)?)
    }

    /// The table that [`DataFrame::show_with`] prints.
    ///
    /// # Errors
    /// As [`DataFrame::collect`].
    pub fn show_string(&self, rows: usize, truncate: usize) -> Result<String> {
        let batches = self.limit(rows.saturating_add(1))?.collect()?;
        show::table(&self.schema(), &batches, &self.look(rows, truncate)?)
    }

    /// Prints the first `rows` rows, one line per value.
    ///
    /// # Errors
    /// As [`DataFrame::collect`].
    pub fn show_vertical(&self, rows: usize, truncate: usize) -> Result<()> {
        let look = self.look(rows, truncate)?;
        let mut cells = Vec::new();
        for batch in self.limit(rows)?.collect()? {
            cells.extend(show::rows(&batch, &look)?);
        }
        print(&vertical(&self.columns(), &cells))
    }

    fn look(&self, rows: usize, truncate: usize) -> Result<ShowOptions> {
        Ok(ShowOptions { rows, truncate, zone: Zone::parse(self.session().conf().time_zone())? })
    }

    /// The schema as Spark draws it, one line per column and nested field.
    pub fn schema_tree(&self) -> String {
        types::tree_string(&self.schema())
    }

    /// Prints [`DataFrame::schema_tree`].
    ///
    /// # Errors
    /// If standard output is closed.
    pub fn print_schema(&self) -> Result<()> {
        print(&self.schema_tree())
    }

    /// The plan, as text.
    pub fn explain_string(&self) -> String {
        crate::plan::explain::explain(self.plan(), &self.session().conf())
    }

    /// Prints [`DataFrame::explain_string`].
    ///
    /// # Errors
    /// If standard output is closed.
    pub fn explain(&self) -> Result<()> {
        print(&self.explain_string())
    }
}

fn print(text: &str) -> Result<()> {
    use std::io::Write;
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}
